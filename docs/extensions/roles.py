"""Roles in docstrings: names by which something is also known, and names without their module, lead to one place."""

from __future__ import annotations

import importlib
import re
from typing import Any

from docutils import nodes
from faces import documented_name, modules
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_ROLE = re.compile(r":(func|class|meth|data|attr|exc|obj):`(?!berg_jax\.)([\w.]+)`")


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Find what a role calls by another of its names, such as by the module that defines it."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("berg_jax"):
        return None
    domain = env.get_domain("py")
    known = domain.objects.get(documented_name(target)) or domain.objects.get(target)
    if known is None:
        return None
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], documented_name(target), node, content
    ) or _link(app, node, known, content)


def _link(app: Sphinx, node: pending_xref, known: Any, content: nodes.Node) -> nodes.Node:
    address = app.builder.get_relative_uri(node["refdoc"], known.docname) + "#" + known.node_id
    return nodes.reference("", "", content, internal=True, refuri=address)


def qualify(app: Sphinx, what: str, name: str, subject: Any, options: Any, lines: list[str]) -> None:
    """Give names that stand without a module in a docstring their module, or their class."""
    module = name if what == "module" else getattr(subject, "__module__", None) or name.rpartition(".")[0]
    if module not in modules():
        return
    owner = name.rpartition(".")[0] if what in ("method", "attribute", "property") else name

    def full(match: re.Match[str]) -> str:
        role, word = match.groups()
        if role in ("meth", "attr") and "." not in word:
            return f":{role}:`~{owner}.{word}`"
        first, dot, rest = word.partition(".")
        for place in (module, "berg_jax"):
            found = getattr(importlib.import_module(place), first, None)
            if found is not None:  # which may only be imported there
                home = getattr(found, "__module__", None) or place
                return f":{role}:`{word} <{home}.{first}{dot}{rest}>`"
        return match[0]

    lines[:] = [_ROLE.sub(full, line) for line in lines]


def skip(app: Sphinx, what: str, name: str, member: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what a module only imports, and what Python and flax add to every tuple and dataclass."""
    text = getattr(member, "__doc__", None) or ""
    made = text.startswith(("Alias for field number", "Returns a new object replacing"))
    foreign = what == "module" and not (getattr(member, "__module__", None) or "berg_jax").startswith("berg_jax")
    return True if made or foreign else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect these."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", qualify, priority=100)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

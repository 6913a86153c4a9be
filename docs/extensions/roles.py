"""Roles in docstrings: names by which something is also known, and names without their module, lead to one place."""

from __future__ import annotations

import importlib
import inspect
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


def signature(
    app: Sphinx, what: str, name: str, subject: Any, options: Any, text: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Write a signature with the annotations of the source, in which names of ours are links."""
    try:
        found = inspect.signature(subject)
    except (TypeError, ValueError):
        return None
    if text is None or not getattr(subject, "__module__", "").startswith("berg_jax"):
        return None
    module = importlib.import_module(subject.__module__)
    parameters = [
        parameter.replace(
            annotation=_Shown(_linked(parameter.annotation, module)) if _known(parameter.annotation) else _NONE,
            default=_Shown(_told(parameter.default)) if parameter.default is not _NONE else _NONE,
        )
        for parameter in found.parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    answer = _linked(found.return_annotation, module) if _known(found.return_annotation) else None
    return str(inspect.Signature(parameters)), None if what in ("class", "exception") else answer


_NONE = inspect.Parameter.empty


class _Shown(str):
    """A text that is shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _known(annotation: Any) -> bool:
    return isinstance(annotation, str) or (inspect.isclass(annotation) and annotation is not _NONE)


def _linked(annotation: Any, module: Any) -> str:
    """An annotation in which classes of ours, that the module knows, have the names that lead to them."""

    def full(match: re.Match[str]) -> str:
        held = getattr(module, match[0], None) or getattr(importlib.import_module("berg_jax"), match[0], None)
        home = getattr(held, "__module__", None) or ""
        return f"~{home}.{match[0]}" if inspect.isclass(held) and home in modules() else match[0]

    text = annotation if isinstance(annotation, str) else annotation.__name__
    return re.sub(r"(?<![\w.\"'])[A-Z]\w+(?![\w\"'])", full, text)


def _told(default: Any) -> str:
    """A default as the source has it, or the name of what it is, but never what the machine at hand put into it."""
    from_source = type(default).__name__ == "DefaultValue"  # autodoc_preserve_defaults'
    if from_source or isinstance(default, int | float | str | tuple | None):
        return repr(default)
    return getattr(default, "__name__", "…")


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
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The page that compares the published package's interface, as recorded in tests/data, with ours.

python -m tests.subject.berg_table writes it.
"""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

from ..conftest import DATA, ROOT

PAGE = ROOT / "docs" / "berg-interface.md"
RECORD = json.loads((DATA / "berg_interface.json").read_text(encoding="utf-8"))
_OPENING = """# BERG's interface and ours, name by name

The left column lists the public names of the published package, as recorded in `tests/data/berg_interface.json`.
A test makes this page from the list and from the signatures here, and fails if a name or keyword is missing without
a reason.

| in BERG | in berg_jax | keywords there | more keywords here |
|---|---|---|---|
"""


def ours(name: str) -> Any:
    """The object of a dotted name, None where there is none."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute, None)


def keywords(function: Any) -> list[str]:
    """A function's keywords; ``**`` stands before the name of those that are open."""
    parameters = inspect.signature(function).parameters.values()
    stars = {inspect.Parameter.VAR_KEYWORD: "**"}
    positional = inspect.Parameter.VAR_POSITIONAL
    named = [p for p in parameters if p.name not in ("self", "cls") and p.kind is not positional]
    return [stars.get(p.kind, "") + p.name for p in named]


def compared() -> list[tuple[str, str | None, list[str], list[str] | None]]:
    """Each recorded name, ours or None, its keywords, and ours (None for what is no function)."""
    rows = []
    for theirs, entry in RECORD["classes"].items():
        held = ours(entry["ours"])
        for method, given in entry["methods"].items():
            function = getattr(held, method, None)
            name = entry["ours"] if method == "__init__" else f"{entry['ours']}.{method}"
            title = theirs if method == "__init__" else f"{theirs}.{method}"
            found = function and keywords(held if method == "__init__" else function)
            rows.append((title, name if function else None, given, found))
        told = inspect.getsource(inspect.getmodule(held))  # attributes of a model are set in its methods
        for attribute in entry["attributes"]:
            there = hasattr(held, attribute) or f"self.{attribute}" in told
            rows.append((f"{theirs}.{attribute}", f"{entry['ours']}.{attribute}" if there else None, [], None))
    for theirs, given in RECORD["functions"].items():
        name = f"berg_jax.{theirs}"
        rows.append((theirs, name if ours(name) else None, given, ours(name) and keywords(ours(name))))
    for theirs in RECORD["exceptions"]:
        name = f"berg_jax.{theirs}"
        rows.append((theirs, name if ours(name) else None, [], None))
    return rows


def page() -> str:
    """The page's text."""
    lines = []
    for theirs, name, given, found in compared():
        reason = RECORD["absent"].get(theirs.rpartition(".")[2])
        more = [keyword for keyword in found or [] if keyword not in given]
        cells = [f"`{theirs}`", f"`{name}`" if name else f"none: {reason}"]
        cells += [", ".join(f"`{keyword}`" for keyword in words) for words in (given, more)]
        lines.append("| " + " | ".join(cells) + " |")
    return _OPENING + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

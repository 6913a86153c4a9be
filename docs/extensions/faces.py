"""The package's modules, and its public names: where each is defined, and the shortest name that a user can type."""

from __future__ import annotations

import ast
import pkgutil
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FOLDERS = {"convert": ROOT / "convert", "experiments": ROOT / "experiments"}


def path_of(module: str) -> Path:
    """Return the file of a module, for a package its ``__init__.py``."""
    parts = module.split(".")[1:]
    folder = _FOLDERS[parts.pop(0)] if parts and parts[0] in _FOLDERS else ROOT / "berg_jax"
    place = folder.joinpath(*parts)
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@lru_cache
def modules() -> tuple[str, ...]:
    """Return the names of all modules, packages before what they hold, in alphabetical order."""
    found = ["berg_jax"]

    def visit(package: str, folder: Path) -> None:
        for entry in sorted(pkgutil.iter_modules([str(folder)]), key=lambda entry: entry.name):
            found.append(f"{package}.{entry.name}")
            if entry.ispkg:
                visit(found[-1], folder / entry.name)

    visit("berg_jax", ROOT / "berg_jax")
    for name, folder in _FOLDERS.items():
        found.append(f"berg_jax.{name}")
        visit(found[-1], folder)
    return tuple(sorted(found))


def is_package(module: str) -> bool:
    """Return whether a module holds others."""
    return path_of(module).name == "__init__.py"


def first_line(module: str) -> str:
    """Return the first sentence of a module's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(path_of(module).read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


@lru_cache
def face(package: str) -> dict[str, str]:
    """Return what a package's public face names, and where each is defined: by its ``__init__.pyi`` or ``.py``."""
    path = path_of(package)
    stub = path.with_suffix(".pyi")
    names = {}
    for node in ast.parse((stub if stub.exists() else path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            module = ".".join([package, *([node.module] if node.module else [])])
            for alias in node.names:
                names[alias.asname or alias.name] = f"{module}.{alias.name}"
    return {name: _definition(target) for name, target in names.items()}


def _definition(target: str) -> str:
    """Follow a name through other faces to the module that defines it."""
    module, _, name = target.rpartition(".")
    if target not in modules() and module in modules() and is_package(module) and name in face(module):
        return face(module)[name]
    return target


@lru_cache
def public_names() -> dict[str, str]:
    """Return the shortest public name of everything that is in some face, by the name where it is defined.

    A name that a module has, too, such as ``synthesis.optimize``, is left to the function's module.
    """
    shortest: dict[str, str] = {}
    for package in sorted(filter(is_package, modules()), key=lambda name: name.count("."), reverse=True):
        for name, definition in face(package).items():
            if {definition, f"{package}.{name}"}.isdisjoint(modules()):
                shortest[definition] = f"{package}.{name}"
    return shortest


def documented_name(name: str) -> str:
    """Return the name under which the reference documents something, whichever name it is called by."""
    if name in modules():
        return name
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        head, tail = ".".join(parts[:length]), parts[length:]
        definition = _definition(head)
        if definition in public_names():
            return ".".join([public_names()[definition], *tail])
        if definition != head:
            return ".".join([definition, *tail])
    return name

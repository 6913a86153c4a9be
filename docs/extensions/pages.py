"""Pages that are made while the site is built: API reference, command line, house, notebooks, situations."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
from pathlib import Path

from faces import ROOT, face, first_line, is_package, modules, public_names
from sphinx.application import Sphinx

OUT = "generated"  # in docs/, and not in the repository
ORDER = ("berg_jax.stream", "berg_jax.surface", "berg_jax.demo", "berg_jax.experiments", "berg_jax.model")
ORDER += ("berg_jax.convert", "berg_jax.published", "berg_jax.files")
SITUATIONS = {
    "Files of images": ["stream/sources/test_*.py"],
    "Images that change between two runs": ["stream/test_changed_input.py"],
    "Stored responses": ["stream/store/test_*.py"],
    "Measured data and tables": [
        "experiments/test_*.py",
        "experiments/accuracy/test_*.py",
        "experiments/retinotopy/test_*.py",
        "experiments/representations/test_*.py",
        "surface/test_*.py",
    ],
    "Schedulers and processes": [
        "stream/test_schedulers.py",
        "cli/test_processes.py",
        "experiments/sweeps/test_*.py",
    ],
    "Devices, environments, versions": ["files/test_*.py", "cli/test_inherited_environment.py", "project/test_*.py"],
}


def write(path: Path, text: str) -> None:
    """Write a page, unless it is there as it is: an unchanged page is not read again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def title(text: str, line: str = "=") -> str:
    """Return a heading."""
    return f"{text}\n{line * len(text)}\n\n"


def directive(name: str, lines: list[str], options: str = "") -> str:
    """Return a directive with its lines."""
    return f".. {name}::\n{options}\n" + "".join(f"   {line}\n" for line in lines) + "\n"


def children(package: str) -> list[str]:
    """Return the modules directly in a package."""
    return [name for name in modules() if name.rpartition(".")[0] == package]


def value_of(name: str) -> object:
    """Return what a public name stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def is_constant(name: str) -> bool:
    """Return whether a name stands for a plain value, which has no docstring of its own."""
    return isinstance(value_of(name), tuple | str | int | float)


def object_directive(name: str) -> str:
    """Return the directive that documents a public name."""
    value = value_of(name)
    if is_constant(name):
        return f".. py:data:: {name}\n   :value: {value!r}\n\n"
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
        return f".. {kind}:: {name}\n   :members:\n\n"
    return f".. autofunction:: {name}\n\n"


def face_text(package: str) -> str:
    """Return what a package's page says of its public names, each documented where its name is shortest."""
    names = {f"{package}.{name}": where for name, where in face(package).items() if where not in modules()}
    if not names:
        return ""
    ordered = sorted(names, key=str.lower)
    listed = [f"~{name}" for name in ordered if not is_constant(name)]
    text = title("Public names", "-") + directive("autosummary", listed, "   :nosignatures:\n")
    return text + "".join(object_directive(name) for name in ordered if public_names().get(names[name]) == name)


def module_text(module: str) -> str:
    """Return the page of a module: all that it defines, and links to what has a shorter name."""
    shorter = {where: name for where, name in public_names().items() if where.rpartition(".")[0] == module}
    hidden = ",".join(where.rpartition(".")[2] for where in shorter)
    if module.startswith("berg_jax.cli."):  # whose functions are commands
        return title(module) + f".. automodule:: {module}\n\nThe commands: :doc:`/{OUT}/command-line`.\n"
    exclude = f"   :exclude-members: {hidden}\n" if hidden else ""
    text = title(module) + f".. automodule:: {module}\n   :members:\n{exclude}\n"
    if shorter:
        text += title("Public names of this module", "-")
        listed = [f"~{name}" for name in sorted(shorter.values()) if not is_constant(name)]
        text += directive("autosummary", listed, "   :nosignatures:\n")
    return text


def package_text(package: str) -> str:
    """Return the page of a package: its docstring, public names and modules."""
    inside = children(package) if package != "berg_jax" else [n for n in children(package) if not is_package(n)]
    text = title(package) + f".. automodule:: {package}\n   :no-members:\n\n"
    if package == "berg_jax":
        text += "Folders: " + ", ".join(f":mod:`{name}`" for name in children(package) if is_package(name)) + ".\n\n"
    text += face_text(package)
    if inside:
        rows = "".join(f"   * - :mod:`{name}`\n     - {first_line(name)}\n" for name in inside)
        entries = [f"{name.removeprefix(f'{package}.')} <{name}>" for name in inside]
        text += title("Modules", "-")
        text += f".. list-table::\n   :class: modules\n   :widths: 40 60\n\n{rows}\n"
        text += directive("toctree", entries, "   :hidden:\n   :maxdepth: 1\n")
    return text


def reference(folder: Path) -> None:
    """Write a page for every module."""
    for module in modules():
        text = package_text(module) if is_package(module) else module_text(module)
        write(folder / f"{module}.rst", text)
    rest = [name for name in children("berg_jax") if is_package(name) and name not in ORDER]
    pages = ["berg_jax", *ORDER, *rest]
    rows = "".join(f"   * - :mod:`{name}`\n     - {first_line(name)}\n" for name in pages)
    write(
        folder / "index.rst",
        title("API reference")
        + "Import from the folders' public faces, ``from berg_jax.stream import stream``. Each page has the public "
        "names of one folder with their examples, and leads to the pages of its modules.\n\n"
        f".. list-table::\n   :class: modules\n   :widths: 30 70\n\n{rows}\n"
        + directive("toctree", pages, "   :hidden:\n   :maxdepth: 2\n"),
    )


def house(folder: Path) -> None:
    """Write the page of the house: every module by its first line, folder by folder."""
    text = title("The house: every module by its first line")
    text += "This page is made of the modules' docstrings. Imports point down: the table ``ROWS`` in "
    text += "``tests/project/test_package.py`` has the order, and the test keeps it.\n\n"
    for module in modules():
        depth = module.count(".")
        name = module.rpartition(".")[2] + ("/" if is_package(module) else "")
        text += f"{'  ' * depth}- :mod:`{name} <{module}>`: {first_line(module)}\n\n"
    write(folder / "house.rst", text)


def commands(folder: Path) -> None:
    """Write the page of the command line: every command, its arguments and options."""
    import typer

    from berg_jax.cli.app import app as application

    group = typer.main.get_command(application)
    text = title("Command line")
    text += "``berg-jax COMMAND --help`` says the same in a terminal. Exit codes: 0 done, 1 an error, 2 a wrong\n"
    text += "option, 75 stopped before the end: the same command goes on, 76 this process has done its share, and\n"
    text += "others still owe theirs.\n\n"
    for name, command in group.commands.items():
        if command.hidden:
            continue
        text += title(f"berg-jax {name}", "-") + " ".join((command.help or "").split()) + "\n\n"
        rows = []
        for parameter in command.params:
            label = ", ".join([*parameter.opts, *parameter.secondary_opts])
            if parameter.param_type_name == "argument":
                label = parameter.name.upper()
            says = " ".join((getattr(parameter, "help", None) or "").split())
            chosen = getattr(parameter, "show_default", None)
            default = chosen if isinstance(chosen, str) else parameter.default
            if parameter.required:
                says += " Required."
            elif default not in (None, False, [], ()) and not callable(default):
                says += f" Default: {getattr(default, 'value', default)}."
            rows.append(f"   * - ``{label}``\n     - {_plain(says)}\n")
        if rows:
            text += ".. list-table::\n   :class: options\n   :widths: 30 70\n\n" + "".join(rows) + "\n"
    write(folder / "command-line.rst", text)


def _plain(text: str) -> str:
    """Return a help text as reStructuredText that means nothing but itself."""
    return "".join(f"\\{letter}" if letter in "\\*`|_" else letter for letter in text) or "\\ "


def _literals(text: str) -> str:
    """Return a docstring's text as reStructuredText, whose code is between single or double backquotes."""
    parts = re.split(r"``?([^`]+)``?", text)
    return "".join(f"``{part}``" if number % 2 else _plain(part) for number, part in enumerate(parts)).strip()


def notebooks(folder: Path) -> None:
    """Copy the notebooks, and list them."""
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        copy = folder / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)
    for stale in {path.name for path in folder.glob("*.ipynb")} - {path.name for path in paths}:
        (folder / stale).unlink()


def situations(folder: Path) -> None:
    """Write the table of what happens in situations that people meet: tests whose docstrings say "this → that"."""
    text = title("What it does with the files and clusters people have")
    text += "Each row is a test; the table is made of their docstrings.\n\n"
    for topic, places in SITUATIONS.items():
        rows = []
        for path in sorted(path for place in places for path in (ROOT / "tests").glob(place)):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                line = " ".join((ast.get_docstring(node) or "").split()) if isinstance(node, ast.FunctionDef) else ""
                situation, arrow, outcome = line.partition(" → ")
                if arrow:
                    test = path.relative_to(ROOT / "tests")
                    rows.append(
                        f"   * - {_literals(situation)}\n     - {_literals(outcome)}\n     - {_plain(str(test))}\n"
                    )
        options = ".. list-table::\n   :class: options\n   :header-rows: 1\n   :widths: 38 38 24\n\n"
        text += title(topic, "-") + options + "   * - situation\n     - outcome\n     - test\n" + "".join(rows) + "\n"
    write(folder / "situations.rst", text)


def make(app: Sphinx) -> None:
    """Make all pages."""
    folder = Path(app.srcdir) / OUT
    reference(folder / "api")
    for stale in set((folder / "api").glob("berg_jax*.rst")) - {folder / "api" / f"{m}.rst" for m in modules()}:
        stale.unlink()
    house(folder)
    commands(folder)
    situations(folder)
    notebooks(folder / "notebooks")


def setup(app: Sphinx) -> dict[str, bool]:
    """Make them before sources are looked for."""
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

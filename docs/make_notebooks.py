"""Notebooks, made again: the badge and the first cell of each from the repository's address, then run and stored.

python docs/make_notebooks.py [NAME …] [--no-run]

The address is ``Repository`` in pyproject.toml, the one place where it is changed. The .py file beside each .ipynb is
what people edit; this writes its first two cells, runs it, and stores it with its outputs. With --no-run the outputs
stay as they are.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
EXTRAS = {"06_sweeps": "demo,sweep"}  # of the package, where "demo" is not enough
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({url})"
INSTALL = """import importlib.util
import subprocess
import sys
from pathlib import Path

# On Colab, or before the first installation. A checkout's folder of that name is found, but has no origin.
if getattr(importlib.util.find_spec("berg_jax"), "origin", None) is None:
    checkout = Path.cwd().parent
    source = checkout.as_uri() if (checkout / "pyproject.toml").exists() else "git+{repository}"
    package = f"berg_jax[{extras}] @ {{source}}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)"""


def repository() -> str:
    """Return the repository's address."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"]


def header(name: str) -> tuple[str, str]:
    """Return a notebook's badge and its first cell, which installs the package where it is not installed."""
    colab = repository().replace("https://github.com", "https://colab.research.google.com/github")
    badge = BADGE.format(url=f"{colab}/blob/main/notebooks/{name}.ipynb")
    return badge, INSTALL.format(repository=repository(), extras=EXTRAS.get(name, "demo"))


def with_header(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Return a notebook whose first two cells are its badge and the installation."""
    badge, install = header(name)
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [
        cell for cell in notebook.cells if not cell.source.startswith(("[![Open in Colab]", "import importlib.util"))
    ]
    title = cells.pop(0)
    notebook.cells = [markdown(badge), title, code(install, execution_count=1), *cells]
    return notebook


def main(names: list[str], run: bool) -> None:
    """Write and run these notebooks, by default all."""
    for path in sorted(FOLDER.glob("*.py")):
        if names and path.stem not in names:
            continue
        notebook = with_header(jupytext.read(path), path.stem)
        for version in ("format_version", "jupytext_version"):  # else every release of jupytext changes the file
            notebook.metadata.get("jupytext", {}).get("text_representation", {}).pop(version, None)
        jupytext.write(notebook, path, fmt="py:percent")
        pair = path.with_suffix(".ipynb")
        if run:
            print(path.stem, flush=True)
            execute(notebook)
        else:
            notebook = with_header(nbformat.read(pair, as_version=4), path.stem)
        for index, cell in enumerate(notebook.cells):
            cell.id = f"cell-{index:02d}"  # the same in every run, so that only outputs change
        nbformat.write(notebook, pair)


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run a notebook in its folder; its outputs come into it."""
    from nbclient import NotebookClient

    NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times


if __name__ == "__main__":
    main([argument for argument in sys.argv[1:] if not argument.startswith("--")], "--no-run" not in sys.argv)

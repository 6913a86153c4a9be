"""The notebooks run, and each .ipynb is what its .py beside it says."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import jupytext
import pytest

from ..conftest import ROOT

FOLDER = ROOT / "notebooks"
BOOKS = sorted(FOLDER.glob("*.py"))
QUICK = ("01_quickstart", "02_from_berg_to_jax")


def _cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_it_opens_in_colab_and_installs_itself_there(book: Path) -> None:
    """From the repository's address, which is written once."""
    address = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    owner = address.removeprefix("https://github.com/")

    badge, _, install = _cells(book)[:3]

    assert f"/github/{owner}/blob/main/notebooks/{book.stem}.ipynb" in badge[1]
    assert f'"git+{address}"' in install[1]
    assert "pip" in install[1]


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_pairs_say_the_same_and_were_run(book: Path) -> None:
    pair = book.with_suffix(".ipynb")
    assert _cells(pair) == _cells(book)
    code = [cell for cell in jupytext.read(pair).cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/jpeg" in output.get("data", {}) for output in outputs) or book.stem == "02_from_berg_to_jax"
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert pair.stat().st_size < 500_000


@pytest.mark.parametrize(
    "book",
    [
        pytest.param(book, id=book.stem, marks=pytest.mark.docs if book.stem in QUICK else pytest.mark.nightly)
        for book in BOOKS
    ],
)
def test_runs(book: Path, demo: Path) -> None:
    from nbclient import NotebookClient

    notebook = jupytext.read(book)
    environment = {**os.environ, "BERG_JAX_CACHE": str(demo), "XLA_FLAGS": ""}
    client = NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": FOLDER}})
    client.execute(env=environment)
    assert any(cell.get("outputs") for cell in notebook.cells)

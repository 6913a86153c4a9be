"""The examples in docstrings are right, and the API reference is made of them."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT

_FOLDERS = {"berg_jax": "berg_jax", "berg_jax.convert": "convert", "berg_jax.experiments": "experiments"}


def _modules_with_examples() -> list[str]:
    return [
        ".".join((package, *path.relative_to(ROOT / folder).with_suffix("").parts))
        for package, folder in _FOLDERS.items()
        for path in sorted((ROOT / folder).rglob("*.py"))
        if ">>>" in path.read_text(encoding="utf-8")
    ]


@pytest.mark.docs
@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples(name: str, demo: Path) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.docs
def test_api_reference(tmp_path: Path) -> None:
    """By the README's command, into another folder; it warns of names that it cannot import."""
    (command,) = re.findall(r"^python -m pdoc (.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    arguments = [str(tmp_path / "api") if word == "api" else word for word in command.split()]
    run = subprocess.run([sys.executable, "-m", "pdoc", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Error importing" not in run.stderr
    assert "berg_dir" in (tmp_path / "api" / "berg_jax" / "subject.html").read_text(encoding="utf-8")
    assert (tmp_path / "api" / "berg_jax" / "experiments" / "synthesis" / "optimize.html").exists()

"""An environment of the lowest versions that pyproject.toml allows, from wherever pip gets packages here."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from ..conftest import ROOT

EXTRAS = "demo,fast,fetch,sweep"


def make(folder: Path) -> Path:
    """Make the environment, with pytest beside the package, and return its Python."""
    python = folder / "bin" / "python"
    tool = folder.with_name("uv")
    subprocess.run([sys.executable, "-m", "venv", tool], check=True)
    _say(tool / "bin" / "python", "-m", "pip", "install", "--quiet", "uv")
    uv = tool / "bin" / "uv"
    _say(uv, "venv", "--quiet", "--python", sys.executable, folder)
    install = (uv, "pip", "install", "--quiet", "--python", python, *_index(tool / "bin" / "python"))
    _say(*install, "--resolution", "lowest-direct", "-e", f"{ROOT}[{EXTRAS}]")
    _say(*install, "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "setuptools", "wheel")
    return python


def _index(python: Path) -> list[str]:
    """Return what pip's configuration says about indexes, as options of uv, which does not read it."""
    said = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    options = []
    for line in said.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in ("index-url", "extra-index-url", "find-links"):
            places = [place for text in shlex.split(value) for place in text.split()]
            options += [part for place in places for part in (f"--{option}", place)]
    # As pip does it: the best version of all indexes, not all versions of the first that has any.
    return [*options, "--index-strategy", "unsafe-best-match"]


def _say(*command: str | Path) -> None:
    """Run a command, and show what it says if it fails."""
    environment = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr

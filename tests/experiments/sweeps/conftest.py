"""A subject's model, replaced; and Slurm's commands."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from berg_jax.experiments.sweeps import worker as running

from .made import regions


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a subject's model, which takes longer to compile."""
    monkeypatch.setattr(running, "Subject", lambda *_: None)
    monkeypatch.setattr(running, "load_regions", regions)


# What Slurm is to its user: a script is taken, and its tasks are run with what they must know.
SBATCH = """#!/bin/bash
cp "$1" "$SLURM_FAKE/script.sh"
echo submitted >>"$SLURM_FAKE/submissions"
echo "Submitted batch job 42"
"""


# It knows a job whose tasks stand in the file of its number.
SQUEUE = """#!/bin/bash
[ -e "$SLURM_FAKE/broken" ] && { echo "Unable to contact slurm controller" >&2; exit 1; }
for option in "$@"; do case "$option" in --jobs=*) job="${option#--jobs=}";; esac; done
[ -e "$SLURM_FAKE/$job.queue" ] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
cat "$SLURM_FAKE/$job.queue"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with commands of Slurm's names, first on the path."""
    importlib.import_module("submitit")  # now, as it keeps the stderr that is there, which a command's test closes
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("squeue", SQUEUE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_FAKE", str(folder))
    return folder


# Options, then the command, whose output goes to the files that they name.
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do
  case "$1" in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
"""

"""A sweep that submits its own array to a real Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from berg_jax.experiments.sweeps import records

from ...conftest import Golden
from .cluster import Slurm, wait_until
from .small import run

pytestmark = [pytest.mark.nightly, pytest.mark.engines, pytest.mark.timeout(2400)]
TRIALS = 8
LAUNCHER = '[launcher]\nkind = "slurm"\nchunk = 1\nmax_parallel = 2\ntime = 60\n'


def specification(berg_dir: Path, path: Path, launcher: str) -> Path:
    base = f'[base]\nberg_dir = "{berg_dir}"\nsubject = 2\ndrive = "V3v"\nsteps = 200\n'
    path.write_text(f"{base}[grid]\nseed = {list(range(TRIALS))}\n{launcher}")
    return path


def images(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (output / "images").glob("*.png")}


def values(output: Path) -> dict[str, float]:
    return {name: entry["value"] for name, entry in records.entries(output).items()}


def test_a_sweep_whose_jobs_are_stopped_cancelled_and_lose_a_node_has_one_process_s_images(
    complement: Golden, slurm: Slurm, tmp_path: Path
) -> None:
    """A sweep's jobs meet a time limit's signal, a node that dies and scancel → the images of one process."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    here = specification(complement.folder, tmp_path / "here.toml", "[launcher]\nchunk = 1\n")
    run(["berg-jax", "sweep", str(here), "--output", str(alone)])
    there = specification(complement.folder, tmp_path / "slurm.toml", LAUNCHER)
    command = ["berg-jax", "sweep", str(there), "--output", str(shared)]

    said = slurm.run(*command)
    assert f"2 jobs for {TRIALS} chunks submitted" in said
    assert "Nothing was submitted, because jobs of this sweep are in Slurm's queue" in slurm.run(*command)
    wait_until(lambda: len(slurm.running()) == 2 and values(shared), 600, said.__str__)
    stopped, dying = sorted(slurm.running())
    slurm.run("scancel", "--signal=USR2", stopped)  # what submitit has Slurm send before a time limit
    node = slurm.running()[dying]
    slurm.kill_node(node)
    wait_until(lambda: int(slurm.facts(stopped)["Restarts"]), 120, slurm.log)
    wait_until(lambda: int(slurm.facts(dying)["Restarts"]), 300, slurm.log)
    slurm.start_node(node)
    wait_until(lambda: stopped in slurm.running(), 300, slurm.log)
    slurm.run("scancel", stopped)
    slurm.wait()

    left = TRIALS - len(values(shared))
    assert f"{TRIALS - left} of {TRIALS} trials done" in slurm.run(*command, "--status")
    if left:
        assert "submitted" in slurm.run(*command)  # the same command goes on
        slurm.wait()
    assert f"{TRIALS} of {TRIALS} trials done, 0 failed, 0 left" in slurm.run(*command, "--status")
    assert values(shared) == values(alone)
    assert images(shared) == images(alone)

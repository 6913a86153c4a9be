"""Processes that Open MPI starts, alone and inside a job of Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...conftest import Golden
from .cluster import Slurm
from .small import assert_same_bits, encode, owners, run, write_images

pytestmark = [pytest.mark.nightly, pytest.mark.engines, pytest.mark.timeout(1200)]
IMAGES = 480


def test_mpirun_s_two_processes_share_an_output(mpirun: list[str], complement: Golden, tmp_path: Path) -> None:
    """``mpirun -n 2`` → each process computes half, and the bits are one process's."""
    images = write_images(tmp_path / "images.npy", IMAGES)
    alone, shared = tmp_path / "alone.zarr", tmp_path / "shared.zarr"
    run(encode(images, complement.folder, 2, alone))
    run([*mpirun, *encode(images, complement.folder, 2, shared, "--share")])
    assert owners(shared) == {0, 1}
    assert_same_bits(shared, alone)


def test_mpirun_inside_a_slurm_job_shares_an_output(
    mpirun: list[str], slurm: Slurm, complement: Golden, tmp_path: Path
) -> None:
    """``mpirun -n 2`` in a Slurm job of one task → Open MPI's numbers count, not Slurm's."""
    images = write_images(tmp_path / "images.npy", IMAGES)
    alone, shared = tmp_path / "alone.zarr", tmp_path / "shared.zarr"
    run(encode(images, complement.folder, 2, alone))
    command = " ".join([*mpirun, *encode(images, complement.folder, 2, shared, "--share")])
    slurm.submit(f"#!/bin/bash\n{command}\n")
    slurm.wait()
    assert owners(shared) == {0, 1}, slurm.said()
    assert_same_bits(shared, alone)

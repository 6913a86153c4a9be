"""Real engines on this machine: Slurm and Open MPI from Debian's packages, S3 servers from npm and PyPI."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import HERE, Slurm, wait_until

SLURM = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}


def install(programs: dict[str, str]) -> None:
    """Install Debian's packages of those programs that are missing; skip where that cannot be done."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = sorted({package for program, package in programs.items() if not shutil.which(program, path=path)})
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip(f"{', '.join(missing)}: not installed, and only root can install Debian's packages")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"apt-get cannot install {', '.join(missing)}: {done.stderr[-300:]}")


def free_ports(count: int) -> int:
    """The first of so many neighboring ports of loopback that are free."""
    for first in range(27000, 32000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + number))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def slurm_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running Slurm."""
    if os.geteuid():
        pytest.skip("Slurm's daemons are started by root only")
    install(SLURM)
    state = tmp_path_factory.mktemp("slurm")
    try:
        subprocess.run([HERE / "start_slurm.sh", state, str(free_ports(3))], check=True)
        yield state
    finally:
        subprocess.run([HERE / "stop_slurm.sh", state], check=True)


@pytest.fixture
def slurm(slurm_state: Path, tmp_path: Path) -> Iterator[Slurm]:
    """Slurm with two idle nodes and an empty queue; jobs run in a test's own folder."""
    slurm = Slurm(slurm_state, tmp_path)
    wait_until(lambda: slurm.run("sinfo", "--noheader", "--format=%D %T").strip() == "2 idle", 60, slurm.log)
    yield slurm
    slurm.run("scancel", "--user=root")
    slurm.wait(60)


@pytest.fixture(scope="session")
def mpirun() -> list[str]:
    """Open MPI's command, which starts two processes."""
    install({"mpirun": "openmpi-bin"})
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"]

"""A real Slurm of two nodes on this machine, as a test uses it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...conftest import ROOT

HERE = Path(__file__).parent


def program_environment() -> dict[str, str]:
    """The test's environment for programs that a scheduler starts: one device, and the ``berg-jax`` tested here."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "OMPI_", "PMI"))}
    return ours | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "XLA_FLAGS": ""}


def wait_until(condition: Callable[[], Any], patience: float, explain: Callable[[], str] = str) -> None:
    """Wait until a condition holds; fail with an explanation if it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"it never happened: {explain()}"
        time.sleep(0.5)


def documented_script(page: str, containing: str) -> str:
    """The one bash block of a page of ``docs/`` that contains a text."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    return block


def slow_program(folder: Path) -> str:
    """A folder for the PATH with a ``berg-jax`` whose images come slowly: see :mod:`tests.stream.engines.slow`."""
    folder.mkdir()
    program = folder / "berg-jax"
    command = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.stream.engines.slow "$@"'
    program.write_text(f"#!/bin/bash\n{command}\n")
    program.chmod(0o755)
    return str(folder)


class Slurm:
    """Slurm's commands, run in a folder that holds the jobs' scripts and what they say. Jobs get slow images."""

    def __init__(self, state: Path, folder: Path) -> None:
        self.state, self.folder = state, folder
        ours = program_environment()
        path = f"{slow_program(folder / 'slow')}:{ours['PATH']}"
        self.environment = ours | {"SLURM_CONF": str(state / "slurm.conf"), "PATH": path}

    def run(self, *command: object) -> str:
        done = subprocess.run(
            [str(word) for word in command], env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit a script and return the job's ID. Its output is added to ``log-*.txt``, a file for each task."""
        path = self.folder / "job.sh"
        path.write_text(script)
        return self.run("sbatch", "--parsable", "--output=log-%A_%a.txt", *options, path).strip()

    def queue(self) -> dict[str, tuple[str, str]]:
        """State and node of each task that is waiting or running, by its ID."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i|%T|%N").splitlines()
        return {name: (state, node) for name, state, node in (line.split("|") for line in lines)}

    def running(self) -> dict[str, str]:
        """Node of each running task, by its ID."""
        return {name: node for name, (state, node) in self.queue().items() if state == "RUNNING"}

    def facts(self, task: str) -> dict[str, str]:
        """What Slurm knows of a task, such as ``JobState`` and ``Restarts``."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.run("scontrol", "show", "job", task)))

    def wait(self, patience: float = 1200) -> None:
        """Wait until nothing is queued or running."""
        wait_until(lambda: not self.queue(), patience, lambda: f"{self.queue()}\n{self.said()}")

    def said(self, pattern: str = "log-*.txt") -> str:
        """What jobs have printed, in all their lives."""
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(self.folder.glob(pattern)))

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon and all that runs there with signal 9, as a loss of power would."""
        daemon = self.state / f"slurmd-{node}.pid"
        os.kill(int(daemon.read_text()), signal.SIGKILL)
        daemon.unlink()
        programs = _programs(self.state, node)
        for pid in [*map(_manager, programs), *programs]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start_node(self, node: str) -> None:
        subprocess.run([HERE / "start_slurm.sh", self.state, node], check=True)

    def log(self) -> str:
        """The controller's log."""
        return (self.state / "slurmctld.log").read_text()


def _programs(state: Path, node: str) -> list[int]:
    """The processes of this Slurm's jobs on a node."""
    ours = {f"SLURM_CONF={state / 'slurm.conf'}".encode(), f"SLURMD_NODENAME={node}".encode()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if ours <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return found


def _manager(pid: int) -> int:
    """The ``slurmstepd`` that began a program, or the program itself."""
    with suppress(OSError):
        parent = int(re.search(r"PPid:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
        if Path(f"/proc/{parent}/comm").read_text().strip() == "slurmstepd":
            return parent
    return pid

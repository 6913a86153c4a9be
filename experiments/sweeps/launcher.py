"""Launcher of a sweep: this process, or an array of Slurm jobs, as the ``[launcher]`` table specifies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...errors import InvalidParameterError

_MOST = 64  # trials in one program


class Launcher(NamedTuple):
    """Contents of the ``[launcher]`` table.

    Attributes
    ----------
    kind
        ``"local"`` or ``"slurm"``.
    chunk
        Largest number of trials that are computed together. If a process is killed, they go on from a checkpoint that
        is about two minutes old; if the chunk fails, they are retried one by one.
    microbatch
        Number of trials that a device computes at a time, which bounds the memory; None for all of a chunk.
    jobs
        Number of Slurm jobs that share the chunks; None for one job for each chunk, up to ``max_parallel``.
    max_parallel
        Number of Slurm jobs that run at a time.
    time
        Time limit of a Slurm job in minutes, at least 5. A job that reaches it is queued again and goes on, unless it
        has come no further in all that time.
    partition, gres, mem, cpus_per_task
        Slurm options of these names.
    setup
        Lines of shell that run before a Slurm job, such as ``module load cuda``.
    extra
        Further options of ``sbatch``, such as ``{account = "vision"}``; none of those that are set here.
    """

    kind: str = "local"
    chunk: int = _MOST
    microbatch: int | None = None
    jobs: int | None = None
    max_parallel: int = 8
    time: int = 60
    partition: str | None = None
    gres: str | None = None
    mem: str | None = None
    cpus_per_task: int | None = None
    setup: list[str] | None = None
    extra: dict[str, Any] | None = None


def _is_integer(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\n" not in value


def _is_option(value: Any) -> bool:
    return type(value) in (int, bool) or (isinstance(value, str) and "\n" not in value)


_COUNT = ("an integer from 1 to 10000", _is_integer(1, 10_000))
_LINE = ("a text of one line", _is_text)
_KEYS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("'local' or 'slurm'", lambda value: value in ("local", "slurm")),
    "chunk": (f"an integer from 1 to {_MOST}", _is_integer(1, _MOST)),
    "microbatch": (f"an integer from 1 to {_MOST}", _is_integer(1, _MOST)),
    "jobs": _COUNT,
    "max_parallel": _COUNT,
    "time": ("a job's minutes, an integer of at least 1", _is_integer(1, 10**6)),
    "partition": _LINE,
    "gres": _LINE,
    "mem": _LINE,
    "cpus_per_task": _COUNT,
    "setup": ("a list of lines", lambda value: isinstance(value, list) and all(map(_is_text, value))),
    "extra": (
        "a table of sbatch's options",
        lambda value: isinstance(value, dict) and all(_is_option(item) for item in value.values()),
    ),
}
_ANYWHERE = ("kind", "chunk", "microbatch")


def read_launcher(table: Mapping[str, Any]) -> Launcher:
    """Check a ``[launcher]`` table and return the launcher.

    Raises
    ------
    InvalidParameterError
        A key is unknown, belongs to another kind of launcher, or has a value that makes no sense.
    """
    for name, value in table.items():
        if name not in _KEYS:
            raise InvalidParameterError(f"launcher.{name} is not known: [launcher] has {', '.join(_KEYS)}.")
        expected, is_valid = _KEYS[name]
        if not is_valid(value):
            raise InvalidParameterError(f"launcher.{name} must be {expected}, got {value!r}.")
    launcher = Launcher(**table)
    if launcher.kind == "local" and (others := [name for name in table if name not in _ANYWHERE]):
        raise InvalidParameterError(f"launcher.{others[0]} is for kind 'slurm', got kind 'local'.")
    if launcher.microbatch is not None and launcher.microbatch > launcher.chunk:
        raise InvalidParameterError(
            f"launcher.microbatch must be at most the chunk, {launcher.chunk}, got {launcher.microbatch}."
        )
    return launcher


LEAST_MINUTES = 5  # of which Slurm takes up to 2.5, as it may send its signal a minute early
SIGNAL_SECONDS = 90  # before the end of a job, when Slurm signals it
_OWN = {"partition": "partition", "gres": "gres", "mem": "mem", "cpus-per-task": "cpus_per_task", "time": "time"}
# Options that would change which jobs there are, how many processes each has, when they are stopped, or what is said.
_RESERVED = (
    *("array", "nodes", "ntasks", "ntasks-per-node", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-socket"),
    *("signal", "requeue", "no-requeue", "output", "error", "open-mode", "parsable", "quiet", "test-only", "wait"),
    *("wrap", "n", "N", "a", "o", "e", "c", "p", "t", "W", "Q"),
)


def check_submission(launcher: Launcher) -> None:
    """Check that Slurm can run a sweep's jobs as this launcher describes them.

    Raises
    ------
    InvalidParameterError
        The time is too short to get anything done, or an option would override one that the sweep itself needs.
    """
    if launcher.time < LEAST_MINUTES:
        raise InvalidParameterError(
            f"launcher.time must be at least {LEAST_MINUTES} minutes, got {launcher.time}: Slurm asks a job to stop "
            "up to 2.5 minutes before its end."
        )
    for name in launcher.extra or {}:
        option = name.replace("_", "-")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", option):
            raise InvalidParameterError(f"launcher.extra has {name!r}, which is no name of an option of sbatch.")
        for key, own in _OWN.items():
            if key.startswith(option):
                raise InvalidParameterError(f"launcher.extra has {name!r}: give launcher.{own} instead.")
        # sbatch takes the beginning of an option's name for the option.
        if any(reserved.startswith(option) for reserved in _RESERVED):
            raise InvalidParameterError(
                f"launcher.extra has {name!r}, which the sweep itself sets or must not have: its jobs are an array "
                "of one task each, as many as launcher.jobs says."
            )
    for line in launcher.setup or []:
        if line.lstrip().startswith("#SBATCH"):
            raise InvalidParameterError(f"launcher.setup has {line!r}: give options of sbatch in launcher.extra.")

"""How a sweep is launched, as its specification says: in this process, or as an array of Slurm jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...errors import InvalidParameterError

_MOST = 64  # trials in one program


class Launcher(NamedTuple):
    """The ``[launcher]`` table.

    Attributes
    ----------
    kind
        ``"local"`` or ``"slurm"``.
    chunk
        How many trials are computed together at most: what a kill costs, and what is retried one by one.
    microbatch
        How many of them a device computes at a time, which bounds the memory; None for all.
    jobs
        Slurm: how many jobs share the chunks; None for one a chunk, as far as ``max_parallel`` go.
    max_parallel
        Slurm: how many of them run at a time.
    time
        Slurm: a job's limit in minutes. A job that meets it goes on as a new one.
    partition, gres, mem, cpus_per_task
        Slurm's options of these names.
    setup
        Slurm: lines of shell before a job starts, such as ``module load cuda``.
    extra
        Slurm: further options of ``sbatch``, such as ``{account = "vision"}``.
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


def _is_whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\n" not in value


_COUNT = ("an integer from 1 to 10000", _is_whole(1, 10_000))
_LINE = ("a text of one line", _is_text)
_KEYS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("'local' or 'slurm'", lambda value: value in ("local", "slurm")),
    "chunk": (f"an integer from 1 to {_MOST}", _is_whole(1, _MOST)),
    "microbatch": (f"an integer from 1 to {_MOST}", _is_whole(1, _MOST)),
    "jobs": _COUNT,
    "max_parallel": _COUNT,
    "time": ("a job's minutes, an integer of at least 1", _is_whole(1, 10**6)),
    "partition": _LINE,
    "gres": _LINE,
    "mem": _LINE,
    "cpus_per_task": _COUNT,
    "setup": ("a list of lines", lambda value: isinstance(value, list) and all(map(_is_text, value))),
    "extra": (
        "a table of sbatch's options",
        lambda value: isinstance(value, dict) and all(type(item) in (str, int, bool) for item in value.values()),
    ),
}
_ANYWHERE = ("kind", "chunk", "microbatch")


def read_launcher(table: Mapping[str, Any]) -> Launcher:
    """The ``[launcher]`` table, checked.

    Raises
    ------
    InvalidParameterError
        A key is not known, of another kind of launcher, or has a value that makes no sense.
    """
    for name, value in table.items():
        if name not in _KEYS:
            raise InvalidParameterError(f"launcher.{name} is not known: [launcher] has {', '.join(_KEYS)}.")
        expected, is_so = _KEYS[name]
        if not is_so(value):
            raise InvalidParameterError(f"launcher.{name} must be {expected}, got {value!r}.")
    launcher = Launcher(**table)
    if launcher.kind == "local" and (others := [name for name in table if name not in _ANYWHERE]):
        raise InvalidParameterError(f"launcher.{others[0]} is for kind 'slurm', got kind 'local'.")
    if launcher.microbatch is not None and launcher.microbatch > launcher.chunk:
        raise InvalidParameterError(
            f"launcher.microbatch must be at most the chunk, {launcher.chunk}, got {launcher.microbatch}."
        )
    return launcher

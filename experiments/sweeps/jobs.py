"""Slurm's jobs of a sweep: which were submitted, which of them wait or run, and which have ended before their work.

The folder ``jobs`` has a file for each submitted job, named after it. What became of them only Slurm knows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import InvalidParameterError, ResourceError
from ...files.disk import explained, write_whole
from .chunks import make_chunks
from .launcher import Launcher
from .spec import Spec

JOBS = "jobs"  # folder of the jobs' logs and of what they were asked to do
_SUBMITTED = re.compile(r"((\d+)(?:_(\d+))?)_submitted\.pkl", re.ASCII)
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_SECONDS = 60  # for Slurm's answer
_FREE = {"time", "jobs", "max_parallel"}  # settings that do not change what a job gets done in a minute
_SHOWN = 8  # jobs that a line lists


def submitted(output: Path) -> list[str]:
    """Return the ids of all jobs that were ever submitted for a sweep, such as ``42_0``, the latest last."""
    names = [_SUBMITTED.fullmatch(path.name) for path in (output / JOBS).glob("*_submitted.pkl")]
    return [match[1] for match in sorted(filter(None, names), key=lambda match: (int(match[2]), int(match[3] or 0)))]


def queued(ids: Collection[str]) -> dict[str, str]:
    """Return those of these jobs that Slurm has in its queue, with their states, such as ``PENDING: Resources``.

    Raises
    ------
    ResourceError
        Slurm cannot be asked, or gives no answer.
    """
    found: dict[str, str] = {}
    for number in dict.fromkeys(job.partition("_")[0] for job in ids):
        command = ["squeue", "--noheader", "--array", "--all", f"--jobs={number}", "--format=%i|%T|%r"]
        # A user's own settings must not hide a job.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ResourceError(f"Slurm cannot be asked for the jobs of this sweep: {error}.") from error
        forgotten = "Invalid job id" in answer.stderr  # as Slurm says, some minutes after a job has ended
        if answer.returncode and not forgotten:
            raise ResourceError(f"Slurm does not say which jobs of this sweep there are: {answer.stderr.strip()}")
        for line in answer.stdout.splitlines():
            job, state, reason = (*line.strip().split("|"), "", "")[:3]
            if job in ids:
                found[job] = state if reason in ("", "None") else f"{state}: {reason}"
    return found


def left_by_job(spec: Spec, done: Collection[str], count: int) -> list[int]:
    """Return how many trials of its share each of ``count`` jobs has not recorded."""
    chunks = make_chunks(spec.trials, spec.launcher.chunk, spec.launcher.microbatch)
    shares = [[trial.id for chunk in chunks[index::count] for trial in chunk.trials] for index in range(count)]
    return [sum(name not in done for name in share) for share in shares]


def status_lines(output: Path, spec: Spec, done: Collection[str]) -> list[str]:
    """Return lines about a sweep's latest jobs: how many run, wait, or have ended before their work was done."""
    stalled = [f"  {note['said']}" for note in _notes(output)]
    every = submitted(output)
    if not every:
        return stalled
    try:
        states = queued(every)
    except ResourceError as error:
        return [str(error), *stalled]
    latest = [job for job in every if job.partition("_")[0] == every[-1].partition("_")[0]]
    waiting = {job: state for job, state in states.items() if state.startswith(_WAITING)}
    running = {job: state for job, state in states.items() if job not in waiting}
    lines = [f"jobs: {_listed('running', running)}, {_listed('waiting', waiting)}"]
    left = left_by_job(spec, done, len(latest))
    ended = {job: f"{number} left" for job, number in zip(latest, left, strict=True) if job not in states and number}
    if ended:
        lines.append(f"  {_listed('ended before the trials of their share were done', ended)}: see {output / JOBS}")
    if not states and any(left):
        lines.append("  No job of this sweep is in the queue: the same command without --status submits the rest.")
    return lines + stalled


def _listed(what: str, jobs: Mapping[str, str]) -> str:
    shown = ", ".join(f"{job} {state}" for job, state in list(jobs.items())[:_SHOWN])
    return f"{len(jobs)} {what}" + (f" ({shown}{', …' if len(jobs) > _SHOWN else ''})" if jobs else "")


def note_stall(output: Path, index: int, launcher: Launcher, said: str) -> None:
    """Write down that a job has come no further in all its time, so that no more such jobs are submitted."""
    text = json.dumps({"said": said, "launcher": launcher._asdict()}, ensure_ascii=False)
    with explained("write", output / JOBS):
        (output / JOBS).mkdir(parents=True, exist_ok=True)
        write_whole(_note(output, index), text.encode())


def forget_stalls(output: Path, launcher: Launcher) -> None:
    """Remove the notes about jobs that came no further.

    Raises
    ------
    InvalidParameterError
        The launcher would submit jobs as short as those.
    """
    now = launcher._asdict()
    for note in _notes(output):
        alike = all(note["launcher"].get(name) == now[name] for name in now.keys() - _FREE)
        if alike and launcher.time <= note["launcher"]["time"]:
            raise InvalidParameterError(
                f"{note['said']} Change launcher.time, chunk or microbatch, or the machines; or remove "
                f"{output / JOBS}/stalled-*.json if something else was the cause."
            )
    for path in (output / JOBS).glob("stalled-*.json"):
        path.unlink(missing_ok=True)


def _note(output: Path, index: int) -> Path:
    return output / JOBS / f"stalled-{index}.json"


def _notes(output: Path) -> Sequence[dict[str, Any]]:
    found = []
    for path in sorted((output / JOBS).glob("stalled-*.json")):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            if type(note["launcher"]["time"]) is int and isinstance(note["said"], str):
                found.append(note)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it is gone, or says nothing
    return found

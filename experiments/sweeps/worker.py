"""A worker: its share of a sweep's chunks, one after the other, each on disk before the next begins."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ...errors import Interrupted
from ...machine import environment
from ...model.encoding_model import check_precision
from ...stream.execution import Process
from ...stream.progress import progress, stop_requests
from ...subject import Subject
from ...surface.meshes import require
from . import records
from .chunks import Chunk, chunked, left
from .program import Outcome, Regions, failed, load_regions, run_chunk
from .spec import Spec
from .tables import write_results
from .trial import Trial

_SHARED = ("berg_dir", "subject", "hemisphere", "min_ncsnr", "precision")  # what a model is of
_log = logging.getLogger(__name__)


def work(
    output: Path,
    process: Process | None = None,
    *,
    retry_failed: bool = False,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Run this worker's share of the sweep in a folder, and write the results of all that is done there.

    Workers share nothing but the folder. Each takes every ``count``-th chunk; none repeats what is recorded.

    Parameters
    ----------
    output
        The folder, which :func:`~berg_jax.experiments.sweeps.records.begin` has made.
    process
        Which worker of how many; by default the only one.
    retry_failed
        Compute again what is recorded as failed.
    time_limit
        Seconds after which to stop. Ctrl-C and SIGTERM stop, too, after the steps at hand; their chunk is left.
    show_progress
        Show a progress bar, or log a line now and then where there is no terminal.

    Returns
    -------
    How far the sweep is.

    Raises
    ------
    Interrupted
        It was asked to stop; the same call goes on.
    BERGError
        A subject's model or the folder cannot be read, or the folder not be written.
    """
    process = process or Process()
    require("matplotlib")
    spec = records.begun(output)
    launcher = spec.launcher
    chunks = chunked(spec.trials, launcher.chunk, launcher.microbatch)[process.index :: process.count]
    done = records.finished(records.entries(output), retry_failed)
    todo = left(chunks, done, launcher.chunk, launcher.microbatch)
    for precision in {chunk.trials[0].settings["precision"] for chunk in todo}:
        check_precision(precision)
    records.remove_leftovers(output, [trial for chunk in todo for trial in chunk.trials])
    people = {_person(chunk): Subject(*_person(chunk)) for chunk in todo}
    try:
        with stop_requests(time_limit) as stopped:
            _work_through(output, spec, todo, people, process, stopped, show_progress)
    except Interrupted as stop:
        raise Interrupted(f"{stop}\n{_finish(output, spec)}\nThe same command goes on.") from stop
    return _finish(output, spec)


def attempt(regions: Regions, chunk: Chunk, microbatch: int | None, stopped: Callable[[], bool]) -> list[Outcome]:
    """Run a chunk; if that fails as a whole, run its trials one by one, and have fail what fails on its own."""
    try:
        return run_chunk(regions, chunk, microbatch, stopped)
    except Interrupted:
        raise
    except Exception as error:  # whatever it is, it is recorded, and the other trials are not to suffer from it
        if len(chunk.trials) == 1:
            return [failed(chunk.trials[0], error)]
        _log.warning("A chunk of %d trials failed, and is run one by one: %s", len(chunk.trials), error)
    alone = [Chunk([trial], 1) for trial in chunk.trials]
    return [outcome for single in alone for outcome in attempt(regions, single, None, stopped)]


def _work_through(
    output: Path,
    spec: Spec,
    todo: Sequence[Chunk],
    people: dict[Any, Subject],
    process: Process,
    stopped: Callable[[], bool],
    show_progress: bool,
) -> None:
    count = sum(len(chunk.trials) for chunk in todo)
    made_by = {"host": socket.gethostname(), "process": process.index, "versions": _versions()}
    made_by["environment"] = environment().splitlines()
    regions, of_what = None, None
    with progress(count, 0, show_progress) as advance:
        for chunk in todo:
            if stopped():
                raise Interrupted("Stopped between two chunks.")
            settings = chunk.trials[0].settings
            if of_what != (of_what := [settings[name] for name in _SHARED]):
                regions = None  # one model at a time is in memory
                regions = load_regions(people[_person(chunk)], _names(spec.trials, of_what), settings)
            start = time.monotonic()
            outcomes = attempt(regions, chunk, spec.launcher.microbatch, stopped)
            images = {outcome.entry["id"]: _png(outcome.image) for outcome in outcomes if outcome.image is not None}
            records.write_images(output, images)
            facts = {"time": time.time(), "seconds": time.monotonic() - start, **regions.facts, **made_by}
            records.record(output, chunk.name, [outcome.entry for outcome in outcomes], **facts)
            advance(len(chunk.trials))


def _finish(output: Path, spec: Spec) -> str:
    """Write the results of all that is recorded; how far the sweep is, and where they are.

    What other workers have recorded meanwhile is written, too, so that the last to write has all.
    """
    found: dict[str, records.Entry] = {}
    written: list[str] = []
    while found != (found := records.entries(output)):
        written = write_results(output, spec, found)
    return "\n".join([records.status_text(output, spec), *written])


def _person(chunk: Chunk) -> tuple[str, int]:
    return chunk.trials[0].settings["berg_dir"], chunk.trials[0].settings["subject"]


def _names(trials: Sequence[Trial], of_what: list[Any]) -> list[str]:
    """ROIs that any trial asks of this model, so that its trials' scores cover them all."""
    alike = (trial.settings for trial in trials if [trial.settings[name] for name in _SHARED] == of_what)
    return list(dict.fromkeys(name for settings in alike for name in (*settings["drive"], *settings["suppress"])))


def _png(image: UInt8[np.ndarray, "3 height width"]) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(memory, "PNG")
    return memory.getvalue()


def _versions() -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("berg_jax", "jax")]
    return ", ".join([*versions, jax.devices()[0].device_kind])

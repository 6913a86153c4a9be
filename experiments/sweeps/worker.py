"""Sweep worker: computes its share of a sweep's chunks one by one, and writes each to disk before the next."""

from __future__ import annotations

import importlib.metadata
import io
import json
import logging
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ...errors import Interrupted, ResourceError
from ...machine import environment
from ...model.encoding_model import check_precision
from ...stream.execution import Process
from ...stream.progress import progress, stop_requests
from ...subject import Subject
from ...surface.meshes import require
from ..synthesis.parametrizations.inputs import check_inputs
from . import records
from .alone import run_alone
from .chunks import Chunk, make_chunks, remaining_chunks
from .program import Regions, load_regions, run_chunk
from .spec import Spec
from .tables import write_results
from .trial import INPUTS, Trial, kind_of

_MODEL_SETTINGS = ("berg_dir", "subject", "hemisphere", "min_ncsnr", "precision")  # settings that determine a model
_log = logging.getLogger(__name__)


def work(
    output: Path,
    process: Process | None = None,
    *,
    retry_failed: bool = False,
    time_limit: float | None = None,
    show_progress: bool = True,
    asked: Callable[[], bool] = lambda: False,
) -> str:
    """Compute this worker's share of the sweep in a folder, and write the results of all trials that are done there.

    Workers share nothing but the folder. Each takes every ``count``-th chunk, and none repeats what is recorded when
    it comes to it, whoever has recorded it.

    Parameters
    ----------
    output
        The sweep's folder, which :func:`~berg_jax.experiments.sweeps.records.begin` has made.
    process
        Index of this worker, and the number of workers; by default it is the only one.
    retry_failed
        Compute trials again that are recorded as failed.
    time_limit
        Seconds after which to stop. Ctrl-C and SIGTERM stop, too. The steps in progress are finished and kept in a
        checkpoint, from which their chunk goes on.
    show_progress
        Show a progress bar, or log a line now and then where there is no terminal.
    asked
        Function that says whether to stop for another reason.

    Returns
    -------
    A few lines with the sweep's progress and its files.

    Raises
    ------
    Interrupted
        The worker was asked to stop; the same call goes on.
    BERGError
        A subject's model cannot be read, or the folder cannot be read or written.

    See Also
    --------
    berg_jax.experiments.sweeps.submit.sweep : Begin a sweep, here or with Slurm.
    """
    process = process or Process()
    require("matplotlib")
    spec = records.read_begun(output)
    launcher = spec.launcher
    chunks = make_chunks(spec.trials, launcher.chunk, launcher.microbatch)[process.index :: process.count]
    read: dict[str, int] = {}
    entries = records.entries(output, read)
    _check_inputs(output, entries)
    done = records.finished(entries, retry_failed)
    remaining = remaining_chunks(chunks, done, launcher.chunk, launcher.microbatch)
    for precision in {chunk.trials[0].settings["precision"] for chunk in remaining}:
        check_precision(precision)
    records.remove_leftovers(output)
    subjects = {_subject_key(chunk): Subject(*_subject_key(chunk)) for chunk in remaining}
    try:
        with stop_requests(time_limit) as stopped:
            _work_through(
                output, spec, remaining, subjects, process, read, lambda: stopped() or asked(), show_progress
            )
    except Interrupted as stop:
        raise Interrupted(f"{stop}\n{_finish(output, spec)}\nThe same command goes on.") from stop
    return _finish(output, spec)


def attempt(
    output: Path, regions: Regions, chunk: Chunk, microbatch: int | None, stopped: Callable[[], bool]
) -> Iterator[tuple[Chunk, list[records.Outcome]]]:
    """Run a chunk; if it fails as a whole, run its trials one by one, so that only those fail that fail alone.

    Yields
    ------
    The chunk, or each chunk of one trial, with the outcomes of its trials.
    """
    try:
        checkpoint = records.checkpoint(output, chunk.name)
        if kind_of(chunk.trials[0].settings) == "synthesize":
            outcomes = run_chunk(regions, chunk, microbatch, stopped, checkpoint)
        else:
            outcomes = [run_alone(regions, trial) for trial in chunk.trials]
    except (Interrupted, ResourceError):  # a full disk is no trial's fault
        raise
    except Exception as error:  # any error is recorded, and must not stop the other trials
        if len(chunk.trials) == 1:
            outcomes = [records.failure(chunk.trials[0], error)]
        else:
            _log.warning("A chunk of %d trials failed, and is run one by one: %s", len(chunk.trials), error)
            for trial in chunk.trials:
                yield from attempt(output, regions, Chunk([trial], 1), None, stopped)
            return
    yield chunk, outcomes


def _work_through(
    output: Path,
    spec: Spec,
    chunks: Sequence[Chunk],
    subjects: dict[Any, Subject],
    process: Process,
    read: dict[str, int],
    stopped: Callable[[], bool],
    show_progress: bool,
) -> None:
    launcher = spec.launcher
    count = sum(len(chunk.trials) for chunk in chunks)
    worker_facts = {"host": socket.gethostname(), "process": process.index, "versions": _versions()}
    worker_facts["environment"] = environment().splitlines()
    regions, loaded = None, None
    by_others: set[str] = set()
    with progress(count, 0, show_progress) as advance:
        for planned in chunks:
            if stopped():
                raise Interrupted("Stopped between two chunks.")
            by_others |= records.entries(output, read).keys()
            remaining = remaining_chunks([planned], by_others, launcher.chunk, launcher.microbatch)
            advance(len(planned.trials) - sum(len(chunk.trials) for chunk in remaining))
            for chunk in remaining:
                settings = chunk.trials[0].settings
                model_settings = [settings[name] for name in _MODEL_SETTINGS]
                if model_settings != loaded:
                    regions = None  # one model at a time is in memory
                    names = _roi_names(spec.trials, model_settings)
                    regions = load_regions(subjects[_subject_key(chunk)], names, settings)
                    loaded = model_settings
                start = time.monotonic()
                for done, outcomes in attempt(output, regions, chunk, launcher.microbatch, stopped):
                    facts = {
                        "time": time.time(),
                        "seconds": time.monotonic() - start,
                        **regions.facts,
                        **worker_facts,
                    }
                    _record(output, done, outcomes, facts)
                    advance(len(done.trials))
                    start = time.monotonic()
                records.checkpoint(output, chunk.name).unlink(missing_ok=True)


def _check_inputs(output: Path, entries: Mapping[str, records.Entry]) -> None:
    """Raise InvalidParameterError if photographs that recorded trials started from have changed since."""
    checked: set[str] = set()
    for entry in entries.values():
        paths = {name: entry["settings"].get(name) for name in INPUTS}
        if any(paths.values()) and entry["error"] is None and (key := json.dumps(paths)) not in checked:
            checked.add(key)
            check_inputs(entry.get("inputs"), paths, output)


def _record(output: Path, chunk: Chunk, outcomes: Sequence[records.Outcome], facts: dict[str, Any]) -> None:
    images = {outcome.entry["id"]: _png(outcome.image) for outcome in outcomes if outcome.image is not None}
    records.write_images(output, images)
    records.record(output, chunk.name, [outcome.entry for outcome in outcomes], **facts)
    records.checkpoint(output, chunk.name).unlink(missing_ok=True)


def _finish(output: Path, spec: Spec) -> str:
    """Write the results of all recorded trials, and return lines with the sweep's progress and its files.

    Results are written again if other workers have recorded more meanwhile, so that the last to write has all.
    """
    entries: dict[str, records.Entry] = {}
    lines: list[str] = []
    while entries != (entries := records.entries(output)):
        lines = write_results(output, spec, entries)
    if len(entries) == len(spec.trials):
        shutil.rmtree(output / records.CHECKPOINTS, ignore_errors=True)
    return "\n".join([records.status_text(output, spec), *lines])


def _subject_key(chunk: Chunk) -> tuple[str, int]:
    return chunk.trials[0].settings["berg_dir"], chunk.trials[0].settings["subject"]


def _roi_names(trials: Sequence[Trial], model_settings: list[Any]) -> list[str]:
    """Return the ROIs of all trials with the same model, so that each trial's scores cover them all."""
    names: dict[str, None] = {}
    for trial in trials:
        settings = trial.settings
        if [settings[name] for name in _MODEL_SETTINGS] == model_settings:
            names |= dict.fromkeys((*settings["drive"], *settings["suppress"]))
    return list(names)


def _png(image: UInt8[np.ndarray, "3 height width"]) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(memory, "PNG")
    return memory.getvalue()


def _versions() -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("berg_jax", "jax")]
    return ", ".join([*versions, jax.devices()[0].device_kind])

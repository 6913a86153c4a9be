"""Launch of a sweep (``berg-jax sweep``): checked, then run in this process or submitted to Slurm.

Neither needs JAX before that.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import BERGError, Interrupted, InvalidParameterError, ResourceError, Unfinished
from ...files.disk import locked
from ...published.berg_dir import SubjectFiles, check_subject_id
from ...published.metadata import Metadata, find_metadata
from ...rois import resolve
from ...stream.execution import Process, waiting_for
from . import records
from .chunks import make_chunks
from .jobs import JOBS, forget_stalls, left_by_job, note_stall, queued, status_lines, submitted
from .launcher import SIGNAL_SECONDS, Launcher, check_submission
from .spec import Spec, describe_settings, varying
from .trial import Trial

_MOST_TIMEOUTS = 1000  # number of times that a job that met its time limit goes on, if it comes further each time
_EARLY_SECONDS = 90  # by which a life may be shorter than its time: Slurm signals up to a minute early, after a start
_log = logging.getLogger(__name__)


def sweep(
    spec: Spec,
    output: str | Path,
    *,
    process: Process | None = None,
    retry_failed: bool = False,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Run a sweep into a folder, or go on with it.

    Into the folder come ``sweep.parquet``, ``contact_sheet.png``, the images as ``images/<id>.png``, ``sweep.json``,
    which repeats it, and of all this ``report.html`` with ``config.json``
    (:mod:`berg_jax.experiments.reporting.page`).

    Parameters
    ----------
    spec
        From :func:`~berg_jax.experiments.sweeps.spec.read_spec`.
    output
        The folder.
    process
        This process among those that share the output: see :func:`~berg_jax.stream.find_process`. By default Slurm's
        jobs are submitted where the specification's launcher says so, unless some of this sweep are in its queue;
        else this process works alone.
    retry_failed, time_limit, show_progress
        As of :func:`~berg_jax.experiments.sweeps.worker.work`.

    Returns
    -------
    How far it is, or which jobs were submitted.

    Raises
    ------
    BERGError
        Something of this makes no sense, is not there, or cannot be written.
    Interrupted
        It was asked to stop; the same call goes on.
    Unfinished
        This process has done its share, and others still owe theirs; the message says which.
    """
    output = Path(output)
    check_regions(spec.trials)
    check_photos(spec.trials)
    if spec.launcher.kind == "slurm" and process is None:
        check_submission(spec.launcher)
        with locked(output / JOBS / "submitting", f"Another process submits the jobs of {output}; waiting for it."):
            if lines := _submit_what_is_left(output, spec, retry_failed):
                return lines
    records.begin(output, spec)
    from ...machine import keep_compiled
    from .worker import work

    keep_compiled()
    process = process or Process()
    text = work(output, process, retry_failed=retry_failed, time_limit=time_limit, show_progress=show_progress)
    left = left_by_job(spec, records.entries(output), process.count)
    if owed := {index: number for index, number in enumerate(left) if number}:
        raise Unfinished(f"{text}\nThis process has done its share; {waiting_for(owed, process.count, 'trials')}.")
    return text


def status_text(output: Path, spec: Spec) -> str:
    """Return how far a sweep is, and which of its jobs Slurm has in its queue, in a few lines."""
    found = records.entries(output)
    records.require_same(output, spec, found)
    return "\n".join([records.status_text(output, spec), *status_lines(output, spec, found)])


def _submit_what_is_left(output: Path, spec: Spec, retry_failed: bool) -> str | None:
    """Submit jobs for the trials that are left, unless jobs are there; None if nothing is left."""
    done = records.finished(records.entries(output), retry_failed)
    if all(trial.id in done for trial in spec.trials):
        return None
    if queued(submitted(output)):
        return f"{status_text(output, spec)}\nNothing was submitted, because jobs of this sweep are in Slurm's queue."
    forget_stalls(output, spec.launcher)
    if "SBATCH_ARRAY_INX" in os.environ:
        raise InvalidParameterError(
            "The variable SBATCH_ARRAY_INX is set, which sbatch would take for the ids of the jobs. Unset it."
        )
    executor = slurm_executor(output, spec.launcher)
    records.begin(output, spec)
    return submit(executor, output, spec, retry_failed)


def plan_text(spec: Spec, every: bool = True) -> str:
    """How many trials a sweep has and in how many chunks, and if ``every`` a line for each trial."""
    chunks = make_chunks(spec.trials, spec.launcher.chunk, spec.launcher.microbatch)
    axes = "; ".join(f"[{name}] {', '.join(names)}" for name, names in spec.axes.items() if names) or "no axes"
    largest = max(chunk.size for chunk in chunks)
    lines = [
        f"{len(spec.trials)} {'trials' if len(spec.trials) > 1 else 'trial'} ({axes}) in {len(chunks)} "
        f"{'chunks' if len(chunks) > 1 else 'chunk'} of up to {largest}"
    ]
    if spec.repeated:
        lines.append(f"{spec.repeated} combinations had the same settings as others, and count once.")
    names = varying(spec)
    lines += [f"{trial.id}  {'  '.join(describe_settings(trial.settings, names))}" for trial in spec.trials if every]
    return "\n".join(lines)


def check(spec: Spec) -> None:
    """Raise an error if a run of this sweep would be refused before work."""
    check_regions(spec.trials)
    check_photos(spec.trials)
    if spec.launcher.kind == "slurm":
        check_submission(spec.launcher)


def check_regions(trials: Sequence[Trial]) -> None:
    """Raise unless every subject is there, and every ROI is there in some subject.

    A ROI that one subject lacks fails that subject's trials, and no others.

    Raises
    ------
    ModelNotFoundError
        A subject is missing.
    InvalidParameterError
        A ROI makes no sense, or no subject has it.
    """
    every = [trial.settings for trial in trials]
    subjects = dict.fromkeys((s["berg_dir"], s["subject"]) for s in every)
    metadata = {names: _metadata(*names) for names in subjects}
    asked = dict.fromkeys(
        (roi, s["berg_dir"], s["subject"], s["hemisphere"], s["min_ncsnr"])
        for s in every
        for roi in (*s["drive"], *s["suppress"])
    )
    found: set[str] = set()
    errors: dict[str, BERGError] = {}
    for roi, berg_dir, subject, hemisphere, min_ncsnr in asked:
        try:
            resolve(roi, metadata[berg_dir, subject], hemisphere=hemisphere, min_ncsnr=min_ncsnr)
            found.add(roi)
        except InvalidParameterError as error:
            errors[roi] = error
    for roi, error in errors.items():
        if roi not in found:
            raise error


def check_photos(trials: Sequence[Trial]) -> None:
    """Raise unless each photograph that trials name is one image, which is square or is to be fitted.

    Raises
    ------
    BERGError
        A photograph is missing, damaged or not square, or its path has several images.
    """
    every = [trial.settings for trial in trials]
    photos = dict.fromkeys((s[name], s["fit_images"]) for s in every for name in ("photo", "start") if s[name])
    if photos:
        from ..synthesis.parametrizations.photographs import read_one  # needs JAX
    for path, fit in photos:
        read_one(path, fit)


class Job:
    """Task of a Slurm job, as submitit calls it; when its time is up, it is submitted again.

    Parameters
    ----------
    output
        The sweep's folder.
    count
        Number of jobs that share the sweep.
    retry_failed
        See :func:`~berg_jax.experiments.sweeps.worker.work`.
    """

    # Progress at the beginning of this life, and when that was. A job that is stopped before has none.
    began: tuple[set[tuple[str, int]], float] | None = None

    def __init__(self, output: str, count: int, retry_failed: bool = False) -> None:
        self.output, self.count, self.retry_failed = output, count, retry_failed

    def __call__(self, index: int) -> str:
        """Do the share of the ``index``-th job."""
        from submitit import JobEnvironment

        from ...machine import keep_compiled
        from .worker import work

        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        logging.getLogger("berg_jax").setLevel(logging.INFO)
        self.began = self._progress(index), time.monotonic()
        # submitit's handler ends the program wherever it is. First the steps at hand are finished and kept.
        number, asked = getattr(signal, f"SIG{JobEnvironment.USR_SIG}"), threading.Event()
        submit_again = signal.signal(number, lambda *_: asked.set())
        keep_compiled()
        process = Process(index, self.count)
        try:
            return work(Path(self.output), process, retry_failed=self.retry_failed, asked=asked.is_set)
        except Interrupted:
            if not asked.is_set() or not callable(submit_again):
                raise
        finally:
            signal.signal(number, submit_again)
        submit_again(number, None)
        raise Interrupted("Slurm was asked to queue this job again.")  # which ends the program

    def checkpoint(self, index: int) -> Any:
        """Return the same task again, as what is done is on the disk; None after a life that came no further.

        Failed trials that were tried again are not tried once more.
        """
        if self._has_stalled(index):
            launcher = records.read_begun(Path(self.output)).launcher
            said = (
                f"Job {index} was not queued again: in its {launcher.time} minutes it recorded no trial and came to "
                "no checkpoint. Give it more time, or a smaller launcher.chunk or microbatch."
            )
            note_stall(Path(self.output), index, launcher, said)
            _log.warning("%s", said)
            return None
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.output, self.count), index)

    def _has_stalled(self, index: int) -> bool:
        """Return whether this life used up its time, and nothing came of it. One that was cut short may go on."""
        if self.began is None:
            return False
        progress, start = self.began
        minutes = records.read_begun(Path(self.output)).launcher.time
        lived = time.monotonic() - start > 60 * minutes - SIGNAL_SECONDS - _EARLY_SECONDS
        return lived and self._progress(index) <= progress

    def _progress(self, index: int) -> set[tuple[str, int]]:
        spec = records.read_begun(Path(self.output))
        chunks = make_chunks(spec.trials, spec.launcher.chunk, spec.launcher.microbatch)[index :: self.count]
        return records.progress(Path(self.output), [trial for chunk in chunks for trial in chunk.trials])


def slurm_executor(output: Path, launcher: Launcher) -> Any:
    """A submitit executor with a launcher's options.

    Raises
    ------
    ResourceError
        There is no Slurm here.
    """
    import submitit

    try:
        executor = submitit.SlurmExecutor(output / JOBS, max_num_timeout=_MOST_TIMEOUTS)
    except RuntimeError as error:
        raise ResourceError(
            "There is no Slurm here (no srun on the PATH): run this on a login node, or set launcher.kind to 'local'."
        ) from error
    options = {name: getattr(launcher, name) for name in ("partition", "gres", "mem", "cpus_per_task", "setup")}
    options |= {"signal_delay_s": SIGNAL_SECONDS}
    options |= {"time": launcher.time, "array_parallelism": launcher.max_parallel, "job_name": "berg-jax-sweep"}
    options |= {"additional_parameters": launcher.extra}
    executor.update_parameters(**{name: value for name, value in options.items() if value is not None})
    return executor


def submit(executor: Any, output: Path, spec: Spec, retry_failed: bool = False) -> str:
    """Hand a sweep to a submitit executor, as jobs that share its chunks; which they are.

    Raises
    ------
    ResourceError
        Slurm refuses.
    """
    launcher = spec.launcher
    chunks = len(make_chunks(spec.trials, launcher.chunk, launcher.microbatch))
    count = min(chunks, launcher.jobs or launcher.max_parallel)
    job = Job(str(output.resolve()), count, retry_failed)
    try:
        jobs = executor.map_array(job, list(range(count)))
    except Exception as error:
        if type(error).__name__ != "FailedJobError":
            raise
        raise ResourceError(f"Slurm refuses the jobs: {error}") from error
    return (
        f"{count} jobs for {chunks} chunks submitted, at most {launcher.max_parallel} at a time: "
        f"{', '.join(job.job_id for job in jobs)}\n"
        f"What they say: {output / JOBS}. How far they are: the same command with --status."
    )


def _metadata(berg_dir: str, subject: int) -> Metadata:
    files = SubjectFiles(Path(berg_dir), check_subject_id(subject))
    if not any(place.is_file() for place in files.metadata_places):
        from ...subject import Subject

        Subject(berg_dir, subject)  # builds a demo subject, converts a real one, or says what is missing
    return find_metadata(*files.metadata_places)

"""Launch of a sweep (``berg-jax sweep``): checked, then run in this process or submitted to Slurm.

Neither needs JAX before that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import BERGError, InvalidParameterError, ResourceError
from ...published.berg_dir import SubjectFiles, check_subject_id
from ...published.metadata import Metadata, find_metadata
from ...rois import resolve
from ...stream.execution import Process, find_process
from . import records
from .chunks import make_chunks
from .launcher import Launcher
from .spec import Spec, describe_settings, varying
from .trial import Trial

JOBS = "jobs"  # the folder of what Slurm's jobs say
_MOST_TIMEOUTS = 1000  # how often a job that met its time limit goes on


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
        This process among those that share the output. By default Slurm's jobs are submitted where the
        specification's launcher says so; else see :func:`~berg_jax.stream.find_process`.
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
    """
    output = Path(output)
    check_regions(spec.trials)
    records.begin(output, spec)
    left = len(spec.trials) - len(records.finished(records.entries(output), retry_failed))
    if spec.launcher.kind == "slurm" and left and process is None:
        return submit(slurm_executor(output, spec.launcher), output, spec, retry_failed)
    from ...machine import keep_compiled
    from .worker import work

    keep_compiled()
    return work(
        output,
        process or find_process(),
        retry_failed=retry_failed,
        time_limit=time_limit,
        show_progress=show_progress,
    )


def plan_text(spec: Spec, every: bool = True) -> str:
    """How many trials a sweep has and in how many chunks, and if ``every`` a line for each trial."""
    chunks = make_chunks(spec.trials, spec.launcher.chunk, spec.launcher.microbatch)
    counts = {name: len(names) for name, names in spec.axes.items() if names}
    axes = ", ".join(f"{count} in [{name}]" for name, count in counts.items()) or "no axes"
    lines = [f"{len(spec.trials)} trials ({axes}) in {len(chunks)} chunks of up to {max(c.size for c in chunks)}"]
    if spec.repeated:
        lines.append(f"{spec.repeated} combinations had the same settings as others, and count once.")
    names = varying(spec)
    lines += [f"{trial.id}  {'  '.join(describe_settings(trial.settings, names))}" for trial in spec.trials if every]
    return "\n".join(lines)


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


class Job:
    """What a Slurm job does, as submitit wants it: called, and when its time is up, submitted again.

    Parameters
    ----------
    output
        The sweep's folder.
    count
        How many jobs share the sweep.
    retry_failed
        As of :func:`~berg_jax.experiments.sweeps.worker.work`.
    """

    def __init__(self, output: str, count: int, retry_failed: bool = False) -> None:
        self.output, self.count, self.retry_failed = output, count, retry_failed

    def __call__(self, index: int) -> str:
        """Do the share of the ``index``-th job."""
        from ...machine import keep_compiled
        from .worker import work

        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        logging.getLogger("berg_jax").setLevel(logging.INFO)
        keep_compiled()
        return work(Path(self.output), Process(index, self.count), retry_failed=self.retry_failed)

    def checkpoint(self, index: int) -> Any:
        """The same again: what is done is on the disk. What was tried again is not tried once more."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.output, self.count), index)


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

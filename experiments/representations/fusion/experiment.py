"""``berg-jax fuse``: when EEG or MEG patterns of participants are like in silico patterns of regions.

The dissimilarities of each participant's patterns at each time are compared with those of the model's responses, and
times at which they are alike over participants are found by permutation clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ....errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ....files.disk import explained, readable
from ....files.npy import read_npy
from ....stream.execution import Execution, with_batch_size
from ....stream.images import Images
from ....stream.owed import unfinished
from ....stream.selection import Selection
from ....subject import Subject
from ....vertices import Vertices
from ...inputs.responses import STORE, keep_responses
from ...inputs.stimuli import listed, refusing, require_images
from ...reporting.command import command_of
from ...reporting.outcome import ExperimentResult
from ...reporting.page import write_report
from ...reporting.results import counted, folder_of, provenance, require_reporting, write_numbers
from ...reporting.statistics import SEED
from ..dissimilarity import FEWEST_IMAGES, dissimilarities, ranks
from ..given.files import rows_of
from ..rois import images_of, regions_of_all
from .clusters import FEWEST_PARTICIPANTS, fuse_over_time
from .report import Times, peaks_of, sections_of, summary, write_tables


def fuse(
    subjects: Sequence[Subject],
    output: str | Path,
    images: Images | str | Path | None = None,
    *,
    eeg: Sequence[str | Path],
    rois: Sequence[str] = (),
    selection: Selection = Selection(),
    eeg_names: str | Path | None = None,
    rate: float | None = None,
    start: float = 0.0,
    threshold_p: float = 0.05,
    seed: int = SEED,
    precision: str = "float32",
    execution: Execution = Execution(),
) -> ExperimentResult:
    """Compare EEG or MEG patterns over time with in silico patterns of ROIs; write time courses, clusters, a figure.

    The method is EEG–fMRI fusion by representational similarity [1]_, with the model's responses in place of fMRI.
    Called again after an interruption, it goes on.

    Parameters
    ----------
    subjects
        One or more in silico subjects, over which a ROI's ranks of dissimilarities are averaged.
    output
        Folder of the results: ``fusion.npz``, with the correlations (participants, times) of each ROI and ``times``;
        ``clusters.csv`` and ``peaks.csv``; ``fusion.png``; ``results.json``.
    images
        The images that participants saw (drawings by default, for the demo subjects only).
    eeg
        ``.npy`` files, one a participant, of patterns (images, channels, times), such as means over an image's
        trials; or one file of (participants, images, channels, times). Five participants at least.
    rois
        ROI expressions; by default early and category-selective areas that all subjects have.
    selection
        Hemisphere and thresholds of the ROIs' vertices; its ``roi`` is not used.
    eeg_names
        Text file with the image of each row of the patterns, a name a line. By default rows are in the images' order.
    rate
        Sampling rate in Hz. By default times are numbers of samples.
    start
        Time of the first sample, in ms, or in samples without a rate.
    threshold_p, seed
        See :func:`~berg_jax.experiments.representations.fuse_over_time`.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work; the last one to end
        writes the results.

    Returns
    -------
    ExperimentResult
        Each ROI's peak and clusters, in a few lines.

    Raises
    ------
    BERGError
        Something is wrong with the images, the ROIs, the patterns or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.

    References
    ----------
    .. [1] R. M. Cichy, D. Pantazis & A. Oliva (2014). Resolving human object recognition in space and time. Nature
       Neuroscience 17, 455–462.
    """
    subjects = listed(subjects)
    output = Path(output)
    images = None if images is None else Images.of(images)
    command = command_of(
        *("fuse", fuse, subjects, output, images, selection, execution),
        roi=rois,
        eeg=tuple(eeg),
        eeg_names=eeg_names,
        rate=rate,
        start=start,
        threshold_p=threshold_p,
        seed=seed,
        precision=precision,
    )
    require_reporting()
    if not 0 < threshold_p < 0.5:
        raise InvalidParameterError(f"threshold_p must be between 0 and 0.5, got {threshold_p!r}.")
    if rate is not None and not (np.isfinite(rate) and rate > 0):
        raise InvalidParameterError(f"rate must be a positive number of Hz, got {rate!r}.")
    names, regions = regions_of_all(subjects, rois, selection)
    chosen = [
        Vertices.from_global(np.unique(np.concatenate([r.global_indices for r in found.values()])), s.hemisphere_size)
        for s, found in zip(subjects, regions, strict=True)
    ]
    with refusing(output):
        source, _ = images_of(subjects[0], output, images)
        require_images(source, FEWEST_IMAGES, "Fusion")
        patterns = read_patterns(eeg, source.ids, eeg_names)
    folders = [folder_of(output, subject) for subject in subjects]
    execution = with_batch_size(execution, *(folder / STORE for folder in folders), precision=precision)
    command = command.computed_with(execution)
    facts_of_run = {"ROIs": names, "selection": {k: v for k, v in selection.as_json().items() if k != "roi"}}
    kept = keep_responses(
        subjects, chosen, source, folders, precision=precision, execution=execution, facts=facts_of_run
    )
    if kept is None:
        raise unfinished(output, [folder / STORE for folder in folders], execution.process)
    own = {name: np.zeros(len(source) * (len(source) - 1) // 2) for name in names}
    for responses, vertices, found in zip(kept, chosen, regions, strict=True):
        values = responses.values
        for name, region in found.items():
            inside = np.isin(vertices.global_indices, region.global_indices)
            own[name] += ranks(dissimilarities(values[:, inside])) / len(subjects)
    fused = fuse_over_time(patterns, own, threshold_p=threshold_p, seed=seed)
    times = Times(patterns[0].shape[2], rate, start)
    peaks = {name: peaks_of(one, times, seed) for name, one in fused.items()}
    made = {"images": len(source), "participants": len(patterns), "ROIs": names}
    facts = {
        folder.name: provenance(subject, vertices, precision, experiment="fuse", **made)
        for subject, vertices, folder in zip(subjects, chosen, folders, strict=True)
    }
    write_tables(output, fused, peaks, times)
    path = output / "fusion.npz"
    with explained("write", path):
        np.savez(path, times=times.values, **{name: one.correlations for name, one in fused.items()})
    numbers = {
        name: {"peak": peaks[name]._asdict(), "clusters": [cluster._asdict() for cluster in one.clusters]}
        for name, one in fused.items()
    }
    said = f"n = {len(patterns)} participants, {len(source):,} images; in silico: {counted(subjects)}"
    write_numbers(output, {"ROIs": numbers, "participants": len(patterns), "subjects": list(facts.values())})
    write_report(
        output,
        "EEG–fMRI fusion",
        sections_of(subjects[0], output, fused, peaks, times, said, threshold_p),
        lead=f"When patterns of {len(patterns)} participants are like in silico patterns of {len(names)} ROIs, in "
        f"{len(source):,} images and {counted(subjects)}.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=any(subject.description.synthetic for subject in subjects),
    )
    return ExperimentResult(summary(fused, peaks, times, said, output), output)


def read_patterns(
    files: Sequence[str | Path], images: Sequence[str], names: str | Path | None = None
) -> list[Float[np.ndarray, "images channels times"]]:
    """Return each participant's patterns, their rows in the order of the images.

    Parameters
    ----------
    files
        ``.npy`` files of (images, channels, times), or one of (participants, images, channels, times).
    images
        Names of the images.
    names
        Text file with the name of each row's image. By default rows are in the images' order.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError, InvalidParameterError
        A file cannot be read, holds NaN, or does not fit the images or the others.
    """
    total, rows = (len(images), None) if names is None else rows_of(Path(names), images)
    found = []
    for path in files:
        if not Path(path).is_file():
            raise ModelNotFoundError(f"There is no file {path}.")
        with readable(path, ValidationError, "Get the file again."):
            array = read_npy(Path(path))
        several = array.ndim == 4 and len(files) == 1
        if array.dtype.kind not in "fiu" or not (several or array.ndim == 3):
            raise InvalidParameterError(
                f"{path} must be numbers (images, channels, times) of one participant, or as the only file "
                f"(participants, images, channels, times); got {array.dtype} of shape {array.shape}."
            )
        found += list(array) if several else [array]
        if found[-1].shape[0] != total or found[-1].shape[1] < 2:
            those = "images" if names is None else f"images in {names}"
            raise InvalidParameterError(
                f"{path} must have a row for each of the {total} {those} and two channels at least, got shape "
                f"{found[-1].shape}."
            )
        if not np.isfinite(array).all():
            raise InvalidParameterError(f"{path} holds numbers that are not finite. Leave such channels out.")
    if len(found) < FEWEST_PARTICIPANTS:
        raise InvalidParameterError(
            f"Clusters over participants need at least {FEWEST_PARTICIPANTS} of them, got {len(found)}. Give --eeg "
            "again and again."
        )
    if len({one.shape[2] for one in found}) > 1:
        raise InvalidParameterError(f"Patterns must have the same times, got {[one.shape[2] for one in found]}.")
    return [one if rows is None else one[rows] for one in found]

"""``berg-jax accuracy``: how well predicted responses agree with measured ones, and with single trials.

The published setting: the 515 test images of ``nsd_stimuli.hdf5`` (``--images test``), each shown 3 times; the
correlation of prediction and mean response of each vertex, its square as a share of what noise allows, and whether
the prediction is closer to a trial than another trial is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from ...errors import InvalidParameterError
from ...files.csv_tables import write_table
from ...published.metadata import noise_ceiling as ceiling_of
from ...stream.execution import Execution, with_batch_size
from ...stream.images import Images
from ...stream.owed import unfinished
from ...stream.selection import Selection
from ...stream.sources.arrays import ArraySource
from ...stream.sources.subset import Subset
from ...subject import Subject
from ...vertices import HEMISPHERES, Vertices
from ..inputs.responses import STORE, keep_responses
from ..inputs.stimuli import require_images
from ..reporting.command import command_of
from ..reporting.figures import where
from ..reporting.outcome import ExperimentResult
from ..reporting.page import Section, write_report
from ..reporting.results import origin, provenance, regions_of, require_reporting, write_results
from ..reporting.statistics import CONFIDENCE, NO_INTERVAL, Interval
from .ceiling import CeilingSource, agreement, choose_ceiling, ncsnr_of_trials
from .measured import Dataset, trial_reader
from .reports import (
    agreement_table,
    ceiling_section,
    draw,
    key_numbers,
    read_numbers,
    side_by_side,
    summary,
    titles_of,
)
from .reports.medians import CEILINGS
from .trials import Trials
from .uncertainty import MedianIntervals, sampled_vertices

FEWEST_IMAGES = 3  # two have a correlation of 1 or −1, whatever they are
NOTHING_MEASURED = "No vertex has measured responses that vary. Choose other vertices or sessions."
_AT_ONCE, _CHUNK = 16_384, 4096  # vertices that are read, and computed, at a time


def measure_accuracy(
    subject: Subject,
    output: str | Path,
    images: Images | str | Path,
    betas: str | Path,
    *,
    selection: Selection = Selection(),
    table: str | Path | None = None,
    zscored: bool = False,
    dataset: Dataset = "nsdcore",
    noise_ceiling: CeilingSource | None = None,
    beside: Sequence[str | Path] = (),
    precision: str = "float32",
    execution: Execution = Execution(),
) -> ExperimentResult:
    """Compare a subject's predicted responses with measured ones; write maps, a table of ROIs, pictures.

    Called again after an interruption, it goes on.

    Parameters
    ----------
    subject
        The subject, in the scanner as in the model.
    output
        Folder of the results: see :func:`~berg_jax.experiments.reporting.write_results`. The maps are those of
        :func:`vertex_accuracy`; ``rois.csv`` has their medians.
    images
        The images that were shown. An image's name, or of an array its row number from 0, is what the trials call
        it.
    betas
        NSD's folder, the folder of BERG's prepared data, an array of (trials, vertices) with a ``table``, or the
        folder of the files that a ``table`` names: see :func:`~berg_jax.experiments.accuracy.trial_reader`.
    selection
        The vertices, by default all. They are compared 16,384 at a time, so that memory does not grow with their
        number.
    table, zscored
        Table of the trials' images and sessions, and whether the array is z-scored within sessions already: see
        :func:`~berg_jax.experiments.accuracy.read_array`.
    dataset
        ``"nsdcore"``, or ``"nsdsynthetic"`` for NSD-synthetic in NSD's folder, with its own ncsnr of the metadata.
    noise_ceiling
        Source of the noise ceiling: ``"trials"``, the variance within and between the given images, or
        ``"metadata"``, the subject's published ncsnr, which is right only for the measurements that it was computed
        from. By default the trials; if no image was shown twice, the choice must be given.
    beside
        Folders of finished accuracies, such as one of images in the training data's distribution, whose numbers the
        report shows side by side with these.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work; the last one to end
        writes the results.

    Returns
    -------
    ExperimentResult
        Medians over vertices and ROIs, in a few lines.

    Raises
    ------
    BERGError
        Something is wrong with the images, the betas, the subject or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.

    See Also
    --------
    vertex_accuracy : The maps alone, of predicted and measured responses.
    """
    output, betas, images = Path(output), Path(betas), Images.of(images)
    command = command_of(
        *("accuracy", measure_accuracy, [subject], output, images, selection, execution),
        betas=betas,
        table=table,
        zscored=zscored,
        dataset=dataset,
        noise_ceiling=noise_ceiling,
        beside=tuple(beside),
        precision=precision,
    )
    require_reporting("plotly")
    vertices = selection.of(subject)
    others = [read_numbers(folder) for folder in beside]
    source = images.open(subject, output=output)
    require_images(source, FEWEST_IMAGES, "A correlation over images")
    whole = source.whole if isinstance(source, Subset) else source
    known = whole.ids if isinstance(whole, ArraySource) else None  # of a folder, a table may name others

    trials_of = trial_reader(
        *(betas, subject.description.subject, vertices, source.ids),
        table=table,
        zscored=zscored,
        known=known,
        dataset=dataset,
    )
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(vertices), _AT_ONCE)]
    trials = trials_of(parts[0])  # so that what is wrong with them is found before work starts
    ncsnr = _published_ncsnr(subject, vertices, dataset, required=noise_ceiling == "metadata")
    ceiling = choose_ceiling(noise_ceiling, np.bincount(trials.images, minlength=len(source)))
    if len(parts) == 1 and np.isnan(trials.responses).any(axis=0).all():
        raise InvalidParameterError(NOTHING_MEASURED)
    execution = with_batch_size(execution, output / STORE, precision=precision)
    command = command.computed_with(execution)
    kept = keep_responses(
        [subject],
        [vertices],
        source,
        [output],
        precision=precision,
        execution=execution,
        facts={"selection": selection.as_json()},
        crop=True,
    )
    if kept is None:
        raise unfinished(output, [output / STORE], execution.process)
    predicted = kept[0]
    regions = regions_of(subject, vertices, selection)
    inside = {"all vertices": np.ones(len(vertices), bool)}
    inside |= {name: np.isin(vertices.global_indices, r.global_indices) for name, r in regions.items()}
    sampled = sampled_vertices(inside)
    resampled = MedianIntervals(len(source), np.unique(np.concatenate(list(sampled.values()))))
    found = []
    for part in parts:
        trials = trials_of(part) if part.start else trials
        own, given = predicted[:, part].values, ncsnr[part] if ceiling == "metadata" else None
        found.append(vertex_accuracy(own, trials, given))
        resampled.add(part, own, trials, given)
    maps = {name: np.concatenate([some[name] for some in found]) for name in found[0]}
    if np.isnan(maps["r"]).all():
        raise InvalidParameterError(NOTHING_MEASURED)
    medians = _medians(maps, inside)
    intervals = {
        name: resampled.of(those[~np.isnan(maps["r"][those])], medians[name]) for name, those in sampled.items()
    }
    ratios = {"source": ceiling, "agreement": agreement(maps["measured_ncsnr"], ncsnr)}
    made = {"images": len(source), "betas": betas, "noise_ceiling": ceiling}
    made |= {"dataset": dataset} if dataset != "nsdcore" else {}
    facts = provenance(subject, vertices, precision, experiment="accuracy", **made)
    numbers = {"trials": len(trials.images), "medians": medians, "ncsnr": ratios, "intervals": _plain(intervals)}
    write_results(output, vertices, maps, {**numbers, **facts})
    _write_table(output / "rois.csv", medians, intervals)
    tables = [key_numbers(medians, intervals, len(source), ceiling)]
    if ratios["agreement"]:
        tables.append(agreement_table(ratios["agreement"]))
    words = facts["settings"], where(selection), output
    pictures = draw(subject, vertices, maps, medians, *words)
    compared = ceiling_section(subject, vertices, maps, inside, medians, intervals, *words)
    write_report(
        output,
        "Accuracy",
        [
            Section("Maps and ROIs", pictures),
            Section("Medians over vertices", tables),
            compared,
            *side_by_side(output, {**numbers, **facts}, others),
        ],
        lead=f"How well predicted responses of {len(vertices):,} vertices of subject {subject.description.subject}"
        f"{origin(subject)} agree with measured ones: {len(source):,} images, {len(trials.images):,} trials; "
        f"noise ceiling from {CEILINGS[ceiling]}.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=subject.description.synthetic,
    )
    return ExperimentResult(summary(subject, maps, medians, intervals, trials, ratios, output), output)


def _published_ncsnr(
    subject: Subject, vertices: Vertices, dataset: Dataset, required: bool
) -> Float[np.ndarray, " vertices"]:
    """Return the metadata's ncsnr, NaN if there is none for the data set and none is required."""
    try:
        return np.concatenate([subject.metadata.ncsnr(h, dataset)[getattr(vertices, h)] for h in HEMISPHERES])
    except InvalidParameterError:
        if required:
            raise
        return np.full(len(vertices), np.nan)


def vertex_accuracy(
    predicted: Float[np.ndarray, "images vertices"],
    trials: Trials,
    ncsnr: Float[np.ndarray, " vertices"] | None = None,
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Maps of accuracy, by name.

    Parameters
    ----------
    predicted
        Responses to each image.
    trials
        Measured ones, z-scored.
    ncsnr
        Noise-ceiling signal-to-noise ratio of each vertex, of the same measurements. By default it is estimated from
        these trials, as ``measured_ncsnr``; without repetitions that is NaN.

    Returns
    -------
    ``r``, the correlation over images of the prediction with the mean over trials; ``r2``, its square, 0 where r is
    negative; ``noise_ceiling``, the share of the mean's variance that can be predicted, ncsnr² / (ncsnr² + mean(1/n))
    for images shown n times [1]_; ``explained_variance``, r2 by the noise ceiling in per cent, at most 100;
    ``measured_ncsnr``, estimated from these trials. Of images shown at least three times, how well a trial is
    predicted (r, mean over three held out): ``r_in_silico`` by the model, ``r_one_trial`` by another trial,
    ``r_two_trials`` by the mean of the two others. NaN where a vertex was not measured or nothing varies.

    References
    ----------
    .. [1] E. J. Allen et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial
       intelligence. Nature Neuroscience 25, 116–126.
    """
    counts = np.bincount(trials.images, minlength=len(predicted))
    order = np.argsort(trials.images, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    thrice = np.flatnonzero(counts >= 3)
    rows = order[first[thrice][:, None] + np.arange(3)].T if len(thrice) > 2 else None
    averaging = sparse.csr_array((1 / counts[trials.images], (trials.images, np.arange(len(order)))))
    parts = []
    for start in range(0, predicted.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        ours, theirs = predicted[:, chunk].astype(np.float64), trials.responses[:, chunk].astype(np.float64)
        mean = averaging @ theirs
        part = {"r": correlation(ours, mean), "measured_ncsnr": ncsnr_of_trials(theirs, mean, trials, counts)}
        if rows is not None:
            part |= _of_single_trials(ours[thrice], [theirs[row] for row in rows])
        parts.append(part)
    maps = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    r2 = np.where(np.isnan(maps["r"]), np.nan, np.maximum(maps["r"], 0)) ** 2
    ratio = maps["measured_ncsnr"] if ncsnr is None else ncsnr
    ceiling = ceiling_of(ratio, 1 / (1 / counts).mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(ceiling > 0, np.minimum(100 * r2 / ceiling, 100), np.nan)
    return {**maps, "r2": r2, "noise_ceiling": ceiling, "explained_variance": explained}


def correlation(a: Float[np.ndarray, "n v"], b: Float[np.ndarray, "n v"]) -> Float[np.ndarray, " v"]:
    """Pearson's correlation of columns, NaN where one does not vary."""
    a, b = (x - x.mean(0) for x in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))


def _of_single_trials(
    predicted: Float[np.ndarray, "n v"], trials: Sequence[Float[np.ndarray, "n v"]]
) -> dict[str, Float[np.ndarray, " v"]]:
    pairs = [(trials[k], trials[(k + 1) % 3], trials[(k + 2) % 3]) for k in range(3)]
    return {
        "r_in_silico": np.mean([correlation(predicted, held_out) for held_out, _, _ in pairs], axis=0),
        "r_one_trial": np.mean([correlation(one, held_out) for held_out, one, _ in pairs], axis=0),
        "r_two_trials": np.mean([correlation(one + other, held_out) for held_out, one, other in pairs], axis=0),
    }


def _medians(
    maps: Mapping[str, np.ndarray], inside: Mapping[str, Bool[np.ndarray, " vertices"]]
) -> dict[str, dict[str, float]]:
    found = {}
    for name, mask in inside.items():
        there = mask & ~np.isnan(maps["r"])
        medians = {key: _median(values[there]) for key, values in maps.items() if there.any()}
        clipped = int((maps["explained_variance"][there] == 100).sum())
        found[name] = {"vertices": int(there.sum()), **medians, "clipped": clipped}
    return found


def _median(values: np.ndarray) -> float:
    """Return the median without NaN; NaN if there is nothing else, as where no image was shown twice."""
    return float(np.nanmedian(values)) if not np.isnan(values).all() else np.nan


def _plain(intervals: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    return {
        "confidence": CONFIDENCE,
        "over": "images",
        **{name: {key: list(ends) for key, ends in row.items()} for name, row in intervals.items()},
    }


def _write_table(
    path: Path, medians: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Mapping[str, Interval]]
) -> None:
    """Write each row's medians, and after them the ends of the headline numbers' intervals."""
    columns, headline = list(medians["all vertices"]), [*titles_of(medians["all vertices"]), "r2", "noise_ceiling"]
    rows = []
    for name, row in medians.items():
        ends = [end for key in headline for end in intervals[name].get(key, NO_INTERVAL)]
        rows.append((name, *(row.get(key, np.nan) for key in columns), *ends))
    write_table(path, ("roi", *columns, *(f"{key}_{end}" for key in headline for end in ("low", "high"))), rows)

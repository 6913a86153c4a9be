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
from jaxtyping import Float
from scipy import sparse

from ...errors import InvalidParameterError, ModelNotFoundError
from ...files.csv_tables import write_table
from ...published.metadata import noise_ceiling
from ...stream.execution import Execution, with_batch_size
from ...stream.images import Images
from ...stream.owed import unfinished
from ...stream.selection import Selection
from ...stream.sources.arrays import ArraySource
from ...stream.sources.subset import Subset
from ...subject import Subject
from ...vertices import HEMISPHERES, Vertices
from ..reporting.command import command_of
from ..reporting.page import Picture, Section, Table, write_report
from ..reporting.pictures import draw_brain, draw_table
from ..reporting.results import note, origin, provenance, regions_of, write_results
from ..responses import STORE, keep_responses
from .trials import Trials, read_array, read_nsd

# Correlations that the table of ROIs draws, of what with what.
COLUMNS = {
    "r": "model, mean",
    "r_in_silico": "model, trial",
    "r_one_trial": "trial, trial",
    "r_two_trials": "2 trials, trial",
}
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
    precision: str = "float32",
    execution: Execution = Execution(),
) -> str:
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
        NSD's folder, or a ``.npy`` file of (trials, vertices) with a ``table``: see
        :mod:`berg_jax.experiments.accuracy.trials`.
    selection
        The vertices, by default all. They are compared 16,384 at a time, so that memory does not grow with their
        number.
    table, zscored
        Table of the trials' images and sessions, and whether the array is z-scored within sessions already: see
        :func:`~berg_jax.experiments.accuracy.read_array`.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work; the last one to end
        writes the results.

    Returns
    -------
    str
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
        precision=precision,
    )
    vertices = selection.of(subject)
    if not betas.exists():
        raise ModelNotFoundError(f"There is no folder or file {betas}. Give NSD's folder, or an array of betas.")
    if not betas.is_dir() and table is None:
        raise InvalidParameterError(f"An array of betas, {betas}, needs a table of its trials' images and sessions.")
    source = images.open(subject, output=output)
    whole = source.whole if isinstance(source, Subset) else source
    known = whole.ids if isinstance(whole, ArraySource) else None  # of a folder, a table may name others

    def trials_of(part: slice) -> Trials:
        if betas.is_dir():
            return read_nsd(betas, subject.description.subject, vertices, source.ids, part)
        return read_array(betas, table, vertices, source.ids, zscored, part, known)

    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(vertices), _AT_ONCE)]
    trials = trials_of(parts[0])  # so that what is wrong with them is found before work starts
    execution = with_batch_size(execution, output / STORE, precision=precision)
    command = command.computed_with(execution)
    kept = keep_responses(
        [subject], [vertices], source, [output], precision=precision, execution=execution, crop=True
    )
    if kept is None:
        raise unfinished(output, [output / STORE], execution.process)
    predicted = kept[0]
    ncsnr = np.concatenate([subject.metadata.ncsnr(h)[getattr(vertices, h)] for h in HEMISPHERES])
    found = []
    for part in parts:
        trials = trials_of(part) if part.start else trials
        found.append(vertex_accuracy(predicted[:, part].values, trials, ncsnr[part]))
    maps = {name: np.concatenate([some[name] for some in found]) for name in found[0]}
    if np.isnan(maps["r"]).all():
        raise InvalidParameterError("No vertex has measured responses that vary. Choose other vertices or sessions.")
    medians = _medians(maps, vertices, regions_of(subject, vertices))
    facts = provenance(subject, vertices, precision, experiment="accuracy", images=len(source), betas=betas)
    write_results(output, vertices, maps, {"trials": len(trials.images), "medians": medians, **facts})
    columns = list(medians["all vertices"])
    rows = ((name, *(row.get(key, np.nan) for key in columns)) for name, row in medians.items())
    write_table(output / "rois.csv", ("roi", *columns), rows)
    write_report(
        output,
        "Accuracy",
        [
            Section("Maps and ROIs", _draw(subject, vertices, maps, medians, facts["settings"], output)),
            Section("Medians over vertices", [_key_numbers(medians)]),
        ],
        lead=f"How well predicted responses of {len(vertices):,} vertices of subject {subject.description.subject}"
        f"{origin(subject)} agree with measured ones: {len(source):,} images, {len(trials.images):,} trials.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=subject.description.synthetic,
    )
    return _summary(subject, maps, medians, trials, output)


def vertex_accuracy(
    predicted: Float[np.ndarray, "images vertices"], trials: Trials, ncsnr: Float[np.ndarray, " vertices"]
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Maps of accuracy, by name.

    Parameters
    ----------
    predicted
        Responses to each image.
    trials
        Measured ones, z-scored.
    ncsnr
        Noise-ceiling signal-to-noise ratio of each vertex.

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
    ceiling = noise_ceiling(ncsnr, 1 / (1 / counts).mean())
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
        part = {"r": correlation(ours, mean), "measured_ncsnr": _ncsnr(theirs, mean, trials, counts)}
        if rows is not None:
            part |= _of_single_trials(ours[thrice], [theirs[row] for row in rows])
        parts.append(part)
    maps = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    r2 = np.where(np.isnan(maps["r"]), np.nan, np.maximum(maps["r"], 0)) ** 2
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


def _ncsnr(
    responses: Float[np.ndarray, "trials v"],
    mean: Float[np.ndarray, "images v"],
    trials: Trials,
    counts: np.ndarray,
) -> Float[np.ndarray, " v"]:
    """From the variance within images, and what of the variance between them it does not explain."""
    freedom = len(trials.images) - len(counts)
    if not freedom:
        return np.full(responses.shape[1], np.nan)
    noise = ((responses - mean[trials.images]) ** 2).sum(0) / freedom
    signal = np.maximum(mean.var(0, ddof=1) - noise * (1 / counts).mean(), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(signal / noise)


def _medians(
    maps: Mapping[str, np.ndarray], vertices: Vertices, regions: Mapping[str, Vertices]
) -> dict[str, dict[str, float]]:
    inside = {"all vertices": np.ones(len(vertices), bool)}
    inside |= {name: np.isin(vertices.global_indices, r.global_indices) for name, r in regions.items()}
    found = {}
    for name, mask in inside.items():
        there = mask & ~np.isnan(maps["r"])
        medians = {key: float(np.nanmedian(values[there])) for key, values in maps.items() if there.any()}
        found[name] = {"vertices": int(there.sum()), **medians}
    return found


def _draw(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, np.ndarray],
    medians: Mapping[str, Mapping[str, float]],
    made: Mapping[str, Any],
    output: Path,
) -> list[Picture]:
    made = {"images": made["images"], "betas": made["betas"]}
    pictures = []
    for name, title, label, limit, caption in (
        (
            *("r", "Correlation of predicted and measured responses", "r over images", None),
            "Correlation over images of the prediction with the mean over an image's trials.",
        ),
        (
            *("explained_variance", "Explained variance", "% of what noise allows", 100.0),
            "r² as a share of what noise allows, in per cent; 0 where r is negative.",
        ),
    ):
        options: dict[str, Any] = {"label": label, "title": title, "limit": limit, "settings": made}
        pictures += draw_brain(subject, vertices, maps[name], output / f"{name}.png", caption, **options)
    shown = [name for name in COLUMNS if name in maps]
    draw_table(
        np.array([[row.get(key, np.nan) for key in shown] for row in medians.values()]),
        list(medians),
        [COLUMNS[name] for name in shown],
        "median r over vertices",
        output / "rois.png",
        title="Correlations",
        note=note(subject),
    )
    caption = (
        "Medians over each ROI's vertices of correlations: of the model with the mean over trials, and of a single "
        "trial with the model, with another trial, and with the mean of two others."
    )
    return [*pictures, Picture(output / "rois.png", caption, made)]


def _key_numbers(medians: Mapping[str, Mapping[str, float]]) -> Table:
    titles = _titles(medians["all vertices"])
    return Table(
        "Correlations (r), explained variance in per cent of what noise allows",
        ("ROI", "vertices", *titles.values()),
        [[name, row["vertices"], *(row.get(key, np.nan) for key in titles)] for name, row in medians.items()],
    )


def _titles(there: Mapping[str, Any]) -> dict[str, str]:
    titles = {"r": "r", "explained_variance": "expl. var. %"} | {key: COLUMNS[key] for key in list(COLUMNS)[1:]}
    return {key: title for key, title in titles.items() if key in there}


def _summary(
    subject: Subject,
    maps: Mapping[str, np.ndarray],
    medians: Mapping[str, Mapping[str, float]],
    trials: Trials,
    output: Path,
) -> str:
    lines = [
        f"Accuracy of subject {subject.description.subject}{origin(subject)}, {len(trials.images)} trials; medians"
    ]
    shown = _titles(maps)
    lines.append(f"  {'':<14}{'vertices':>9}" + "".join(f"{title:>17}" for title in shown.values()))
    for name, row in medians.items():
        values = "".join(f"{row.get(key, np.nan):>17.3f}" for key in shown)
        lines.append(f"  {name:<14}{row['vertices']:>9}{values}")
    return "\n".join([*lines, f"Maps, table, pictures and report.html: {output}"])

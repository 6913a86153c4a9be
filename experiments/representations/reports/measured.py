"""In silico beside measured representations: each ROI's both matrices, how alike they are, and how reliable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from ....errors import InvalidParameterError
from ....files.csv_tables import write_table
from ....surface.style import default_style
from ....vertices import Vertices
from ...accuracy.measured import Reader, image_means
from ...accuracy.trials import Trials
from ...reporting.figures import save_figure
from ...reporting.page import Picture, Section, Table
from ...reporting.panels import titled
from ...reporting.statistics import FEWEST, NO_INTERVAL, Interval, fdr, mantel_p
from ..measure import Measure, Pairs
from ..uncertainty import MOST_PERMUTED, Squares
from .study import Part, Study

_OWN, _MEASURED = "in silico", "measured"


class MeasuredRegion(NamedTuple):
    """Measured representation of one subject's ROI.

    Attributes
    ----------
    triangle
        The measure's triangle of the means over each image's trials.
    split_half
        Similarity of the triangles of odd and even trials; NaN where an image has one trial.
    """

    triangle: Pairs
    split_half: float


class Agreement(NamedTuple):
    """How alike a ROI's in silico and measured representations are.

    Attributes
    ----------
    roi
        Name of the ROI.
    similarity, over_images
        Their similarity, mean over subjects, and its 95% bootstrap interval over images.
    split_half
        Similarity of the measured one's two halves of trials, mean over subjects.
    images, subjects
        Number of images and of subjects.
    p, q
        p by permutation of the images (NaN of more than 1,000), and q over ROIs.
    """

    roi: str
    similarity: float
    over_images: Interval
    split_half: float
    images: int
    subjects: int
    p: float
    q: float


def measured_regions(
    read: Reader, vertices: Vertices, regions: Mapping[str, Vertices], images: int, measure: Measure
) -> dict[str, MeasuredRegion]:
    """Return a subject's measured representation of each ROI.

    Parameters
    ----------
    read
        Function that reads the trials of a part of the vertices.
    vertices
        The vertices that it reads.
    regions
        ROIs among them, by name.
    images
        Number of images.
    measure
        Measure of similarity.

    Raises
    ------
    InvalidParameterError
        Fewer than two vertices of a ROI were measured.
    """
    trials = read(slice(0, len(vertices)))
    known = np.isfinite(trials.responses).all(axis=0)
    found = {}
    for name, region in regions.items():
        inside = known & np.isin(vertices.global_indices, region.global_indices)
        if inside.sum() < 2:
            raise InvalidParameterError(
                f"ROI {name!r} has {int(inside.sum())} vertices with measured responses; a pattern needs two. Leave "
                "it out with --roi."
            )
        own = Trials(trials.responses[:, inside], trials.images)
        found[name] = MeasuredRegion(measure.triangle(image_means(own, images)), _split_half(own, images, measure))
    return found


def _split_half(trials: Trials, images: int, measure: Measure) -> float:
    order = np.argsort(trials.images, kind="stable")
    counts = np.bincount(trials.images, minlength=images)
    if counts.min() < 2:
        return float("nan")
    place = np.empty(len(order), int)  # of each trial among its image's
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    halves = [
        measure.unit(measure.triangle(image_means(Trials(trials.responses[some], trials.images[some]), images)))
        for some in (place % 2 == 0, place % 2 == 1)
    ]
    return float(halves[0] @ halves[1])


def measured_section(study: Study, measured: Sequence[Mapping[str, MeasuredRegion]]) -> Part:
    """Compare each ROI's in silico and measured representations, and draw both matrices of each ROI.

    Parameters
    ----------
    study
        What is compared.
    measured
        Measured representations of each subject's ROIs.
    """
    rows = agreements(study, measured)
    columns = ("roi", "similarity", "low", "high", "split_half", "images", "subjects", "p", "q")
    write_table(
        study.output / "measured.csv",
        columns,
        (
            (row.roi, row.similarity, *row.over_images, row.split_half, row.images, row.subjects, row.p, row.q)
            for row in rows
        ),
    )
    bars, matrices = study.output / "measured.png", study.output / "matrices.png"
    _draw_bars(study, rows, bars)
    _draw_matrices(study, measured, matrices)
    halves = "◆: similarity of the measured one's odd and even trials."
    pictures = [
        Picture(bars, f"{study.measure.similarity} of in silico and measured, 95% intervals over images. {halves}"),
        Picture(
            matrices,
            "Both matrices of each ROI, in silico above measured, as percentiles of their pairs.",
            {"images": study.images},
        ),
    ]
    table = Table(
        f"Similarity of in silico and measured representations ({study.measure.similarity}); {study.said}; bootstrap "
        "intervals over images, p by permutation of images, q over ROIs",
        ("ROI", "similarity", "95% over images", "p", "q", "odd and even trials"),
        [(row.roi, row.similarity, str(row.over_images), row.p, row.q, row.split_half) for row in rows],
    )
    lines = ["In silico and measured, 95% intervals over images; similarity of odd and even trials:"]
    lines += [
        f"  {row.roi:<14}{row.similarity:>7.3f}   {row.over_images!s:<17} q {row.q:.3f}   {row.split_half:>6.3f}"
        for row in rows
    ]
    return Part(Section("Beside measured responses", [*pictures, table]), [row._asdict() for row in rows], lines)


def agreements(study: Study, measured: Sequence[Mapping[str, MeasuredRegion]]) -> list[Agreement]:
    """Return how alike each ROI's in silico and measured representations are."""
    rows = []
    for roi in study.rois:
        squares = [
            Squares({_OWN: own[roi], _MEASURED: theirs[roi].triangle}, study.measure)
            for own, theirs in zip(study.own, measured, strict=True)
        ]
        similarity = float(np.mean([one.ranks[_OWN] @ one.ranks[_MEASURED] for one in squares]))
        ends, p = NO_INTERVAL, float("nan")
        if study.images >= FEWEST:
            ends = squares[0].interval(np.mean([one.correlation(_OWN, _MEASURED) for one in squares], axis=0))
        if study.images <= MOST_PERMUTED and np.isfinite(similarity):
            p = mantel_p(*([one.square(name) for one in squares] for name in (_OWN, _MEASURED)))
        halves = float(np.mean([theirs[roi].split_half for theirs in measured]))
        rows.append(Agreement(roi, similarity, ends, halves, study.images, len(squares), p, float("nan")))
    q = fdr(np.array([row.p for row in rows]))
    return [row._replace(q=float(value)) for row, value in zip(rows, q, strict=True)]


@default_style()
def _draw_bars(study: Study, rows: Sequence[Agreement], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1.5 + 0.26 * len(rows)), layout="constrained", dpi=150)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.barh(place, row.similarity, color="tab:blue", height=0.7)
        axes.plot(row.over_images, [place] * 2, "-", color="black", lw=1.2)
        axes.plot(
            row.split_half, place, "D", color="tab:orange", ms=4, label="odd and even trials" if place == 0 else None
        )
    axes.axvline(0, color="0.4", lw=0.8)
    axes.set_yticks(range(len(rows)), [row.roi for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{study.measure.similarity}, in silico and measured", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    titled(figure, f"In silico and measured, {study.said}", named=True)
    if study.note:
        figure.supxlabel(study.note, fontsize=7.5, color="0.4")
    save_figure(figure, path)


@default_style()
def _draw_matrices(study: Study, measured: Sequence[Mapping[str, MeasuredRegion]], path: Path) -> None:
    from matplotlib.figure import Figure

    count = len(study.rois)
    columns = min(5, count)
    bands = -(-count // columns)
    size = (0.8 + 1.35 * columns, 0.9 + 2.9 * bands)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    image = None
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    for index, roi in enumerate(study.rois):
        band, column = divmod(index, columns)
        both = (study.of_region(roi), [theirs[roi].triangle for theirs in measured])
        for row, (kind, triangles) in enumerate(zip((_OWN, _MEASURED), both, strict=True)):
            axis = axes[2 * band + row, column]
            image = axis.imshow(_percentiles(study.measure, triangles), vmin=0, vmax=100, cmap="viridis")
            if row == 0:
                axis.set_title(roi, size=9)
            if column == 0:
                axis.set_ylabel(kind, size=8)
    label = (
        "dissimilarity (percentile of pairs)" if study.measure.name == "rdm" else "similarity (percentile of pairs)"
    )
    figure.colorbar(image, ax=axes, shrink=0.5, aspect=30).set_label(label, size=8)
    figure.suptitle(f"In silico above measured, {study.said}", fontsize=10)
    if study.note:
        figure.supxlabel(study.note, fontsize=7.5, color="0.4")
    save_figure(figure, path)


def _percentiles(measure: Measure, triangles: Sequence[Pairs]) -> Float[np.ndarray, "images images"]:
    """Return the matrix of the mean over subjects, each pair as its percentile among all; NaN on the diagonal."""
    mean = np.mean([measure.unit(pairs) for pairs in triangles], axis=0)
    square = squareform(100 * (rankdata(mean) - 0.5) / len(mean), checks=False)
    np.fill_diagonal(square, np.nan)
    return square

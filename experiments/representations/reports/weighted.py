"""Weighted features and features as they are, compared with each ROI on left-out images: figure and table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....errors import InvalidParameterError
from ....files.csv_tables import write_table
from ....files.disk import explained
from ....surface.style import default_style
from ...reporting.page import Picture, Section, Table
from ...reporting.statistics import fdr
from ..weighted import FEWEST_WEIGHTED, WeightedSimilarity, Weighting, compare_weighted
from .study import MOST_LINES, Part, Study

PICTURE = "weighted.png"
_PANELS = 4  # in a row
_HOW = {
    "encoding": "predictions of each vertex by ridge regression (veRSA)",
    "features": "a weight of each feature by ridge regression on pairs of images",
}
Rows = Sequence[tuple[str, str, WeightedSimilarity]]


def check_weighted(patterns: int, images: int) -> None:
    """Raise InvalidParameterError unless there are features and images enough for weights."""
    if not patterns:
        raise InvalidParameterError(
            "Weights are of features: give --features, --layer, --embedding, --language or --dinov2."
        )
    if images < FEWEST_WEIGHTED:
        raise InvalidParameterError(f"Weights need at least {FEWEST_WEIGHTED} images, got {images}.")


def weighted_section(study: Study, weighting: Weighting) -> Part:
    """Compare weighted features with each ROI, and draw them beside features as they are."""
    rows = [
        (roi, name, compare_weighted(patterns, [own[roi] for own in study.responses], weighting=weighting))
        for roi in study.rois
        for name, patterns in study.patterns.items()
    ]
    q = fdr(np.array([one.p for *_, one in rows]))
    _write(study.output / "weighted.csv", rows, q)
    path = study.output / PICTURE
    _draw(study, rows, path)
    caption = (
        "Spearman's correlation of each ROI's dissimilarities with those of features as they are (○) and weighted by "
        f"{_HOW[weighting]} (●), of images that were left out of the weights; 95% bootstrap intervals over images."
    )
    picture = Picture(path, caption, {"images": study.images, "weighting": weighting})
    numbers = [
        {"roi": roi, "features": name, **one._asdict(), "q": own}
        for (roi, name, one), own in zip(rows, q, strict=True)
    ]
    return Part(Section("Weighted features", [picture, _table(study, rows, q)]), numbers, _lines(rows, q, weighting))


def _write(path: Path, rows: Rows, q: np.ndarray) -> None:
    columns = [
        "roi",
        "features",
        "plain",
        "plain_low",
        "plain_high",
        "weighted",
        "low",
        "high",
        "gain_low",
        "gain_high",
    ]
    cells = []
    for (roi, name, one), own in zip(rows, q, strict=True):
        numbers = (one.plain, *one.plain_over_images, one.weighted, *one.over_images, *one.gain)
        cells.append((roi, name, *numbers, one.images, one.subjects, one.p, own))
    write_table(path, (*columns, "gain_low", "gain_high", "images", "subjects", "p", "q"), cells)


def _table(study: Study, rows: Rows, q: np.ndarray) -> Table:
    cells = []
    for (roi, name, one), own in zip(rows, q, strict=True):
        plain, weighted = (one.plain, str(one.plain_over_images)), (one.weighted, str(one.over_images))
        cells.append((roi, name, *plain, *weighted, one.weighted - one.plain, str(one.gain), one.p, own))
    return Table(
        f"Similarity as they are and weighted, on left-out halves of the images; {study.said}; bootstrap intervals "
        "over images, p of the weighted by permutation of images, q over all rows",
        ("ROI", "features", "as they are", "95%", "weighted", "95%", "gain", "95% of gain", "p", "q"),
        cells,
    )


def _lines(rows: Rows, q: np.ndarray, weighting: Weighting) -> list[str]:
    lines = [f"Features weighted by {_HOW[weighting]}, on left-out images: weighted.csv"]
    if len(rows) > MOST_LINES:
        return lines
    wide = max(len(name) for _, name, _ in rows)
    for (roi, name, one), own in zip(rows, q, strict=True):
        numbers = f"{one.plain:>7.3f} → {one.weighted:.3f} ({one.over_images})   gain {one.gain}   q {own:.3f}"
        lines.append(f"  {roi:<14}{name:<{wide}} {numbers}")
    return lines


@default_style()
def _draw(study: Study, rows: Rows, path: Path) -> None:
    """Draw a panel for each set of features, with a row for each ROI."""
    from matplotlib.figure import Figure

    names = list(study.patterns)
    columns = min(_PANELS, len(names))
    lines = -(-len(names) // columns)
    height = 0.7 + 0.24 * len(study.rois)
    figure = Figure(figsize=(1.4 + 2.3 * columns, 1.2 + height * lines), layout="constrained", dpi=150)
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
        for place, one in enumerate(found for _, own, found in rows if own == name):
            first = place == 0
            color = f"C{index % 10}"
            axis.plot(one.plain_over_images, [place + 0.15] * 2, "-", color="0.6", lw=1.2)
            axis.plot(
                one.plain, place + 0.15, "o", mfc="white", mec="0.4", ms=5, label="as they are" if first else None
            )
            axis.plot(one.over_images, [place - 0.15] * 2, "-", color=color, lw=1.4)
            axis.plot(one.weighted, place - 0.15, "o", color=color, ms=5, label="weighted" if first else None)
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_title(name, size=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(study.rois)), list(study.rois))
    axes[0].invert_yaxis()
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", frameon=False, fontsize=8, ncols=2)
    figure.suptitle(f"Weighted features, {study.said}", fontsize=10)
    label = "Spearman's correlation of dissimilarities, left-out images"
    figure.supxlabel(label if study.note is None else f"{label}\n{study.note}", fontsize=8)
    with explained("write", path):
        figure.savefig(path)

"""Weighted features and features as they are, compared with each ROI on left-out images: figure and table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....errors import InvalidParameterError
from ....files.csv_tables import write_table
from ....surface.style import default_style
from ...reporting.page import Picture, Section, Table
from ...reporting.panels import panels, save_panels
from ...reporting.statistics import fdr
from ..weighted import FEWEST_WEIGHTED, WeightedSimilarity, compare_regions
from ..weighted.similarity import Weighting
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
    regions = {roi: [own[roi] for own in study.responses] for roi in study.rois}
    found = {
        name: compare_regions(patterns, regions, weighting=weighting) for name, patterns in study.patterns.items()
    }
    rows = [(roi, name, found[name][roi]) for roi in study.rois for name in study.patterns]
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
    write_table(path, (*columns, "images", "subjects", "p", "q"), cells)


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
    names = list(study.patterns)
    figure, axes = panels(len(names), _PANELS, width=2.3, height=0.7 + 0.24 * len(study.rois), beside=1.4)
    for index, (axis, name) in enumerate(zip(axes, names, strict=True)):
        for place, one in enumerate(found for _, own, found in rows if own == name):
            color, plain, weighted = f"C{index % 10}", None, None
            if place == 0:
                plain, weighted = "as they are", "weighted"
            axis.plot(one.plain_over_images, [place + 0.15] * 2, "-", color="0.6", lw=1.2)
            axis.plot(one.plain, place + 0.15, "o", mfc="white", mec="0.4", ms=5, label=plain)
            axis.plot(one.over_images, [place - 0.15] * 2, "-", color=color, lw=1.4)
            axis.plot(one.weighted, place - 0.15, "o", color=color, ms=5, label=weighted)
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_title(name, size=9)
    axes[0].set_yticks(range(len(study.rois)), list(study.rois))
    axes[0].invert_yaxis()
    label = "Spearman's correlation of dissimilarities, left-out images"
    title = f"Weighted features, {study.said}"
    save_panels(figure, path, title=title, label=label, note=study.note, named=True)

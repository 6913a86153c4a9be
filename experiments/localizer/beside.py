"""In silico beside measured in a localizer's report: both maps of each contrast, and both bars of each ROI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...files.csv_tables import write_table
from ...subject import Subject
from ...surface.style import default_style
from ...vertices import Vertices
from ..reporting.page import Picture, Section, SideBySide, Table
from ..reporting.panels import panels, save_panels
from ..reporting.pictures import draw_brain
from ..reporting.results import note, origin
from ..reporting.statistics import FEWEST, NO_INTERVAL, Interval, bootstrap, resample
from .contrasts import Design

_PANELS = 4  # in a row
_KINDS = ("in silico", "measured")


class CategoryMean(NamedTuple):
    """Mean response of a ROI to a category, in silico or measured.

    Attributes
    ----------
    roi, category, kind
        Names; the kind is ``"in silico"`` or ``"measured"``.
    mean, over_images
        The mean in z units, and its 95% bootstrap interval over the category's images.
    images
        Number of the category's images.
    """

    roi: str
    category: str
    kind: str
    mean: float
    over_images: Interval
    images: int


def category_means(
    design: Design, responses: Float[np.ndarray, "images rois"], names: Sequence[str], kind: str
) -> list[CategoryMean]:
    """Return each ROI's mean response to each category with its interval.

    Parameters
    ----------
    design
        Categories of the images.
    responses
        Mean response of each ROI to each image.
    names
        Names of the ROIs.
    kind
        ``"in silico"`` or ``"measured"``.
    """
    rows = []
    for index, name in enumerate(names):
        for number, category in enumerate(design.categories):
            values = responses[design.labels == number, index].astype(np.float64)
            ends = NO_INTERVAL
            if len(values) >= FEWEST and np.isfinite(values).all():
                ends = bootstrap(lambda weights, of=values: weights @ of / weights.sum(1), resample(len(values)))
            rows.append(CategoryMean(name, category, kind, float(values.mean()), ends, len(values)))
    return rows


def beside_section(
    subject: Subject,
    vertices: Vertices,
    design: Design,
    drawn: Mapping[str, Picture],
    measured: Mapping[str, Float[np.ndarray, " vertices"]],
    means: Sequence[CategoryMean],
    folder: Path,
    *,
    roi: str | None = None,
) -> list[Section]:
    """Return the section with both maps of each contrast and both bars of each ROI; none without measured ones.

    Parameters
    ----------
    subject, vertices
        The subject, and the vertices of the maps.
    design
        Categories and contrasts.
    drawn
        Pictures of in silico t by contrast, as far as they could be drawn.
    measured
        Maps of measured t, by contrast.
    means
        Means of both kinds; none where only maps are given.
    folder
        Folder for the pictures.
    roi
        ROI expression of the vertices.
    """
    if not measured:
        return []
    person = f"subject {subject.description.subject}{origin(subject)}, n = {len(design.labels):,} images"
    parts: list[Any] = []
    for name, values in measured.items():
        plain = name.replace(" ", "").replace(">", "-vs-").replace("/", "-")
        pictures = draw_brain(
            subject,
            vertices,
            values,
            folder / f"beside_{plain}.png",
            f"{name}: measured t. Its scale is its own.",
            roi=roi,
            images=len(design.labels),
            settings={"contrast": name},
            label="measured t (no unit)",
            title=f"{name}, measured",
        )
        if pictures and name in drawn:
            parts.append(
                SideBySide(
                    [drawn[name]._replace(caption=f"{name}: in silico t, where it is significant."), *pictures]
                )
            )
        else:
            parts += pictures
    if means:
        path = folder / "beside.png"
        _draw(means, design.categories, path, f"In silico and measured, {person}", note(subject))
        caption = (
            "Mean response of each ROI to each category, in silico and measured; 95% bootstrap intervals over images."
        )
        parts += [Picture(path, caption, {"images": len(design.labels)}), _table(means, person)]
        columns = ("roi", "category", "kind", "mean", "low", "high", "images")
        write_table(
            folder / "beside.csv",
            columns,
            ((row.roi, row.category, row.kind, row.mean, *row.over_images, row.images) for row in means),
        )
    return [Section(f"Beside measured responses, subject {subject.description.subject}", parts)] if parts else []


def _table(means: Sequence[CategoryMean], person: str) -> Table:
    found = {(row.roi, row.category, row.kind): row for row in means}
    rows = []
    for roi, category in dict.fromkeys((row.roi, row.category) for row in means):
        cells: list[Any] = [roi, category]
        for kind in _KINDS:
            row = found[roi, category, kind]
            cells += [row.mean, str(row.over_images)]
        rows.append([*cells, found[roi, category, _KINDS[0]].images])
    return Table(
        f"Mean responses (z) in silico and measured; {person}; 95% bootstrap intervals over each category's images",
        ("ROI", "category", "in silico", "95%", "measured", "95%", "images"),
        rows,
    )


@default_style()
def _draw(means: Sequence[CategoryMean], categories: Sequence[str], path: Path, title: str, note: str | None) -> None:
    """Draw a panel for each ROI, with two bars for each category."""
    rois = list(dict.fromkeys(row.roi for row in means))
    size = {"height": 0.55 + 0.3 * len(categories), "beside": 0.6 + 0.075 * max(map(len, categories))}
    figure, axes = panels(len(rois), _PANELS, width=1.9, **size)
    for axis, roi in zip(axes, rois, strict=True):
        for offset, kind, color in ((-0.2, _KINDS[0], "tab:blue"), (0.2, _KINDS[1], "tab:orange")):
            for row in means:
                if (row.roi, row.kind) == (roi, kind):
                    place = categories.index(row.category) + offset
                    label = kind if row.category == categories[0] else None
                    axis.barh(place, row.mean, height=0.38, color=color, label=label)
                    axis.plot(row.over_images, [place] * 2, "-", color="black", lw=1.1)
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_title(roi, size=9)
    axes[0].set_yticks(range(len(categories)), categories)
    axes[0].invert_yaxis()
    save_panels(figure, path, title=title, label="mean response (z)", note=note, named=True)

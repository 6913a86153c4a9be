"""Mean response of each ROI to each category: bars with intervals, and single images as dots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...subject import Subject
from ...surface.style import SMALLEST, default_style
from ..reporting.figures import about, new_figure, save_figure
from ..reporting.page import Picture
from ..reporting.results import note
from .beside import CategoryMean, category_means
from .contrasts import Design

PICTURE = "responses.png"
_COLUMNS = 3  # panels in a row
_COLORS = (0, 1, 2, 3, 4, 5, 6, 8, 9)  # of matplotlib's default ones, without grey
_ROW = 0.115  # height of a bar in inches
_MANY = 200  # images of a category from which on dots are fainter


def bars_part(
    subject: Subject,
    design: Design,
    responses: Float[np.ndarray, "images rois"],
    rois: Sequence[str],
    ids: Sequence[str],
    folder: Path,
    *,
    roi: str | None,
) -> list[Picture]:
    """Draw each ROI's mean response to each category and each image's response; nothing without ROIs.

    Parameters
    ----------
    subject
        The subject.
    design
        Categories of the images.
    responses
        Mean response of each ROI to each image, in z units.
    rois, ids
        Names of the ROIs and of the images.
    folder
        Folder of the figure, whose .csv has the means with their intervals and all dots.
    roi
        ROI expression of the vertices.
    """
    if not rois:
        return []
    means = category_means(design, responses, rois, "in silico")
    path = folder / PICTURE
    subtitle = about([subject.description.subject], roi, images=len(ids))
    _draw(means, design, responses, rois, ids, path, subtitle, note(subject))
    caption = (
        "Mean response of each ROI to each category, with its 95% bootstrap interval over the category's images; "
        "dots are single images."
    )
    return [Picture(path, caption, {"images": len(ids), "categories": design.categories})]


@default_style()
def _draw(
    means: Sequence[CategoryMean],
    design: Design,
    responses: Float[np.ndarray, "images rois"],
    rois: Sequence[str],
    ids: Sequence[str],
    path: Path,
    subtitle: str,
    note: str | None,
) -> None:
    columns = min(_COLUMNS, len(rois))
    rows = -(-len(rois) // columns)
    count = len(design.categories)
    figure = new_figure((0.3 + _ROW * count) * rows + 0.3, "Responses to categories", subtitle, note)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(ids))
    table: list[tuple[Any, ...]] = []
    for index, (axes, name) in enumerate(zip(panels, rois, strict=False)):
        values = responses[:, index].astype(np.float64)
        for row in (one for one in means if one.roi == name):
            place = design.categories.index(row.category)
            color = f"C{_COLORS[place % len(_COLORS)]}"
            those = np.flatnonzero(design.labels == place)
            axes.barh(place, row.mean, height=0.8, color=color, alpha=0.45, lw=0)
            dots = {"s": 2.5, "color": color, "linewidths": 0, "alpha": 0.8 if len(those) < _MANY else 0.25}
            axes.scatter(values[those], place + jitter[those], rasterized=True, **dots)
            axes.plot(row.over_images, [place] * 2, "-", color="black", lw=1, solid_capstyle="butt")
            axes.plot([row.mean] * 2, [place - 0.4, place + 0.4], "-", color="black", lw=0.8)
            table.append((name, row.category, "mean", "", row.mean, *row.over_images, row.images))
            table += [(name, row.category, "image", ids[k], float(values[k]), np.nan, np.nan, 1) for k in those]
        axes.axvline(0, color="0.4", lw=0.6)
        axes.set_title(name, pad=2)
        axes.tick_params(labelbottom=index + columns >= len(rois))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(rois) :]:
        axes.set_visible(False)
    panels[0].set_yticks(range(count), [_named(design, place) for place in range(count)], size=SMALLEST)
    panels[0].set_ylim(count - 0.4, -0.6)
    lowest = panels[len(rois) - 1]
    lowest.set_xlabel("mean response (z)")
    save_figure(figure, path, ("roi", "category", "shown", "image", "response", "low", "high", "images"), table)


def _named(design: Design, place: int) -> str:
    name = design.categories[place]
    return f"{name if len(name) <= 14 else f'{name[:13]}…'} ({int((design.labels == place).sum())})"

"""Sample stimuli of a localizer: some images of each category in a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...stream.sources.image_files import Source
from ...surface.style import WIDTH, default_style
from ..reporting.figures import new_figure, save_figure
from ..reporting.page import Picture
from ..reporting.thumbnails import read_thumbnails, spread
from .contrasts import Design

PICTURE = "stimuli.png"
_EACH = 6  # images of a category
_NAMES = 0.95  # inches that the categories' names take


def samples_part(design: Design, source: Source, output: Path) -> Picture:
    """Draw up to six images of each category, evenly spread over its images.

    Parameters
    ----------
    design
        Categories of the images.
    source
        The images.
    output
        Folder of the figure, whose .csv names the images.
    """
    chosen = {}
    for place, category in enumerate(design.categories):
        those = np.flatnonzero(design.labels == place)
        chosen[category] = those[spread(len(those), _EACH)]
    path = output / PICTURE
    _draw(design, source, chosen, path)
    counts = ", ".join(
        f"{name} {count}" for name, count in zip(design.categories, np.bincount(design.labels), strict=True)
    )
    caption = f"Sample stimuli of each category. Numbers of images: {counts}."
    return Picture(path, caption, {"images": len(design.labels)})


@default_style()
def _draw(design: Design, source: Source, chosen: dict[str, np.ndarray], path: Path) -> None:
    rows, columns = len(chosen), max(map(len, chosen.values()))
    side = (WIDTH - _NAMES) / _EACH
    subtitle = f"n = {len(design.labels):,} images of {rows} categories"
    figure = new_figure((side + 0.03) * rows + 0.15, "Sample stimuli", subtitle)
    panels = figure.subplots(rows, _EACH, squeeze=False)
    table = []
    for row, (category, indices) in zip(panels, chosen.items(), strict=True):
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        pictures = read_thumbnails(source, indices, side=128)
        for place, (axes, picture, index) in enumerate(zip(row[:columns], pictures, indices, strict=False), 1):
            axes.imshow(picture)
            table.append((category, place, source.ids[index]))
        count = int((design.labels == design.categories.index(category)).sum())
        row[0].set_ylabel(f"{category}\n(n = {count:,})", rotation=0, ha="right", va="center", labelpad=4)
    save_figure(figure, path, ("category", "place", "image"), table)

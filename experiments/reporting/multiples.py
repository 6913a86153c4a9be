"""Small multiples: one map of several subjects on one page, as flat maps with one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...subject import Subject
from ...surface.colors import color_scale, name_scale
from ...surface.drawing import draw_flat
from ...surface.spaces import to_shown, whole_map
from ...surface.style import default_style
from ...vertices import Vertices
from .figures import about, legend_names, new_figure, remove_figure, save_figure
from .page import Picture
from .pictures import shown_values
from .results import OUTLINED, can_draw, note, outlined

_COLUMNS = 2
_TALL = 0.42  # height of a pair of flat maps as a share of its width
_WIDE = 1.7  # inches of a pair


def draw_subjects(
    subjects: Sequence[Subject],
    vertices: Sequence[Vertices],
    maps: Sequence[Float[np.ndarray, " vertices"]],
    path: Path,
    caption: str,
    *,
    title: str,
    label: str,
    roi: str | None,
    images: int,
    limit: tuple[float, float] | None = None,
    labels: Sequence[str] | None = None,
    regions: tuple[str, ...] = OUTLINED,
    settings: Mapping[str, Any] | None = None,
) -> list[Picture]:
    """Draw one map of each subject as small flat maps with one scale, as PNG, PDF and CSV.

    Where nothing can be drawn, files that an earlier run has left under this name are removed.

    Parameters
    ----------
    subjects, vertices, maps
        The subjects, and each one's vertices and values; values that are not finite stay grey.
    path
        The .png file. The .csv file beside it has the values that the picture shows.
    caption
        Text below the picture.
    title, label
        Title, and name of the values with their unit.
    roi, images
        ROI expression of the vertices (None for all), and number of images, which stand below the title.
    limit
        Both ends of the scale, such as of :func:`~berg_jax.experiments.reporting.pictures.shared_limits`.
    labels
        Names whose numbers, from 0, the values are.
    regions
        ROIs to outline, as far as a subject has them.
    settings
        Settings that made the maps, by name; shown in small print.

    Returns
    -------
    list of Picture
        The picture; none where the surface has no pictures, or no value is finite.

    See Also
    --------
    berg_jax.experiments.reporting.pictures.draw_brain : One subject's map, from several sides.
    """
    maps = [np.where(np.isfinite(values), values, np.nan) for values in maps]
    drawable = all(can_draw(one) for one in vertices)
    shown = [to_shown(*whole_map(*pair)) for pair in zip(maps, vertices, strict=True)] if drawable else []
    if not drawable or all(np.isnan(halves).all() for halves in shown):
        remove_figure(path)
        return []
    known = np.concatenate([np.concatenate(halves) for halves in shown])
    if labels is None:
        scale, kind = color_scale(known, limit, None), "values"
    else:
        scale, kind = name_scale(known, labels, None, None), "names"
    numbers = [subject.description.subject for subject in subjects]
    subtitle = about(numbers, roi, images=images)
    rows = -(-len(subjects) // _COLUMNS)
    with default_style():
        figure = new_figure((_WIDE * _TALL + 0.17) * rows + 0.45, title, subtitle, note(subjects[0]))
        panels = figure.subplots(rows, min(_COLUMNS, len(subjects)), squeeze=False).ravel()
        table = []
        for axes, subject, halves, own, values in zip(panels, subjects, shown, vertices, maps, strict=False):
            size = own.hemisphere_size
            masks = {name: _mask(region, size) for name, region in outlined(subject, regions).items()}
            draw_flat(axes, halves, {name: to_shown(mask, size) for name, mask in masks.items()}, scale, kind)
            drawn = int(np.isfinite(values).sum())
            axes.set_title(f"subject {subject.description.subject} (n = {drawn:,} vertices)", pad=2)
            number = subject.description.subject
            table += [(number, *row) for row in shown_values(values, own, labels)]
        for axes in panels[len(subjects) :]:
            axes.set_axis_off()
        if labels is None:
            bar = figure.colorbar(scale, ax=list(panels), orientation="horizontal", shrink=0.6, aspect=30, pad=0.03)
            bar.set_label(label)
        else:
            legend_names(figure, list(labels), [scale.to_rgba(place) for place in range(len(labels))])
    save_figure(figure, path, ("subject", "hemisphere", "vertex", "value"), table)
    return [Picture(path, caption, {"subjects": numbers, **(settings or {})})]


def _mask(region: Vertices, size: int) -> np.ndarray:
    mask = np.zeros(2 * size, bool)
    mask[region.global_indices] = True
    return mask

"""Figures of reports: maps on the brain, and tables colored by their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ... import surface
from ...errors import InvalidParameterError
from ...files.disk import explained
from ...subject import Subject
from ...surface.spaces import to_shown, whole_map
from ...surface.style import default_style
from ...vertices import Vertices
from .page import Picture
from .results import OUTLINED, can_draw, note, outlined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE = 8  # columns of a table; more than these are narrower


def draw_brain(
    subject: Subject,
    vertices: Vertices,
    values: Float[np.ndarray, " vertices"],
    path: Path,
    caption: str,
    *,
    regions: tuple[str, ...] = OUTLINED,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Picture]:
    """Draw a map of a subject's vertices for a report, with outlines of regions.

    Where nothing can be drawn, a picture that an earlier run has left at this path is removed.

    Parameters
    ----------
    subject
        The subject whose regions are outlined.
    vertices
        Vertices of the values.
    values
        The map; values that are not finite stay grey.
    path
        File to save the picture to.
    caption
        Text below the picture.
    regions
        ROIs to outline, as far as the subject has them.
    settings
        Settings that made the map, by name; shown in small print.
    options
        As for :func:`berg_jax.surface.plot`.

    Returns
    -------
    list of Picture
        The picture; none where the surface has no pictures, or no value is finite.

    See Also
    --------
    berg_jax.surface.plot : Draw a map with any outlines.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    if not can_draw(vertices) or np.isnan(to_shown(*whole_map(values, vertices))).all():
        path.unlink(missing_ok=True)  # of an earlier run
        return []
    outlines = outlined(subject, regions)
    surface.plot(values, vertices, outlines=outlines, note=note(subject), output=path, **options)
    return [Picture(path, caption, {"subject": subject.description.subject, **(settings or {})})]


def draw_table(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    path: str | Path,
    *,
    title: str | None = None,
    note: str | None = None,
) -> None:
    """Draw a table of numbers, such as ROIs by categories, with colored cells: blue below 0, red above.

    Parameters
    ----------
    values
        The numbers; cells with NaN stay empty.
    rows, columns
        Names of the rows and columns.
    label
        Name of the numbers, with their unit, at the color bar.
    path
        File to save the picture to: .png, .pdf or .svg.
    title
        Text above the table.
    note
        Small print below it.

    Raises
    ------
    InvalidParameterError
        There are not as many names as rows or columns.
    ResourceError
        matplotlib is not installed, or the picture cannot be written.
    """
    values = np.asarray(values, np.float64)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise InvalidParameterError(
            f"A table of {len(rows)} rows and {len(columns)} columns needs as many values, got {values.shape}."
        )
    with default_style():
        figure = _table(values, rows, columns, label, title, note)
        with explained("write", Path(path)):
            figure.savefig(path)


def _table(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    title: str | None,
    note: str | None,
) -> Figure:
    from matplotlib.figure import Figure

    limit = float(np.nanmax(abs(values), initial=0)) or 1.0
    cell = 0.85 if len(columns) <= _WIDE else 0.5  # inches
    width, height = 2.2 + cell * len(columns), 1.6 + 0.27 * len(rows)
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    axes = figure.subplots()
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=30 if max(map(len, columns)) > 9 * cell else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(labelsize=8, length=0, top=False, bottom=False)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            shade = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:.2f}", size=8, ha="center", va="center", color=shade)
    figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05, aspect=40).set_label(label, size=9)
    if title:
        axes.set_title(title, size=11)
    if note:
        figure.supxlabel(note, fontsize=7.5, color="0.4")
    return figure

"""Figures of reports: maps on the brain, and tables colored by their numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ... import surface
from ...errors import InvalidParameterError
from ...subject import Subject
from ...surface.colors import color_scale
from ...surface.spaces import to_shown, whole_map
from ...surface.style import SMALLEST, WIDTH, default_style
from ...surface.views import OCCIPITAL
from ...vertices import HEMISPHERES, Vertices
from .figures import about, new_figure, remove_figure, save_figure
from .page import Picture
from .results import EARLY, OUTLINED, can_draw, landmarks, note, outlined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHARACTER, _DIGIT = 0.047, 0.054  # inches that a character, and a digit, of the smallest text take
_ROW = 0.125  # height of a table's row in inches
_BAR = 0.5  # height of a color bar below a table, with its label


def draw_brain(
    subject: Subject,
    vertices: Vertices,
    values: Float[np.ndarray, " vertices"],
    path: Path,
    caption: str,
    *,
    roi: str | None,
    images: int | None = None,
    regions: tuple[str, ...] = OUTLINED,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Picture]:
    """Draw a map of a subject's vertices for a report, with outlines of regions, as PNG, PDF and CSV.

    Where nothing can be drawn, files that an earlier run has left under this name are removed.

    Parameters
    ----------
    subject
        The subject whose regions are outlined.
    vertices
        Vertices of the values.
    values
        The map; values that are not finite stay grey.
    path
        The .png file. The .csv file beside it has the values that the picture shows.
    caption
        Text below the picture.
    roi
        ROI expression of the vertices, which stands below the title; None for all.
    images
        Number of images, which stands there, too.
    regions
        ROIs to outline, as far as the subject has them.
    settings
        Settings that made the map, by name; shown in small print. A ``subject`` among them stands below the title
        in place of the subject's own ID.
    options
        As for :func:`berg_jax.surface.plot`.

    Returns
    -------
    list of Picture
        The picture; none where the surface has no pictures, or no value is finite.

    See Also
    --------
    berg_jax.surface.plot : Draw a map with any outlines.
    shared_limits : One scale of maps that are compared.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    if not can_draw(vertices) or np.isnan(to_shown(*whole_map(values, vertices))).all():
        remove_figure(path)  # of an earlier run
        return []
    counts = ({} if images is None else {"images": images}) | {"vertices drawn": int((~np.isnan(values)).sum())}
    who = (settings or {}).get("subject", subject.description.subject)  # a fit draws on its donor's surface
    subtitle = about([who], roi, **counts)
    outlines = outlined(subject, regions)
    figure = surface.plot(values, vertices, outlines=outlines, note=note(subject), subtitle=subtitle, **options)
    save_figure(
        figure, path, ("hemisphere", "vertex", "value"), shown_values(values, vertices, options.get("labels"))
    )
    return [Picture(path, caption, {"subject": subject.description.subject, **(settings or {})})]


def overview(
    subject: Subject, vertices: Vertices, values: Float[np.ndarray, " vertices"]
) -> dict[str, tuple[str, ...]]:
    """Return the views and outlined areas of a map of the whole cortex, as options of :func:`draw_brain`.

    Where the map has values in early visual cortex, a close-up shows it, in which its ventral and dorsal halves are
    outlined and named, too.

    Parameters
    ----------
    subject
        The subject whose areas are outlined.
    vertices, values
        The map.
    """
    views, there = ("lateral", "ventral", "medial"), vertices.global_indices[np.isfinite(values)]
    if any(np.isin(there, region.global_indices).any() for region in outlined(subject, EARLY).values()):
        return {"views": (*views, OCCIPITAL), "regions": landmarks(subject)}
    return {"views": views, "regions": OUTLINED}


def shared_limits(*maps: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return both ends of one scale of maps that are compared: around 0 where they have values of both signs.

    Examples
    --------
    >>> shared_limits(np.array([0.0, 2.0, 2.0]), np.array([-1.0, np.nan]))
    (-2.0, 2.0)
    """
    values = np.concatenate([np.zeros(0), *(np.ravel(one)[np.isfinite(np.ravel(one))] for one in maps)])
    most = (float(np.percentile(abs(values), 99)) or float(abs(values).max())) if len(values) else 1.0
    most = most or 1.0
    return (-most if (values < 0).any() else 0.0, most if (values > 0).any() or not (values < 0).any() else 0.0)


def shown_values(
    values: Float[np.ndarray, " vertices"], vertices: Vertices, labels: Sequence[str] | None
) -> Iterator[tuple[str, int, Any]]:
    """Return the hemisphere, index and value of each vertex whose value a picture shows."""
    whole, size = whole_map(values, vertices)
    shown = min(size, len(to_shown(whole, size)[0]))
    for hemisphere, half in zip(HEMISPHERES, whole.reshape(2, size), strict=True):
        for vertex in np.flatnonzero(~np.isnan(half[:shown])).tolist():
            value = float(half[vertex])
            yield hemisphere, vertex, value if labels is None else labels[int(value)]


def draw_table(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    path: str | Path,
    *,
    title: str,
    subtitle: str = "",
    corner: str = "",
    note: str | None = None,
) -> None:
    """Draw a table of numbers, such as ROIs by categories, with colored cells; as PNG, PDF and CSV.

    Values of both signs are blue below 0 and red above; others are colored from 0, or from the smallest if half of
    the scale would be empty. Numbers stand in the cells where there is room.

    Parameters
    ----------
    values
        The numbers; cells with NaN stay empty.
    rows, columns
        Names of the rows and columns.
    label
        Name of the numbers, with their unit, at the color bar.
    path
        The .png file; the .pdf and .csv files have its name.
    title, subtitle
        Text above the table, and a line below it, such as of :func:`~berg_jax.experiments.reporting.figures.about`.
    corner
        Name of the rows' column in the .csv file.
    note
        Small print below the table.

    Raises
    ------
    InvalidParameterError
        There are not as many names as rows or columns.
    ResourceError
        matplotlib is not installed, or the files cannot be written.
    """
    values = np.asarray(values, np.float64)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise InvalidParameterError(
            f"A table of {len(rows)} rows and {len(columns)} columns needs as many values, got {values.shape}."
        )
    with default_style():
        figure = _table(values, rows, columns, label, title, subtitle, note)
    table = ([name, *row] for name, row in zip(rows, values.tolist(), strict=True))
    save_figure(figure, path, [corner, *columns], table)


def _table(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    title: str,
    subtitle: str,
    note: str | None,
) -> Figure:
    cell = (WIDTH - 0.7 - _CHARACTER * max(map(len, rows))) / len(columns)  # its width in inches
    room = max(int(cell / _CHARACTER), 1)
    names = [textwrap.fill(name, room, break_long_words=False) for name in columns]
    turned = max(len(line) for name in names for line in name.splitlines() or [""]) > room
    names = list(columns) if turned else names
    lines = 1 + max(name.count("\n") for name in names)
    head = (_CHARACTER * max(map(len, names)) if turned else 0.1 * lines) + 0.2
    # Beside few rows there is no room for the color bar's label.
    below = 1.3 * _CHARACTER * len(label) > _ROW * len(rows)
    figure = new_figure(head + _ROW * len(rows) + (_BAR if below else 0), title, subtitle, note)
    axes = figure.subplots()
    known = values[~np.isnan(values)]
    scale = color_scale(known if len(known) else np.zeros(1), None, None, outliers=0)
    image = axes.imshow(values, cmap=scale.cmap, norm=scale.norm, aspect="auto")
    axes.set_xticks(range(len(columns)), names, rotation=90 if turned else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), text in _cell_texts(values, int(cell / _DIGIT)).items():
        options = {"ha": "center", "va": "center", "color": _ink(scale.to_rgba(values[row, column]))}
        axes.text(column, row, text, size=SMALLEST, **options)
    if below:
        bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=40)
    else:
        bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05, aspect=40)
    bar.set_label(label)
    return figure


def _cell_texts(values: Float[np.ndarray, "rows columns"], room: int) -> dict[tuple[int, ...], str]:
    """Return the cells' numbers as texts, without the leading 0 in narrow cells; none if there is no room."""
    known = {place: f"{value:.2f}" for place, value in np.ndenumerate(values) if not np.isnan(value)}
    if max(map(len, known.values()), default=0) <= room:
        return known
    short = {place: text.replace("0.", ".", 1).removesuffix(".00") for place, text in known.items()}
    return short if max(map(len, short.values())) <= room else {}


def _ink(shade: tuple[float, float, float, float]) -> str:
    """Return the color of a text that stands out from a shade."""
    red, green, blue, _ = shade
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"

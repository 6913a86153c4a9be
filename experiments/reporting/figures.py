"""Figures that stand alone: a journal column wide, titled with subjects, ROI and n; saved with the numbers behind."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files.csv_tables import write_table
from ...files.disk import explained, write_whole
from ...stream.selection import Selection
from ...surface.style import DPI, SMALLEST, WIDTH, default_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHARACTERS = 64  # of a line of a title at the figure's width
_BELOW = 0.36  # inches from axes to a legend below them, which leave room for ticks and a label
_PICTURES = {".png": {}, ".pdf": {"metadata": {"CreationDate": None}}}
_FILES = (*_PICTURES, ".csv")


def about(subjects: Sequence[int], roi: str | None = None, **counts: int | str) -> str:
    """Return the words below a figure's title that say whom and how many of what it shows.

    Parameters
    ----------
    subjects
        IDs of the subjects.
    roi
        ROI expression; None for all vertices.
    counts
        Numbers by what was counted, such as ``images=200``; texts stand as they are.

    Examples
    --------
    >>> about([1, 2], "FFA-1 + PPA", images=1200, vertices=94)
    'subjects 1, 2 · FFA-1 + PPA · n = 1,200 images, 94 vertices'
    """
    who = f"subject{'s' * (len(subjects) > 1)} {', '.join(map(str, subjects))}"
    numbers = [f"{n if isinstance(n, str) else f'{n:,}'} {name}" for name, n in counts.items()]
    return " · ".join([who, *([roi] if roi else ["all vertices"]), *([f"n = {', '.join(numbers)}"] * bool(numbers))])


def where(selection: Selection) -> str | None:
    """Return the words for selected vertices, such as ``nsdgeneral, lh, ncsnr ≥ 0.2``; None for all vertices.

    Examples
    --------
    >>> where(Selection("V1", hemisphere="lh", min_ncsnr=0.2))
    'V1, lh, ncsnr ≥ 0.2'
    """
    roi = selection.roi
    words = "" if roi is None else roi if isinstance(roi, str) else "given vertices"
    if isinstance(roi, list | tuple):
        words = " + ".join(map(str, roi))
    parts = [words] * bool(words) + [selection.hemisphere] * (selection.hemisphere != "both")
    for name, least in (("ncsnr", selection.min_ncsnr), ("explained variance", selection.min_explained_variance)):
        if least is not None:
            parts.append(f"{name} ≥ {least:g}")
    return ", ".join(parts) or None


def new_figure(height: float, title: str, subtitle: str = "", note: str | None = None) -> Figure:
    """Return a figure as wide as a journal column, with a title and small print; to be drawn under ``default_style``.

    Parameters
    ----------
    height
        Height in inches, without the titles and the small print.
    title, subtitle
        Title, and a line below it, such as of :func:`about`. Long ones are wrapped.
    note
        Small print below the figure.
    """
    from matplotlib.figure import Figure

    lines = [*textwrap.wrap(title, _CHARACTERS), *textwrap.wrap(subtitle, _CHARACTERS)]
    foot = textwrap.wrap(note or "", _CHARACTERS + 8)
    figure = Figure(figsize=(WIDTH, height + 0.14 * (len(lines) + len(foot))), layout="constrained", dpi=DPI)
    figure.suptitle("\n".join(lines), fontsize=7)
    if foot:
        figure.supxlabel("\n".join(foot), fontsize=SMALLEST, color="0.4")
    return figure


def legend_below(axes: Axes, columns: int = 1, center: float = 0.5) -> None:
    """Write the legend below the axes' label, where it hides nothing and the small print stands below it.

    Parameters
    ----------
    axes
        Axes with labelled artists.
    columns
        Number of columns.
    center
        Place of its middle, as a share of the axes' width.
    """
    from matplotlib.transforms import ScaledTranslation

    place = axes.transAxes + ScaledTranslation(0, -_BELOW, axes.figure.dpi_scale_trans)
    options = {"loc": "upper center", "bbox_to_anchor": (center, 0), "bbox_transform": place, "borderaxespad": 0}
    axes.legend(ncols=columns, frameon=False, **options)


def legend_names(figure: Figure, names: Sequence[str], colors: Sequence[Any]) -> None:
    """Write which color is which name below a figure's title.

    The legend holds the title, since matplotlib's layout would draw one over the other.

    Parameters
    ----------
    figure
        Figure with a title.
    names, colors
        The names, and the color of each.
    """
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="s", ls="", ms=4, color=color) for color in colors]
    columns = max(1, min(len(names), _CHARACTERS // (max(map(len, names)) + 5)))
    options = {"frameon": False, "ncols": columns, "handletextpad": 0.2, "columnspacing": 1, "borderpad": 0}
    title = {"title": figure.get_suptitle(), "title_fontsize": 7, "alignment": "center"}
    figure.suptitle("")
    legend = figure.legend(handles, names, loc="outside upper center", **options, **title)
    legend.get_title().set_multialignment("center")


def save_figure(
    figure: Figure,
    path: str | Path,
    columns: Iterable[str] = (),
    rows: Iterable[Iterable[Any]] | None = None,
    math: bool = False,
) -> None:
    """Save a figure as PNG and as PDF, and the numbers behind it as CSV, under one name.

    Parameters
    ----------
    figure
        The figure.
    path
        The .png file; the others have its name, with their own endings.
    columns, rows
        Table of the numbers; without rows none is written.
    math
        Whether ticks have formulas, such as powers of 10.

    Raises
    ------
    ResourceError
        A file cannot be written.
    """
    path = Path(path)
    with default_style(math):
        for suffix, options in _PICTURES.items():
            memory = io.BytesIO()
            figure.savefig(memory, format=suffix[1:], **options)
            with explained("write", path):
                write_whole(path.with_suffix(suffix), memory.getvalue())  # another process may be reading it
    if rows is not None:
        write_table(path.with_suffix(".csv"), columns, rows)


def remove_figure(path: str | Path) -> None:
    """Remove the files of a figure, as far as they are there."""
    for suffix in _FILES:
        Path(path).with_suffix(suffix).unlink(missing_ok=True)

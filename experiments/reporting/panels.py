"""Grids of small panels with one scale, such as one for each ROI: their layout, and what surrounds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_WIDTH = 183 / 25.4  # inches of two columns of a journal, which hold these figures


def panels(count: int, columns: int, *, width: float, height: float, beside: float = 1.0) -> tuple[Figure, list[Any]]:
    """Return a figure of panels that share their axes, row by row.

    The lowest panel of each column has the numbers of the horizontal axis, also where a row is not full.

    Parameters
    ----------
    count
        Number of panels.
    columns
        Largest number of panels in a row; there are fewer where a page is not wide enough.
    width, height
        Size of a panel in inches.
    beside
        Width in inches of what stands at the left, such as names.
    """
    from matplotlib.figure import Figure

    columns = min(columns, count, max(1, int((_WIDTH - beside) / width)))
    rows = -(-count // columns)
    figure = Figure(figsize=(beside + width * columns, 1.1 + height * rows), layout="constrained", dpi=150)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel())
    for index, axis in enumerate(axes[:count]):
        axis.tick_params(labelsize=8, labelbottom=index + columns >= count)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def save_panels(figure: Figure, path: Path, *, title: str, label: str, note: str | None, named: bool = False) -> None:
    """Write a figure of panels, as PNG and PDF, with its title, the name of the horizontal axis and small print.

    Parameters
    ----------
    figure
        The figure, from :func:`panels`.
    path
        The .png file.
    title
        Text above all panels.
    label
        Name of the horizontal axis, with its unit.
    note
        Small print below it.
    named
        Whether a legend below the title gives the first panel's names.
    """
    titled(figure, title, named=named)
    figure.supxlabel(label if note is None else f"{label}\n{note}", fontsize=8)
    save_figure(figure, path)


def titled(figure: Figure, title: str, *, named: bool) -> None:
    """Set a figure's title, above a legend of the first panel's names if these are wanted.

    The legend holds the title, since matplotlib's layout would draw one over the other.
    """
    handles, names = figure.axes[0].get_legend_handles_labels()
    if named and handles:
        options = {"title": title, "title_fontsize": 10, "fontsize": 8, "frameon": False}
        figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 6), **options)
    else:
        figure.suptitle(title, fontsize=10)

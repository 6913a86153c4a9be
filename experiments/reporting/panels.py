"""Grids of small panels with one scale, such as one for each ROI: their layout, and what surrounds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...files.disk import explained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Legend = Literal["outside upper right", "outside upper center"]


def panels(count: int, columns: int, *, width: float, height: float, beside: float = 1.0) -> tuple[Figure, list[Any]]:
    """Return a figure of panels that share their axes, row by row.

    The lowest panel of each column has the numbers of the horizontal axis, also where a row is not full.

    Parameters
    ----------
    count
        Number of panels.
    columns
        Largest number of panels in a row.
    width, height
        Size of a panel in inches.
    beside
        Width in inches of what stands at the left, such as names.
    """
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(beside + width * columns, 1.1 + height * rows), layout="constrained", dpi=150)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel())
    for index, axis in enumerate(axes[:count]):
        axis.tick_params(labelsize=8, labelbottom=index + columns >= count)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def save_panels(
    figure: Figure, path: Path, *, title: str, label: str, note: str | None, legend: Legend | None = None
) -> None:
    """Write a figure of panels with its title, the name of the horizontal axis and small print.

    Parameters
    ----------
    figure
        The figure, from :func:`panels`.
    path
        File to save it to.
    title
        Text above all panels.
    label
        Name of the horizontal axis, with its unit.
    note
        Small print below it.
    legend
        Place of a legend of the first panel's names; none by default.
    """
    if legend is not None:
        handles, names = figure.axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc=legend, ncols=5, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(label if note is None else f"{label}\n{note}", fontsize=8)
    with explained("write", path):
        figure.savefig(path)

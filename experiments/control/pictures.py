"""Figures of control: chosen images among all images, and chosen sets among random sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...surface.style import default_style
from ..reporting.figures import legend_below, new_figure, save_figure
from ..reporting.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ("tab:red", "tab:blue", "tab:orange", "tab:green")
_LINEAR = 2.0  # z units within which the axes are linear; farther out they are compressed
_TICKS = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20)


class Chosen(NamedTuple):
    """Responses to the images chosen and synthesized for a goal.

    Attributes
    ----------
    goal
        The goal's name.
    dots
        The two regions' responses to each chosen image (images, 2), or the alignment of a chosen set (1,).
    made
        The two regions' responses to each synthesized image, if there are any.
    interval
        Interval of the alignment of a chosen set.
    """

    goal: str
    dots: np.ndarray
    made: Float[np.ndarray, "n 2"] | None = None
    interval: Interval | None = None


@default_style()
def draw_quadrants(
    means: Float[np.ndarray, "images 2"],
    rois: Sequence[str],
    rows: Sequence[Chosen],
    path: Path,
    *,
    baseline: Float[np.ndarray, " 2"],
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw each image's response in one region against its response in the other, chosen images in color.

    Parameters
    ----------
    means
        The regions' mean responses to all images, z units.
    rois
        The two regions' names.
    rows
        The chosen images, goal by goal.
    path
        The .png file; the .csv file beside it has all points.
    baseline
        The regions' mean responses over all images.
    title, subtitle, note
        Texts above and below the figure.
    """
    figure = new_figure(3.4, title, subtitle, note)
    axes = figure.subplots()
    from matplotlib.ticker import FixedLocator

    axes.scatter(*means.T, s=3, color="0.75", label="all images", linewidths=0)
    axes.axvline(baseline[0], color="0.5", ls="--", lw=0.6)
    axes.axhline(baseline[1], color="0.5", ls="--", lw=0.6, label="their mean")
    table = [("all images", *map(float, point)) for point in means]
    for row, color in zip(rows, _COLORS, strict=False):
        axes.scatter(*row.dots.T, s=7, color=color, label=f"{row.goal}: n = {len(row.dots)}", linewidths=0)
        table += [(row.goal, *map(float, point)) for point in row.dots]
        if row.made is not None:
            axes.scatter(*row.made.T, s=24, marker="*", color=color, edgecolor="black", lw=0.3)
            table += [(f"{row.goal}, synthesized", *map(float, point)) for point in row.made]
    if any(row.made is not None for row in rows):
        # Synthesized images are far out; this scale shows them, and still tells the others apart.
        axes.set_xscale("asinh", linear_width=_LINEAR)
        axes.set_yscale("asinh", linear_width=_LINEAR)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(_TICKS))
            axis.set_major_formatter("{x:g}")
        made = sum(0 if row.made is None else len(row.made) for row in rows)
        options = {"marker": "*", "color": "white", "edgecolor": "black", "lw": 0.3}
        axes.scatter([], [], s=24, label=f"synthesized: n = {made}", **options)
    axes.set_xlabel(f"mean response of {rois[0]} (z)")
    axes.set_ylabel(f"mean response of {rois[1]} (z)")
    legend_below(axes, 2)
    _save(figure, axes, path, ("shown", *rois), table)


@default_style()
def draw_sets(
    random_sets: Float[np.ndarray, " sets"],
    rois: Sequence[str],
    rows: Sequence[Chosen],
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw the regions' alignment for random sets of images (histogram) and for the chosen sets (lines).

    Parameters
    ----------
    random_sets
        Correlation of the regions' dissimilarities for each random set.
    rois, rows, path, title, subtitle, note
        See :func:`draw_quadrants`. Of each goal the first of the ``dots`` is drawn, over the ``interval``.
    """
    figure = new_figure(2.6, title, subtitle, note)
    axes = figure.subplots()
    axes.hist(random_sets, bins=40, color="0.75", label=f"random sets: n = {len(random_sets):,}")
    table = [("random set", float(value), np.nan, np.nan) for value in random_sets]
    for row, color in zip(rows, _COLORS, strict=False):
        alignment = float(row.dots[0])
        told = "" if row.interval is None else f", 95% {row.interval}"
        axes.axvline(alignment, color=color, lw=1.2, label=f"{row.goal}: {alignment:.2f}{told}")
        if row.interval is not None and np.isfinite(row.interval).all():
            axes.axvspan(*row.interval, color=color, alpha=0.15, lw=0)
        table.append((row.goal, alignment, *(row.interval or (np.nan, np.nan))))
    axes.set_xlabel(f"correlation of dissimilarities of {rois[0]} and {rois[1]} (no unit)")
    axes.set_ylabel("number of sets")
    legend_below(axes)
    _save(figure, axes, path, ("shown", "alignment", "low", "high"), table)


def _save(figure: Figure, axes: Axes, path: Path, columns: Sequence[str], table: Sequence[Sequence[Any]]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, columns, table)

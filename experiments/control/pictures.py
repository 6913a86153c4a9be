"""Figures of control: chosen images among all images, and chosen sets among random sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...files.disk import explained
from ...surface.style import default_style

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
    """

    goal: str
    dots: np.ndarray
    made: Float[np.ndarray, "n 2"] | None = None


@default_style()
def draw_quadrants(
    means: Float[np.ndarray, "images 2"],
    rois: Sequence[str],
    rows: Sequence[Chosen],
    path: Path,
    *,
    baseline: Float[np.ndarray, " 2"],
    title: str,
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
        Picture to write.
    baseline
        The regions' mean responses over all images.
    title, note
        Text above and below the figure.
    """
    figure, axes = _figure(title, note)
    from matplotlib.ticker import FixedLocator

    axes.scatter(*means.T, s=9, color="0.75", label="all images")
    axes.axvline(baseline[0], color="0.5", ls="--", lw=0.8)
    axes.axhline(baseline[1], color="0.5", ls="--", lw=0.8, label="their mean")
    for row, color in zip(rows, _COLORS, strict=False):
        axes.scatter(*row.dots.T, s=18, color=color, label=f"{row.goal}: {len(row.dots)} images")
        if row.made is not None:
            axes.scatter(*row.made.T, s=60, marker="*", color=color, edgecolor="black", lw=0.5)
    if any(row.made is not None for row in rows):
        # Synthesized images are far out; this scale shows them, and still tells the others apart.
        axes.set_xscale("asinh", linear_width=_LINEAR)
        axes.set_yscale("asinh", linear_width=_LINEAR)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(_TICKS))
            axis.set_major_formatter("{x:g}")
        axes.scatter([], [], s=60, marker="*", color="white", edgecolor="black", lw=0.5, label="synthesized")
    axes.set_xlabel(f"mean response of {rois[0]} (z)")
    axes.set_ylabel(f"mean response of {rois[1]} (z)")
    _save(figure, axes, path)


@default_style()
def draw_sets(
    random_sets: Float[np.ndarray, " sets"],
    rois: Sequence[str],
    rows: Sequence[Chosen],
    path: Path,
    *,
    title: str,
    note: str | None,
) -> None:
    """Draw the regions' alignment for random sets of images (histogram) and for the chosen sets (lines).

    Parameters
    ----------
    random_sets
        Correlation of the regions' dissimilarities for each random set.
    rois, rows, path, title, note
        See :func:`draw_quadrants`.
    """
    figure, axes = _figure(title, note)
    axes.hist(random_sets, bins=40, color="0.75", label=f"{len(random_sets)} random sets")
    for row, color in zip(rows, _COLORS, strict=False):
        alignment = float(row.dots[0])
        axes.axvline(alignment, color=color, lw=2, label=f"{row.goal}: {alignment:.2f}")
    axes.axvline(0, color="0.5", ls="--", lw=0.8)
    axes.set_xlabel(f"correlation of {rois[0]}'s and {rois[1]}'s dissimilarities")
    axes.set_ylabel("sets")
    _save(figure, axes, path)


def _figure(title: str, note: str | None) -> tuple[Any, Any]:
    """Return a figure small enough for a phone, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.6), layout="constrained", dpi=150)
    figure.suptitle(title, fontsize=10)
    if note:
        figure.supxlabel(note, fontsize=8, color="0.4")
    return figure, figure.subplots()


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
    with explained("write", path):
        figure.savefig(path)

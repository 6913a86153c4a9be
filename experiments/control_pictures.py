"""What control looks like: the chosen images, and where they lie among all others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ..files import explained
from ..surface_meshes import require

_COLORS = ("tab:red", "tab:blue", "tab:orange", "tab:green")
_CHOSEN, _MADE = 6, 3  # images shown in a line
_LINEAR = 2.0  # z units: what is farther out is drawn closer
_TICKS = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20)


class Row(NamedTuple):
    """A goal, its first chosen images (none: None), and where the chosen lie; the same of synthesized ones."""

    goal: str
    images: UInt8[np.ndarray, "n 3 h w"] | None
    dots: np.ndarray
    made: UInt8[np.ndarray, "n 3 h w"] | None = None
    made_dots: Float[np.ndarray, "n 2"] | None = None

    @property
    def number(self) -> int:
        """How many images were chosen."""
        return len(self.dots)

    @property
    def lines(self) -> int:
        """How many lines its images are shown in."""
        return 1 if self.images is None else -(-len(self.images) // _CHOSEN)


def draw_quadrants(
    means: Float[np.ndarray, "images 2"],
    rois: Sequence[str],
    rows: Sequence[Row],
    path: Path,
    *,
    baseline: Float[np.ndarray, " 2"],
    title: str,
    note: str | None,
) -> None:
    """Every image's response in one region against that in the other, the chosen ones in color; and those images."""
    figure, axes = _figure(rows, title, note)
    from matplotlib.ticker import FixedLocator

    axes.scatter(*means.T, s=9, color="0.75", label="all images")
    axes.axvline(baseline[0], color="0.5", ls="--", lw=0.8)
    axes.axhline(baseline[1], color="0.5", ls="--", lw=0.8, label="their mean")
    for row, color in zip(rows, _COLORS, strict=False):
        axes.scatter(*row.dots.T, s=18, color=color, label=f"{row.goal}: {row.number} images")
        if row.made_dots is not None:
            axes.scatter(*row.made_dots.T, s=60, marker="*", color=color, edgecolor="black", lw=0.5)
    if any(row.made_dots is not None for row in rows):
        # Synthesized images are far out: both, and what is between the others, are to be seen.
        axes.set_xscale("asinh", linear_width=_LINEAR)
        axes.set_yscale("asinh", linear_width=_LINEAR)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(_TICKS))
            axis.set_major_formatter("{x:g}")
        axes.scatter([], [], s=60, marker="*", color="white", edgecolor="black", lw=0.5, label="synthesized")
    axes.set_xlabel(f"mean response of {rois[0]} (z)")
    axes.set_ylabel(f"mean response of {rois[1]} (z)")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    with explained("write", path):
        figure.savefig(path)


def draw_sets(
    usual: Float[np.ndarray, " sets"],
    rois: Sequence[str],
    rows: Sequence[Row],
    path: Path,
    *,
    title: str,
    note: str | None,
) -> None:
    """How alike the regions represent random sets and the chosen ones; and some of these sets' images."""
    figure, axes = _figure(rows, title, note)
    axes.hist(usual, bins=40, color="0.75", label=f"{len(usual)} random sets")
    for row, color in zip(rows, _COLORS, strict=False):
        axes.axvline(float(row.dots[0]), color=color, lw=2, label=f"{row.goal}: {float(row.dots[0]):.2f}")
    axes.axvline(0, color="0.5", ls="--", lw=0.8)
    axes.set_xlabel(f"correlation of {rois[0]}'s and {rois[1]}'s dissimilarities")
    axes.set_ylabel("sets")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
    with explained("write", path):
        figure.savefig(path)


def _figure(rows: Sequence[Row], title: str, note: str | None) -> tuple[Any, Any]:
    """A figure with the rows' images at its right, a few lines of them each, and the axes at its left."""
    require("matplotlib")
    from matplotlib.figure import Figure

    made = max(0 if row.made is None else len(row.made[:_MADE]) for row in rows)
    lines = [(row, color, line) for row, color in zip(rows, _COLORS, strict=False) for line in range(row.lines)]
    width, tall = 0.95 * (_CHOSEN + made), max((1.35 if len(rows) == len(lines) else 1.1) * len(lines), 4.2)
    figure = Figure(figsize=(5.2 + width, tall + 0.4), layout="constrained", dpi=150)
    left, right = figure.subfigures(1, 2, width_ratios=(5, width))
    grid = right.subplots(len(lines), _CHOSEN + made, squeeze=False)
    for (row, color, line), axes in zip(lines, grid, strict=True):
        chosen = None if row.images is None else row.images[_CHOSEN * line :]
        for image, one in zip([*_padded(chosen, _CHOSEN), *_padded(row.made, made)], axes, strict=True):
            one.set_axis_off()
            if image is not None:
                one.imshow(image.transpose(1, 2, 0))
        if line == 0:
            axes[0].set_title(row.goal, color=color, fontsize=9, loc="left")
        if row.made is not None:
            axes[_CHOSEN].set_title("synthesized", color=color, fontsize=9, loc="left")
    figure.suptitle(title, fontsize=10)
    if note:
        figure.supxlabel(note, fontsize=7.5, color="0.4")
    return figure, left.subplots()


def _padded(images: UInt8[np.ndarray, "n 3 h w"] | None, count: int) -> list[np.ndarray | None]:
    found = [] if images is None else list(images[:count])
    return [*found, *[None] * (count - len(found))]

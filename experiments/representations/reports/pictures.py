"""Figures of images arranged by their dissimilarities: as points of a plane, and as trees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.cluster import hierarchy

from ....stream.sources.image_files import Source
from ....surface.style import SMALLEST, default_style
from ...inputs.categories import ShownImages
from ...reporting.figures import new_figure, save_figure
from ...reporting.thumbnails import paste, read_thumbnails, spread
from .arrangement import clustered, leaf_order, scaled_to_plane, turned_alike
from .categories import category_colors, category_legend

Texts = tuple[str, str, str | None]  # subtitle, what the numbers are means over, small print
_TREES, _PLANES = 2, 3  # panels in a row, at most
_PICTURES = 60  # thumbnails in a plane, at most; other images are dots
_SHARE = 0.11  # width of a thumbnail as a share of the plane


@default_style()
def draw_scalings(
    means: Mapping[str, Float[np.ndarray, " pairs"]], shown: ShownImages, source: Source, path: Path, texts: Texts
) -> dict[str, float]:
    """Draw each ROI's images as points of a plane, with thumbnails, and return each plane's stress.

    Parameters
    ----------
    means
        Upper triangles of dissimilarities, by ROI.
    shown, source
        Names and categories of the images, and the images.
    path
        The .png file; the .csv file beside it has the points.
    texts
        The line below the title, the title's end, and the small print.
    """
    subtitle, several, note = texts
    planes = turned_alike({roi: scaled_to_plane(pairs) for roi, pairs in means.items()})
    columns, rows = _grid(len(planes), _PLANES)
    figure = new_figure((3.75 / columns + 0.18) * rows + 0.35, f"Images by dissimilarity{several}", subtitle, note)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    colors = category_colors(shown)
    chosen = shown.order[spread(len(shown.names), _PICTURES)]
    thumbnails = read_thumbnails(source, chosen)
    table = []
    for axes, (roi, plane) in zip(panels, planes.items(), strict=False):
        half = 1.12 * float(abs(plane.points).max())
        axes.set(xlim=(-half, half), ylim=(-1.25 * half, half), aspect="equal", xticks=[], yticks=[])
        axes.scatter(*plane.points.T, s=4, c=colors, linewidths=0)
        size = 2 * half * _SHARE
        paste(axes, thumbnails, plane.points[chosen], (size, size), [colors[index] for index in chosen])
        axes.set_title(f"{roi} (stress {plane.stress:.2f})", pad=3)
        axes.spines[:].set_color("0.8")
        _scale_bar(axes, half)
        table += [
            (roi, name, category, *map(float, point), plane.stress)
            for name, category, point in zip(*shown, plane.points, strict=True)
        ]
    for axes in panels[len(planes) :]:
        axes.set_visible(False)
    category_legend(figure, shown)
    save_figure(figure, path, ("roi", "image", "category", "x", "y", "stress"), table)
    return {roi: plane.stress for roi, plane in planes.items()}


def _scale_bar(axes: Any, half: float) -> None:
    """Draw a bar whose length is a round dissimilarity, which stands beside it."""
    wanted = half / 2
    power = 10.0 ** np.floor(np.log10(wanted)) if wanted > 0 else 1.0
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted or step == 1)
    left, low = -0.94 * half, -1.15 * half
    axes.plot([left, left + length], [low, low], "-", color="black", lw=1, zorder=4)
    axes.text(left + length + 0.03 * half, low, f"{length:g}", size=SMALLEST, va="center", zorder=4)


@default_style()
def draw_trees(
    means: Mapping[str, Float[np.ndarray, " pairs"]], shown: ShownImages, path: Path, texts: Texts
) -> None:
    """Draw the hierarchical clustering of the images in each ROI, with categories' colors below.

    Parameters
    ----------
    means, shown, path, texts
        See :func:`draw_scalings`. The .csv file has the branches that each merge joins, and at what dissimilarity.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    subtitle, several, note = texts
    trees = {roi: clustered(pairs) for roi, pairs in means.items()}
    columns, rows = _grid(len(trees), _TREES)
    figure = new_figure(0.95 * rows + 0.45, f"Clusters of images{several}", subtitle, note)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    colors, names = category_colors(shown), list(shown.names)
    highest = max(float(tree[-1, 2]) for tree in trees.values()) or 1.0
    table = []
    for axes, (roi, tree) in zip(panels, trees.items(), strict=False):
        drawn = hierarchy.dendrogram(tree, no_plot=True)
        lines = [
            np.column_stack([(np.array(across) - 5) / 10, up])
            for across, up in zip(drawn["icoord"], drawn["dcoord"], strict=True)
        ]
        axes.add_collection(LineCollection(lines, colors="0.3", linewidths=0.5))
        leaves = leaf_order(tree)
        low = -0.08 * highest
        strip = np.array([[to_rgb(colors[leaf]) for leaf in leaves]])
        extent = (-0.5, len(leaves) - 0.5, 1.6 * low, 0.4 * low)
        axes.imshow(strip, extent=extent, aspect="auto", interpolation="nearest")
        axes.set(xlim=(-1, len(leaves)), ylim=(1.7 * low, 1.05 * highest), xticks=[])
        axes.set_title(roi, pad=3)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        table += _merges(roi, tree, names)
    for axes in panels[len(trees) :]:
        axes.set_visible(False)
    figure.supylabel("dissimilarity, 1 − r (no unit)", size=6.5)
    category_legend(figure, shown)
    save_figure(figure, path, ("roi", "merge", "first", "second", "dissimilarity", "images"), table)


def _merges(roi: str, tree: Float[np.ndarray, "merges 4"], names: list[str]) -> list[tuple[Any, ...]]:
    """Return a row for each merge, whose branches are images or earlier merges."""

    def branch(number: float) -> str:
        index = int(number)
        return str(names[index]) if index < len(names) else f"merge {index - len(names) + 1}"

    return [
        (roi, place, branch(first), branch(second), float(height), int(count))
        for place, (first, second, height, count) in enumerate(tree, 1)
    ]


def _grid(count: int, most: int) -> tuple[int, int]:
    columns = min(most, count)
    return columns, -(-count // columns)

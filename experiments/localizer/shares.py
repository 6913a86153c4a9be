"""Shares of each ROI's vertices that prefer each category, such as of a tripartite organization: figure and table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ...files.csv_tables import write_table
from ...subject import Subject
from ...surface.style import default_style
from ...vertices import Vertices
from ..reporting.figures import save_figure
from ..reporting.page import Picture, Table
from ..reporting.panels import titled
from ..reporting.results import note, origin


def share_of_vertices(
    preferred: Float[np.ndarray, " v"], vertices: Vertices, regions: Mapping[str, Vertices], categories: int
) -> dict[str, list[float]]:
    """Return the share of each ROI's vertices that prefer each category; the rest prefer none."""
    shares = {}
    for name, region in regions.items():
        inside = preferred[np.isin(vertices.global_indices, region.global_indices)]
        shares[name] = [float((inside == category).mean()) for category in range(categories)]
    return shares


def shares_part(
    subject: Subject,
    shares: Mapping[str, Sequence[float]],
    sizes: Mapping[str, int],
    categories: Sequence[str],
    images: int,
    folder: Path,
) -> list[Picture | Table]:
    """Draw the shares as stacked bars, and write them into ``shares.csv``; nothing without ROIs.

    Parameters
    ----------
    subject
        The subject.
    shares
        Share of each ROI's vertices that prefer each category, where categories differ.
    sizes
        Number of vertices of each ROI.
    categories
        Names of the categories.
    images
        Number of images.
    folder
        Folder of the picture and the table.
    """
    if not shares:
        return []
    write_table(
        folder / "shares.csv",
        ("roi", *categories, "none", "vertices"),
        ((name, *row, 1 - sum(row), sizes[name]) for name, row in shares.items()),
    )
    path = folder / "shares.png"
    title = f"Preferring vertices, subject {subject.description.subject}{origin(subject)}, n = {images:,} images"
    _draw(shares, sizes, categories, path, title, note(subject))
    caption = (
        "Share of each ROI's vertices that respond most to each category, where categories differ (F at the false "
        "discovery rate over vertices); the rest, in grey, prefer none."
    )
    rows = [(name, sizes[name], *row, 1 - sum(row)) for name, row in shares.items()]
    table = Table(
        f"Share of vertices that prefer each category; n = {images:,} images",
        ("ROI", "vertices", *categories, "none"),
        rows,
        folded=True,
    )
    return [Picture(path, caption, {"images": images, "categories": list(categories)}), table]


@default_style()
def _draw(
    shares: Mapping[str, Sequence[float]],
    sizes: Mapping[str, int],
    categories: Sequence[str],
    path: Path,
    title: str,
    note: str | None,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.5 + 0.24 * len(shares)), layout="constrained", dpi=150)
    axes = figure.subplots()
    values = np.array([[*row, max(1 - sum(row), 0)] for row in shares.values()]) * 100
    left = np.zeros(len(values))
    colors = [f"C{index % 10}" if index % 10 != 7 else "black" for index in range(len(categories))]
    for column, (name, color) in enumerate(zip([*categories, "none"], [*colors, "0.85"], strict=True)):
        axes.barh(range(len(values)), values[:, column], left=left, color=color, height=0.75, label=name)
        left += values[:, column]
    axes.set_yticks(range(len(values)), [f"{name} ({sizes[name]:,})" for name in shares], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.margins(y=0.02)
    axes.set_xlabel("vertices that prefer a category (%); in brackets: number of vertices", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    titled(figure, title, named=True)
    if note:
        figure.supxlabel(note, fontsize=7.5, color="0.4")
    save_figure(figure, path)

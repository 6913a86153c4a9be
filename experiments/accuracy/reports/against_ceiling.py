"""Report of r² against the noise ceiling: both on the brain, vertex by vertex, and their distributions in ROIs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ....subject import Subject
from ....surface.style import SMALLEST, default_style
from ....vertices import HEMISPHERES, Vertices
from ...reporting.figures import about, legend_below, new_figure, remove_figure, save_figure
from ...reporting.page import Picture, Section, SideBySide, Table
from ...reporting.pictures import draw_brain, overview, shared_limits
from ...reporting.results import note
from ...reporting.statistics import NO_INTERVAL
from ..uncertainty import too_few
from .medians import CEILINGS, Intervals, Rows

SCATTER, DISTRIBUTIONS = "r2_ceiling.png", "r2_rois.png"
_FEWEST = 5  # vertices of a ROI that has a distribution
_LEVELS = (5, 25, 50, 75, 95)  # per cent
_BAND, _SHADE, _LINE = "0.8", "tab:blue", "tab:red"


def ceiling_section(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, np.ndarray],
    inside: Mapping[str, Bool[np.ndarray, " vertices"]],
    medians: Rows,
    intervals: Intervals,
    made: Mapping[str, Any],
    roi: str | None,
    output: Path,
) -> Section:
    """Draw r² and the noise ceiling on the brain with one scale, against each other, and their distributions.

    Parameters
    ----------
    subject, vertices, maps
        The subject, the vertices, and their maps: see :func:`~berg_jax.experiments.accuracy.vertex_accuracy`.
    inside
        Masks of the rows' vertices, by the rows' names.
    medians, intervals
        Medians of each row by the maps' names, and their intervals.
    made
        The experiment's settings.
    roi
        ROI expression of the vertices.
    output
        Folder of the pictures.
    """
    images, source = made["images"], CEILINGS[made["noise_ceiling"]]
    settings = {name: made[name] for name in ("images", "betas", "noise_ceiling")}
    r2, ceiling = maps["r2"], maps["noise_ceiling"]
    whose, known = subject.description.subject, ~np.isnan(r2) & ~np.isnan(ceiling)
    parts: list[Any] = []
    brains = []
    for name, title, caption in (
        ("r2", "r² of predicted and measured responses", "Square of r over images, 0 where r is negative"),
        ("noise_ceiling", "Noise ceiling of r²", f"The largest r² that noise allows, by {source}"),
    ):
        brains += draw_brain(
            *(subject, vertices, maps[name], output / f"{name}.png", f"{caption}. r² and ceiling have one scale."),
            **{"roi": roi, "images": images, "settings": settings, "title": title, "label": "share of variance"},
            **{"limit": shared_limits(r2, ceiling), **overview(subject, vertices, maps[name])},
        )
    parts += [SideBySide(brains)] * bool(brains)
    if known.any():
        above = float((r2 > ceiling)[known].mean())
        subtitle = about([whose], roi, images=images, vertices=int(known.sum()))
        _draw_scatter(r2, ceiling, known, vertices, output / SCATTER, subtitle, note(subject))
        caption = (
            f"r² against the noise ceiling by {source}, both shares of the variance of an image's mean response; the "
            f"line is where r² reaches the ceiling. {100 * above:.1f}% of {known.sum():,} vertices are above it: "
            "both are estimates."
        )
        parts.append(Picture(output / SCATTER, caption, settings))
    else:
        remove_figure(output / SCATTER)  # of an earlier run
    shown = {name: mask & ~np.isnan(r2) for name, mask in inside.items()}
    shown = {name: mask for name, mask in shown.items() if mask.sum() >= _FEWEST}
    if shown:
        subtitle = about([whose], roi, images=images, vertices=int((~np.isnan(r2)).sum()))
        _draw_rois(r2, ceiling, shown, intervals, output / DISTRIBUTIONS, subtitle, note(subject))
        few = too_few(images)
        ends = "" if few else " and the median's 95% bootstrap interval over images"
        caption = (
            f"Distribution of r² over each ROI's vertices (blue) with its median{ends} (black); grey: noise ceiling "
            f"by {source}, from the lower to the upper quartile over vertices, with its median. The number of "
            f"vertices is in parentheses.{f' {images} images: {few}.' * bool(few)}"
        )
        parts.append(Picture(output / DISTRIBUTIONS, caption, settings))
    else:
        remove_figure(output / DISTRIBUTIONS)
    return Section("r² and the noise ceiling", [*parts, _table(medians, intervals, r2, ceiling, inside, images)])


@default_style()
def _draw_scatter(
    r2: Float[np.ndarray, " vertices"],
    ceiling: Float[np.ndarray, " vertices"],
    known: Bool[np.ndarray, " vertices"],
    vertices: Vertices,
    path: Path,
    subtitle: str,
    small_print: str | None,
) -> None:
    from matplotlib.ticker import LogLocator

    figure = new_figure(2.4, "r² of the model against the noise ceiling", subtitle, small_print)
    axis = figure.subplots()
    most = 1.03 * float(max(r2[known].max(), ceiling[known].max(), 0.1))
    cells = int(np.clip(np.sqrt(known.sum()), 15, 50))
    options = {"gridsize": cells, "extent": (0, most, 0, most), "bins": "log", "mincnt": 1, "linewidths": 0.1}
    image = axis.hexbin(ceiling[known], r2[known], cmap="viridis", **options)
    axis.plot((0, most), (0, most), color=_LINE, linewidth=0.8, label="r² reaches the ceiling")
    axis.set(xlim=(0, most), ylim=(0, most), aspect="equal")
    axis.set(xlabel="noise ceiling (share of variance)", ylabel="r² (share of variance)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper left", frameon=False)
    bar = figure.colorbar(image, ax=axis, pad=0.02, shrink=0.8, aspect=30, format="%d")
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.ax.minorticks_off()
    bar.set_label("vertices in a cell")
    sides = np.repeat(HEMISPHERES, [len(vertices.lh), len(vertices.rh)])
    index = np.concatenate([vertices.lh, vertices.rh])
    rows = zip(*(values[known].tolist() for values in (sides, index, ceiling, r2)), strict=True)
    save_figure(figure, path, ("hemisphere", "vertex", "noise_ceiling", "r2"), rows)


@default_style()
def _draw_rois(
    r2: Float[np.ndarray, " vertices"],
    ceiling: Float[np.ndarray, " vertices"],
    shown: Mapping[str, Bool[np.ndarray, " vertices"]],
    intervals: Intervals,
    path: Path,
    subtitle: str,
    small_print: str | None,
) -> None:
    figure = new_figure(0.85 + 0.17 * len(shown), "r² of ROIs under their noise ceiling", subtitle, small_print)
    axis = figure.subplots()
    rows, largest, bounded = [], 0.0, False
    for place, (name, mask) in enumerate(shown.items()):
        values, ceilings = r2[mask], ceiling[mask & ~np.isnan(ceiling)]
        row: list[Any] = [name, len(values), *np.percentile(values, _LEVELS)]
        if len(ceilings):
            low, middle, high = np.percentile(ceilings, (25, 50, 75))
            axis.fill_betweenx([place - 0.45, place + 0.45], low, high, color=_BAND, linewidth=0, zorder=1)
            axis.plot([middle] * 2, [place - 0.45, place + 0.45], color="0.4", linewidth=0.8, zorder=2)
            row += [low, middle, high]
            largest = max(largest, high)
        else:
            row += [np.nan] * 3
        if np.ptp(values) > 0:
            body = axis.violinplot(values, [place], orientation="horizontal", widths=0.8, showextrema=False)
            body["bodies"][0].set(color=_SHADE, alpha=0.55, linewidth=0, zorder=3)
        ends = intervals.get(name, {}).get("r2", NO_INTERVAL)
        bounded |= not np.isnan(ends[0])
        axis.plot(ends, [place] * 2, color="black", linewidth=1, zorder=4)
        axis.plot(np.median(values), place, "o", color="black", markersize=2.2, zorder=5)
        rows.append([*row, *ends, *intervals.get(name, {}).get("noise_ceiling", NO_INTERVAL)])
        largest = max(largest, values.max())
    names = [f"{name} ({mask.sum():,})" for name, mask in shown.items()]
    axis.set_yticks(range(len(shown)), names)
    axis.set(xlim=(0, 1.03 * largest), ylim=(len(shown) - 0.4, -0.6), xlabel="r² over images (share of variance)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0, labelsize=SMALLEST)
    _key(axis, bounded)
    columns = [
        "roi",
        "vertices",
        *(f"r2_{level}%" for level in _LEVELS),
        *(f"noise_ceiling_{n}%" for n in (25, 50, 75)),
    ]
    columns += [f"{name}_median_{end}" for name in ("r2", "noise_ceiling") for end in ("low", "high")]
    save_figure(figure, path, columns, rows)


def _key(axis: Any, bounded: bool) -> None:
    """Write what the band, the shade and the dot are below the axes."""
    axis.fill_betweenx([], [], [], color=_BAND, linewidth=0, label="noise ceiling: quartiles, median")
    axis.fill_betweenx([], [], [], color=_SHADE, alpha=0.55, linewidth=0, label="r² of vertices")
    style, words = ("o-", "median and its 95% interval") if bounded else ("o", "median")
    axis.plot([], [], style, color="black", markersize=2.2, linewidth=1, label=words)
    legend_below(axis, 2, center=0.35)


def _table(
    medians: Rows,
    intervals: Intervals,
    r2: Float[np.ndarray, " vertices"],
    ceiling: Float[np.ndarray, " vertices"],
    inside: Mapping[str, Bool[np.ndarray, " vertices"]],
    images: int,
) -> Table:
    rows, few = [], too_few(images)
    for name, row in medians.items():
        known = inside[name] & ~np.isnan(r2) & ~np.isnan(ceiling)
        cells: list[Any] = [name, row["vertices"]]
        for key in ("r2", "noise_ceiling"):
            cells += [row.get(key, np.nan), str(intervals[name].get(key, NO_INTERVAL))]
        rows.append([*cells, 100 * float((r2 > ceiling)[known].mean()) if known.any() else np.nan])
    columns = ("ROI", "vertices", "r²", "95% of r²", "noise ceiling", "95% of noise ceiling", "above ceiling (%)")
    return Table(
        f"Medians over vertices of r² and of its noise ceiling{'' if few else ', with 95% bootstrap intervals'} over "
        f"n = {images:,} images{f', {few}' * bool(few)}; vertices whose r² is above their ceiling",
        columns,
        rows,
    )

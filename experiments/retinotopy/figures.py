"""Figures of receptive fields: against other estimates, sizes against eccentricity, coverage of the visual field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...model.images import FIELD
from ...surface.style import SMALLEST, default_style
from ..reporting.figures import new_figure, save_figure
from ..reporting.statistics import Interval
from .coverage import HALF, Coverage, places
from .sizes import SizeLine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOT, _LINE, _MARK = "0.45", "tab:red", "black"
_RINGS = (1, 2, 3, 4)  # degrees of eccentricity


class Texts(NamedTuple):
    """Texts around a figure: title, the line below it, and the small print."""

    title: str
    subtitle: str
    note: str | None


class Pair(NamedTuple):
    """One coordinate of receptive fields by two estimates, and how they correlate.

    Attributes
    ----------
    name
        ``"polar angle"`` or ``"eccentricity"``.
    theirs, ours
        The other estimate and the fitted one, in degrees.
    r
        Their correlation, circular of angles.
    interval
        Its 95% interval.
    """

    name: str
    theirs: Float[np.ndarray, " vertices"]
    ours: Float[np.ndarray, " vertices"]
    r: float
    interval: Interval


@default_style()
def draw_agreement(
    pairs: Sequence[Pair],
    other: str,
    vertices: Sequence[tuple[str, int]],
    path: Path,
    texts: Texts,
) -> None:
    """Draw receptive fields against another estimate, a panel for each coordinate; as PNG, PDF and CSV.

    Polar angles are drawn within half a turn of the other estimate's, since −180° and 180° are the same.

    Parameters
    ----------
    pairs
        The coordinates.
    other
        Name of the other estimate.
    vertices
        Hemisphere and index of each vertex, for the table.
    path
        The .png file.
    texts
        Texts around the figure.
    """
    figure = new_figure(2.05, *texts)
    drawn = []
    for axis, pair in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        angle = pair.name == "polar angle"
        ours = pair.theirs + (pair.ours - pair.theirs + 180) % 360 - 180 if angle else pair.ours
        drawn.append((pair.theirs, ours))
        low, high = _ends(angle, pair.theirs, ours)
        axis.plot((low, high), (low, high), color=_LINE, linewidth=0.6, zorder=1)
        _dots(axis, pair.theirs, ours)
        axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axis.set(xlabel=f"{other} {pair.name} (°)", ylabel=f"estimated {pair.name} (°)")
        if angle:
            turns = np.arange(np.ceil(low / 90), np.floor(high / 90) + 1) * 90
            axis.set_xticks(turns[turns % 180 == 0])
            axis.set_yticks(turns)
        kind = "circular r" if angle else "r"
        ends = "" if np.isnan(pair.interval.low) else f"\n95%: {pair.interval}"
        axis.set_title(f"{kind} = {pair.r:.3f}{ends}", fontsize=SMALLEST)
        axis.spines[["top", "right"]].set_visible(False)
    names = [f"{whose} {pair.name.replace(' ', '_')}" for pair in pairs for whose in (other, "estimated")]
    columns = [values for both in drawn for values in both]
    rows = ((*vertex, *values) for vertex, *values in zip(vertices, *map(np.ndarray.tolist, columns), strict=True))
    save_figure(figure, path, ("hemisphere", "vertex", *names), rows)


def _ends(angle: bool, *values: Float[np.ndarray, " vertices"]) -> tuple[float, float]:
    """Return the ends of both axes: the whole circle and what goes beyond, or from 0 to the largest."""
    if not angle:
        return 0.0, 1.05 * float(max(some.max() for some in values))
    return min(-185.0, float(np.nanmin(values[1])) - 5), max(185.0, float(np.nanmax(values[1])) + 5)


def _dots(axis: Axes, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> None:
    shade = float(np.clip(200 / max(len(x), 1), 0.05, 0.7))
    axis.scatter(x, y, s=2.5, color=_DOT, alpha=shade, linewidths=0, rasterized=True, zorder=2)


@default_style()
def draw_sizes(
    lines: Mapping[str, SizeLine],
    dots: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]],
    path: Path,
    texts: Texts,
) -> int:
    """Draw receptive-field size against eccentricity, a panel for each area; as PNG, PDF and CSV.

    Parameters
    ----------
    lines
        Line and bins of each area.
    dots
        Eccentricity and size of each area's vertices.
    path
        The .png file.
    texts
        Texts around the figure.

    Returns
    -------
    Number of dots that are larger than the axis is long; the table has them, too.
    """
    columns = 2 if len(lines) <= 4 else 3
    figure, axes = _panels(
        len(lines), columns, 1.15 if columns == 2 else 0.9, ("eccentricity (°)", "size, SD (°)"), texts
    )
    farthest = max(float(eccentricity.max()) for eccentricity, _ in dots.values())
    sizes = np.concatenate([size for _, size in dots.values()])
    most, usual, low_end = float(sizes.max()), float(np.percentile(sizes, 99)), 0.9 * float(sizes.min())
    high_end = 1.05 * most if most < 1.3 * usual else 1.15 * usual  # few that are far off do not set the scale
    low_end = low_end if low_end > high_end / 2 else 0.0  # unless half of the axis would be empty
    rows: list[tuple[Any, ...]] = []
    for axis, (name, line) in zip(axes, lines.items(), strict=True):
        _dots(axis, *dots[name])
        rows += [
            (name, "vertex", x, y, None, None, 1) for x, y in zip(*map(np.ndarray.tolist, dots[name]), strict=True)
        ]
        if len(line.at):
            heights = line.intercept + line.slope * line.at
            low, high = np.array(line.band).T
            axis.fill_between(line.at, low, high, color=_LINE, alpha=0.25, linewidth=0, zorder=3)
            axis.plot(line.at, heights, color=_LINE, zorder=4)
            parts = zip(line.at.tolist(), heights.tolist(), line.band, strict=True)
            rows += [(name, "line", x, y, *ends, line.vertices) for x, y, ends in parts]
        for one in line.bins:
            axis.plot([one.eccentricity] * 2, one.interval, color=_MARK, linewidth=0.8, zorder=5)
            rows.append((name, "bin", one.eccentricity, one.size, *one.interval, one.vertices))
        middles = [(one.eccentricity, one.size) for one in line.bins]
        axis.plot(*np.array(middles).reshape(-1, 2).T, "o", color=_MARK, markersize=2.5, zorder=6)
        slope = (
            ""
            if np.isnan(line.slope)
            else f"\n{'slope ' * (columns == 2)}{_signed(line.slope, line.slope_interval, 5 - columns)}"
        )
        axis.set_title(f"{name} ({line.vertices:,}){slope}", fontsize=SMALLEST)
        axis.set(xlim=(0, 1.03 * farthest), ylim=(low_end, high_end))
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, ("area", "shown", "eccentricity", "size", "low", "high", "vertices"), rows)
    return int((sizes > high_end).sum())


def _signed(value: float, interval: Interval, decimals: int) -> str:
    ends = "" if np.isnan(interval.low) else f" ({interval.low:.{decimals}f} to {interval.high:.{decimals}f})"
    return f"{value:.{decimals}f}{ends}".replace("-", "−")


@default_style()
def draw_coverage(found: Sequence[Coverage], path: Path, texts: Texts) -> None:
    """Draw the coverage of the visual field by each area, a panel for each hemisphere; as PNG, PDF and CSV.

    Parameters
    ----------
    found
        Coverage of each area and hemisphere.
    path
        The .png file.
    texts
        Texts around the figure.
    """
    figure, axes = _panels(len(found), 4, 0.68, ("x (°)", "y (°)"), texts, below=0.45)
    at, extent = places(), (-FIELD, FIELD, -FIELD, FIELD)
    image = None
    for axis, one in zip(axes, found, strict=True):
        image = axis.imshow(one.field, origin="lower", extent=extent, vmin=0, vmax=1, cmap="viridis")
        axis.contour(at, at, one.field, levels=[HALF], colors="white", linewidths=0.8)
        turn = np.linspace(0, 2 * np.pi, 200)
        for ring in _RINGS:
            axis.plot(ring * np.cos(turn), ring * np.sin(turn), color="white", linewidth=0.3, alpha=0.6)
        axis.axhline(0, color="white", linewidth=0.3, alpha=0.6)
        axis.axvline(0, color="white", linewidth=0.3, alpha=0.6)
        axis.scatter(*one.centers.T, s=0.8, color="black", linewidths=0, rasterized=True, zorder=3)
        axis.set(xlim=(-FIELD, FIELD), ylim=(-FIELD, FIELD), xticks=(-4, 0, 4), yticks=(-4, 0, 4))
        axis.set_title(f"{one.region} {one.hemisphere} ({one.vertices:,})", fontsize=SMALLEST)
    bar = figure.colorbar(image, ax=axes, location="bottom", pad=0.02, fraction=0.03, shrink=0.6, aspect=30)
    bar.set_label("largest receptive field (share of its maximum)")
    rows = (
        (one.region, one.hemisphere, x, y, one.field[row, column])
        for one in found
        for row, y in enumerate(at.tolist())
        for column, x in enumerate(at.tolist())
    )
    save_figure(figure, path, ("area", "hemisphere", "x", "y", "coverage"), rows)


def _panels(
    count: int, columns: int, height: float, labels: tuple[str, str], texts: Texts, below: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels that share both axes, which are named at the lowest and at the leftmost panels.

    The height of a panel, and of what stands below all, are in inches.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(0.35 + below + (height + 0.25) * rows, *texts)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel())
    for index, axis in enumerate(axes[:count]):
        lowest = index + columns >= count
        axis.tick_params(labelbottom=lowest)
        axis.set(xlabel=labels[0] if lowest else "", ylabel="" if index % columns else labels[1])
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]

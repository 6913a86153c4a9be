"""Figures of the certificate: responses against the reference's, and histograms and regions of the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...surface.style import SMALLEST, default_style
from ..reporting.figures import legend_below, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#20639b", "#e07a3f", "#5c9e6c", "#8e6bb3", "#b0413e", "#6b7280")
_LIMIT_COLOR = "#b0413e"
_POWERS = SMALLEST / 0.7  # size of powers of 10, whose exponents are smaller
_SMALLEST, _LARGEST = 1e-9, 10  # z units; errors beyond them, such as 0, are drawn at them


class Words(NamedTuple):
    """Texts of a certificate's figures.

    Attributes
    ----------
    subtitle
        Line that names the subject, and how many images and vertices were compared.
    note
        Small print, such as that weights are synthetic.
    """

    subtitle: str = ""
    note: str | None = None


@default_style(math=True)
def draw_scatter(
    ours: Float[np.ndarray, "stimuli n"], theirs: Float[np.ndarray, "stimuli n"], path: Path, words: Words = Words()
) -> None:
    """Draw the density of our responses (z units) against the reference's, as hexagons; their counts are the CSV."""
    figure, axes = _axes(3.0, "Responses of both implementations", words)
    low = float(min(ours.min(), theirs.min()))
    high = float(max(ours.max(), theirs.max()))
    extent = (low, high, low, high) if low < high else (low - 1, high + 1, low - 1, high + 1)
    axes.plot(extent[:2], extent[:2], color="#9ca3af", linewidth=0.6, zorder=0)
    dots = axes.hexbin(
        theirs.ravel(), ours.ravel(), gridsize=70, bins="log", mincnt=1, extent=extent, cmap="viridis", linewidths=0.1
    )
    bar = figure.colorbar(dots, ax=axes, label="number of responses", shrink=0.8, format="{x:,.0f}")
    bar.minorticks_off()
    axes.set(xlabel="PyTorch reference (z)", ylabel="berg_jax (z)", aspect="equal")
    counts = zip(dots.get_offsets().tolist(), dots.get_array().tolist(), strict=True)
    rows = ((*place, int(count)) for place, count in counts)
    save_figure(figure, path, ("reference", "berg_jax", "responses"), rows)


@default_style(math=True)
def draw_histogram(
    ours: Mapping[tuple[str, str], Float[np.ndarray, "stimuli n"]],
    theirs: Float[np.ndarray, "stimuli n"],
    limit: float,
    path: Path,
    words: Words = Words(),
) -> None:
    """Draw histograms of the errors (z units, logarithmic) by device and precision; the first one is filled."""
    figure, axes = _axes(2.4, "Differences of responses", words)
    edges = np.linspace(np.log10(_SMALLEST), np.log10(_LARGEST), 81)
    rows = []
    for index, ((device, precision), responses) in enumerate(ours.items()):
        errors = np.log10(np.clip(np.abs(responses - theirs), _SMALLEST, _LARGEST)).ravel()
        percent = 100 * (np.histogram(errors, edges)[0] / errors.size)
        style = "-" if index == 0 else (index, (4, 1 + index))  # dashes, so that curves that coincide are seen
        color = _COLORS[index % len(_COLORS)]
        if index == 0:
            axes.stairs(percent, edges, fill=True, color=color, alpha=0.2)
        axes.stairs(percent, edges, color=color, linestyle=style, linewidth=1, label=f"{precision}, {device}")
        bins = zip(10 ** edges[:-1], 10 ** edges[1:], percent, strict=True)
        rows += [(device, precision, *map(float, one)) for one in bins]
    axes.axvline(np.log10(limit), color=_LIMIT_COLOR, linestyle="--", linewidth=0.8, label="largest that passes")
    reached = np.log10([(start, end) for _, _, start, end, percent in rows if percent > 0])
    first, last = max(reached.min() - 0.5, edges[0]), max(reached.max(), np.log10(limit)) + 0.3
    axes.set(xlabel="difference of responses (z)", ylabel="% of responses", xlim=(first, last), ylim=(0, None))
    ticks = range(int(np.ceil(first)), int(np.floor(last)) + 1, 2 if last - first > 4 else 1)
    axes.set_xticks(ticks, [f"$10^{{{tick}}}$" if tick > -9 else "≤ $10^{-9}$" for tick in ticks])
    axes.tick_params(axis="x", labelsize=_POWERS)
    legend_below(axes)
    save_figure(figure, path, ("device", "precision", "from", "to", "percent"), rows, math=True)


@default_style(math=True)
def draw_regions(rows: Sequence[Mapping[str, Any]], limit: float, path: Path, words: Words = Words()) -> None:
    """Draw the largest error and its 99.9th percentile (z units) in each region, from rows of the error table."""
    figure, axes = _axes(1.1 + 0.13 * len(rows), "Differences by region", words)
    places = np.arange(len(rows))[::-1]
    low, high = ([row[name] for row in rows] for name in ("p999", "largest"))
    axes.hlines(places, low, high, color="#a9c5dd", linewidth=1.5)
    axes.plot(low, places, "o", color="white", markeredgecolor=_COLORS[0], markersize=3, label="99.9th percentile")
    axes.plot(high, places, "o", color=_COLORS[0], markersize=3, label="largest")
    axes.axvline(limit, color=_LIMIT_COLOR, linestyle="--", linewidth=0.8, label="largest that passes")
    names = [row["region"] for row in rows]
    axes.set_yticks(places, names, parse_math=False)  # a $ in a name is no formula
    axes.grid(axis="y", color="#eef0f2")
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=_POWERS)
    axes.set(xscale="log", xlabel="difference of responses (z)", ylim=(-0.8, len(rows) - 0.2))
    legend_below(axes, 2)
    cells = ((row["region"], row["p999"], row["largest"], limit) for row in rows)
    save_figure(figure, path, ("region", "p999", "largest", "limit"), cells, math=True)


def _axes(height: float, title: str, words: Words) -> tuple[Figure, Any]:
    figure = new_figure(height, title, words.subtitle, words.note)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes

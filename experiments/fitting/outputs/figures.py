"""Figures of a fit: accuracy of ROIs beside the baselines, and the learning curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....surface.style import default_style
from ...reporting.figures import legend_below, new_figure, save_figure
from ...reporting.statistics import NO_INTERVAL

_BARS = {"r": ("this fit", "C0"), "r_readout": ("readout stage", "C2"), "r_donor": ("donor's own prediction", "0.65")}
_CEILING = "black"
_INCHES = 0.2  # height of a row of two bars


@default_style()
def draw_rois(
    medians: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Sequence[float]]],
    shuffled: float,
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None = None,
) -> None:
    """Draw the test r of each ROI as bars: the fit, earlier stages, the donor's own prediction, and the ceiling.

    Parameters
    ----------
    medians, intervals
        Medians of each row by name, and the intervals of their r.
    shuffled
        Mean r of fits to shuffled images, which is drawn as a line.
    path
        Picture to write.
    title, subtitle, note
        See :func:`~berg_jax.experiments.reporting.figures.new_figure`.
    """
    names = list(medians)
    shown = {key: how for key, how in _BARS.items() if key in medians[names[0]]}
    figure = new_figure(0.9 + _INCHES * len(names) * (1 + len(shown)) / 3, title, subtitle, note)
    axes = figure.subplots()
    height = 0.8 / len(shown)
    bounded, limited = False, False
    for number, (key, (label, color)) in enumerate(shown.items()):
        places = [row + (number - (len(shown) - 1) / 2) * height for row in range(len(names))]
        axes.barh(places, [medians[name][key] for name in names], height, color=color, label=label)
        if key == "r":
            for place, name in zip(places, names, strict=True):
                ends = intervals[name].get("r", NO_INTERVAL)
                bounded |= not math.isnan(ends[0])
                axes.plot(ends, [place, place], color="black", lw=1)
    for row, name in enumerate(names):
        ceiling = ceiling_r(medians[name])
        limited |= not math.isnan(ceiling)
        axes.plot([ceiling, ceiling], [row - 0.42, row + 0.42], color=_CEILING, lw=1.5)
    axes.axvline(shuffled, color="tab:red", lw=1, ls="--")
    # Upright as in the plot, where only the intervals lie.
    upright = {"marker": "|", "ls": "", "ms": 7}
    if bounded:
        axes.plot([], [], color="black", lw=1, label="95% interval over images")
    if limited:
        axes.plot([], [], color=_CEILING, mew=1.5, label="noise ceiling", **upright)
    axes.plot([], [], color="tab:red", mew=1, label="shuffled images, all vertices", **upright)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("median test r over vertices (no unit)")
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(axes, 2, center=0.4)
    save_figure(figure, path)


@default_style()
def draw_curve(
    curve: Sequence[Mapping[str, Any]],
    ceiling: float,
    donor: float,
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None = None,
) -> None:
    """Draw the median test r at each number of training images, with the middle half of the vertices.

    Parameters
    ----------
    curve
        Rows with ``images``, ``r``, ``quarter`` and ``three quarters``.
    ceiling, donor
        The noise ceiling's r and the donor's, medians over vertices.
    path
        Picture to write.
    title, subtitle, note
        See :func:`~berg_jax.experiments.reporting.figures.new_figure`.
    """
    figure = new_figure(2.4, title, subtitle, note)
    axes = figure.subplots()
    images = [row["images"] for row in curve]
    quarters = [row["quarter"] for row in curve], [row["three quarters"] for row in curve]
    axes.fill_between(images, *quarters, color="C0", alpha=0.2, lw=0, label="middle half of the vertices")
    axes.plot(images, [row["r"] for row in curve], "o-", color="C0", ms=4, label="median of the readouts")
    if not math.isnan(ceiling):
        axes.axhline(ceiling, color=_CEILING, lw=1, label="noise ceiling")
    axes.axhline(donor, color="0.5", ls="--", lw=1, label="donor's own prediction")
    axes.set_xscale("log")
    axes.set_xticks(images, [f"{count:,}" for count in images])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel("test r over images (no unit)")
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(axes, 2)
    columns = ("images", "r", "quarter", "three quarters")
    save_figure(figure, path, columns, ([row[column] for column in columns] for row in curve))


@default_style()
def draw_training(
    curves: Mapping[str, Mapping[str, Any]], path: Path, *, title: str, subtitle: str, note: str | None = None
) -> None:
    """Draw the loss and the validation r of each epoch, a color for each part of the donor.

    Parameters
    ----------
    curves
        Record of each part's training: ``loss``, ``validation_r`` and ``members``, the epochs that were averaged.
    path
        Picture to write.
    title, subtitle, note
        See :func:`~berg_jax.experiments.reporting.figures.new_figure`.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(2.2, title, subtitle, note)
    left, right = figure.subplots(1, 2)
    for number, (part, record) in enumerate(curves.items()):
        color, r = f"C{number}", record["validation_r"]
        left.plot(range(1, len(record["loss"]) + 1), record["loss"], color=color, label=part)
        right.plot(range(len(r)), r, color=color, label=part)
        members = [int(epoch) for epoch in record["members"]]
        right.plot(members, [r[epoch] for epoch in members], "o", color=color, ms=2.5, label=f"{part}, averaged")
    for axes, label in ((left, "training loss"), (right, "mean validation r")):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(label)
        legend_below(axes)
        axes.spines[["top", "right"]].set_visible(False)
    rows = (
        (part, epoch, record["loss"][epoch - 1] if epoch else math.nan, r)
        for part, record in curves.items()
        for epoch, r in enumerate(record["validation_r"])
    )
    save_figure(figure, path, ("part", "epoch", "loss", "validation_r"), rows)


def ceiling_r(row: Mapping[str, float]) -> float:
    """Return the largest r that noise allows by a row's median noise ceiling, NaN if there is none."""
    share = row["noise_ceiling"]
    return math.sqrt(share) if share >= 0 else math.nan

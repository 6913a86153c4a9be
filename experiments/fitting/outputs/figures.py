"""Figures of a fit: accuracy of ROIs beside the baselines, and the learning curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....surface.style import default_style
from ...reporting.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BARS = {"r": ("this fit", "C0"), "r_readout": ("readout stage", "C2"), "r_donor": ("donor's own prediction", "0.65")}
_INCHES = 0.36  # height of a row


@default_style()
def draw_rois(
    medians: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Sequence[float]]],
    shuffled: float,
    path: Path,
    *,
    title: str,
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
    title, note
        Text above and below the figure.
    """
    from matplotlib.figure import Figure

    names = list(medians)
    shown = {key: how for key, how in _BARS.items() if key in medians[names[0]]}
    figure = Figure(figsize=(7.2, 1.6 + _INCHES * len(names)), layout="constrained", dpi=150)
    axes = figure.subplots()
    height = 0.8 / len(shown)
    for number, (key, (label, color)) in enumerate(shown.items()):
        places = [row + (number - (len(shown) - 1) / 2) * height for row in range(len(names))]
        axes.barh(places, [medians[name][key] for name in names], height, color=color, label=label)
        if key == "r":
            for place, name in zip(places, names, strict=True):
                axes.plot(intervals[name].get("r", (math.nan, math.nan)), [place, place], color="black", lw=1)
    for row, name in enumerate(names):
        ceiling = ceiling_r(medians[name])
        label = "noise ceiling" if row == 0 else None
        axes.plot([ceiling, ceiling], [row - 0.42, row + 0.42], color="black", lw=1.5, label=label)
    axes.axvline(shuffled, color="tab:red", lw=1, ls="--", label="shuffled images, all vertices")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("median test r over vertices (black line: 95% interval over images)")
    axes.spines[["top", "right"]].set_visible(False)
    handles = axes.get_legend_handles_labels()
    small = {"fontsize": 8, "title": note, "title_fontsize": 7.5}
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, **small)
    _finish(figure, path, title, None)


@default_style()
def draw_curve(
    curve: Sequence[Mapping[str, Any]], ceiling: float, donor: float, path: Path, *, title: str, note: str | None
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
    title, note
        Text above and below the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained", dpi=150)
    axes = figure.subplots()
    images = [row["images"] for row in curve]
    quarters = [row["quarter"] for row in curve], [row["three quarters"] for row in curve]
    axes.fill_between(images, *quarters, color="C0", alpha=0.2, lw=0, label="middle half of the vertices")
    axes.plot(images, [row["r"] for row in curve], "o-", color="C0", label="median of the readouts")
    if not math.isnan(ceiling):
        axes.axhline(ceiling, color="black", lw=1, label="noise ceiling")
    axes.axhline(donor, color="0.5", ls="--", lw=1, label="donor's own prediction")
    axes.set_xscale("log")
    axes.set_xticks(images, [f"{count:,}" for count in images])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel("test r")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    columns = ("images", "r", "quarter", "three quarters")
    _finish(figure, path, title, note, columns, ([row[column] for column in columns] for row in curve))


@default_style()
def draw_training(curves: Mapping[str, Mapping[str, Any]], path: Path, *, title: str, note: str | None) -> None:
    """Draw the loss and the validation r of each epoch, a color for each part of the donor.

    Parameters
    ----------
    curves
        Record of each part's training: ``loss``, ``validation_r`` and ``members``, the epochs that were averaged.
    path
        Picture to write.
    title, note
        Text above and below the figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 3.2), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2)
    for number, (part, record) in enumerate(curves.items()):
        color, r = f"C{number}", record["validation_r"]
        left.plot(range(1, len(record["loss"]) + 1), record["loss"], color=color, label=part)
        right.plot(range(len(r)), r, color=color, label=part)
        members = [int(epoch) for epoch in record["members"]]
        right.plot(members, [r[epoch] for epoch in members], "o", color=color, ms=4, label=f"{part}, averaged")
    for axes, label in ((left, "training loss"), (right, "mean validation r")):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(label)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    rows = (
        (part, epoch, record["loss"][epoch - 1] if epoch else math.nan, r)
        for part, record in curves.items()
        for epoch, r in enumerate(record["validation_r"])
    )
    _finish(figure, path, title, note, ("part", "epoch", "loss", "validation_r"), rows)


def ceiling_r(row: Mapping[str, float]) -> float:
    """Return the largest r that noise allows by a row's median noise ceiling, NaN if there is none."""
    share = row["noise_ceiling"]
    return math.sqrt(share) if share >= 0 else math.nan


def _finish(
    figure: Figure,
    path: Path,
    title: str,
    note: str | None,
    columns: Sequence[str] = (),
    rows: Iterable[Sequence[Any]] | None = None,
) -> None:
    figure.suptitle(title, fontsize=11)
    if note:
        figure.supxlabel(note, fontsize=7.5, color="0.4")
    save_figure(figure, path, columns, rows)

"""Bars of control with their errors: how far images drive each region, and how alike sets are represented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...surface.style import default_style
from ..reporting.figures import legend_names, new_figure, save_figure
from ..reporting.statistics import FEWEST_SUBJECTS, NO_INTERVAL, Interval, mean_interval

PICTURE = "bars.png"
_COLUMNS = 2
_ROW = 0.14  # height of a bar in inches


@default_style()
def draw_shifts(
    rows: Sequence[Mapping[str, Any]],
    rois: Sequence[str],
    subject_ids: Sequence[int],
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw how far the images of each goal drive or suppress each region, in the wanted direction.

    Each subject has a bar with its bootstrap interval over images; the mean over three or more has its t interval.

    Parameters
    ----------
    rows
        Results of each goal, as ``results.json`` has them: ``goal``, and for each subject ``ways``, ``intervals`` and
        ``counts``, likewise of synthesized images, where there are some.
    rois, subject_ids
        Names of the regions, and numbers of the subjects.
    path
        The .png file; the .csv file beside it has the numbers.
    title, subtitle, note
        Texts above and below the figure.
    """
    table: list[tuple[Any, ...]] = []
    for row in rows:
        for shown, ways, ends in (
            ("chosen", row["ways"], row["intervals"]),
            ("synthesized", row.get("synthesized", ()), row.get("synthesized intervals", ())),
        ):
            for place, roi in enumerate(rois):
                for index, (way, own) in enumerate(zip(ways, ends, strict=True)):
                    images = row["counts"][index] if shown == "chosen" else np.nan
                    table.append((row["goal"], shown, roi, subject_ids[index], way[place], *own[place], images))
                if len(ways) > 1:
                    values = np.array([way[place] for way in ways], float)
                    known = np.isfinite(values)
                    over = mean_interval(values) if known.sum() >= FEWEST_SUBJECTS else NO_INTERVAL
                    mean = float(values[known].mean()) if known.any() else np.nan
                    table.append((row["goal"], shown, roi, "mean", mean, *over, np.nan))
    goals = [row["goal"] for row in rows]
    made = any(line[1] == "synthesized" for line in table)
    kinds = ["chosen", "synthesized"] if made else ["chosen"]
    lines = len(rois) * len(kinds)
    people = [*subject_ids, *(["mean"] if len(subject_ids) > 1 else [])]
    columns = min(_COLUMNS, len(goals))
    panel_rows = -(-len(goals) // columns)
    height = _ROW * lines * max(len(people), 1.4) + 0.35
    figure = new_figure(height * panel_rows + 0.25, title, subtitle, note)
    panels = figure.subplots(panel_rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    thick = 0.8 / len(people)
    for axes, goal in zip(panels, goals, strict=True):
        for _, shown, roi, who, way, low, high, _ in (line for line in table if line[0] == goal):
            base = kinds.index(shown) * len(rois) + list(rois).index(roi)
            place = base + (people.index(who) - (len(people) - 1) / 2) * thick
            color = "black" if who == "mean" else f"C{people.index(who) % 10}"
            alpha = 0.85 if shown == "chosen" else 0.4
            axes.barh(place, way, height=0.9 * thick, color=color, alpha=alpha, lw=0)
            axes.plot([low, high], [place] * 2, "-", color="0.2" if who != "mean" else "0.6", lw=1)
        axes.axvline(0, color="0.4", lw=0.6)
        axes.set_title(goal, pad=3)
        axes.spines[["top", "right"]].set_visible(False)
    names = [roi if shown == "chosen" else f"{roi}, synth." for shown in kinds for roi in rois]
    panels[0].set_yticks(range(lines), names)
    panels[0].set_ylim(lines - 0.5, -0.5)
    for axes in panels[max(len(goals) - columns, 0) :]:
        axes.set_xlabel("change of response (z)")
    if len(people) > 1:
        colors = ["black" if who == "mean" else f"C{place % 10}" for place, who in enumerate(people)]
        legend_names(figure, ["mean" if who == "mean" else f"subject {who}" for who in people], colors)
    columns_ = ("goal", "shown", "roi", "subject", "way", "low", "high", "images")
    save_figure(figure, path, columns_, table)


@default_style()
def draw_alignments(
    rows: Sequence[Mapping[str, Any]],
    subject_ids: Sequence[int],
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
) -> None:
    """Draw each subject's alignment of the chosen sets with intervals over images, beside random sets' range.

    Parameters
    ----------
    rows
        Results of each goal, as ``results.json`` has them: ``goal``, and for each subject ``alignment``,
        ``intervals``, ``random sets`` and ``random range``.
    subject_ids, path, title, subtitle, note
        See :func:`draw_shifts`.
    """
    table: list[tuple[Any, ...]] = []
    for index, subject_id in enumerate(subject_ids):
        table.append((subject_id, "random sets", rows[0]["random sets"][index], *rows[0]["random range"][index]))
        for row in rows:
            ends = row["intervals"][index]
            table.append((subject_id, row["goal"], row["alignment"][index], *(ends or Interval(np.nan, np.nan))))
    shown = ["random sets", *(row["goal"] for row in rows)]
    colors = dict(zip(shown, ("0.7", "tab:red", "tab:blue"), strict=False))
    figure = new_figure(_ROW * len(table) + 0.55, title, subtitle, note)
    axes = figure.subplots()
    labels = []
    for place, (subject_id, name, value, low, high) in enumerate(table):
        axes.barh(place, value, height=0.8, color=colors[name], lw=0)
        axes.plot([low, high], [place] * 2, "-", color="black", lw=1)
        labels.append(f"subject {subject_id}: {name}" if len(subject_ids) > 1 else name)
    axes.set_yticks(range(len(table)), labels)
    axes.invert_yaxis()
    axes.axvline(0, color="0.4", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("alignment: correlation of dissimilarities (no unit)")
    save_figure(figure, path, ("subject", "shown", "alignment", "low", "high"), table)

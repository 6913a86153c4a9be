"""Course of the searches of control: what each step or generation reaches, a panel for each goal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ...surface.style import default_style
from ..reporting.figures import new_figure, save_figure

PICTURE = "search.png"
_COLUMNS = 2


class Curve(NamedTuple):
    """Values that one search reached.

    Attributes
    ----------
    goal
        Goal of the search, which has a panel.
    who
        The subject who judges what was found, or the image that was made.
    shown
        What of a generation the values are, ``"best"`` or ``"mean"``; ``"value"`` of a single image.
    values
        Value at each step or generation; NaN where it was not finite.
    """

    goal: str
    who: str
    shown: str
    values: Float[np.ndarray, " steps"]


@default_style()
def draw_curves(
    curves: Sequence[Curve],
    path: Path,
    *,
    title: str,
    subtitle: str,
    note: str | None,
    step: str,
    label: str,
) -> None:
    """Draw each search's course, with a panel for each goal.

    Parameters
    ----------
    curves
        The searches.
    path
        The .png file; the .csv file beside it has all values.
    title, subtitle, note
        Texts above and below the figure.
    step
        What is counted: ``"step"`` or ``"generation"``.
    label
        Name of the values, with their unit.
    """
    goals = list(dict.fromkeys(one.goal for one in curves))
    people = list(dict.fromkeys(one.who for one in curves))
    columns = min(_COLUMNS, len(goals))
    rows = -(-len(goals) // columns)
    figure = new_figure(1.15 * rows + 0.3, title, subtitle, note)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for axes, goal in zip(panels, goals, strict=False):
        for one in (some for some in curves if some.goal == goal):
            number = people.index(one.who)
            style = {"ls": ":" if one.shown == "mean" else "-", "lw": 0.9, "color": f"C{number % 10}"}
            name = one.who if one.shown == "value" else f"{one.who}, {one.shown}"
            axes.plot(np.arange(1, len(one.values) + 1), one.values, label=name, **style)
        axes.set_title(goal, pad=3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(goals) :]:
        axes.set_visible(False)
    figure.supylabel(label, size=6.5)
    for axes in panels[max(len(goals) - columns, 0) : len(goals)]:
        axes.set_xlabel(step)
    if len(panels[0].lines) <= 8:
        panels[0].legend(frameon=False, loc="best", handlelength=1.2)
    table = [
        (one.goal, one.who, one.shown, place, float(value))
        for one in curves
        for place, value in enumerate(one.values, 1)
    ]
    save_figure(figure, path, ("goal", "of", "shown", step, "value"), table)

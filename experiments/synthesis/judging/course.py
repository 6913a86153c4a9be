"""Figures of how images came about: a curve for each restart, and each image beside what it started from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from ....surface.style import SMALLEST, WIDTH, default_style
from ...reporting.figures import legend_below, new_figure, save_figure
from ..ascent import Problem, render, start
from ..functions import as_function
from ..optimize import ADAM
from ..parametrizations.base import Parametrization

CURVES, PAIRS = "course.png", "pairs.png"
MOST_PAIRS = 8
_FEW = 8  # restarts that the legend names


def start_images(
    parametrization: Parametrization, *, n: int, seed: int, project: Any = None, optimizer: Any = ADAM
) -> UInt8[np.ndarray, "n 3 height width"]:
    """Return the images that the restarts of an optimization start from, rounded to 8 bits.

    Parameters
    ----------
    parametrization, n, seed, project, optimizer
        As they were given to :func:`~berg_jax.experiments.synthesis.optimize.optimize`.
    """
    states = start(parametrization, optimizer, n, 1, seed)
    problem = Problem(
        objective=as_function(_nothing),
        decode=as_function(parametrization.decode),
        project=None if project is None else as_function(project),
    )
    images = [
        render(problem, jax.tree.map(lambda leaf, place=place: leaf[place], states.latents)) for place in range(n)
    ]
    return np.concatenate([np.asarray(one) for one in images]).round().clip(0, 255).astype(np.uint8)


def _nothing(responses: Any) -> Any:
    return responses


@default_style()
def draw_course(
    history: Float[np.ndarray, "steps n"],
    path: Path,
    *,
    subtitle: str,
    note: str | None,
    names: Sequence[str] | None = None,
    label: str = "objective's value (z)",
    title: str = "A curve for each restart",
) -> None:
    """Draw the value of each restart at each step, the best one in color.

    Parameters
    ----------
    history
        Value before each step, of the best image first; NaN where a step was left out.
    path
        The .png file; the .csv file beside it has all values.
    subtitle, note
        Texts below the title and below the figure.
    names
        Name of each restart; by default its image's number.
    label, title
        Name of the values, with their unit, and title of the figure.
    """
    names = [f"image {number}" for number in range(1, history.shape[1] + 1)] if names is None else list(names)
    figure = new_figure(2.1, title, subtitle, note)
    axes = figure.subplots()
    steps = np.arange(1, len(history) + 1)
    few = len(names) <= _FEW
    for place, name in enumerate(names):
        color = f"C{place % 10}" if few else "tab:red" if place == 0 else "0.7"
        shown = {
            "color": color,
            "lw": 1.2 if place == 0 else 0.7,
            "zorder": 3 - place / len(names),
        }  # the best on top
        named = name if few else f"{name}, the best" if place == 0 else None
        axes.plot(steps, history[:, place], label=named, **shown)
    legend_below(axes, 4 if max(map(len, names)) < 12 else 2)
    axes.set(xlabel="step", ylabel=textwrap.fill(label, 34))
    axes.spines[["top", "right"]].set_visible(False)
    table = (
        (name, step, float(value))
        for name, own in zip(names, history.T, strict=True)
        for step, value in zip(steps.tolist(), own, strict=True)
    )
    save_figure(figure, path, ("image", "step", "value"), table)


@default_style()
def draw_pairs(
    starts: UInt8[np.ndarray, "n 3 height width"],
    ends: UInt8[np.ndarray, "n 3 height width"],
    values: Sequence[tuple[float | None, float]],
    path: Path,
    *,
    subtitle: str,
    note: str | None,
    names: Sequence[str] | None = None,
) -> None:
    """Draw each image beside the one that it started from, with the objective's value below both.

    Parameters
    ----------
    starts, ends
        Images in 0–255: up to eight pairs are drawn.
    values
        The objective's value of each start, if it is known, and end.
    path
        The .png file; the .csv file beside it has the values.
    subtitle, note
        Texts below the title and below the figure.
    names
        Name of each pair; by default its number.
    """
    count = min(len(starts), MOST_PAIRS)
    names = [f"image {number}" for number in range(1, count + 1)] if names is None else list(names)[:count]
    rows = -(-count // 2)
    side = WIDTH / 4 - 0.14
    figure = new_figure((side + 0.3) * rows, "From the start to the image", subtitle, note)
    panels = figure.subplots(rows, 4, squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for place in range(count):
        row, left = divmod(place, 2)
        for offset, picture, value, word in (
            (0, starts[place], values[place][0], "start"),
            (1, ends[place], values[place][1], f"→ {names[place]}"),
        ):
            axes = panels[row, 2 * left + offset]
            axes.imshow(picture.transpose(1, 2, 0))
            axes.set_title(word if value is None else f"{word}: {value:.2f}", size=SMALLEST, pad=2)
    table = [
        (name, np.nan if start is None else float(start), float(end))
        for name, (start, end) in zip(names, values[:count], strict=True)
    ]
    save_figure(figure, path, ("image", "start", "end"), table)

"""Contact sheets of images with their scores, and tables of the scores."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from ....surface.style import SMALLEST, WIDTH, default_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP, _LINE = 0.06, 0.115  # gap between images, and height of a line of text, in inches
_WIDEST = 4  # images in a row, at most
_CHARACTER = 0.05  # inches that a character takes
SHEET_DPI = 250
SYNTHETIC = "Synthetic subject: its weights were made up. Not a finding about brains."


def contact_sheet(
    images: UInt8[np.ndarray, "n 3 height width"],
    scores: Mapping[str, Float[np.ndarray, " n"]],
    synthetic: bool,
    title: str = "",
) -> Figure:
    """Draw images in rows, each with its number and its scores below.

    Parameters
    ----------
    images
        Images to show.
    scores
        Scores of the images, by name.
    synthetic
        Say at the foot of the sheet that the subject is synthetic.
    title
        Text above the images.

    See Also
    --------
    draw_sheet : Draw images with any lines of text.
    scores_csv : Write the scores as a table.
    """
    lines = [
        [f"{index + 1}", *(score_text(name, values[index]) for name, values in scores.items())]
        for index in range(len(images))
    ]
    return draw_sheet(images, lines, [SYNTHETIC] * synthetic, title)


def score_text(name: str, value: float) -> str:
    """Return a score in words: a percentile as a whole number that it is not below, others to two decimals.

    Examples
    --------
    >>> score_text("value", 1.314), score_text("value percentile", 98.33)
    ('value 1.31', 'value percentile 98')
    """
    return f"{name} {np.floor(value):.0f}" if name.endswith(" percentile") else f"{name} {value:.2f}"


@default_style()
def draw_sheet(
    images: UInt8[np.ndarray, "n 3 height width"],
    lines: Sequence[Sequence[str]],
    notes: Sequence[str],
    title: str = "",
) -> Figure:
    """Draw images in rows of at most four, with lines of text below each image, a title, and notes at the foot.

    The sheet is as wide as a journal column, and no text is smaller than 6 points. A line that is wider than its
    image is wrapped.

    Parameters
    ----------
    images
        Images to show.
    lines
        Lines of text for each image.
    notes
        Lines of text for the foot of the sheet.
    title
        Text above the images.
    """
    from matplotlib.figure import Figure

    count, _, height, width = images.shape
    columns = min(count, max(min(_WIDEST, int(np.ceil(np.sqrt(count)))), 2))
    side = min((WIDTH - _GAP) / columns - _GAP, 1.2)
    tall, across = side * height / width, int(side / _CHARACTER)
    wrapped = [[part for line in own for part in textwrap.wrap(line, across)] for own in lines]
    head, foot = textwrap.wrap(title, 62), [part for note in notes for part in textwrap.wrap(note, 70)]
    row_height = tall + _LINE * max(map(len, wrapped)) + 2 * _GAP
    rows = -(-count // columns)
    total = _LINE * 1.3 * len(head) + rows * row_height + _LINE * len(foot) + 3 * _GAP
    figure = Figure(figsize=(WIDTH, total), dpi=SHEET_DPI)
    figure.text(0.5, 1 - _GAP / total, "\n".join(head), ha="center", va="top", fontsize=7)
    left = (WIDTH - columns * (side + _GAP) + _GAP) / 2
    for index, image in enumerate(images):
        x = left + index % columns * (side + _GAP)
        top = total - 2 * _GAP - 1.3 * _LINE * len(head) - index // columns * row_height
        axes = figure.add_axes((x / WIDTH, (top - tall) / total, side / WIDTH, tall / total))
        axes.imshow(image.transpose(1, 2, 0))
        axes.set_axis_off()
        text = "\n".join(wrapped[index])
        figure.text(x / WIDTH, (top - tall - 0.03) / total, text, va="top", fontsize=SMALLEST, linespacing=1.1)
    figure.text(0.5, _GAP / total, "\n".join(foot), ha="center", va="bottom", fontsize=SMALLEST, color="0.4")
    return figure


def scores_csv(names: Sequence[str], scores: Mapping[str, Float[np.ndarray, " n"]]) -> str:
    """Return a table of scores as CSV, with a line for each image and a column for each score.

    Parameters
    ----------
    names
        The images' names.
    scores
        Scores of the images, by name.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *scores])
    for index, name in enumerate(names):
        writer.writerow([name, *(f"{values[index]:.6f}" for values in scores.values())])
    return text.getvalue()

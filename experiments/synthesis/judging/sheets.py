"""Contact sheets of images with their scores, and tables of the scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

_GAP, _LINE, _FONT = 10, 15, 12  # gap between images, height of a line of text, size of the font, in pixels
_WIDEST = 6  # images in a row, at most
SYNTHETIC = "Synthetic subject: its weights were made up. Not a finding about brains."


def contact_sheet(
    images: UInt8[np.ndarray, "n 3 height width"], scores: Mapping[str, Float[np.ndarray, " n"]], synthetic: bool
) -> Image.Image:
    """Draw images in rows, each with its number and its scores below.

    Parameters
    ----------
    images
        Images to show.
    scores
        Scores of the images, by name.
    synthetic
        Say at the foot of the sheet that the subject is synthetic.

    See Also
    --------
    draw_sheet : Draw images with any lines of text.
    scores_csv : Write the scores as a table.
    """
    lines = [
        [f"{index + 1}", *(f"{name} {values[index]:.2f}" for name, values in scores.items())]
        for index in range(len(images))
    ]
    return draw_sheet(images, lines, [SYNTHETIC] * synthetic)


def draw_sheet(
    images: UInt8[np.ndarray, "n 3 height width"],
    lines: Sequence[Sequence[str]],
    notes: Sequence[str],
    widest: int = _WIDEST,
) -> Image.Image:
    """Draw images in rows of at most ``widest``, with lines of text below each image and notes at the foot.

    A line that is wider than its image is cut, and ends in an ellipsis.

    Parameters
    ----------
    images
        Images to show.
    lines
        Lines of text for each image.
    notes
        Lines of text for the foot of the sheet.
    widest
        Largest number of images in a row.
    """
    count, _, height, width = images.shape
    columns = min(count, max(min(widest, int(np.ceil(np.sqrt(count)))), 2))
    rows = -(-count // columns)
    row_height = height + _LINE * max(map(len, lines)) + _GAP
    foot_height = _LINE * len(notes) + _GAP * bool(notes)
    font = ImageFont.load_default(_FONT)
    note_widths = [int(font.getlength(note)) + _GAP for note in notes]
    sheet_width = max(columns * (width + _GAP), *note_widths, 0) + _GAP
    sheet = Image.new("RGB", (sheet_width, rows * row_height + _GAP + foot_height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        x = _GAP + index % columns * (width + _GAP)
        y = _GAP + index // columns * row_height
        sheet.paste(Image.fromarray(image.transpose(1, 2, 0)), (x, y))
        for number, line in enumerate(lines[index]):
            text = _cut(line, width, font)
            draw.text((x, y + height + 2 + number * _LINE), text, fill="black", font=font)
    for number, note in enumerate(notes):
        draw.text((_GAP, rows * row_height + _GAP // 2 + number * _LINE), note, fill="gray", font=font)
    return sheet


def _cut(line: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(line) <= width:
        return line
    while font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


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

"""Images and their scores at a glance: a contact sheet and a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

_GAP, _LINE, _FONT = 10, 15, 12  # pixels
_WIDEST = 6  # images in a row
SYNTHETIC = "Synthetic subject: its weights were made up. Not a finding about brains."


def contact_sheet(
    images: UInt8[np.ndarray, "n 3 height width"], scores: Mapping[str, Float[np.ndarray, " n"]], synthetic: bool
) -> Image.Image:
    """All images in rows, with their number and scores below each; says if the subject is synthetic."""
    numbered = range(len(images))
    lines = [[f"{i + 1}", *(f"{name} {values[i]:.2f}" for name, values in scores.items())] for i in numbered]
    return sheet(images, lines, [SYNTHETIC] * synthetic)


def sheet(
    images: UInt8[np.ndarray, "n 3 height width"],
    lines: Sequence[Sequence[str]],
    notes: Sequence[str],
    widest: int = _WIDEST,
) -> Image.Image:
    """Images in rows of at most ``widest``, with lines of text below each, and notes at the sheet's foot.

    A line that is longer than its image is wide is cut, and ends in an ellipsis.
    """
    count, _, height, width = images.shape
    columns = min(count, max(min(widest, int(np.ceil(np.sqrt(count)))), 2))
    rows = -(-count // columns)
    tall = height + _LINE * max(map(len, lines)) + _GAP
    foot = _LINE * len(notes) + _GAP * bool(notes)
    font = ImageFont.load_default(_FONT)
    wide = max(columns * (width + _GAP), *(int(font.getlength(note)) + _GAP for note in notes), 0) + _GAP
    drawn = Image.new("RGB", (wide, rows * tall + _GAP + foot), "white")
    draw = ImageDraw.Draw(drawn)
    for index, image in enumerate(images):
        x, y = _GAP + index % columns * (width + _GAP), _GAP + index // columns * tall
        drawn.paste(Image.fromarray(image.transpose(1, 2, 0)), (x, y))
        for number, line in enumerate(lines[index]):
            text = _cut(line, width, font)
            draw.text((x, y + height + 2 + number * _LINE), text, fill="black", font=font)
    for number, note in enumerate(notes):
        draw.text((_GAP, rows * tall + _GAP // 2 + number * _LINE), note, fill="gray", font=font)
    return drawn


def _cut(line: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(line) <= width:
        return line
    while font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def table(names: Sequence[str], scores: Mapping[str, Float[np.ndarray, " n"]]) -> str:
    """CSV: a line for each image, a column for each score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *scores])
    for index, name in enumerate(names):
        writer.writerow([name, *(f"{values[index]:.6f}" for values in scores.values())])
    return text.getvalue()

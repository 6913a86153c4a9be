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
_NOTE = "Synthetic subject: its weights were made up. Not a finding about brains."


def contact_sheet(
    images: UInt8[np.ndarray, "n 3 height width"], scores: Mapping[str, Float[np.ndarray, " n"]], synthetic: bool
) -> Image.Image:
    """All images in rows, with their number and scores below each; says if the subject is synthetic."""
    count, _, height, width = images.shape
    columns = min(count, max(min(_WIDEST, int(np.ceil(np.sqrt(count)))), 2))
    rows = -(-count // columns)
    tall = height + _LINE * (len(scores) + 1) + _GAP
    size = columns * (width + _GAP) + _GAP, rows * tall + _GAP + (_LINE + _GAP) * synthetic
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for index, image in enumerate(images):
        x, y = _GAP + index % columns * (width + _GAP), _GAP + index // columns * tall
        sheet.paste(Image.fromarray(image.transpose(1, 2, 0)), (x, y))
        lines = [f"{index + 1}", *(f"{name} {values[index]:.2f}" for name, values in scores.items())]
        for number, line in enumerate(lines):
            draw.text((x, y + height + 2 + number * _LINE), line, fill="black", font=font)
    if synthetic:
        draw.text((_GAP, size[1] - _LINE - _GAP // 2), _NOTE, fill="gray", font=font)
    return sheet


def table(names: Sequence[str], scores: Mapping[str, Float[np.ndarray, " n"]]) -> str:
    """CSV: a line for each image, a column for each score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *scores])
    for index, name in enumerate(names):
        writer.writerow([name, *(f"{values[index]:.6f}" for values in scores.values())])
    return text.getvalue()

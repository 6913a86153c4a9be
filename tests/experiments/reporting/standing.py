"""What a figure that stands alone must be, found in its files without the program that drew it."""

from __future__ import annotations

import csv
import re
import zlib
from pathlib import Path

from PIL import Image

_COLUMN = 89 / 25.4 * 72  # points


def check_figure(path: Path) -> list[list[str]]:
    """Return the table of a figure, whose PNG, PDF and CSV are as they must be.

    The PNG is 1350 pixels wide (a sheet's 876), the PDF a column wide with no text below 6 points.
    """
    with Image.open(path) as image:
        assert image.width in (1350, 875, 876), image.size
    data = path.with_suffix(".pdf").read_bytes()
    assert data.startswith(b"%PDF")
    left, low, right, high = map(float, re.search(rb"/MediaBox \[([^\]]*)\]", data)[1].split())
    assert abs(right - left - _COLUMN) < 0.1, path
    assert high > low
    sizes = text_sizes(data)
    assert len(sizes) > 2, path  # texts are texts, not pixels
    assert min(sizes) >= 5.99, (path, sorted(set(sizes)))
    with path.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert rows
    assert {len(row) for row in rows} == {len(header)}
    return [header, *rows]


def text_sizes(pdf: bytes) -> list[float]:
    """Sizes of all texts of a PDF in points."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            text = zlib.decompress(stream)
        except zlib.error:
            continue
        found += [float(size) for size in re.findall(rb"/F\d+ ([\d.]+) Tf", text)]
    return found

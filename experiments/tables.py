"""Tables that users write, in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InvalidParameterError, ModelNotFoundError
from ..files import read_small, readable

_LARGEST = 1 << 30  # bytes


def read_table(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a ``.csv`` file with a header, which must name these columns; what a row lacks is empty.

    Raises
    ------
    ModelNotFoundError, InvalidParameterError
        There is no such file; it cannot be read, or lacks a column or rows.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelNotFoundError(f"There is no table {path}.")
    with readable(path, InvalidParameterError, f"Give a table with the columns {' and '.join(columns)}."):
        text = read_small(path, _LARGEST).decode("utf-8-sig")
        table = csv.reader(io.StringIO(text, newline=""))
        places = {name: place for place, name in enumerate(next(table, [])) if name in columns}
        rows = [_row(places, values) for values in table if values]
    if not rows or len(places) < len(columns):
        raise InvalidParameterError(f"{path} must have a header with the columns {' and '.join(columns)}, and rows.")
    return rows


def _row(places: Mapping[str, int], values: Sequence[str]) -> dict[str, str]:
    """What is asked for and no more: a short row may lack a great many others."""
    return {name: values[place] if place < len(values) else "" for name, place in places.items()}

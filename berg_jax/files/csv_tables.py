"""Tables in CSV: those that users write, and those that experiments write."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidParameterError, ModelNotFoundError
from .disk import explained, read_small, readable

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


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a ``.csv`` file with a header; numbers with fractions to 6 digits, and nothing where there is none (NaN).

    Raises
    ------
    ResourceError
        It cannot be written.
    """
    with explained("write", path), path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if not isinstance(value, float | np.floating):
        return value
    return "" if np.isnan(value) else f"{value:.6g}"


def _row(places: Mapping[str, int], values: Sequence[str]) -> dict[str, str]:
    """What is asked for and no more: a short row may lack a great many others."""
    return {name: values[place] if place < len(values) else "" for name, place in places.items()}

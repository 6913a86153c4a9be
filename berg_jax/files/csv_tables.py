"""CSV tables, which users write for experiments and experiments write as results."""

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
    """Return the rows of a ``.csv`` file that has a header.

    Parameters
    ----------
    path
        The ``.csv`` file, in UTF-8, of at most 1 GB.
    columns
        Columns to read, all of which the header must name.

    Returns
    -------
    For each row the text of each column by its name, empty where the row has no such cell.

    Raises
    ------
    ModelNotFoundError, InvalidParameterError
        There is no such file; the file cannot be read, or has no such column or no rows.

    See Also
    --------
    write_table : Write such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelNotFoundError(f"There is no table {path}.")
    with readable(path, InvalidParameterError, f"Give a table with the columns {' and '.join(columns)}."):
        text = read_small(path, _LARGEST).decode("utf-8-sig")
        table = csv.reader(io.StringIO(text, newline=""))
        positions = {name: position for position, name in enumerate(next(table, [])) if name in columns}
        rows = [_row(positions, values) for values in table if values]
    if not rows or len(positions) < len(columns):
        raise InvalidParameterError(f"{path} must have a header with the columns {' and '.join(columns)}, and rows.")
    return rows


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a ``.csv`` file with a header.

    Parameters
    ----------
    path
        File to write.
    columns
        Names of the columns.
    rows
        Values of each row. Floating-point numbers are written with 6 significant digits, and NaN as an empty cell.

    Raises
    ------
    ResourceError
        The file cannot be written.
    ValueError
        A row has another number of values than there are columns.

    See Also
    --------
    read_table : Read such a file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(Path(folder, "table.csv"), ["roi", "accuracy"], [["V1", 0.25], ["FFA-1", float("nan")]])
    ...     read_table(Path(folder, "table.csv"), ["roi", "accuracy"])
    [{'roi': 'V1', 'accuracy': '0.25'}, {'roi': 'FFA-1', 'accuracy': ''}]
    """
    names, cells = list(columns), [[_cell(value) for value in row] for row in rows]
    if wrong := {len(row) for row in cells} - {len(names)}:
        raise ValueError(f"rows of {sorted(wrong)} values for the {len(names)} columns of {path.name}")
    with explained("write", path), path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *cells])


def _cell(value: Any) -> Any:
    if not isinstance(value, float | np.floating):
        return value
    return "" if np.isnan(value) else f"{value:.6g}"


def _row(positions: Mapping[str, int], values: Sequence[str]) -> dict[str, str]:
    """Return only the wanted cells of a row: a header may name very many columns that short rows do not fill."""
    return {name: values[position] if position < len(values) else "" for name, position in positions.items()}

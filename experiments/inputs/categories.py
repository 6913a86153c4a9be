"""Categories of images: from the folders that they lie in, or from a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InvalidParameterError
from ...files.csv_tables import read_table
from ...files.names import NameIndex


def folder_of_image(name: str) -> str:
    """Return the folder that an image lies in, such as ``faces`` of ``faces/1.png``; empty if it lies in none.

    Examples
    --------
    >>> folder_of_image("faces/1.png"), folder_of_image("12")
    ('faces', '')
    """
    return name.rpartition("/")[0]


def categories_from_table(ids: Sequence[str], path: str | Path) -> list[str]:
    """Return the category of each image from a table.

    Parameters
    ----------
    ids
        The images' names.
    path
        A ``.csv`` file with a header and the columns ``image`` (names as in ``ids``) and ``category``.

    Raises
    ------
    ModelNotFoundError
        There is no such table.
    InvalidParameterError
        An image has no category, or two.
    """
    rows = read_table(path, ("image", "category"))
    categories: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if not row["category"] or categories.get(row["image"], row["category"]) != row["category"]:
            raise InvalidParameterError(f"{path}, line {number}: image {row['image']!r} must have one category.")
        categories[row["image"]] = row["category"]
    index, values = NameIndex(list(categories)), list(categories.values())
    positions = [index.find(name) for name in ids]
    missing = [name for name, position in zip(ids, positions, strict=True) if position is None]
    if missing:
        raise InvalidParameterError(
            f"{path} has no category for {len(missing)} images, such as {missing[0]!r}; it has names such as "
            f"{next(iter(categories))!r}."
        )
    return [values[position] for position in positions]

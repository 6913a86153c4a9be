"""Categories of images, from the folders that they lie in or from a table, and the order in which they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

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


class ShownImages(NamedTuple):
    """Names and categories of images, and the order in which figures show them.

    Attributes
    ----------
    names
        Names of the images, in their own order.
    categories
        Category of each; all empty where none is known.
    """

    names: Sequence[str]
    categories: Sequence[str]

    @property
    def kinds(self) -> list[str]:
        """The different categories, in the order in which they first occur; none where they are not known."""
        return [name for name in dict.fromkeys(self.categories) if name]

    @property
    def order(self) -> Int[np.ndarray, " images"]:
        """Indices of the images, category by category, and within a category in their own order."""
        places = {name: place for place, name in enumerate(dict.fromkeys(self.categories))}
        return np.argsort([places[name] for name in self.categories], kind="stable")


def shown_images(
    names: Sequence[str], table: str | Path | None = None, drawn: Sequence[str] | None = None
) -> ShownImages:
    """Return the images' categories: from a table, else of the demo's drawings, else their folders.

    Parameters
    ----------
    names
        Names of the images.
    table
        A ``.csv`` file with the columns ``image`` and ``category``.
    drawn
        Category of each image, where they are the demo's drawings.

    Raises
    ------
    BERGError
        The table is not there, or has not one category for each image.

    Examples
    --------
    >>> shown = shown_images(["b/1.png", "a/1.png", "b/2.png"])
    >>> shown.kinds, shown.order.tolist()
    (['b', 'a'], [0, 2, 1])
    """
    if table is not None:
        return ShownImages(names, categories_from_table(names, table))
    return ShownImages(names, drawn if drawn is not None else [folder_of_image(name) for name in names])

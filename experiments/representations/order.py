"""Order in which images are shown: category by category, where categories are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ..inputs.categories import categories_from_table, folder_of_image


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

"""Some images of a source, by number."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from ...errors import InvalidParameterError
from ...files.disk import read_small
from .account import Account
from .contents import fingerprint
from .image_files import Source

_MOST_NUMBERS = 10_000_000


class Subset:
    """Some images of a source, by number.

    Parameters
    ----------
    source
        Source of the images.
    numbers
        Numbers of the images, from 0, in the order of the subset.

    Raises
    ------
    InvalidParameterError
        A number is not in the source, or occurs twice.

    Examples
    --------
    >>> from berg_jax.demo import photographs
    >>> from berg_jax.stream import FolderSource
    >>> source = FolderSource(photographs()["flower.jpg"].parent, fit="crop")
    >>> Subset(source, [1]).ids
    ['flower.jpg']
    """

    def __init__(self, source: Source, numbers: Int[np.ndarray, " n"]) -> None:
        numbers = np.asarray(numbers)
        outside = numbers[(numbers < 0) | (numbers >= len(source))]
        if len(numbers) == 0 or len(outside):
            what = f"image {outside[0]} is asked for" if len(outside) else "no image is asked for"
            raise InvalidParameterError(f"The source has images 0 to {len(source) - 1}, but {what}.")
        values, counts = np.unique(numbers, return_counts=True)
        if (counts > 1).any():
            raise InvalidParameterError(f"Image {values[counts > 1][0]} is asked for twice. Give each image once.")
        self._source, self._numbers = source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def whole(self) -> Source:
        """The source that these are images of."""
        return self._source

    @property
    def ids(self) -> list[str]:
        """Names of these images in the source."""
        ids = self._source.ids
        return [ids[number] for number in self._numbers]

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the names and contents of these images, or of the source's fingerprint and the numbers."""
        if hasattr(self._source, "digests"):
            return fingerprint(self)
        numbers = self._numbers.astype("<i8").tobytes()
        return hashlib.sha256(self._source.fingerprint.encode() + numbers).hexdigest()

    def __getattr__(self, name: str) -> Any:
        if name != "digests":  # which a source of one's own may lack
            raise AttributeError(name)
        digests = self._source.digests
        return lambda rows: digests(self._numbers[rows])

    @property
    def earlier_fingerprint(self) -> str | None:
        """Fingerprint that version 0.1.0 gave these images, if it knew the source."""
        earlier = getattr(self._source, "earlier_fingerprint", None)
        numbers = self._numbers.astype("<i8").tobytes()
        return None if earlier is None else hashlib.sha256(earlier.encode() + numbers).hexdigest()

    @property
    def account(self) -> Account:
        """Account of these images, all of which are asked for."""
        return Account(encoded=len(self))

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """Read the images at these positions in the subset."""
        return self._source.read(self._numbers[np.asarray(indices)])


def parse_numbers(text: str) -> Int[np.ndarray, " n"]:
    """Return the image numbers, from 0, in a text such as ``"3,5,10-19"``, or in a text file of this name.

    Numbers in the file are separated by commas or line breaks.

    Raises
    ------
    InvalidParameterError
        The text has no such numbers, and is not the name of a file that has.

    Examples
    --------
    >>> parse_numbers("3,5,10-12")
    array([ 3,  5, 10, 11, 12])
    """
    path = Path(text)
    if re.search(r"[^\d,\s-]", text):
        try:
            text = read_small(path).decode("utf-8")
        except (OSError, ValueError) as error:
            raise InvalidParameterError(
                "images must be train, val, test, numbers such as '3,5,10-19', or a text file of them, got "
                f"{text!r:.200}."
            ) from error
    numbers, count = [], 0
    for item in re.split(r"[,\s]+", text.strip(" ,\t\r\n")):
        match = re.fullmatch(r"(\d{1,8})(?:-(\d{1,8}))?", item)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise InvalidParameterError(f"{item!r:.40} is no image number and no ascending range such as 10-19.")
        first, last = int(match[1]), int(match[2] or match[1])
        count += last - first + 1
        if count > _MOST_NUMBERS:
            raise InvalidParameterError(f"More than {_MOST_NUMBERS:,} image numbers are given. Give fewer at a time.")
        numbers.append(np.arange(first, last + 1))
    return np.concatenate(numbers)

"""Numbers of NSD's images, read from the names of their files."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Int

from ...errors import InvalidParameterError

_ROW = re.compile(r"\d{1,8}")
_NSD = re.compile(r"(?:shared(?P<place>\d{1,4})_|.*[-_])?nsd-?(?P<number>\d{1,8})", re.IGNORECASE)
_log = logging.getLogger(__name__)


def image_numbers(
    names: Sequence[str], shown: Int[np.ndarray, " trials"], shared: Int[np.ndarray, " shared"] | None = None
) -> list[int]:
    """Return the NSD image number, counted from 0 as the rows of ``nsd_stimuli.hdf5``, of each named image.

    Three kinds of names are read, with any folders before them and any suffix behind them:

    - ``12`` and ``00012.png`` are rows, counted from 0.
    - ``shared0001_nsd02951.png``, as NSD names the shared images. The first number says which of the design's
      ``sharedix`` it is, which tells whether the second one counts from 1, as NSD's files do, or from 0.
    - ``nsd00012.png`` and ``train-0001_nsd-00012.png``. Both countings are in use: taken is the one by which every
      image was shown to the subject. Of NSD's 73,000 images a subject saw at most 10,000, so that more than a few
      images leave no doubt.

    Parameters
    ----------
    names
        Names of the images.
    shown
        Image of each trial, counted from 0.
    shared
        The design's ``sharedix``, counted from 1.

    Raises
    ------
    InvalidParameterError
        A name has no number, two have the same, or it is not clear whether they count from 0 or from 1.

    Examples
    --------
    >>> image_numbers(["shared0001_nsd02951.png"], np.array([2950]), np.array([2951]))
    [2950]
    """
    stems = [PurePosixPath(name).stem for name in names]
    if all(map(_ROW.fullmatch, stems)):
        numbers = np.array([int(stem) for stem in stems])
    else:
        matches = [_NSD.fullmatch(stem) for stem in stems]
        if None in matches:
            raise InvalidParameterError(
                f"{names[matches.index(None)]!r} is no name of one of NSD's images, and the first trial showed image "
                f"{shown[0]}, counted from 0. Give nsd_stimuli.hdf5, or name that image nsd{shown[0]:05d}.png."
            )
        numbers = np.array([int(match["number"]) for match in matches])
        places = [match["place"] for match in matches]
        first = _by_shared(numbers, places, shared)
        if first is None:
            first = _by_shown(numbers, names, shown)
        if first == 1:
            _log.info("The numbers in names such as %s count from 1, as NSD's files do.", names[0])
        numbers = numbers - first
    _, where, counts = np.unique(numbers, return_index=True, return_counts=True)
    if (counts > 1).any():
        again = names[where[counts > 1][0]]
        raise InvalidParameterError(f"Two images have the number of {again!r}. Give each image once.")
    return numbers.tolist()


def _by_shared(
    numbers: Int[np.ndarray, " n"], places: Sequence[str | None], shared: Int[np.ndarray, " shared"] | None
) -> int | None:
    """Return the number from which names count, as their places among the shared images tell, or None."""
    if shared is None or not all(place and 1 <= int(place) <= len(shared) for place in places):
        return None
    expected = shared[np.array([int(place) - 1 for place in places if place])]
    return next((first for first in (1, 0) if (numbers - first == expected - 1).all()), None)


def _by_shown(numbers: Int[np.ndarray, " n"], names: Sequence[str], shown: Int[np.ndarray, " trials"]) -> int:
    """Return the number from which names count, as the images that were shown tell."""
    counts = [int(np.isin(numbers - first, shown).sum()) for first in (0, 1)]
    fitting = [first for first, count in enumerate(counts) if count == len(numbers)]
    if len(fitting) == 1:
        return fitting[0]
    beside = f"the first trial showed image {shown[0]}, counted from 0, beside the name {names[0]!r}"
    if fitting:
        raise InvalidParameterError(
            f"Names such as {names[0]!r} may count from 0 or from 1: both images were shown ({beside}). Name files "
            f"by their rows in nsd_stimuli.hdf5, counted from 0, such as {numbers[0]}.png."
        )
    raise InvalidParameterError(
        f"Of {len(names)} images, {counts[0]} were shown in these sessions if their names count from 0, and "
        f"{counts[1]} if they count from 1; {beside}. Leave out the others, or give more sessions."
    )

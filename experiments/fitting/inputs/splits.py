"""Training, validation and test split of the images: an image is in one of them, with all of its trials."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from ....errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ....files.disk import read_small, readable
from ....files.names import NameIndex

TEST_SHARE, VALIDATION_SHARE = 0.1, 0.1
FEWEST_TEST, FEWEST_TRAINING = 5, 20  # images of the test, which needs a correlation, and of training
NAMES = ("train", "validation", "test")


class Split(NamedTuple):
    """Images of each split, as ascending indices among all images.

    Attributes
    ----------
    train
        Images whose responses weights and penalties are fitted to.
    validation
        Images that decide when a training ends; the readout does not see them.
    test
        Images that nothing is fitted to.
    """

    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each split, by its name."""
        return {name: len(images) for name, images in zip(NAMES, self, strict=True)}


def split_images(
    count: int,
    test: Collection[int] | None = None,
    *,
    test_share: float = TEST_SHARE,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """Divide images into training, validation and test.

    Parameters
    ----------
    count
        Number of images.
    test
        Indices of the test images; by default they are drawn.
    test_share
        Share of the images that is drawn for the test, from 0 to 1.
    validation_share
        Share of the other images that is drawn for validation, from 0 to 1; may be 0.
    seed
        Seed of the draws.

    Returns
    -------
    Split
        Ascending indices of each split. Together they are all images, and no image is in two.

    Raises
    ------
    InvalidParameterError
        A share is not below 1, or too few images are left for the test (5) or for training (20).

    Examples
    --------
    >>> split = split_images(100, test=range(10))
    >>> split.counts
    {'train': 81, 'validation': 9, 'test': 10}
    """
    for name, share in (("test_share", test_share), ("validation_share (--validation)", validation_share)):
        if not 0 <= share < 1:
            raise InvalidParameterError(f"{name} must be at least 0 and below 1, got {share}.")
    random = np.random.default_rng((seed, count))
    order = random.permutation(count)
    held_out = order[: round(test_share * count)] if test is None else np.unique(np.array([*test], np.int64))
    if len(held_out) and not 0 <= held_out[0] <= held_out.max() < count:
        raise InvalidParameterError(f"Test images must be indices from 0 to {count - 1}, got {held_out.max()}.")
    others = order[~np.isin(order, held_out)]
    validation = others[: round(validation_share * len(others))]
    train = others[len(validation) :]
    if len(held_out) < FEWEST_TEST or len(train) < FEWEST_TRAINING:
        raise InvalidParameterError(
            f"{count} images give {len(train)} for training, {len(validation)} for validation and {len(held_out)} "
            f"for the test; at least {FEWEST_TRAINING} and {FEWEST_TEST} are needed for training and test. Give more "
            "images, or another --test list."
        )
    return Split(*(np.sort(images) for images in (train, validation, held_out)))


def listed_images(path: str | Path, images: Sequence[str]) -> list[int]:
    """Return the indices of the images that a text file names, a name a line.

    Parameters
    ----------
    path
        The file. Empty lines are left out. Accents may be in another form (NFC, NFD) than in the images' names.
    images
        Names of all images.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError
        The file cannot be read.
    InvalidParameterError
        A line names none of the images, or an image is named twice.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelNotFoundError(
            f"There is no file {path}. Give a text file with the test images' names, one a line."
        )
    with readable(path, ValidationError, "Give a text file of the test images' names, one a line."):
        names = [line.strip() for line in read_small(path).decode("utf-8").splitlines() if line.strip()]
    index = NameIndex(images)
    found = [index.find(name) for name in names]
    if None in found:
        unknown = names[found.index(None)]
        raise InvalidParameterError(
            f"{path} names {found.count(None)} images that are not given, such as {unknown!r}; an image's name is "
            f"such as {images[0]!r}. Correct the list, or give those images, too."
        )
    if len(set(found)) < len(found):
        again = next(name for name, place in zip(names, found, strict=True) if found.count(place) > 1)
        raise InvalidParameterError(f"{path} names {again!r} twice. Name each image once.")
    return [int(place) for place in found]


def require_no_copies(digests: UInt64[np.ndarray, " images"], names: Sequence[str], split: Split) -> None:
    """Raise InvalidParameterError if the same picture is in two splits, under whatever names.

    Parameters
    ----------
    digests
        A number for the contents of each image, 0 where it is not known.
    names
        The images' names.
    split
        Their split.
    """
    splits = np.full(len(names), -1)
    for number, images in enumerate(split):
        splits[images] = number
    order = np.flatnonzero((digests > 0) & (splits >= 0))
    # Of equal pictures in two splits, two neighbors in this order are in different ones.
    order = order[np.lexsort((splits[order], digests[order]))]
    first, second = order[:-1], order[1:]
    across = np.flatnonzero((digests[first] == digests[second]) & (splits[first] != splits[second]))
    if len(across):
        a, b = int(first[across[0]]), int(second[across[0]])
        raise InvalidParameterError(
            f"Images {names[a]!r} ({NAMES[splits[a]]}) and {names[b]!r} ({NAMES[splits[b]]}) are the same picture, "
            f"one of {len(across)} such pairs: what is tested would have been seen in training. Give each picture "
            "once, with all its trials under one name."
        )

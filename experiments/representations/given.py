"""Features and dissimilarity matrices that users give, in the order of the images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import squareform

from ...errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ...files.disk import read_small, readable
from ...files.names import NameIndex
from ...files.npy import read_npy
from .dissimilarity import dissimilarities, from_square

_log = logging.getLogger(__name__)


def given_dissimilarities(
    features: Mapping[str, str | Path],
    matrices: Mapping[str, str | Path],
    images: Sequence[str],
    names: str | Path | None = None,
) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Return the dissimilarities of given features and matrices, by name.

    Parameters
    ----------
    features
        ``.npy`` files of (images, features).
    matrices
        ``.npy`` files of dissimilarities (images, images).
    images
        Names of the images.
    names
        Text file with the name of each row's image. By default rows are in the images' order, and a line says so.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError, InvalidParameterError
        A file cannot be read, or does not fit the images or the names.
    """
    if clash := set(features) & set(matrices):
        raise InvalidParameterError(f"{sorted(clash)} are names of features and of matrices. Rename them.")
    if names is not None and not (features or matrices):
        raise InvalidParameterError(f"{names} names the rows of features or matrices: give them, too.")
    total, rows = (len(images), None) if names is None else _rows(Path(names), images)
    found = {}
    for name, path in {**features, **matrices}.items():
        if "/" in name or "\\" in name:
            raise InvalidParameterError(f"{name!r} names files that are written, so it must be without slashes.")
        if not Path(path).is_file():
            raise ModelNotFoundError(f"There is no file {path}.")
        with readable(path, ValidationError, "Get the file again."):
            array = read_npy(Path(path))
        if array.dtype.kind not in "fiu" or array.ndim < 2 or len(array) != total:
            those = "images" if names is None else f"images in {names}"
            raise InvalidParameterError(
                f"{path} must be numbers for each of the {total} {those}, got {array.dtype} of shape {array.shape}."
            )
        if name in features:
            patterns = array if rows is None else array[rows]
            found[name] = dissimilarities(patterns.reshape(len(images), -1))
        else:
            found[name] = from_square(array, str(path))
            if rows is not None:
                found[name] = squareform(squareform(found[name], checks=False)[np.ix_(rows, rows)], checks=False)
        if np.isnan(found[name]).any():
            raise InvalidParameterError(f"{path} has dissimilarities that are NaN: an image's features do not vary.")
    if found and rows is None:
        _log.info(
            "The rows of %s are taken to be in the images' order, %r to %r; --feature-names gives their names.",
            *(", ".join(found), images[0], images[-1]),
        )
    return found


def _rows(path: Path, images: Sequence[str]) -> tuple[int, Int[np.ndarray, " images"]]:
    """Return the number of names in a text file, and the position of each image among them."""
    remedy = "Give a text file with the name of an image a line."
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. {remedy}")
    with readable(path, InvalidParameterError, remedy):
        lines = read_small(path).decode("utf-8-sig").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name in first:
            raise InvalidParameterError(f"{path} names {name!r} twice. Give each image once.")
        first[name] = number
    index = NameIndex(names)
    positions = [index.find(image) for image in images]
    if missing := [image for image, position in zip(images, positions, strict=True) if position is None]:
        there = f"it has names such as {names[0]!r}" if names else "it is empty"
        raise InvalidParameterError(
            f"{path} lacks {len(missing)} of the {len(images)} images, such as {missing[0]!r}; {there}."
        )
    return len(names), np.array(positions)

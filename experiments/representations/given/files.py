"""Features, embeddings and dissimilarity matrices that users give, in the order of the images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import squareform

from ....errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ....files.disk import read_small, readable
from ....files.names import NameIndex
from ....files.npy import read_npy
from ..dissimilarity import from_square
from ..measure import RDM, Measure, Patterns
from .embeddings import cosine_dissimilarities, mean_caption, triplet_dissimilarities

Files = Mapping[str, str | Path]
_log = logging.getLogger(__name__)


class Given(NamedTuple):
    """What a region is compared with.

    Attributes
    ----------
    triangles
        Upper triangles by name, of the measure.
    patterns
        Features of the images, of those that are not matrices.
    """

    triangles: dict[str, Float[np.ndarray, " pairs"]]
    patterns: dict[str, Patterns]


def read_given(
    images: Sequence[str],
    *,
    features: Files | None = None,
    embeddings: Files | None = None,
    language: Files | None = None,
    matrices: Files | None = None,
    names: str | Path | None = None,
    measure: Measure = RDM,
) -> Given:
    """Return given features, embeddings and matrices, by name.

    Parameters
    ----------
    images
        Names of the images.
    features
        ``.npy`` files of (images, features), compared by correlation.
    embeddings
        ``.npy`` files of (images, dimensions) that were fitted to odd-one-out choices: see
        :func:`~berg_jax.experiments.representations.triplet_dissimilarities`.
    language
        ``.npy`` files of a language model's (images, features) or (images, captions, features), compared by cosine.
    matrices
        ``.npy`` files of dissimilarities (images, images).
    names
        Text file with the name of each row's image. By default rows are in the images' order, and a line says so.
    measure
        Measure of similarity. Kernel alignment compares all but matrices by their features, of captions the mean.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError, InvalidParameterError
        A file cannot be read, or does not fit the images, the names or the measure.
    """
    kinds = {"features": features, "embeddings": embeddings, "language": language, "matrices": matrices}
    files = [(kind, name, path) for kind, some in kinds.items() for name, path in (some or {}).items()]
    taken: dict[str, str] = {}
    for kind, name, _ in files:
        if name in taken:
            raise InvalidParameterError(f"{[name]} are names of {taken[name]} and of {kind}. Rename them.")
        taken[name] = kind
    if names is not None and not files:
        raise InvalidParameterError(f"{names} names the rows of features or matrices: give them, too.")
    if matrices and measure is not RDM:
        raise InvalidParameterError(
            f"The measure {measure.name!r} compares patterns; the matrices {list(matrices)} have none. "
            "Leave them out."
        )
    total, rows = (len(images), None) if names is None else rows_of(Path(names), images)
    found = Given({}, {})
    for kind, name, path in files:
        array = _array(name, path, total, names)
        if kind == "matrices":
            found.triangles[name] = from_square(array, str(path))
            if rows is not None:
                square = squareform(found.triangles[name], checks=False)
                found.triangles[name] = squareform(square[np.ix_(rows, rows)], checks=False)
        else:
            array = array if rows is None else array[rows]
            flat = mean_caption(array) if kind == "language" else array.reshape(len(images), -1)
            found.patterns[name] = flat.astype(np.float64)
            triangle = _TRIANGLES[kind] if measure is RDM and kind in _TRIANGLES else measure.triangle
            found.triangles[name] = triangle(found.patterns[name])
        if np.isnan(found.triangles[name]).any():
            raise InvalidParameterError(f"{path} has dissimilarities that are NaN: an image's features do not vary.")
    if files and rows is None:
        _log.info(
            "The rows of %s are taken to be in the images' order, %r to %r; --feature-names gives their names.",
            *(", ".join(name for _, name, _ in files), images[0], images[-1]),
        )
    return found


_TRIANGLES: Mapping[str, Callable[[Patterns], Float[np.ndarray, " pairs"]]] = {
    "embeddings": triplet_dissimilarities,
    "language": cosine_dissimilarities,
}


def _array(name: str, path: str | Path, total: int, names: str | Path | None) -> np.ndarray:
    """Return a file's array, checked against the number of images."""
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
    return array


def rows_of(path: Path, images: Sequence[str]) -> tuple[int, Int[np.ndarray, " images"]]:
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

"""Measures of similarity between representations: correlations of dissimilarities, and kernel alignment.

Either compares triangles of matrices over images that are scaled to length 1, so that products are similarities and
one bootstrap and one permutation test serve both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError
from .cka import centered_products
from .dissimilarity import FEWEST_IMAGES, dissimilarities, ranks

MeasureName = Literal["rdm", "cka"]
Patterns = Float[np.ndarray, "images features"]
Pairs = Float[np.ndarray, " pairs"]


class Measure(NamedTuple):
    """Measure of similarity between representations.

    Attributes
    ----------
    name
        ``"rdm"`` or ``"cka"``.
    triangle
        Function of patterns (images, features) that returns the upper triangle of a matrix over images.
    unit
        Function that scales a triangle to mean 0 and length 1; products of two are similarities.
    similarity
        Name of the similarity.
    of
        Name of what is compared.
    """

    name: MeasureName
    triangle: Callable[[Patterns], Pairs]
    unit: Callable[[Pairs], Pairs]
    similarity: str
    of: str


def products(patterns: Patterns) -> Pairs:
    """Return the products of each pair of images' patterns, centered so that unbiased alignments are correlations.

    Raises
    ------
    InvalidParameterError
        There are fewer than 4 images.
    """
    if patterns.ndim != 2 or len(patterns) < FEWEST_IMAGES:
        raise InvalidParameterError(
            f"Patterns must be (images, features) of at least {FEWEST_IMAGES} images, got shape {patterns.shape}."
        )
    return centered_products(patterns.astype(np.float64))[np.triu_indices(len(patterns), 1)]


def scaled(pairs: Pairs) -> Pairs:
    """Return a triangle scaled to length 1; NaN where there is nothing to scale."""
    length = np.linalg.norm(pairs)
    return pairs / length if np.isfinite(length) and length > 0 else np.full(len(pairs), np.nan)


RDM = Measure("rdm", dissimilarities, ranks, "Spearman's correlation", "dissimilarities (1 − r of response patterns)")
CKA = Measure("cka", products, scaled, "CKA", "response patterns (linear, without bias)")


def measure_of(name: str) -> Measure:
    """Return the measure of a name.

    Raises
    ------
    InvalidParameterError
        There is no such measure.

    Examples
    --------
    >>> patterns = np.random.default_rng(0).normal(size=(20, 5))
    >>> cka = measure_of("cka")
    >>> one, other = (cka.unit(cka.triangle(some)) for some in (patterns, patterns + patterns[:, ::-1]))
    >>> round(float(one @ other), 3)
    0.788
    """
    if name not in get_args(MeasureName):
        raise InvalidParameterError(f"measure must be one of {list(get_args(MeasureName))}, got {name!r}.")
    return RDM if name == "rdm" else CKA

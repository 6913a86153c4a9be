"""Centered kernel alignment: similarity of two sets of patterns for the same images, without a match of features."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError
from ..reporting.statistics import REPETITIONS, SEED, mantel_p
from .dissimilarity import FEWEST_IMAGES

Patterns = Float[np.ndarray, "images features"]


def linear_cka(first: Patterns, second: Patterns, *, unbiased: bool = True) -> float:
    """Return linear centered kernel alignment [1]_ of two sets of patterns.

    Parameters
    ----------
    first, second
        Responses or features of the same images, of any numbers of features.
    unbiased
        Whether the Hilbert–Schmidt independence criterion is estimated without bias [2]_, so that patterns that have
        nothing in common are at 0 however many features they have. The biased estimate is from 0 to 1.

    Returns
    -------
    1 for patterns that are equal up to rotation and scale; NaN where patterns do not vary.

    Raises
    ------
    InvalidParameterError
        There are fewer than 4 images, or the numbers of images differ.

    References
    ----------
    .. [1] S. Kornblith, M. Norouzi, H. Lee & G. Hinton (2019). Similarity of neural network representations
       revisited. ICML, 3519–3529.
    .. [2] L. Song, A. Smola, A. Gretton, J. Bedo & K. Borgwardt (2012). Feature selection via dependence
       maximization. Journal of Machine Learning Research 13, 1393–1434.

    See Also
    --------
    cka_p : Its p by a permutation of the images.
    berg_jax.experiments.representations.similarities : Correlations of dissimilarities instead.

    Examples
    --------
    >>> patterns = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(linear_cka(patterns, 3 * patterns[:, ::-1]), 6)
    1.0
    """
    one, other = (centered_products(patterns, unbiased) for patterns in _checked(first, second))
    scale = (one**2).sum() * (other**2).sum()
    return float((one * other).sum() / np.sqrt(scale)) if scale > 0 else float("nan")


def cka_p(first: Patterns, second: Patterns, repetitions: int = REPETITIONS, seed: int = SEED) -> float:
    """Return p of the unbiased alignment, by a permutation of the second patterns' images.

    Parameters
    ----------
    first, second
        See :func:`linear_cka`.
    repetitions, seed
        Number of permutations, and the seed that draws them.

    Examples
    --------
    >>> patterns = np.random.default_rng(0).normal(size=(20, 5))
    >>> cka_p(patterns, patterns, repetitions=99)
    0.01
    """
    one, other = (centered_products(patterns, unbiased=True) for patterns in _checked(first, second))
    return mantel_p([one], [other], repetitions, seed)


def _checked(first: Patterns, second: Patterns) -> list[Patterns]:
    found = [np.asarray(patterns, np.float64) for patterns in (first, second)]
    if any(patterns.ndim != 2 for patterns in found) or len({len(patterns) for patterns in found}) > 1:
        raise InvalidParameterError(
            f"Patterns must be (images, features) of the same images, got {found[0].shape} and {found[1].shape}."
        )
    if len(found[0]) < FEWEST_IMAGES:
        raise InvalidParameterError(f"Alignment needs at least {FEWEST_IMAGES} images, got {len(found[0])}.")
    return found


def centered_products(patterns: Patterns, unbiased: bool = True) -> Float[np.ndarray, "images images"]:
    """Return centered products of images; for the unbiased estimate without the diagonal, centered accordingly."""
    centered = patterns - patterns.mean(0)
    products = centered @ centered.T
    if not unbiased:
        return products
    count = len(products)
    np.fill_diagonal(products, 0)
    rows = products.sum(0) / (count - 2)
    products += products.sum() / ((count - 1) * (count - 2)) - rows[:, None] - rows
    np.fill_diagonal(products, 0)
    return products

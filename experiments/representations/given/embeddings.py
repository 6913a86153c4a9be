"""Dissimilarities of embeddings: of behavior, by predicted odd-one-out choices; of language models, by cosine."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ....errors import InvalidParameterError
from ..dissimilarity import FEWEST_IMAGES

Pairs = Float[np.ndarray, " pairs"]


def triplet_dissimilarities(embedding: Float[np.ndarray, "images dimensions"]) -> Pairs:
    """Return how seldom two images would be chosen as the most similar pair, mean over third images.

    In an odd-one-out task a pair of three images is chosen with a probability proportional to the exponential of the
    product of its embeddings, as SPoSE and its like are fitted [1]_.

    Parameters
    ----------
    embedding
        Coordinates of each image, in the scale in which they were fitted.

    Returns
    -------
    Upper triangle of 1 less the probability, 0 to 1, row by row.

    Raises
    ------
    InvalidParameterError
        There are fewer than 4 images, or a coordinate is not finite.

    References
    ----------
    .. [1] M. N. Hebart, C. Y. Zheng, F. Pereira & C. I. Baker (2020). Revealing the multidimensional mental
       representations of natural objects underlying human similarity judgements. Nature Human Behaviour 4,
       1173–1185.

    Examples
    --------
    >>> embedding = np.array([[3.0, 0.0], [3.0, 0.1], [0.0, 3.0], [0.1, 3.0]])
    >>> triplet_dissimilarities(embedding).round(2).tolist()
    [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    """
    _check(embedding)
    products = embedding.astype(np.float64) @ embedding.T.astype(np.float64)
    count = len(products)
    found = np.empty((count, count))
    for one in range(count):
        own = products[one][:, None]  # of the pair with each other image; columns are the third
        with np.errstate(over="ignore"):
            chosen = 1 / (1 + np.exp(products[one] - own) + np.exp(products - own))
        chosen[:, one] = 0
        np.fill_diagonal(chosen, 0)
        found[one] = 1 - chosen.sum(1) / (count - 2)
    return found[np.triu_indices(count, 1)]


def cosine_dissimilarities(embedding: Float[np.ndarray, "images features"]) -> Pairs:
    """Return 1 less the cosine of each pair of images' embeddings; NaN for an image whose embedding is 0.

    Raises
    ------
    InvalidParameterError
        There are fewer than 4 images, or a number is not finite.

    Examples
    --------
    >>> cosine_dissimilarities(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).tolist()
    [0.0, 1.0, 1.0, 1.0, 1.0, 2.0]
    """
    _check(embedding)
    units = _units(embedding.astype(np.float64))
    return 1 - (units @ units.T)[np.triu_indices(len(units), 1)]


def mean_caption(embedding: Float[np.ndarray, "images *captions features"]) -> Float[np.ndarray, "images features"]:
    """Return each image's embedding; of several captions the mean of their embeddings, scaled to length 1 before.

    Raises
    ------
    InvalidParameterError
        The array has neither two nor three axes.
    """
    if embedding.ndim == 2:
        return embedding
    if embedding.ndim != 3:
        raise InvalidParameterError(
            f"Embeddings of a language model must be (images, features) or (images, captions, features), got shape "
            f"{embedding.shape}."
        )
    return _units(embedding.astype(np.float64)).mean(1)


def _units(vectors: Float[np.ndarray, "*n features"]) -> Float[np.ndarray, "*n features"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _check(embedding: np.ndarray) -> None:
    if embedding.ndim != 2 or len(embedding) < FEWEST_IMAGES or not np.isfinite(embedding).all():
        raise InvalidParameterError(
            f"An embedding must be finite numbers (images, dimensions) of at least {FEWEST_IMAGES} images, got shape "
            f"{embedding.shape}."
        )

"""Representational similarity analysis: dissimilarity matrices of images, and their correlations.

A matrix is stored as its upper triangle, row by row, as scipy's ``pdist`` returns it. The method is that of
Kriegeskorte et al. 2008, Representational similarity analysis, Frontiers in Systems Neuroscience 2:4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from scipy import stats

from ...errors import InvalidParameterError

FEWEST_IMAGES = 4  # images needed: three images have only three dissimilarities


def dissimilarities(patterns: Float[np.ndarray, "images features"]) -> Float[np.ndarray, " pairs"]:
    """Return the dissimilarity of each pair of images: 1 − Pearson's correlation of their patterns.

    Parameters
    ----------
    patterns
        Responses of vertices, or other features, to each image.

    Returns
    -------
    Upper triangle of the dissimilarity matrix, row by row; NaN for images whose pattern does not vary.

    Raises
    ------
    InvalidParameterError
        There are fewer than 4 images, or fewer than 2 features.

    See Also
    --------
    similarities : Correlate several such matrices.
    berg_jax.experiments.representations.searchlights : Correlate local matrices with targets.

    Examples
    --------
    >>> patterns = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    >>> dissimilarities(patterns).round(2).tolist()
    [0.0, 2.0, 0.5, 2.0, 0.5, 1.5]
    """
    if patterns.ndim != 2 or len(patterns) < FEWEST_IMAGES or patterns.shape[1] < 2:
        raise InvalidParameterError(
            f"Patterns must be of at least {FEWEST_IMAGES} images and 2 features, got shape {patterns.shape}."
        )
    centered = patterns.astype(np.float64)
    centered -= centered.mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    return 1 - (centered @ centered.T)[np.triu_indices(len(patterns), 1)]


def from_square(matrix: Float[np.ndarray, "images images"], name: str) -> Float[np.ndarray, " pairs"]:
    """Return the upper triangle of a square dissimilarity matrix.

    Parameters
    ----------
    matrix
        Symmetric matrix with a diagonal of 0.
    name
        The matrix's name, for the message.

    Raises
    ------
    InvalidParameterError
        The matrix is not square, not symmetric, or its diagonal is not 0.

    See Also
    --------
    dissimilarities : Compute the matrix from patterns.
    """
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not square or not np.allclose(matrix, matrix.T, equal_nan=True) or not np.allclose(np.diagonal(matrix), 0):
        similar = square and np.allclose(np.diagonal(matrix), 1)
        advice = " It looks like similarities: give 1 minus them." if similar else ""
        raise InvalidParameterError(
            f"{name} must be a symmetric matrix of dissimilarities, 0 on its diagonal, got shape {matrix.shape}."
            f"{advice}"
        )
    return matrix[np.triu_indices(len(matrix), 1)].astype(np.float64)


def similarities(
    matrices: Mapping[str, Float[np.ndarray, " pairs"]],
    unit: Callable[[Float[np.ndarray, " pairs"]], Float[np.ndarray, " pairs"]] | None = None,
) -> Float[np.ndarray, "n n"]:
    """Return Spearman's correlation of each pair of dissimilarity matrices.

    Parameters
    ----------
    matrices
        Upper triangles by name, from :func:`dissimilarities` or :func:`from_square`.
    unit
        Function that scales a triangle to length 1; by default that of its ranks. See
        :class:`~berg_jax.experiments.representations.measure.Measure`.

    Returns
    -------
    Matrix of correlations, in the order of the names; NaN for a matrix that holds NaN or does not vary.

    Examples
    --------
    >>> one, other = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    >>> similarities({"one": one, "other": other}).round(6).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    rows = np.stack([(unit or ranks)(matrix) for matrix in matrices.values()])
    return rows @ rows.T


def ranks(matrix: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Return ranks scaled to mean 0 and length 1; products of two such vectors are Spearman's correlations."""
    if np.isnan(matrix).any():
        return np.full(len(matrix), np.nan)
    ranked = stats.rankdata(matrix)
    ranked -= ranked.mean()
    with np.errstate(invalid="ignore"):
        return ranked / np.linalg.norm(ranked)

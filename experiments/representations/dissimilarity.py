"""Representational similarity analysis: dissimilarity matrices of images, their correlations, and searchlights.

A matrix is stored as its upper triangle, row by row, as scipy's ``pdist`` returns it. The method is that of
Kriegeskorte et al. 2008, Representational similarity analysis, Frontiers in Systems Neuroscience 2:4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from scipy.spatial import cKDTree

from ...errors import InvalidParameterError, ResourceError
from ...surface.meshes import SHOWN, fsaverage, how_to_get, is_here
from ...surface.spaces import MESHES, hint
from ...vertices import HEMISPHERES, Vertices
from .geodesic import geodesic_neighborhoods

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
    searchlights : Correlate local matrices with targets.

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


def similarities(matrices: Mapping[str, Float[np.ndarray, " pairs"]]) -> Float[np.ndarray, "n n"]:
    """Return Spearman's correlation of each pair of dissimilarity matrices.

    Parameters
    ----------
    matrices
        Upper triangles by name, from :func:`dissimilarities` or :func:`from_square`.

    Returns
    -------
    Matrix of correlations, in the order of the names; NaN for a matrix that holds NaN or does not vary.

    Examples
    --------
    >>> one, other = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    >>> similarities({"one": one, "other": other}).round(6).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    rows = np.stack([ranks(matrix) for matrix in matrices.values()])
    return rows @ rows.T


def neighborhoods(vertices: Vertices, k: int) -> Iterator[Int[np.ndarray, " k"]]:
    """Yield, for each vertex, the columns of the k chosen vertices nearest to it in its hemisphere, itself first.

    Distances are measured on fsaverage's sphere. Its meshes are nested, so fsaverage5's sphere serves all coarser
    meshes, and those vertices of finer meshes that fsaverage5 has, too. The other vertices of a finer mesh need that
    mesh, from nilearn, on this machine.

    Raises
    ------
    InvalidParameterError
        The mesh is not one of fsaverage's, or a hemisphere has fewer vertices than k.
    ResourceError
        The mesh is finer than fsaverage5 and not on this machine, and some vertices are not fsaverage5's.

    See Also
    --------
    searchable_vertices : The vertices for which this works.
    """
    size, counts = vertices.hemisphere_size, [len(vertices.lh), len(vertices.rh)]
    if size not in MESHES:
        raise InvalidParameterError(
            f"Searchlights need a mesh of fsaverage; this subject's hemispheres have {size} vertices{hint(size)}."
        )
    sphere = SHOWN if max(vertices.lh.max(initial=0), vertices.rh.max(initial=0)) < SHOWN else size
    if not is_here(sphere):
        raise ResourceError(how_to_get(size))
    if k < 2 or any(0 < count < k for count in counts):
        raise InvalidParameterError(f"A searchlight must have 2 vertices to as many as are chosen {counts}, got {k}.")
    first_column = 0
    for hemisphere, count in zip(HEMISPHERES, counts, strict=True):
        if count:
            points = fsaverage(hemisphere, "sphere", sphere).coordinates[getattr(vertices, hemisphere)]
            yield from first_column + cKDTree(points).query(points, k)[1]
        first_column += count


def searchable_vertices(vertices: Vertices) -> Vertices:
    """Return the vertices that can have a searchlight on this machine.

    These are all vertices, unless their mesh is finer than fsaverage5 and not on this machine; then they are those
    that fsaverage5 has.
    """
    if vertices.hemisphere_size <= SHOWN or is_here(vertices.hemisphere_size):
        return vertices
    lh = vertices.lh[vertices.lh < SHOWN]
    rh = vertices.rh[vertices.rh < SHOWN]
    return Vertices(lh=lh, rh=rh, hemisphere_size=vertices.hemisphere_size)


def searchlights(
    responses: Float[np.ndarray, "images vertices"],
    vertices: Vertices,
    k: int | None,
    targets: Mapping[str, Float[np.ndarray, " pairs"]],
    *,
    radius: float | None = None,
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Correlate the dissimilarities around each vertex with target matrices.

    Parameters
    ----------
    responses
        Responses of these vertices.
    vertices
        The columns' vertices.
    k
        Number of nearest vertices in a searchlight, the center included.
    targets
        Dissimilarity matrices by name, as upper triangles.
    radius
        Largest distance along the surface in mm, in place of ``k``, which is then None.

    Returns
    -------
    For each target, a map of Spearman's correlations; NaN where a vertex has no other within the radius.

    Raises
    ------
    InvalidParameterError, ResourceError
        As :func:`neighborhoods` or :func:`~berg_jax.experiments.representations.geodesic_neighborhoods`; or both
        ``k`` and a radius are given, or neither.

    See Also
    --------
    dissimilarities, similarities
    """
    if (k is None) == (radius is None):
        raise InvalidParameterError("Give k, the number of vertices in a searchlight, or a radius in mm, not both.")
    around = neighborhoods(vertices, k) if radius is None else geodesic_neighborhoods(vertices, radius)
    target_ranks = np.stack([ranks(target) for target in targets.values()])
    correlations = []
    for columns in around:
        if len(columns) < 2:
            correlations.append(np.full(len(target_ranks), np.nan))
            continue
        local_ranks = ranks(dissimilarities(responses[:, columns]))
        correlations.append(target_ranks @ local_ranks)
    return dict(zip(targets, np.stack(correlations).T, strict=True))


def ranks(matrix: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Return ranks scaled to mean 0 and length 1; products of two such vectors are Spearman's correlations."""
    if np.isnan(matrix).any():
        return np.full(len(matrix), np.nan)
    ranked = stats.rankdata(matrix)
    ranked -= ranked.mean()
    with np.errstate(invalid="ignore"):
        return ranked / np.linalg.norm(ranked)

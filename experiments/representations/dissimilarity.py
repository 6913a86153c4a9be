"""Dissimilarity matrices of images, and how they compare (Kriegeskorte et al. 2008, Representational similarity
analysis, Frontiers in Systems Neuroscience 2:4).

A matrix is kept as its upper triangle, row by row, as scipy's ``pdist`` gives it.
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

_FEWEST = 4  # images: three have three dissimilarities


def dissimilarities(patterns: Float[np.ndarray, "images features"]) -> Float[np.ndarray, " pairs"]:
    """1 − Pearson's correlation of each two images' patterns; NaN where one does not vary.

    Raises
    ------
    InvalidParameterError
        There are fewer than 4 images, or 2 features.
    """
    if patterns.ndim != 2 or len(patterns) < _FEWEST or patterns.shape[1] < 2:
        raise InvalidParameterError(
            f"Patterns must be of at least {_FEWEST} images and 2 features, got shape {patterns.shape}."
        )
    centered = patterns.astype(np.float64)
    centered -= centered.mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    return 1 - (centered @ centered.T)[np.triu_indices(len(patterns), 1)]


def from_square(matrix: Float[np.ndarray, "images images"], name: str) -> Float[np.ndarray, " pairs"]:
    """The upper triangle of a given matrix of dissimilarities.

    Raises
    ------
    InvalidParameterError
        It is not square, not symmetric, or its diagonal is not 0.
    """
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not square or not np.allclose(matrix, matrix.T, equal_nan=True) or not np.allclose(np.diagonal(matrix), 0):
        similar = square and np.allclose(np.diagonal(matrix), 1)
        advice = " It looks like similarities: give 1 less them." if similar else ""
        raise InvalidParameterError(
            f"{name} must be a symmetric matrix of dissimilarities, 0 on its diagonal, got shape {matrix.shape}."
            f"{advice}"
        )
    return matrix[np.triu_indices(len(matrix), 1)].astype(np.float64)


def similarities(matrices: Mapping[str, Float[np.ndarray, " pairs"]]) -> Float[np.ndarray, "n n"]:
    """Spearman's correlation of each two matrices; NaN of one that holds NaN or does not vary."""
    ranks = np.stack([_ranks(matrix) for matrix in matrices.values()])
    return ranks @ ranks.T


def neighborhoods(vertices: Vertices, k: int) -> Iterator[Int[np.ndarray, " k"]]:
    """For each of the vertices the columns of the k nearest of them in its hemisphere, itself first.

    Distances are on fsaverage's sphere, whose meshes are nested, so that all up to fsaverage5 can be served, and
    finer ones that nilearn has on this machine; of those that it has not, the vertices that are fsaverage5's.

    Raises
    ------
    InvalidParameterError
        The mesh is none of fsaverage, or a hemisphere has fewer vertices than k.
    ResourceError
        The mesh is a finer one that is not on this machine, and there are vertices beyond fsaverage5's.
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
    before = 0
    for hemisphere, count in zip(HEMISPHERES, counts, strict=True):
        if count:
            points = fsaverage(hemisphere, "sphere", sphere).coordinates[getattr(vertices, hemisphere)]
            yield from before + cKDTree(points).query(points, k)[1]
        before += count


def searched(vertices: Vertices) -> Vertices:
    """Those that can have a searchlight here: all, or of a finer mesh that is not on this machine fsaverage5's."""
    if vertices.hemisphere_size <= SHOWN or is_here(vertices.hemisphere_size):
        return vertices
    kept = (getattr(vertices, h) for h in HEMISPHERES)
    return Vertices(*(indices[indices < SHOWN] for indices in kept), vertices.hemisphere_size)


def searchlights(
    responses: Float[np.ndarray, "images vertices"],
    vertices: Vertices,
    k: int,
    targets: Mapping[str, Float[np.ndarray, " pairs"]],
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """For each vertex and target, Spearman's correlation of it with the dissimilarities of the k nearest vertices."""
    ranked = np.stack([_ranks(target) for target in targets.values()])
    found = np.stack([ranked @ _ranks(dissimilarities(responses[:, near])) for near in neighborhoods(vertices, k)])
    return dict(zip(targets, found.T, strict=True))


def _ranks(matrix: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Ranks of mean 0 and length 1, whose products are Spearman's correlations."""
    if np.isnan(matrix).any():
        return np.full(len(matrix), np.nan)
    ranks = stats.rankdata(matrix)
    ranks -= ranks.mean()
    with np.errstate(invalid="ignore"):
        return ranks / np.linalg.norm(ranks)

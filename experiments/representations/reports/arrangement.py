"""Arrangements of images by their dissimilarities: multidimensional scaling, and hierarchical clustering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster import hierarchy
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import squareform

_ITERATIONS = 300


class Scaling(NamedTuple):
    """Images as points of a plane, whose distances are near their dissimilarities.

    Attributes
    ----------
    points
        Coordinates, with mean 0, in the unit of the dissimilarities.
    stress
        Kruskal's stress-1: 0 where distances are the dissimilarities; above 0.2 they are hardly so.
    """

    points: Float[np.ndarray, "images 2"]
    stress: float


def scaled_to_plane(pairs: Float[np.ndarray, " pairs"]) -> Scaling:
    """Return the metric multidimensional scaling [1]_ of images to two dimensions.

    SMACOF, by scikit-learn, from the classical scaling [2]_ on, so that nothing is random.

    Parameters
    ----------
    pairs
        Upper triangle of a dissimilarity matrix, without NaN.

    References
    ----------
    .. [1] I. Borg & P. J. F. Groenen (2005). Modern Multidimensional Scaling. Springer.
    .. [2] W. S. Torgerson (1952). Multidimensional scaling: I. Theory and method. Psychometrika 17, 401–419.

    See Also
    --------
    clustered : The same dissimilarities as a tree.

    Examples
    --------
    >>> found = scaled_to_plane(np.array([3.0, 4.0, 5.0]))  # a triangle, which a plane holds
    >>> round(found.stress, 2)
    0.0
    """
    from sklearn.manifold import smacof

    square = squareform(np.maximum(pairs, 0), checks=False)
    options = {"n_components": 2, "n_init": 1, "max_iter": _ITERATIONS, "normalized_stress": False}
    points, _ = smacof(square, init=_classical(square), **options)
    points = points - points.mean(0)
    first, second = np.triu_indices(len(points), 1)
    distances = np.linalg.norm(points[first] - points[second], axis=1)
    return Scaling(points, float(np.sqrt(((distances - pairs) ** 2).sum() / (distances**2).sum())))


def _classical(square: Float[np.ndarray, "images images"]) -> Float[np.ndarray, "images 2"]:
    """Return the classical scaling: the two largest principal axes of the doubly centered squares."""
    centered = square**2 - (square**2).mean(0)
    values, axes = np.linalg.eigh(-(centered - centered.mean(1, keepdims=True)) / 2)
    return axes[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))


def turned_alike(scalings: Mapping[str, Scaling]) -> dict[str, Scaling]:
    """Return scalings rotated and mirrored onto the first one, which changes no distance."""
    found: dict[str, Scaling] = {}
    for name, scaling in scalings.items():
        if found:
            target = next(iter(found.values())).points
            turn, _ = orthogonal_procrustes(scaling.points, target)
            scaling = scaling._replace(points=scaling.points @ turn)
        found[name] = scaling
    return found


def clustered(pairs: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, "merges 4"]:
    """Return the hierarchical clustering of images by average linkage, as scipy's ``linkage`` has it.

    Leaves are ordered so that neighbors are alike.

    Parameters
    ----------
    pairs
        Upper triangle of a dissimilarity matrix, without NaN.

    See Also
    --------
    scaled_to_plane : The same dissimilarities as distances in a plane.
    """
    return hierarchy.linkage(np.maximum(pairs, 0), "average", optimal_ordering=True)


def leaf_order(tree: Float[np.ndarray, "merges 4"]) -> Int[np.ndarray, " images"]:
    """Return the images in the order of a tree's leaves."""
    return hierarchy.leaves_list(tree)

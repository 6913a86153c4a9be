"""Variance partitioning of dissimilarities: shares that several models explain alone and together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import squareform

from ...errors import InvalidParameterError
from ..reporting.statistics import SEED, permutation_p
from .dissimilarity import ranks

MOST_TARGETS = 5  # 31 shares
Pairs = Float[np.ndarray, " pairs"]


class Partition(NamedTuple):
    """Variance of a dissimilarity matrix, partitioned among target matrices.

    Attributes
    ----------
    total
        Share of the variance that all targets explain together, R².
    shares
        Share of each set of targets, by their names: that which exactly these have in common. A set of one is what
        that target alone explains. They add up to the total; common shares can be negative, where targets suppress
        each other.
    p
        p of each target's own share, by permutation; NaN without permutations.
    """

    total: float
    shares: dict[tuple[str, ...], float]
    p: dict[str, float]


def partition_variance(
    matrix: Pairs, targets: Mapping[str, Pairs], *, repetitions: int = 0, seed: int = SEED
) -> Partition:
    """Partition the variance of a dissimilarity matrix among target matrices.

    Ranks of dissimilarities are regressed on the targets' ranks, with every subset of the targets; the differences of
    R² are the shares [1]_. A share that a target has alone is tested by permutations of the images in the part of
    the target that the others do not explain [2]_, which keeps the relation of the others to the matrix and to each
    other.

    Parameters
    ----------
    matrix
        Upper triangle of a region's dissimilarity matrix.
    targets
        Upper triangles of one to five matrices of the same images, by name.
    repetitions, seed
        Number of permutations, and the seed that draws them; none by default.

    Raises
    ------
    InvalidParameterError
        There are no targets or more than five, they are of other images, or a matrix holds NaN or does not vary.

    References
    ----------
    .. [1] I. I. A. Groen et al. (2018). Distinct contributions of functional and deep neural network features to
       representational similarity of scenes in human brain and behavior. eLife 7, e32962.
    .. [2] D. Dekker, D. Krackhardt & T. A. B. Snijders (2007). Sensitivity of MRQAP tests to collinearity and
       autocorrelation conditions. Psychometrika 72 (4), 563–581.

    See Also
    --------
    berg_jax.experiments.representations.dissimilarities : Dissimilarities of patterns.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> a, b = random.normal(size=(2, 45))
    >>> found = partition_variance(a, {"a": a, "b": b})
    >>> round(found.total, 6), sorted(found.shares)
    (1.0, [('a',), ('a', 'b'), ('b',)])
    """
    names = list(targets)
    if not 1 <= len(names) <= MOST_TARGETS:
        raise InvalidParameterError(f"Give 1 to {MOST_TARGETS} targets, got {len(names)}.")
    if len({len(pairs) for pairs in (matrix, *targets.values())}) > 1:
        lengths = {name: len(pairs) for name, pairs in {"matrix": matrix, **targets}.items()}
        raise InvalidParameterError(f"Dissimilarities must be of the same images, got numbers of pairs {lengths}.")
    own = ranks(matrix)
    columns = {name: ranks(pairs) for name, pairs in targets.items()}
    if bad := [name for name, column in {"matrix": own, **columns}.items() if not np.isfinite(column).all()]:
        raise InvalidParameterError(f"Dissimilarities of {bad[0]!r} hold NaN or do not vary.")
    explained = {subset: _explained(own, [columns[name] for name in subset]) for subset in _subsets(names)}
    shares = {
        subset: sum(
            (-1) ** (len(subset) - len(left_out) + 1)
            * explained[tuple(name for name in names if name not in left_out)]
            for left_out in _subsets(subset)
        )
        for subset in _subsets(names)
        if subset
    }
    p = {name: float("nan") for name in names}
    if repetitions:
        random = np.random.default_rng(seed)
        for name in names:
            others = [columns[other] for other in names if other != name]
            p[name] = _p(own, columns[name], others, repetitions, random)
    return Partition(explained[tuple(names)], shares, p)


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for count in range(len(names) + 1):
        yield from itertools.combinations(names, count)


def _basis(columns: Sequence[Pairs], length: int) -> Float[np.ndarray, "pairs k"]:
    """Return an orthonormal basis of columns, of as many as are independent."""
    if not columns:
        return np.zeros((length, 0))
    left, values, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    return left[:, values > 1e-10 * values[0]]


def _explained(own: Pairs, columns: Sequence[Pairs]) -> float:
    return float(((_basis(columns, len(own)).T @ own) ** 2).sum())  # own has length 1


def _p(own: Pairs, column: Pairs, others: Sequence[Pairs], repetitions: int, random: np.random.Generator) -> float:
    basis = _basis(others, len(own))
    rest = own - basis @ (basis.T @ own)
    square = squareform(column - basis @ (basis.T @ column), checks=False)

    def share(pairs: Pairs) -> float:
        alone = pairs - basis @ (basis.T @ pairs)
        alone = alone - alone.mean()
        length = alone @ alone
        return (rest @ alone) ** 2 / length if length > 1e-12 else 0.0

    found = share(squareform(square, checks=False))
    drawn = np.empty(repetitions)
    for index in range(repetitions):
        order = random.permutation(len(square))
        drawn[index] = share(squareform(square[np.ix_(order, order)], checks=False))
    return permutation_p(drawn >= found * (1 - 1e-9))

"""Variance partitioning of dissimilarities: shares that several models explain alone and together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import squareform

from ...errors import InvalidParameterError
from ..reporting.statistics import (
    FEWEST,
    NO_INTERVAL,
    SEED,
    Interval,
    interval,
    permutation_p,
    resample,
    weighted_pair_correlation,
)
from .measure import RDM, Measure

MOST_TARGETS = 5  # 31 shares
Pairs = Float[np.ndarray, " pairs"]
Subset = tuple[str, ...]
_Value = TypeVar("_Value", float, np.ndarray)


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
    intervals
        95% bootstrap interval over images of each share, and of the total under the empty set; empty without
        resamples. An own share is never below 0, so that its interval says how large it is, and p whether there is
        one.
    """

    total: float
    shares: dict[Subset, float]
    p: dict[str, float]
    intervals: Mapping[Subset, Interval] = MappingProxyType({})


def partition_variance(
    matrix: Pairs | Sequence[Pairs],
    targets: Mapping[str, Pairs],
    *,
    repetitions: int = 0,
    resamples: int = 0,
    measure: Measure = RDM,
    seed: int = SEED,
) -> Partition:
    """Partition the variance of a dissimilarity matrix among target matrices.

    Ranks of dissimilarities are regressed on the targets' ranks, with every subset of the targets; the differences of
    R² are the shares [1]_. A share that a target has alone is tested by permutations of the images in the part of
    the target that the others do not explain [2]_, which keeps the relation of the others to the matrix and to each
    other.

    Parameters
    ----------
    matrix
        Upper triangle of a region's dissimilarity matrix; or those of several subjects, whose mean shares are
        returned.
    targets
        Upper triangles of one to five matrices of the same images, by name.
    repetitions, resamples, seed
        Number of permutations and of bootstrap resamples, and the seed that draws them; none by default. Pairs of an
        image with its own copy do not count, and ranks stay as they are.
    measure
        Measure of similarity, of which these are triangles: dissimilarities by default.

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
    matrices = [np.asarray(matrix)] if np.ndim(matrix[0]) == 0 else [np.asarray(own) for own in matrix]
    lengths = {name: len(pairs) for name, pairs in {"matrix": matrices[0], **targets}.items()}
    if len({*lengths.values(), *map(len, matrices)}) > 1:
        raise InvalidParameterError(f"Dissimilarities must be of the same images, got numbers of pairs {lengths}.")
    owns = [measure.unit(own) for own in matrices]
    columns = {name: measure.unit(pairs) for name, pairs in targets.items()}
    units = [*(("matrix", own) for own in owns), *columns.items()]
    if bad := [name for name, column in units if not np.isfinite(column).all()]:
        raise InvalidParameterError(f"Dissimilarities of {bad[0]!r} hold NaN or do not vary.")
    explained = {
        subset: float(np.mean([_explained(own, [columns[name] for name in subset]) for own in owns]))
        for subset in _subsets(names)
    }
    p = {name: float("nan") for name in names}
    if repetitions:
        random = np.random.default_rng(seed)
        for name in names:
            others = [columns[other] for other in names if other != name]
            p[name] = _p(owns, columns[name], others, repetitions, random)
    intervals = _intervals(owns, columns, resamples, seed) if resamples else {}
    return Partition(explained[tuple(names)], _shares(explained, names), p, intervals)


def _shares(explained: Mapping[Subset, _Value], names: Sequence[str]) -> dict[Subset, _Value]:
    """Return the share of each subset from what the targets of each subset explain."""
    shares = {}
    for subset in _subsets(names):
        if subset:
            signed = [
                (-1) ** (len(subset) - len(left_out) + 1)
                * explained[tuple(name for name in names if name not in left_out)]
                for left_out in _subsets(subset)
            ]
            shares[subset] = sum(signed[1:], start=signed[0])
    return shares


def _intervals(
    owns: Sequence[Pairs], columns: Mapping[str, Pairs], resamples: int, seed: int
) -> dict[Subset, Interval]:
    """Return the intervals of all shares and of the total, from correlations of matrices in resamples."""
    names = list(columns)
    squares = [squareform(column, checks=False) for column in columns.values()]
    images = len(squares[0])
    if images < FEWEST:
        return {subset: NO_INTERVAL for subset in _subsets(names)}
    draws = resample(images, repetitions=resamples, seed=seed)
    weights = np.concatenate([np.ones((1, images)), draws.drawn, draws.left_out])
    among = np.ones((len(weights), len(names), len(names)))
    for i, j in itertools.combinations(range(len(names)), 2):
        among[:, i, j] = among[:, j, i] = weighted_pair_correlation(weights, squares[i], squares[j])
    explained = {subset: np.zeros(len(weights)) for subset in _subsets(names)}
    for own in owns:
        square = squareform(own, checks=False)
        with_own = np.stack([weighted_pair_correlation(weights, square, other) for other in squares], axis=1)
        for subset in explained:
            chosen = [names.index(name) for name in subset]
            if chosen:
                inverse = np.linalg.pinv(among[:, chosen][:, :, chosen], rcond=1e-10, hermitian=True)
                right = with_own[:, chosen]
                explained[subset] += np.einsum("ri,rij,rj->r", right, inverse, right) / len(owns)
    drawn = {(): explained[tuple(names)], **_shares(explained, names)}
    return {
        subset: interval(float(values[0]), values[1 : 1 + resamples], values[1 + resamples :])
        for subset, values in drawn.items()
    }


def _subsets(names: Sequence[str]) -> Iterator[Subset]:
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


def _p(
    owns: Sequence[Pairs], column: Pairs, others: Sequence[Pairs], repetitions: int, random: np.random.Generator
) -> float:
    basis = _basis(others, len(column))
    rests = np.stack([own - basis @ (basis.T @ own) for own in owns])
    square = squareform(column - basis @ (basis.T @ column), checks=False)

    def share(pairs: Pairs) -> float:
        alone = pairs - basis @ (basis.T @ pairs)
        alone = alone - alone.mean()
        length = alone @ alone
        return float(((rests @ alone) ** 2).sum() / length) if length > 1e-12 else 0.0

    found = share(squareform(square, checks=False))
    drawn = np.empty(repetitions)
    for index in range(repetitions):
        order = random.permutation(len(square))
        drawn[index] = share(squareform(square[np.ix_(order, order)], checks=False))
    return permutation_p(drawn >= found * (1 - 1e-9))

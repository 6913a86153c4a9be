"""Statistics of experiments: bootstrap and t intervals, permutation tests, false discovery rates.

A bootstrap draws units (images, subjects) with replacement. Here it is a matrix of counts, how often each unit is in
each resample, so that a statistic of all resamples is a product of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

REPETITIONS, CONFIDENCE, SEED = 1000, 0.95, 0
FEWEST = 5  # units that a bootstrap needs: four have only 35 different resamples
FEWEST_SUBJECTS = 3  # subjects that a test needs before its p is adjusted and named a result
_MOST_LEFT_OUT = 1000  # units; with more of them the acceleration is nearly 0, and would take as long as the rest


class Interval(NamedTuple):
    """Confidence interval; NaN where there are too few units for one.

    Attributes
    ----------
    low, high
        The interval's ends, in the statistic's unit.
    """

    low: float
    high: float

    def __str__(self) -> str:
        return "–" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"


NO_INTERVAL = Interval(math.nan, math.nan)


class Resamples(NamedTuple):
    """Resamples of units, as weights.

    Attributes
    ----------
    drawn
        How often each unit is in each resample.
    left_out
        1 for each unit but one, a row for each of them, from which the acceleration is estimated; no rows where
        there are more than 1,000 units.
    """

    drawn: Float[np.ndarray, "repetitions units"]
    left_out: Float[np.ndarray, "rows units"]


def resample(
    units: int,
    *,
    groups: Int[np.ndarray, " units"] | None = None,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> Resamples:
    """Draw units with replacement, again and again.

    Parameters
    ----------
    units
        Number of units.
    groups
        Group of each unit, counted from 0: units are then drawn from each group as often as it has units.
    repetitions
        Number of resamples.
    seed
        Seed of the draws.

    Examples
    --------
    >>> resample(6, repetitions=3).drawn.sum(axis=1)
    array([6., 6., 6.])
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros((repetitions, units))
    members = [np.arange(units)] if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
    rows = np.arange(repetitions)[:, None]
    for those in members:
        np.add.at(drawn, (rows, those[random.integers(0, len(those), (repetitions, len(those)))]), 1)
    left_out = 1 - np.eye(units) if units <= _MOST_LEFT_OUT else np.zeros((0, units))
    return Resamples(drawn, left_out)


def bootstrap(
    statistic: Callable[[Float[np.ndarray, "rows units"]], Float[np.ndarray, " rows"]],
    resamples: Resamples,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the bias-corrected and accelerated bootstrap interval [1]_ of a statistic.

    Parameters
    ----------
    statistic
        Function of weights, a row for each resample, that returns the statistic of each. Weights of 1 are the data.
    resamples
        From :func:`resample`.
    confidence
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    Interval
        NaN where there are fewer than 5 units, or the statistic is not finite.

    References
    ----------
    .. [1] B. Efron (1987). Better bootstrap confidence intervals. Journal of the American Statistical Association
       82 (397), 171–185.

    See Also
    --------
    mean_interval : Interval of a mean by Student's t, for few units.
    spread_interval : Normal interval, for medians over vertices.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(10, 1, 100)
    >>> interval = bootstrap(lambda weights: weights @ values / weights.sum(1), resample(100))
    >>> bool(interval.low < 10 < interval.high)
    True
    """
    units = resamples.drawn.shape[1]
    if units < FEWEST:
        return NO_INTERVAL
    estimate = float(statistic(np.ones((1, units)))[0])
    return interval(estimate, statistic(resamples.drawn), statistic(resamples.left_out), confidence)


def interval(
    estimate: float,
    drawn: Float[np.ndarray, " repetitions"],
    left_out: Float[np.ndarray, " rows"],
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the interval of :func:`bootstrap` from a statistic's values.

    Parameters
    ----------
    estimate, drawn, left_out
        The statistic of the data, of each resample, and of the data without each unit. Resamples in which it is not
        finite are left out.
    confidence
        Coverage of the interval, between 0 and 1.
    """
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(estimate) or not len(drawn):
        return NO_INTERVAL
    below = ((drawn < estimate).mean() + (drawn <= estimate).mean()) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / (2 * len(drawn)), 1 - 1 / (2 * len(drawn))))
    deviations = left_out.mean() - left_out if np.isfinite(left_out).all() and len(left_out) else np.zeros(1)
    spread = (deviations**2).sum() ** 1.5
    acceleration = (deviations**3).sum() / (6 * spread) if spread > 0 else 0.0
    tails = stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    levels = stats.norm.cdf(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = np.quantile(drawn, levels)
    return Interval(float(low), float(high))


def spread_interval(
    estimate: float,
    drawn: Float[np.ndarray, " repetitions"],
    confidence: float = CONFIDENCE,
    *,
    correlation: bool = False,
) -> Interval:
    """Return the estimate ± so many standard deviations over the resamples: the normal bootstrap interval [1]_.

    This is the one for a mean or median over many vertices, whose bias (of each vertex) is not small beside its
    spread (of all together), so that quantiles of the resamples lie beside the estimate.

    Parameters
    ----------
    estimate, drawn, confidence
        See :func:`interval`.
    correlation
        Whether the statistic is a correlation; the spread is then of Fisher's z.

    References
    ----------
    .. [1] A. C. Davison & D. V. Hinkley (1997). Bootstrap Methods and their Application. Cambridge University Press.

    Examples
    --------
    >>> drawn = np.random.default_rng(0).normal(0.5, 0.1, 10_000)
    >>> [round(end, 1) for end in spread_interval(0.5, drawn)]
    [0.3, 0.7]
    """
    drawn = drawn[np.isfinite(drawn)].astype(np.float64)  # in which 1 and the largest correlation differ
    if not np.isfinite(estimate) or len(drawn) < 2:
        return NO_INTERVAL
    if correlation:
        most = 1 - 1e-12  # of which z is finite
        estimate, drawn = (np.arctanh(np.clip(values, -most, most)) for values in (estimate, drawn))
    half = float(stats.norm.ppf((1 + confidence) / 2) * drawn.std(ddof=1))
    ends = (float(estimate) - half, float(estimate) + half)
    return Interval(*map(math.tanh, ends)) if correlation else Interval(*ends)


def mean_interval(values: Float[np.ndarray, " units"], confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of a mean by Student's t, such as over subjects; NaN is left out.

    Examples
    --------
    >>> low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return NO_INTERVAL
    error = values.std(ddof=1) / math.sqrt(len(values))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error)
    return Interval(float(values.mean()) - half, float(values.mean()) + half)


def mean_correlation_interval(values: Float[np.ndarray, " units"], confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of a mean of correlations by Student's t of Fisher's z; it stays within −1 to 1.

    Examples
    --------
    >>> low, high = mean_correlation_interval(np.array([0.05, 0.2]))
    >>> round(low, 2), round(high, 2)
    (-0.69, 0.8)
    """
    low, high = mean_interval(np.arctanh(np.clip(values, -1 + 1e-12, 1 - 1e-12)), confidence)
    return Interval(math.tanh(low), math.tanh(high))


def weighted_correlation(
    weights: Float[np.ndarray, "rows n"], x: Float[np.ndarray, "n v"], y: Float[np.ndarray, "n v"]
) -> Float[np.ndarray, "rows v"]:
    """Return Pearson's correlation of columns for each row of weights; NaN where one does not vary."""
    x, y = x - x.mean(0), y - y.mean(0)  # so that differences of large sums lose no digits
    total = weights.sum(1, keepdims=True)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    both = weights @ (x * y) / total - mean_x * mean_y
    var_x = weights @ x**2 / total - mean_x**2
    var_y = weights @ y**2 / total - mean_y**2
    return correlation_of(both, var_x, var_y)


def correlation_of(covariance: np.ndarray, variance_x: np.ndarray, variance_y: np.ndarray) -> np.ndarray:
    """Return correlations, −1 to 1; NaN where a variance is 0 or, by rounding, less."""
    product = np.maximum(variance_x, 0) * np.maximum(variance_y, 0)
    varies = product > 0
    found = np.divide(covariance, np.sqrt(product), out=np.full_like(product, np.nan), where=varies)
    return np.clip(found, -1, 1)


def weighted_pair_correlation(
    weights: Float[np.ndarray, "rows n"], a: Float[np.ndarray, "n n"], b: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, " rows"]:
    """Return Pearson's correlation of two symmetric matrices over pairs of different units, for each row of weights.

    A pair counts as often as one of its units is drawn times how often the other is; pairs of a unit with its own
    copy do not count.
    """
    off = ~np.eye(len(a), dtype=bool)
    a, b = (np.where(off, x - x[off].mean(), 0.0) for x in (a, b))
    pairs = pair_totals(weights, off.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_a, mean_b = pair_totals(weights, a) / pairs, pair_totals(weights, b) / pairs
        var_a = pair_totals(weights, a**2) / pairs - mean_a**2
        var_b = pair_totals(weights, b**2) / pairs - mean_b**2
        covariance = pair_totals(weights, a * b) / pairs - mean_a * mean_b
    return correlation_of(covariance, var_a, var_b)


def pair_totals(weights: Float[np.ndarray, "rows n"], matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " rows"]:
    """Return the sum of a matrix over all pairs of units, each weighted by both units, for each row of weights."""
    return ((weights @ matrix) * weights).sum(1)


def mantel_p(
    first: Sequence[Float[np.ndarray, "n n"]],
    second: Sequence[Float[np.ndarray, "n n"]],
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> float:
    """Return p of the sum of products of matrices, by a permutation of the second ones' units [1]_.

    Parameters
    ----------
    first, second
        Symmetric matrices, such as ranks of dissimilarities with mean 0 and length 1, whose products are
        correlations. Of several subjects the products add up, and the permutation is the same.
    repetitions, seed
        Number of permutations, and the seed that draws them.

    References
    ----------
    .. [1] N. Mantel (1967). The detection of disease clustering and a generalized regression approach. Cancer
       Research 27 (2), 209–220.

    Examples
    --------
    >>> x = np.arange(12.0)
    >>> matrix = abs(x[:, None] - x)
    >>> mantel_p([matrix], [matrix], repetitions=99)
    0.01
    """
    random = np.random.default_rng(seed)
    found = sum(float((a * b).sum()) for a, b in zip(first, second, strict=True))
    margin = 1e-9 * abs(found)  # so that the same order, summed otherwise, is as large
    as_good = np.zeros(repetitions, bool)
    for index in range(repetitions):
        order = random.permutation(len(first[0]))
        drawn = sum(float((a * b[np.ix_(order, order)]).sum()) for a, b in zip(first, second, strict=True))
        as_good[index] = drawn >= found - margin
    return permutation_p(as_good)


def permutation_p(as_good: Float[np.ndarray, " n"]) -> float:
    """Return (1 + number of draws that are at least as good) / (1 + number of draws) [1]_.

    Parameters
    ----------
    as_good
        Whether each draw under the null hypothesis is at least as good as what was found.

    References
    ----------
    .. [1] B. Phipson & G. K. Smyth (2010). Permutation p-values should never be zero. Statistical Applications in
       Genetics and Molecular Biology 9 (1), 39.

    Examples
    --------
    >>> permutation_p(np.array([True, False, False]))
    0.5
    """
    return (1 + int(np.count_nonzero(as_good))) / (1 + len(as_good))


def fdr(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Return q, p adjusted for the false discovery rate [1]_ over the tests whose p is known; NaN elsewhere.

    References
    ----------
    .. [1] Y. Benjamini & Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal Statistical
       Society B 57 (1), 289–300.

    Examples
    --------
    >>> fdr(np.array([0.01, np.nan, 0.04])).tolist()
    [0.02, nan, 0.04]
    """
    q = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return q

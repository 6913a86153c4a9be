"""Uncertainty of control: intervals over images, and p of a chosen set against random ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import squareform

from ..reporting.statistics import (
    FEWEST,
    NO_INTERVAL,
    Interval,
    bootstrap,
    permutation_p,
    resample,
    weighted_pair_correlation,
)
from ..representations.dissimilarity import dissimilarities


def goal_p(goal: str, reached: float, random_sets: Float[np.ndarray, " sets"]) -> float:
    """Return p of a set against random ones: how many of them, the set included, are at least as good.

    Parameters
    ----------
    goal
        ``"align"``, where more is better, or ``"disentangle"``, where less of the absolute value is.
    reached
        Alignment of the chosen set.
    random_sets
        Alignment of random sets of the same size.

    Examples
    --------
    >>> goal_p("align", 0.9, np.array([0.1, 0.95, 0.3]))
    0.5
    >>> goal_p("disentangle", 0.2, np.array([0.1, 0.95, -0.3]))
    0.5
    """
    return permutation_p(random_sets >= reached if goal == "align" else np.abs(random_sets) <= abs(reached))


def shift_intervals(ways: Float[np.ndarray, "images 2"]) -> list[Interval]:
    """Return the interval of the mean way in each region, over the chosen images; NaN of fewer than five."""
    if len(ways) < FEWEST:
        return [NO_INTERVAL] * 2
    resamples = resample(len(ways))
    return [bootstrap(lambda weights, way=way: weights @ way / weights.sum(1), resamples) for way in ways.T]


def alignment_interval(
    responses: Float[np.ndarray, "images vertices"],
    first: Float[np.ndarray, " vertices"],
    second: Float[np.ndarray, " vertices"],
) -> Interval:
    """Return the interval of two regions' alignment over the images of a set; NaN of fewer than five.

    Parameters
    ----------
    responses
        Responses to the set's images.
    first, second
        Weights of both regions; their vertices are those whose weight is not 0.
    """
    if len(responses) < FEWEST:
        return NO_INTERVAL
    matrices = [squareform(dissimilarities(responses[:, w != 0]), checks=False) for w in (first, second)]
    return bootstrap(lambda weights: weighted_pair_correlation(weights, *matrices), resample(len(responses)))

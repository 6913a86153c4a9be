"""Validation: Pearson r of each vertex from batches of images, and vertex weights from its rise."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Moments of predicted and measured responses of each vertex, over the images that were measured.

    ``pp``, ``mm`` and ``pm`` are sums of squares and products of the deviations from the means.
    """

    count: Float[Array, " vertices"]
    predicted: Float[Array, " vertices"]
    measured: Float[Array, " vertices"]
    pp: Float[Array, " vertices"]
    mm: Float[Array, " vertices"]
    pm: Float[Array, " vertices"]


def moments(predicted: Float[Array, "images vertices"], measured: Float[Array, "images vertices"]) -> Moments:
    """Return the moments of a batch; measured responses that are NaN are left out."""
    there = ~jnp.isnan(measured)
    count = there.sum(axis=0).astype(predicted.dtype)
    of = [jnp.where(there, x, 0) for x in (predicted, measured)]
    mean_p, mean_m = (x.sum(axis=0) / jnp.maximum(count, 1) for x in of)
    p, m = (jnp.where(there, x - mean[None], 0) for x, mean in zip(of, (mean_p, mean_m), strict=True))
    return Moments(count, mean_p, mean_m, (p * p).sum(axis=0), (m * m).sum(axis=0), (p * m).sum(axis=0))


def merged(a: Moments, b: Moments) -> Moments:
    """Return the moments of two batches together.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque (1983). Algorithms for computing the sample variance: analysis and
       recommendations. The American Statistician 37, 242-247.
    """
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1)
    dp, dm = b.predicted - a.predicted, b.measured - a.measured
    between = a.count * share
    return Moments(
        count,
        a.predicted + share * dp,
        a.measured + share * dm,
        a.pp + b.pp + between * dp**2,
        a.mm + b.mm + between * dm**2,
        a.pm + b.pm + between * dp * dm,
    )


def pearson(m: Moments) -> Float[Array, " vertices"]:
    """Return Pearson's r: 0 where the prediction is constant, NaN where the measured responses are."""
    known = (m.count > 1) & (m.mm > 0)
    variances = m.pp * m.mm
    r = jnp.where(variances > 0, m.pm / jnp.sqrt(jnp.where(variances > 0, variances, 1)), 0)
    return jnp.where(known, jnp.clip(r, -1, 1), jnp.nan)


def mean_r(r: Float[np.ndarray, " vertices"]) -> float:
    """Return the mean over the vertices that have an r, 0 if none has."""
    known = np.isfinite(r)
    return float(r[known].mean(dtype=np.float64)) if known.any() else 0.0


def averaged_rise(
    average: Float[np.ndarray, " vertices"],
    before: Float[np.ndarray, " vertices"],
    now: Float[np.ndarray, " vertices"],
    memory: float,
) -> Float[np.ndarray, " vertices"]:
    """Return the exponential mean of the rise of each vertex's r; a vertex without an r does not rise.

    Examples
    --------
    >>> averaged_rise(np.array([0.1]), np.array([0.2]), np.array([0.4]), 0.9).round(3).tolist()
    [0.11]
    """
    return memory * average + (1 - memory) * np.nan_to_num(now - before)


def vertex_weights(average: Float[np.ndarray, " vertices"]) -> Float[np.ndarray, " vertices"]:
    """Return weights from 0, for the vertex whose r rises least, to 1; all 1 if all rise alike.

    Examples
    --------
    >>> vertex_weights(np.array([0.0, 0.1, 0.2])).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = average.min(), average.max()
    if not high > low:
        return np.ones(average.shape, np.float32)
    return ((average - low) / (high - low)).astype(np.float32)

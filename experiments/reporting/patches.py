"""Patches of cortex, the units of a bootstrap over vertices, whose neighbors are alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from ...surface.meshes import SHOWN, fsaverage
from ...surface.spaces import MESHES
from ...vertices import HEMISPHERES, Vertices
from .statistics import FEWEST, NO_INTERVAL, Interval, correlation_of, interval, resample, spread_interval

_CENTERS = 642  # patches of a hemisphere: those nearest to the vertices of fsaverage3, 13 mm from one to the next
_MOST = 2000  # vertices that a median is computed over in each resample


def patches_of(vertices: Vertices) -> Int[np.ndarray, " vertices"]:
    """Return the patch of each vertex; −1 where the place of a vertex is not known.

    Known are the places of the vertices of fsaverage5, which are the first ones of finer meshes, too.
    """
    found = []
    for index, hemisphere in enumerate(HEMISPHERES):
        own = getattr(vertices, hemisphere)
        patch = np.full(len(own), -1)
        if vertices.hemisphere_size in MESHES and (own < SHOWN).any():
            from scipy.spatial import cKDTree

            points = fsaverage(hemisphere, "sphere").coordinates
            inside = own < SHOWN
            patch[inside] = index * _CENTERS + cKDTree(points[:_CENTERS]).query(points[own[inside]])[1]
        found.append(patch)
    return np.concatenate(found)


def correlation_interval(
    x: Float[np.ndarray, " vertices"],
    y: Float[np.ndarray, " vertices"],
    patches: Int[np.ndarray, " vertices"],
    *,
    circular: bool = False,
) -> Interval:
    """Return the interval of the correlation of two maps over vertices, by a bootstrap over patches.

    Patches of about 13 mm are drawn whole, as neighbors are alike and count for less than as many independent
    vertices [1]_. The interval is normal, of Fisher's z.

    Parameters
    ----------
    x, y
        Two maps; with ``circular`` angles in degrees, whose correlation is that of Fisher & Lee.
    patches
        Patch of each vertex: see :func:`patches_of`.
    circular
        Whether the values are angles.

    Returns
    -------
    Interval
        NaN where there are fewer than 5 patches.

    References
    ----------
    .. [1] S. N. Lahiri (2003). Resampling Methods for Dependent Data. Springer.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=500)
    >>> low, high = correlation_interval(x, x + random.normal(size=500), np.arange(500) // 5)
    >>> bool(low < 0.7071 < high)
    True
    """
    if circular:
        a, b = np.radians(x), np.radians(y)
        terms = [np.ones(len(a)), np.cos(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a) * np.sin(b)]
        terms += [np.sin(a) * np.cos(b), np.cos(2 * a), np.sin(2 * a), np.cos(2 * b), np.sin(2 * b)]
        statistic = _circular
    else:
        a, b = x - x.mean(), y - y.mean()
        terms, statistic = [np.ones(len(a)), a, b, a * a, b * b, a * b], _linear
    known = patches >= 0
    names, unit = np.unique(patches[known], return_inverse=True)
    if len(names) < FEWEST:
        return NO_INTERVAL
    sums = np.stack([np.bincount(unit, weights=term[known]) for term in terms], axis=1)
    estimate = float(statistic(np.stack(terms, axis=1).sum(0, keepdims=True))[0])
    return spread_interval(estimate, statistic(resample(len(names)).drawn @ sums), correlation=True)


def median_interval(values: Float[np.ndarray, " vertices"], patches: Int[np.ndarray, " vertices"]) -> Interval:
    """Return the interval of a median over vertices, by a bootstrap over patches: see :func:`correlation_interval`.

    Its ends are bias-corrected quantiles of the resamples, which lie among the values. Of more than 2,000 vertices,
    as many evenly spaced ones are drawn from.
    """
    known = np.flatnonzero(patches >= 0)
    if len(known) > _MOST:
        known = known[np.linspace(0, len(known) - 1, _MOST).astype(int)]
    names, unit = np.unique(patches[known], return_inverse=True)
    if len(names) < FEWEST:
        return NO_INTERVAL
    order = np.argsort(values[known])
    weights = resample(len(names)).drawn[:, unit[order]]
    below = np.cumsum(weights, axis=1)
    middle = (below >= below[:, -1:] / 2).argmax(1)
    return interval(float(np.median(values)), values[known][order][middle], np.zeros(0))


def _linear(sums: Float[np.ndarray, "rows 6"]) -> Float[np.ndarray, " rows"]:
    count, a, b, aa, bb, ab = sums.T
    a, b = a / count, b / count
    return correlation_of(ab / count - a * b, aa / count - a**2, bb / count - b**2)


def _circular(sums: Float[np.ndarray, "rows 9"]) -> Float[np.ndarray, " rows"]:
    count, cc, ss, cs, sc, *doubled = sums.T
    spreads = [count**2 - one**2 - other**2 for one, other in (doubled[:2], doubled[2:])]
    return correlation_of(4 * (cc * ss - cs * sc), *spreads)

"""Receptive-field size against eccentricity: means in bins of eccentricity and a fitted line, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..reporting.statistics import FEWEST, NO_INTERVAL, Interval, bootstrap, resample

WIDTH, FEWEST_VERTICES = 0.5, 5  # of a bin: degrees of eccentricity, and vertices


class Bin(NamedTuple):
    """Receptive fields of one range of eccentricities.

    Attributes
    ----------
    start, stop
        Ends of the range in degrees.
    vertices
        Number of vertices.
    eccentricity, size
        Their means in degrees.
    interval
        95% interval of the mean size.
    """

    start: float
    stop: float
    vertices: int
    eccentricity: float
    size: float
    interval: Interval


class SizeLine(NamedTuple):
    """Size of receptive fields against eccentricity, size = intercept + slope · eccentricity.

    Attributes
    ----------
    vertices
        Number of vertices.
    slope, intercept
        The line: degrees of size for each degree of eccentricity, and degrees at the fovea.
    slope_interval, intercept_interval
        Their 95% intervals.
    bins
        Means in bins of eccentricity.
    at, band
        Eccentricities in degrees, and the ends of the line's 95% interval there.
    """

    vertices: int
    slope: float
    intercept: float
    slope_interval: Interval
    intercept_interval: Interval
    bins: list[Bin]
    at: Float[np.ndarray, " n"]
    band: list[Interval]


def size_line(
    eccentricity: Float[np.ndarray, " vertices"],
    size: Float[np.ndarray, " vertices"],
    patches: Int[np.ndarray, " vertices"],
) -> SizeLine:
    """Fit a line to receptive-field sizes over eccentricities, and average sizes in bins of 0.5°.

    The line is fitted by least squares to the vertices [1]_. Intervals are bootstraps over patches of cortex, which
    are drawn whole.

    Parameters
    ----------
    eccentricity, size
        Degrees of visual angle, of vertices whose fit is to be trusted.
    patches
        Patch of each vertex, −1 where it is not known: see
        :func:`~berg_jax.experiments.reporting.patches.patches_of`.

    Returns
    -------
    SizeLine
        NaN for fewer than three vertices or a single eccentricity; intervals are NaN for fewer than 5 patches. Bins
        of fewer than 5 vertices are left out.

    References
    ----------
    .. [1] S. O. Dumoulin & B. A. Wandell (2008). Population receptive field estimates in human visual cortex.
       NeuroImage 39 (2), 647–660.

    Examples
    --------
    >>> eccentricity = np.linspace(0, 4, 101)
    >>> found = size_line(eccentricity, 0.3 + 0.2 * eccentricity, np.arange(101) // 10)
    >>> round(found.slope, 6), round(found.intercept, 6), len(found.bins)
    (0.2, 0.3, 8)
    """
    number = np.floor(eccentricity / WIDTH).astype(int)
    bins = []
    for index in np.unique(number):
        inside = number == index
        if inside.sum() >= FEWEST_VERTICES:
            x, y = float(eccentricity[inside].mean()), float(size[inside].mean())
            ends = _over_patches(np.stack([np.ones(inside.sum()), size[inside]]), patches[inside], _mean)
            bins.append(Bin(index * WIDTH, (index + 1) * WIDTH, int(inside.sum()), x, y, ends))
    if len(size) < 3 or np.ptp(eccentricity) == 0:
        none = (np.nan, np.nan, NO_INTERVAL, NO_INTERVAL)
        return SizeLine(len(size), *none, bins, np.zeros(0), [])
    middle = eccentricity.mean()
    x = eccentricity - middle  # so that sums lose no digits
    terms = np.stack([np.ones(len(x)), x, size, x * x, x * size])

    def at(place: float) -> Interval:
        """Return the interval of the line at an eccentricity."""
        return _over_patches(terms, patches, lambda sums: _line(sums) @ np.array([place - middle, 1]))

    slope, height = _line(terms.sum(1)[None])[0]
    places = np.linspace(float(eccentricity.min()), float(eccentricity.max()), 21)
    return SizeLine(
        vertices=len(size),
        slope=float(slope),
        intercept=float(height - slope * middle),
        slope_interval=_over_patches(terms, patches, lambda sums: _line(sums)[:, 0]),
        intercept_interval=at(0.0),
        bins=bins,
        at=places,
        band=[at(place) for place in places],
    )


def _over_patches(
    terms: Float[np.ndarray, "terms vertices"],
    patches: Int[np.ndarray, " vertices"],
    statistic: Callable[[Float[np.ndarray, "rows terms"]], Float[np.ndarray, " rows"]],
) -> Interval:
    """Return the interval of a statistic of sums over vertices, by a bootstrap over patches."""
    known = patches >= 0
    names, unit = np.unique(patches[known], return_inverse=True)
    if len(names) < FEWEST:
        return NO_INTERVAL
    sums = np.stack([np.bincount(unit, weights=term[known]) for term in terms], axis=1)
    return bootstrap(lambda weights: statistic(weights @ sums), resample(len(names)))


def _mean(sums: Float[np.ndarray, "rows 2"]) -> Float[np.ndarray, " rows"]:
    return sums[:, 1] / sums[:, 0]


def _line(sums: Float[np.ndarray, "rows 5"]) -> Float[np.ndarray, "rows 2"]:
    """Return the slope and the height at x = 0 of the lines whose sums of 1, x, y, x² and xy these are."""
    count, x, y, xx, xy = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (count * xy - x * y) / (count * xx - x**2)
    return np.stack([slope, (y - slope * x) / count], axis=1)

"""Visual-field coverage: the largest of a region's receptive fields at each place of the visual field."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ...model.images import FIELD
from ..reporting.statistics import FEWEST, NO_INTERVAL, Interval, bootstrap, resample

STEP, HALF = 0.15, 0.5  # degrees between places, and the share of a receptive field's maximum at its border
_AT_ONCE = 512  # vertices


class Coverage(NamedTuple):
    """Coverage of the visual field by one hemisphere's part of a region.

    Attributes
    ----------
    region, hemisphere
        Name of the region, and ``"lh"`` or ``"rh"``.
    vertices
        Number of vertices.
    field
        Coverage at each place, 0 to 1, from :func:`coverage`.
    share
        Share of the image in which it is at least a half.
    contralateral, upper
        Shares of the receptive fields' centers in the other half and in the upper half of the visual field.
    contralateral_interval, upper_interval
        Their 95% intervals, by a bootstrap over patches of cortex.
    centers
        x and y of the centers in degrees.
    """

    region: str
    hemisphere: str
    vertices: int
    field: Float[np.ndarray, "56 56"]
    share: float
    contralateral: float
    contralateral_interval: Interval
    upper: float
    upper_interval: Interval
    centers: Float[np.ndarray, "vertices 2"]


def places() -> Float[np.ndarray, " 56"]:
    """Return the places along each axis of the image at which coverage is computed, −4.125° to 4.125°."""
    count = round(2 * FIELD / STEP)
    return (np.arange(count) + 0.5) * 2 * FIELD / count - FIELD


def coverage(
    centers: Float[np.ndarray, "vertices 2"], size: Float[np.ndarray, " vertices"]
) -> Float[np.ndarray, "56 56"]:
    """Return the largest of some Gaussian receptive fields at each place of the image.

    Each receptive field has a maximum of 1, so that the largest says how near a place is to the middle of the nearest
    receptive field [1]_.

    Parameters
    ----------
    centers
        x (to the right) and y (up) in degrees of visual angle.
    size
        Standard deviations in degrees.

    Returns
    -------
    Coverage, 0 to 1; rows run from the bottom of the image to its top, columns from left to right, at
    :func:`places`.

    References
    ----------
    .. [1] K. Amano, B. A. Wandell & S. O. Dumoulin (2009). Visual field maps, population receptive field sizes, and
       visual field coverage in the human MT+ complex. Journal of Neurophysiology 102 (5), 2704–2718.

    Examples
    --------
    >>> field = coverage(np.array([[1.1, -2.0]]), np.array([0.5]))
    >>> row, column = np.unravel_index(field.argmax(), field.shape)
    >>> places()[[column, row]].round(1).tolist()
    [1.1, -2.0]
    """
    at = places()
    field = np.zeros((len(at), len(at)))
    for start in range(0, len(size), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        x, y = (np.exp(-((at - centers[some, axis, None]) ** 2) / (2 * size[some, None] ** 2)) for axis in (0, 1))
        field = np.maximum(field, (y[:, :, None] * x[:, None, :]).max(0))
    return field


def covered(
    region: str,
    hemisphere: str,
    centers: Float[np.ndarray, "vertices 2"],
    size: Float[np.ndarray, " vertices"],
    patches: Int[np.ndarray, " vertices"],
) -> Coverage:
    """Return the coverage of one hemisphere's part of a region, which has at least one vertex.

    Parameters
    ----------
    region, hemisphere
        Name of the region, and ``"lh"`` or ``"rh"``.
    centers, size
        Receptive fields: see :func:`coverage`.
    patches
        Patch of each vertex, −1 where it is not known.
    """
    field, x, y = coverage(centers, size), *centers.T
    other, up = (x > 0 if hemisphere == "lh" else x < 0), y > 0
    return Coverage(
        region=region,
        hemisphere=hemisphere,
        vertices=len(size),
        field=field,
        share=float((field >= HALF).mean()),
        contralateral=float(other.mean()),
        contralateral_interval=_share_interval(other, patches),
        upper=float(up.mean()),
        upper_interval=_share_interval(up, patches),
        centers=centers,
    )


def _share_interval(inside: Bool[np.ndarray, " vertices"], patches: Int[np.ndarray, " vertices"]) -> Interval:
    """Return the interval of a share of vertices, by a bootstrap over patches."""
    known = patches >= 0
    names, unit = np.unique(patches[known], return_inverse=True)
    if len(names) < FEWEST:
        return NO_INTERVAL
    sums = np.stack([np.bincount(unit, weights=term[known]) for term in (np.ones(len(inside)), inside)], axis=1)
    return bootstrap(lambda weights: (weights @ sums[:, 1]) / (weights @ sums[:, 0]), resample(len(names)))

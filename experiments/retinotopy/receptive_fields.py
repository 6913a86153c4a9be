"""Population receptive fields: from a model's tables, fitted to responses to probes, compared with measured ones.

Degrees of visual angle, x right and y up. Polar angles are in degrees, counterclockwise from the right horizontal
meridian, −180 to 180, so 90 is up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...errors import InvalidParameterError
from ...model.encoding_model import EncodingModel
from ...model.images import FIELD
from ...model.nn.config import IMAGE
from .probes import Probes, pixel_degrees

_POOL = 4  # pixels that a fit takes together, along each axis
_POSITIONS, _SIZES = 43, np.geomspace(0.15, 3.0, 16)  # of the candidates of a fit, degrees
_CHUNK = 2048  # vertices that are fitted at a time


def own_centers(model: EncodingModel) -> Float[np.ndarray, "vertices 2"]:
    """Where on the image each of a model's vertices looks, read from its tables: degrees, x right, y up."""
    tables = [np.asarray(model.params[name]["readout"]["rf_center"]).reshape(-1, 2) for name, _ in model.config.parts]
    return np.concatenate(tables)[np.asarray(model.order)].astype(np.float64) * (FIELD, -FIELD)


def polar(centers: Float[np.ndarray, "n 2"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Centers as maps: ``x``, ``y``, ``angle``, ``eccentricity``."""
    x, y = centers.T
    return {"x": x, "y": y, "angle": np.degrees(np.arctan2(y, x)), "eccentricity": np.hypot(x, y)}


class Fit(NamedTuple):
    """Receptive fields that explain responses to probes.

    ``size`` is the Gaussian's standard deviation in degrees, ``r2`` the share of the variance over probes that it
    explains. All are NaN where responses do not vary, or no receptive field raises them.
    """

    centers: Float[np.ndarray, "vertices 2"]
    size: Float[np.ndarray, " vertices"]
    r2: Float[np.ndarray, " vertices"]


def fit(probes: Probes, means: Float[np.ndarray, "probes vertices"]) -> Fit:
    """The Gaussian receptive field whose overlap with the probes' windows correlates best with responses to them.

    Every place and size of a grid is tried, and the best one refined by parabolas through its neighbors. A
    receptive field's gain, which is positive, and baseline are free [1]_.

    Parameters
    ----------
    probes
        At least 8 of them.
    means
        Mean response of each vertex to each probe.

    Raises
    ------
    InvalidParameterError
        There are fewer probes, or the responses are not to these.

    References
    ----------
    .. [1] S. O. Dumoulin & B. A. Wandell (2008). Population receptive field estimates in human visual cortex.
       NeuroImage 39 (2), 647–660.
    """
    if means.shape[0] != len(probes.windows) or len(means) < 8:
        raise InvalidParameterError(
            f"A fit needs the mean responses to each of at least 8 probes, got {means.shape[0]} for "
            f"{len(probes.windows)} probes."
        )
    places = np.linspace(-FIELD, FIELD, _POSITIONS)
    predicted = _standardized(_overlaps(probes, places))
    found = [_fit(predicted, places, means[:, start : start + _CHUNK]) for start in range(0, means.shape[1], _CHUNK)]
    return Fit(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _overlaps(probes: Probes, places: Float[np.ndarray, " p"]) -> Float[np.ndarray, "probes p*p*sizes"]:
    """Of every window with every candidate: rows y, columns x, sizes; a product of Gaussians along both axes."""
    side = IMAGE // _POOL
    windows = probes.windows.astype(np.float32).reshape(-1, side, _POOL, side, _POOL).mean((2, 4))
    x = pixel_degrees()[0].reshape(side, _POOL).mean(1)
    overlaps = np.empty((len(windows), len(places), len(places), len(_SIZES)), np.float32)
    for index, size in enumerate(_SIZES):
        along = np.exp(-((x - places[:, None]) ** 2) / (2 * size**2)).astype(np.float32)
        overlaps[..., index] = along[:, ::-1] @ windows @ along.T  # rows run down, y up
    return overlaps.reshape(len(windows), -1)


def _fit(
    predicted: Float[np.ndarray, "probes candidates"],
    places: Float[np.ndarray, " p"],
    means: Float[np.ndarray, "probes v"],
) -> Fit:
    varies = np.ptp(means, axis=0) > 0
    responses = _standardized(np.where(varies, means, 0).astype(np.float32))
    shape = (len(places), len(places), len(_SIZES))
    correlation = (predicted.T @ responses).reshape(*shape, -1)
    best = correlation.reshape(-1, len(varies)).argmax(0)
    row, column, size = np.unravel_index(best, shape)
    vertex = np.arange(len(varies))
    top = correlation[row, column, size, vertex]

    def shift(axis: int) -> Float[np.ndarray, " v"]:
        """Where between its neighbors along an axis the top is, in steps; at the border it stays."""
        index = [row, column, size]
        last = shape[axis] - 1
        before, after = (
            correlation[(*[np.clip(i + step, 0, last) if k == axis else i for k, i in enumerate(index)], vertex)]
            for step in (-1, 1)
        )
        curvature = before - 2 * top + after
        inside = (index[axis] > 0) & (index[axis] < last) & (curvature < 0)
        return np.where(inside, (before - after) / (2 * np.where(inside, curvature, -1)), 0)

    step = places[1] - places[0]
    centers = np.stack([places[column] + step * shift(1), places[row] + step * shift(0)], axis=1)
    ratio = _SIZES[1] / _SIZES[0]
    explained = varies & (top > 0)
    return Fit(
        np.where(explained[:, None], centers, np.nan),
        np.where(explained, _SIZES[size] * ratio ** shift(2), np.nan),
        np.where(explained, top.astype(np.float64) ** 2, np.nan),
    )


def _standardized(values: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    """Columns of mean 0 and length 1; 0 where a column does not vary."""
    centered = values - values.mean(0)
    length = np.linalg.norm(centered, axis=0)
    return centered / np.where(length > 0, length, 1)


def circular_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Correlation of two angles in degrees, −1 to 1, of the sines of differences of all pairs [1]_.

    It takes no mean direction, which angles from all around do not have. NaN where angles do not vary.

    References
    ----------
    .. [1] N. I. Fisher & A. J. Lee (1983). A correlation coefficient for circular data. Biometrika 70 (2), 327–332.
    """
    a, b = (np.radians(np.asarray(angles, np.float64)) for angles in (a, b))
    together = (np.cos(a) * np.cos(b)).sum() * (np.sin(a) * np.sin(b)).sum()
    crossed = (np.cos(a) * np.sin(b)).sum() * (np.sin(a) * np.cos(b)).sum()
    squares = [len(x) ** 2 - abs(np.exp(2j * x).sum()) ** 2 for x in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(4 * (together - crossed) / np.sqrt(np.prod(np.maximum(squares, 0))))


def agreement(
    centers: Float[np.ndarray, "n 2"],
    angle: Float[np.ndarray, " n"],
    eccentricity: Float[np.ndarray, " n"],
    kept: Bool[np.ndarray, " n"],
    max_eccentricity: float = np.inf,
) -> dict[str, float]:
    """How well centers agree with others, over the vertices that are kept and where both are known.

    Returns
    -------
    ``vertices``, how many; ``angle``, a circular correlation; ``eccentricity``, Pearson's, of eccentricities that are
    clipped at ``max_eccentricity``. Correlations of fewer than three vertices are NaN.
    """
    kept = kept & ~np.isnan(centers).any(1) & ~np.isnan(angle) & ~np.isnan(eccentricity)
    ours, count = polar(centers[kept]), int(kept.sum())
    if count < 3:
        return {"vertices": count, "angle": np.nan, "eccentricity": np.nan}
    clipped = (np.minimum(values, max_eccentricity) for values in (ours["eccentricity"], eccentricity[kept]))
    with np.errstate(invalid="ignore"):
        r = float(np.corrcoef(*clipped)[0, 1])
    return {"vertices": count, "angle": circular_correlation(ours["angle"], angle[kept]), "eccentricity": r}

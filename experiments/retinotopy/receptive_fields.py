"""Population receptive fields: read from a model, fitted to responses to probes, and compared with other estimates.

Positions and sizes are in degrees of visual angle, x to the right and y up. Polar angles are in degrees, −180 to 180,
counterclockwise from the right horizontal meridian, so 90 is up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ...errors import InvalidParameterError
from ...model.encoding_model import EncodingModel
from ...model.images import FIELD
from ...model.nn.config import IMAGE
from ..reporting.patches import correlation_interval
from ..reporting.statistics import NO_INTERVAL
from .probes import Probes, pixel_degrees

_POOL = 4  # pixels along each axis that a fit averages
_POSITIONS = 43  # candidate positions along each axis
_SIZES = np.geomspace(0.15, 3.0, 16)  # candidate standard deviations in degrees
LARGEST = float(_SIZES[-1])  # a fit of this size says only that it is larger
_CHUNK = 2048  # vertices fitted at a time


def model_centers(model: EncodingModel) -> Float[np.ndarray, "vertices 2"]:
    """Return the receptive-field centers that a model's readout holds.

    Returns
    -------
    x (to the right) and y (up) of each of the model's vertices, in degrees of visual angle.

    See Also
    --------
    fit : Estimate centers from responses instead.
    polar : Convert centers to polar angle and eccentricity.

    Examples
    --------
    >>> import berg_jax
    >>> model = berg_jax.load("demo", 1, roi="FFA-1")
    >>> model_centers(model).shape == (len(model.vertices), 2)
    True
    """
    tables = [np.asarray(model.params[name]["readout"]["rf_center"]).reshape(-1, 2) for name, _ in model.config.parts]
    return np.concatenate(tables)[np.asarray(model.order)].astype(np.float64) * (FIELD, -FIELD)


def polar(centers: Float[np.ndarray, "n 2"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Return the Cartesian and polar coordinates of receptive-field centers.

    Parameters
    ----------
    centers
        x and y in degrees.

    Returns
    -------
    ``x``, ``y`` and ``eccentricity`` in degrees of visual angle, and the polar ``angle`` in degrees: NaN at the
    center of the visual field, which has none.

    Examples
    --------
    >>> coordinates = polar(np.array([[0.0, 2.0]]))
    >>> float(coordinates["angle"][0]), float(coordinates["eccentricity"][0])
    (90.0, 2.0)
    """
    x, y = centers.T
    eccentricity = np.hypot(x, y)
    angle = np.where(eccentricity == 0, np.nan, np.degrees(np.arctan2(y, x)))
    return {"x": x, "y": y, "angle": angle, "eccentricity": eccentricity}


class Estimate(NamedTuple):
    """Another estimate of receptive-field centers.

    Attributes
    ----------
    angle, eccentricity
        Polar angles and eccentricities in degrees.
    known
        Vertices at which the estimate is to be trusted.
    max_eccentricity
        Degrees at which eccentricities are clipped before they are compared.
    """

    angle: Float[np.ndarray, " vertices"]
    eccentricity: Float[np.ndarray, " vertices"]
    known: Bool[np.ndarray, " vertices"]
    max_eccentricity: float = np.inf


class Fit(NamedTuple):
    """Gaussian receptive fields fitted to responses to probes.

    All values are NaN where responses do not vary, or where no receptive field raises them.

    Attributes
    ----------
    centers
        x and y in degrees.
    size
        Standard deviation of the Gaussian in degrees.
    r2
        Share of the variance over probes that the receptive field explains, 0 to 1.
    """

    centers: Float[np.ndarray, "vertices 2"]
    size: Float[np.ndarray, " vertices"]
    r2: Float[np.ndarray, " vertices"]


def fit(probes: Probes, means: Float[np.ndarray, "probes vertices"]) -> Fit:
    """Fit a Gaussian receptive field to each vertex's mean responses to probes.

    A vertex's receptive field is the Gaussian whose overlap with the probes' windows correlates best with the
    responses. Every position and size on a grid is tried, and the best is refined by parabolas through its
    neighbors. Gain (positive) and baseline are free [1]_.

    Parameters
    ----------
    probes
        At least 8 probes.
    means
        Mean response of each vertex to each probe.

    Raises
    ------
    InvalidParameterError
        There are fewer than 8 probes, or ``means`` has another number of them.

    See Also
    --------
    agreement : Compare the fitted centers with others.
    model_centers : Read the centers from the model.

    References
    ----------
    .. [1] S. O. Dumoulin & B. A. Wandell (2008). Population receptive field estimates in human visual cortex.
       NeuroImage 39 (2), 647–660.

    Examples
    --------
    The position of a vertex that responds like a Gaussian of x, y and standard deviation 1° is found again:

    >>> from berg_jax.experiments.retinotopy.probes import gaussians
    >>> probes = gaussians(grid=10, sigma=0.5)
    >>> x, y = probes.centers.T
    >>> responses = np.exp(-((x - 1) ** 2 + (y + 2) ** 2) / (2 * 1.0**2))
    >>> fit(probes, responses[:, None]).centers.round(1).tolist()
    [[1.0, -2.0]]
    """
    if means.shape[0] != len(probes.windows) or len(means) < 8:
        raise InvalidParameterError(
            f"A fit needs the mean responses to each of at least 8 probes, got {means.shape[0]} for "
            f"{len(probes.windows)} probes."
        )
    positions = np.linspace(-FIELD, FIELD, _POSITIONS)
    predicted = _standardized(_overlaps(probes, positions))
    chunks = [means[:, start : start + _CHUNK] for start in range(0, means.shape[1], _CHUNK)]
    fits = [_fit(predicted, positions, chunk) for chunk in chunks]
    return Fit(
        centers=np.concatenate([each.centers for each in fits]),
        size=np.concatenate([each.size for each in fits]),
        r2=np.concatenate([each.r2 for each in fits]),
    )


def _overlaps(probes: Probes, positions: Float[np.ndarray, " p"]) -> Float[np.ndarray, "probes p*p*sizes"]:
    """Return the overlap of every window with every candidate, whose axes are y, x and size.

    A candidate is a product of Gaussians along both axes.
    """
    side = IMAGE // _POOL
    windows = probes.windows.astype(np.float32).reshape(-1, side, _POOL, side, _POOL).mean((2, 4))
    x = pixel_degrees()[0].reshape(side, _POOL).mean(1)
    overlaps = np.empty((len(windows), len(positions), len(positions), len(_SIZES)), np.float32)
    for index, size in enumerate(_SIZES):
        profiles = np.exp(-((x - positions[:, None]) ** 2) / (2 * size**2)).astype(np.float32)
        overlaps[..., index] = profiles[:, ::-1] @ windows @ profiles.T  # rows run down, y up
    return overlaps.reshape(len(windows), -1)


def _fit(
    predicted: Float[np.ndarray, "probes candidates"],
    positions: Float[np.ndarray, " p"],
    means: Float[np.ndarray, "probes v"],
) -> Fit:
    varies = np.ptp(means, axis=0) > 0
    responses = _standardized(np.where(varies, means, 0).astype(np.float32))
    shape = (len(positions), len(positions), len(_SIZES))
    correlation = (predicted.T @ responses).reshape(*shape, -1)
    best = correlation.reshape(-1, len(varies)).argmax(0)
    row, column, size = np.unravel_index(best, shape)
    vertex = np.arange(len(varies))
    highest = correlation[row, column, size, vertex]

    def neighbor(axis: int, step: int) -> Float[np.ndarray, " v"]:
        """Return the correlations one step along an axis from the best candidates."""
        index = [row, column, size]
        index[axis] = np.clip(index[axis] + step, 0, shape[axis] - 1)
        return correlation[(*index, vertex)]

    def shift(axis: int) -> Float[np.ndarray, " v"]:
        """Return the offset of the parabola's maximum along an axis, in steps; 0 at the border of the grid."""
        index = (row, column, size)[axis]
        before, after = neighbor(axis, -1), neighbor(axis, 1)
        curvature = before - 2 * highest + after
        inside = (index > 0) & (index < shape[axis] - 1) & (curvature < 0)
        return np.where(inside, (before - after) / (2 * np.where(inside, curvature, -1)), 0)

    step = positions[1] - positions[0]
    x = positions[column] + step * shift(1)
    y = positions[row] + step * shift(0)
    ratio = _SIZES[1] / _SIZES[0]
    explained = varies & (highest > 0)
    return Fit(
        centers=np.where(explained[:, None], np.stack([x, y], axis=1), np.nan),
        size=np.where(explained, _SIZES[size] * ratio ** shift(2), np.nan),
        r2=np.where(explained, highest.astype(np.float64) ** 2, np.nan),
    )


def _standardized(values: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    """Scale columns to mean 0 and length 1; a column that does not vary becomes 0."""
    centered = values - values.mean(0)
    length = np.linalg.norm(centered, axis=0)
    return centered / np.where(length > 0, length, 1)


def circular_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Return the circular correlation of two angles, −1 to 1; NaN where one of them does not vary.

    The coefficient correlates the sines of the differences between all pairs of observations [1]_, so it needs no
    mean direction, which angles spread over the whole circle do not have.

    Parameters
    ----------
    a, b
        Angles in degrees.

    References
    ----------
    .. [1] N. I. Fisher & A. J. Lee (1983). A correlation coefficient for circular data. Biometrika 70 (2), 327–332.
    """
    a = np.radians(np.asarray(a, np.float64))
    b = np.radians(np.asarray(b, np.float64))
    together = (np.cos(a) * np.cos(b)).sum() * (np.sin(a) * np.sin(b)).sum()
    crossed = (np.cos(a) * np.sin(b)).sum() * (np.sin(a) * np.cos(b)).sum()
    spreads = [len(x) ** 2 - abs(np.exp(2j * x).sum()) ** 2 for x in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(4 * (together - crossed) / np.sqrt(np.prod(np.maximum(spreads, 0))))


def agreement(
    centers: Float[np.ndarray, "n 2"],
    angle: Float[np.ndarray, " n"],
    eccentricity: Float[np.ndarray, " n"],
    kept: Bool[np.ndarray, " n"],
    max_eccentricity: float = np.inf,
    patches: Int[np.ndarray, " n"] | None = None,
) -> dict[str, Any]:
    """Correlate receptive-field centers with other estimates, over the vertices where both are known.

    Parameters
    ----------
    centers
        x and y in degrees.
    angle, eccentricity
        The other estimates, in degrees.
    kept
        Vertices to compare.
    max_eccentricity
        Degrees at which both eccentricities are clipped.
    patches
        Patch of each vertex, over which the correlations' intervals are (none by default): see
        :func:`~berg_jax.experiments.reporting.patches.patches_of`.

    Returns
    -------
    ``vertices``, their number; ``angle``, the circular correlation of polar angles, without vertices at the center of
    the visual field; ``eccentricity``, Pearson's correlation of the clipped eccentricities. Correlations are NaN for
    fewer than three vertices. ``angle_interval`` and ``eccentricity_interval``, their 95% intervals.

    See Also
    --------
    circular_correlation
    """
    kept = kept & ~np.isnan(centers).any(1) & ~np.isnan(eccentricity)
    count = int(kept.sum())
    none = {"angle_interval": NO_INTERVAL, "eccentricity_interval": NO_INTERVAL}
    if count < 3:
        return {"vertices": count, "angle": np.nan, "eccentricity": np.nan, **none}
    ours = polar(centers[kept])
    our_eccentricity = np.minimum(ours["eccentricity"], max_eccentricity)
    their_eccentricity = np.minimum(eccentricity[kept], max_eccentricity)
    with np.errstate(invalid="ignore"):
        r = float(np.corrcoef(our_eccentricity, their_eccentricity)[0, 1])
    turned = ~np.isnan(ours["angle"]) & ~np.isnan(angle[kept])
    angles = ours["angle"][turned], angle[kept][turned]
    found = {"vertices": count, "angle": np.nan, "eccentricity": r, **none}
    if turned.sum() >= 3:
        found["angle"] = circular_correlation(*angles)
    if patches is not None:
        own = patches[kept]
        if turned.sum() >= 3:
            found["angle_interval"] = correlation_interval(*angles, own[turned], circular=True)
        found["eccentricity_interval"] = correlation_interval(our_eccentricity, their_eccentricity, own)
    return found

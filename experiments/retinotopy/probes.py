"""Visual-field probes: Gaussian, bar, wedge and ring windows on grey, filled with natural images on the device.

Positions are in degrees of visual angle, x to the right and y up; image rows run down. A window gives each pixel an
opacity between 0 and 1: where it is 0 the probe is grey, where it is 1 the natural image shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float16, Int32, Key, UInt8

from ...errors import InvalidParameterError
from ...model.images import FIELD
from ...model.nn.config import IMAGE
from ...model.nn.preprocess import bilinear_matrix
from ...stream.sources.generated import GeneratedSource
from ...stream.sources.image_files import GREY, Source

_VERSION = 1  # raised whenever the same windows and images would give other probes
_PIXEL = 2 * FIELD / IMAGE  # side of a pixel in degrees
_BATCH = 16  # natural images read at a time


class Probes(NamedTuple):
    """A set of windows on the visual field.

    Attributes
    ----------
    windows
        Opacity of each pixel, 0 (grey) to 1 (natural image).
    centers
        x and y of each window's center in degrees; NaN for windows that have no single position.
    """

    windows: Float16[np.ndarray, "probes 224 224"]
    centers: Float[np.ndarray, "probes 2"]


def pixel_degrees() -> tuple[Float[np.ndarray, " 224"], Float[np.ndarray, "224 1"]]:
    """Return the positions of the pixels' centers in degrees.

    Returns
    -------
    x
        Position of each column, growing to the right.
    y
        Position of each row, as a column vector; it falls from the first row to the last.
    """
    x = (np.arange(IMAGE) + 0.5) * _PIXEL - FIELD
    return x, -x[:, None]


def gaussians(grid: int = 40, sigma: float = 0.5) -> Probes:
    """Return Gaussian windows on a grid over the whole image, row by row from the upper left.

    Parameters
    ----------
    grid
        Positions along each axis: 40 in published analyses.
    sigma
        Standard deviation of a window in degrees: 0.25 to 0.75 in published analyses.

    Raises
    ------
    InvalidParameterError
        ``grid`` or ``sigma`` is not above 0.

    See Also
    --------
    bars, wedges, rings : Windows that have no single position.
    probe_source : Fill windows with natural images.

    Examples
    --------
    >>> probes = gaussians(grid=4, sigma=1.0)
    >>> probes.windows.shape, probes.centers.shape
    ((16, 224, 224), (16, 2))
    >>> probes.centers[0].round(2).tolist()  # upper left, in degrees
    [-3.15, 3.15]
    """
    _check(grid=grid, sigma=sigma)
    x, y = pixel_degrees()
    positions = (np.arange(grid) + 0.5) * 2 * FIELD / grid - FIELD
    centers = np.array([(column, row) for row in -positions for column in positions])
    windows = np.empty((len(centers), IMAGE, IMAGE), np.float16)
    for window, (column, row) in zip(windows, centers, strict=True):
        window[:] = np.exp(-((x - column) ** 2) / (2 * sigma**2)) * np.exp(-((y - row) ** 2) / (2 * sigma**2))
    return Probes(windows, centers)


def bars(directions: int = 8, steps: int = 20, width: float = 1.05) -> Probes:
    """Return bars that move across the visual field in several directions.

    Parameters
    ----------
    directions
        Directions of motion, evenly spaced over half a turn: opposite directions show the same bars.
    steps
        Positions of the bar in each direction.
    width
        Width of a bar in degrees.

    Raises
    ------
    InvalidParameterError
        A number is not above 0.

    See Also
    --------
    gaussians, wedges, rings
    """
    _check(directions=directions, steps=steps, width=width)
    x, y = pixel_degrees()
    offsets = (np.arange(steps) + 0.5) * 2 * FIELD / steps - FIELD
    angles = np.pi * np.arange(directions) / directions
    distances = [x * np.cos(angle) + y * np.sin(angle) - offset for angle in angles for offset in offsets]
    return _without_centers([_opacity(width / 2 - abs(distance)) for distance in distances])


def wedges(steps: int = 24, width: float = 30.0) -> Probes:
    """Return wedges from fixation to the edge of the visual field, counterclockwise from the right.

    Parameters
    ----------
    steps
        Wedges in a full turn.
    width
        Polar angle that a wedge covers, in degrees.

    Raises
    ------
    InvalidParameterError
        A number is not above 0.

    See Also
    --------
    gaussians, bars, rings
    """
    _check(steps=steps, width=width)
    x, y = pixel_degrees()
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    windows = []
    for center in 2 * np.pi * np.arange(steps) / steps:
        angle_from_center = abs((angle - center + np.pi) % (2 * np.pi) - np.pi)
        inside_sides = (np.radians(width) / 2 - angle_from_center) * radius
        windows.append(_opacity(np.minimum(inside_sides, FIELD - radius)))
    return _without_centers(windows)


def rings(steps: int = 16, width: float = 0.7) -> Probes:
    """Return rings around fixation, from the smallest to the largest.

    Parameters
    ----------
    steps
        Number of rings.
    width
        Width of a ring in degrees.

    Raises
    ------
    InvalidParameterError
        A number is not above 0.

    See Also
    --------
    gaussians, bars, wedges
    """
    _check(steps=steps, width=width)
    x, y = pixel_degrees()
    radius = np.hypot(x, y)
    middles = (np.arange(steps) + 0.5) * FIELD / steps
    return _without_centers([_opacity(width / 2 - abs(radius - middle)) for middle in middles])


KINDS = {"gaussians": gaussians, "bars": bars, "wedges": wedges, "rings": rings}


def join(probes: Sequence[Probes]) -> Probes:
    """Return several sets of probes, such as wedges and rings, as one set."""
    windows = np.concatenate([each.windows for each in probes])
    centers = np.concatenate([each.centers for each in probes])
    return Probes(windows, centers)


def natural_images(source: Source) -> UInt8[np.ndarray, "n 3 224 224"]:
    """Return all images of a source at 224 × 224 pixels, rounded to whole grey levels, to fill probes with."""
    batches = []
    for start in range(0, len(source), _BATCH):
        batch = np.asarray(source.read(range(start, min(start + _BATCH, len(source)))))
        if batch.shape[2:] != (IMAGE, IMAGE):
            resize = bilinear_matrix(batch.shape[2], IMAGE)
            batch = resize @ batch @ resize.T
        batches.append(batch.round().astype(np.uint8))
    return np.concatenate(batches)


def probe_source(probes: Probes, images: UInt8[np.ndarray, "n 3 224 224"]) -> GeneratedSource:
    """Return a source of every probe filled with every natural image.

    Parameters
    ----------
    probes
        Windows to fill.
    images
        Natural images, 0–255.

    Returns
    -------
    A source whose image ``probe · n + k`` is the probe filled with the ``k``-th of the ``n`` natural images.

    Examples
    --------
    >>> from berg_jax.demo import images
    >>> source = probe_source(rings(steps=3), images("natural", 2))
    >>> len(source)
    6
    """
    count = len(probes.windows) * len(images)
    return GeneratedSource(_filled, jax.random.key(0), count, "probe", _VERSION, (probes.windows, images))


def _filled(
    key: Key[Array, ""],
    indices: Int32[Array, " b"],
    windows: Float16[Array, "probes 224 224"],
    images: UInt8[Array, "n 3 224 224"],
) -> Float[Array, "b 3 224 224"]:
    """Fill windows with images. Nothing is random here, so the key is not used."""
    window = windows[indices // len(images)].astype(jnp.float32)[:, None]
    return GREY + window * (images[indices % len(images)].astype(jnp.float32) - GREY)


def _opacity(depth: Float[np.ndarray, "224 224"]) -> Float16[np.ndarray, "224 224"]:
    """Return 1 inside a window and 0 outside, with a ramp of one pixel, from each pixel's depth inside in degrees."""
    return np.clip(depth / _PIXEL + 0.5, 0, 1).astype(np.float16)


def _without_centers(windows: list[Float16[np.ndarray, "224 224"]]) -> Probes:
    return Probes(np.stack(windows), np.full((len(windows), 2), np.nan))


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise InvalidParameterError(f"{name} must be above 0, got {value!r}.")

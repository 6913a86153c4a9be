"""Probes of the visual field: windows on grey that are filled with natural images, made on the device.

Positions are in degrees of visual angle, x right and y up; image rows run down. A window is an opacity in 0–1 for
each pixel: where it is 0 the image is grey, where it is 1 a natural image shows.
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

_VERSION = 1  # of the images that are made
_PIXEL = 2 * FIELD / IMAGE  # degrees
_BATCH = 16  # natural images that are read at a time


class Probes(NamedTuple):
    """Windows on the visual field, and their centers in degrees, NaN where a window is at no one place."""

    windows: Float16[np.ndarray, "probes 224 224"]
    centers: Float[np.ndarray, "probes 2"]


def pixel_degrees() -> tuple[Float[np.ndarray, " 224"], Float[np.ndarray, "224 1"]]:
    """Where the pixels' middles are: x of the columns, y of the rows, which falls from the first row to the last."""
    x = (np.arange(IMAGE) + 0.5) * _PIXEL - FIELD
    return x, -x[:, None]


def gaussians(grid: int = 40, sigma: float = 0.5) -> Probes:
    """Gaussian windows on a grid over the whole image, row by row from the upper left.

    Parameters
    ----------
    grid
        Positions along each axis: 40 in published analyses.
    sigma
        Standard deviation of a window, degrees: 0.25 to 0.75 in published analyses.

    Raises
    ------
    InvalidParameterError
        The grid is empty, or sigma is no size.
    """
    _check(grid=grid, sigma=sigma)
    x, y = pixel_degrees()
    place = (np.arange(grid) + 0.5) * 2 * FIELD / grid - FIELD
    centers = np.array([(column, row) for row in -place for column in place])
    windows = np.empty((len(centers), IMAGE, IMAGE), np.float16)
    for window, (column, row) in zip(windows, centers, strict=True):
        window[:] = np.exp(-((x - column) ** 2) / (2 * sigma**2)) * np.exp(-((y - row) ** 2) / (2 * sigma**2))
    return Probes(windows, centers)


def bars(directions: int = 8, steps: int = 20, width: float = 1.05) -> Probes:
    """Bars that move across the field in several directions, so many degrees wide."""
    _check(directions=directions, steps=steps, width=width)
    x, y = pixel_degrees()
    offsets = (np.arange(steps) + 0.5) * 2 * FIELD / steps - FIELD
    # Opposite directions show the same bars, so half a turn holds all.
    angles = np.pi * np.arange(directions) / directions
    distances = [x * np.cos(a) + y * np.sin(a) - offset for a in angles for offset in offsets]
    return _without_centers([_inside(width / 2 - abs(distance)) for distance in distances])


def wedges(steps: int = 24, width: float = 30.0) -> Probes:
    """Wedges of so many degrees of polar angle, from the right counterclockwise, as long as the field is wide."""
    _check(steps=steps, width=width)
    x, y = pixel_degrees()
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    windows = []
    for center in 2 * np.pi * np.arange(steps) / steps:
        turned = abs((angle - center + np.pi) % (2 * np.pi) - np.pi)
        windows.append(_inside(np.minimum((np.radians(width) / 2 - turned) * radius, FIELD - radius)))
    return _without_centers(windows)


def rings(steps: int = 16, width: float = 0.7) -> Probes:
    """Rings around fixation, so many degrees wide, from the smallest to the largest."""
    _check(steps=steps, width=width)
    x, y = pixel_degrees()
    radius = np.hypot(x, y)
    middles = (np.arange(steps) + 0.5) * FIELD / steps
    return _without_centers([_inside(width / 2 - abs(radius - middle)) for middle in middles])


KINDS = {"gaussians": gaussians, "bars": bars, "wedges": wedges, "rings": rings}


def join(probes: Sequence[Probes]) -> Probes:
    """Several sets of probes as one, such as wedges and rings."""
    return Probes(*(np.concatenate(parts) for parts in zip(*probes, strict=True)))


def natural_images(source: Source) -> UInt8[np.ndarray, "n 3 224 224"]:
    """All images of a source at 224 × 224 pixels, rounded to whole grey levels, to fill probes with."""
    found = []
    for start in range(0, len(source), _BATCH):
        batch = np.asarray(source.read(range(start, min(start + _BATCH, len(source)))))
        if batch.shape[2:] != (IMAGE, IMAGE):
            rows = bilinear_matrix(batch.shape[2], IMAGE)
            batch = rows @ batch @ rows.T
        found.append(batch.round().astype(np.uint8))
    return np.concatenate(found)


def probe_source(probes: Probes, images: UInt8[np.ndarray, "n 3 224 224"]) -> GeneratedSource:
    """Every probe filled with every image: image ``probe · n + k`` is the probe with the ``k``-th image in it."""
    number = len(probes.windows) * len(images)
    return GeneratedSource(_filled, jax.random.key(0), number, "probe", _VERSION, (probes.windows, images))


def _filled(
    key: Key[Array, ""],
    indices: Int32[Array, " b"],
    windows: Float16[Array, "probes 224 224"],
    images: UInt8[Array, "n 3 224 224"],
) -> Float[Array, "b 3 224 224"]:
    """Nothing is random here, so the key is not used."""
    window = windows[indices // len(images)].astype(jnp.float32)[:, None]
    return GREY + window * (images[indices % len(images)].astype(jnp.float32) - GREY)


def _inside(degrees: Float[np.ndarray, "224 224"]) -> Float16[np.ndarray, "224 224"]:
    """1 inside a border, 0 outside, and what is between over one pixel; from how far inside each pixel is."""
    return np.clip(degrees / _PIXEL + 0.5, 0, 1).astype(np.float16)


def _without_centers(windows: list[Float16[np.ndarray, "224 224"]]) -> Probes:
    return Probes(np.stack(windows), np.full((len(windows), 2), np.nan))


def _check(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise InvalidParameterError(f"{name} must be above 0, got {value!r}.")

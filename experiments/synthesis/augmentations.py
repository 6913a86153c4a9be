"""Augmentations: random changes of images before the model sees them, (key, images) → images.

They keep an image's effect from depending on single pixels. Each image of (images, 3, height, width) is changed in
its own way. The optimization averages over draws.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...errors import InvalidParameterError
from .functions import Function, as_function

Images = Float[Array, "images 3 height width"]
Augmentation = Callable[[Key[Array, ""], Images], Images]


def chain(*augmentations: Augmentation) -> Function:
    """Return an augmentation that applies several, one after the other.

    Examples
    --------
    >>> augment = chain(jitter(8), rotations(5), noise(2.0))
    >>> augment(jax.random.key(0), jnp.zeros((2, 3, 32, 32))).shape
    (2, 3, 32, 32)
    """
    return Function(_chain, tuple(as_function(augmentation) for augmentation in augmentations))


def jitter(pixels: int) -> Function:
    """Return an augmentation that shifts images; pixels that leave on one side enter on the other.

    Parameters
    ----------
    pixels
        Largest shift in each direction.

    Raises
    ------
    InvalidParameterError
        ``pixels`` is negative.

    See Also
    --------
    chain, crops, rotations, noise, blur
    """
    return Function(_jitter, (jnp.asarray(int(_at_least_0("pixels", pixels))),))


def crops(least: float, most: float) -> Function:
    """Return an augmentation that enlarges a random square part of an image to full size.

    Parameters
    ----------
    least, most
        Range from which the part's side is drawn, as a share of the image's side.

    Raises
    ------
    InvalidParameterError
        The range is not 0 < least ≤ most ≤ 1.
    """
    if not 0 < least <= most <= 1:
        raise InvalidParameterError(f"crops needs 0 < least ≤ most ≤ 1, got {least} and {most}.")
    return Function(_crops, (jnp.asarray([least, most], float),))


def rotations(degrees: float) -> Function:
    """Return an augmentation that rotates images about their middle; corners repeat the border's pixels.

    Parameters
    ----------
    degrees
        Largest rotation in either direction.

    Raises
    ------
    InvalidParameterError
        ``degrees`` is negative.
    """
    return Function(_rotations, (jnp.asarray(jnp.deg2rad(_at_least_0("degrees", degrees)), float),))


def noise(level: float) -> Function:
    """Return an augmentation that adds Gaussian noise.

    Parameters
    ----------
    level
        Standard deviation of the noise in grey levels.

    Raises
    ------
    InvalidParameterError
        ``level`` is negative.
    """
    return Function(_noise, (jnp.asarray(_at_least_0("level", level), float),))


def blur(pixels: float) -> Function:
    """Return an augmentation that blurs images by a Gaussian; borders wrap around.

    Parameters
    ----------
    pixels
        Largest standard deviation of the Gaussian; it is drawn between 0 and this.

    Raises
    ------
    InvalidParameterError
        ``pixels`` is negative.
    """
    return Function(_blur, (jnp.asarray(_at_least_0("pixels", pixels), float),))


def _at_least_0(name: str, value: float) -> float:
    if not value >= 0:
        raise InvalidParameterError(f"{name} must be at least 0, got {value}.")
    return value


def _chain(*arguments: object) -> Images:
    *augmentations, key, images = arguments
    for index, augmentation in enumerate(augmentations):
        images = augmentation(jax.random.fold_in(key, index), images)
    return images


def _each(change: Callable[[Array, Array], Array], key: Key[Array, ""], images: Images) -> Images:
    """Change each image (3, height, width) with a key of its own."""
    return jax.vmap(change)(jax.random.split(key, len(images)), images)


def _jitter(pixels: Array, key: Key[Array, ""], images: Images) -> Images:
    def change(key: Array, image: Array) -> Array:
        shift = jax.random.randint(key, (2,), -pixels, pixels + 1)
        return jnp.roll(image, shift, axis=(1, 2))

    return _each(change, key, images)


def _crops(shares: Float[Array, " 2"], key: Key[Array, ""], images: Images) -> Images:
    def change(key: Array, image: Array) -> Array:
        share_key, corner_key = jax.random.split(key)
        share = jax.random.uniform(share_key, dtype=image.dtype, minval=shares[0], maxval=shares[1])
        size = jnp.asarray(image.shape[1:], image.dtype)
        corner = jax.random.uniform(corner_key, (2,), image.dtype) * (1 - share) * size
        scale = jnp.full(2, 1 / share)
        return jax.image.scale_and_translate(
            image, image.shape, (1, 2), scale, -corner / share, "linear", precision=jax.lax.Precision.HIGHEST
        )

    return _each(change, key, images)


def _rotations(most: Array, key: Key[Array, ""], images: Images) -> Images:
    def change(key: Array, image: Array) -> Array:
        angle = jax.random.uniform(key, dtype=image.dtype, minval=-most, maxval=most)
        rows, columns = (jnp.arange(n, dtype=image.dtype) - (n - 1) / 2 for n in image.shape[1:])
        y, x = rows[:, None], columns[None]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        source_rows = cos * y - sin * x + (len(rows) - 1) / 2
        source_columns = sin * y + cos * x + (len(columns) - 1) / 2

        def rotated(channel: Array) -> Array:
            return jax.scipy.ndimage.map_coordinates(channel, [source_rows, source_columns], 1, mode="nearest")

        return jax.vmap(rotated)(image)

    return _each(change, key, images)


def _noise(level: Array, key: Key[Array, ""], images: Images) -> Images:
    return images + level * jax.random.normal(key, images.shape, images.dtype)


def _blur(most: Array, key: Key[Array, ""], images: Images) -> Images:
    def change(key: Array, image: Array) -> Array:
        sigma = jax.random.uniform(key, dtype=image.dtype, maxval=most)
        height, width = image.shape[1:]
        squared_frequency = jnp.fft.fftfreq(height)[:, None] ** 2 + jnp.fft.rfftfreq(width)[None] ** 2
        gain = jnp.exp(-2 * (jnp.pi * sigma) ** 2 * squared_frequency)
        return jnp.fft.irfft2(jnp.fft.rfft2(image) * gain[None], (height, width))

    return _each(change, key, images)

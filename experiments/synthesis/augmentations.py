"""What happens to images before they are seen, at random: (key, images) → images, so that no effect hangs on a pixel.

Each image of (images, 3, height, width) is changed in its own way. The optimization takes the mean over draws.
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
    """One augmentation after the other."""
    return Function(_chain, tuple(as_function(augmentation) for augmentation in augmentations))


def jitter(pixels: int) -> Function:
    """Shift by up to so many pixels in each direction; what leaves on one side enters on the other.

    Raises
    ------
    InvalidParameterError
        ``pixels`` is negative.
    """
    return Function(_jitter, (jnp.asarray(int(_at_least_0("pixels", pixels))),))


def crops(least: float, most: float) -> Function:
    """A square part of the image, seen at full size.

    Parameters
    ----------
    least, most
        Its side as a share of the image's is drawn between these.

    Raises
    ------
    InvalidParameterError
        They are not 0 < least ≤ most ≤ 1.
    """
    if not 0 < least <= most <= 1:
        raise InvalidParameterError(f"crops needs 0 < least ≤ most ≤ 1, got {least} and {most}.")
    return Function(_crops, (jnp.asarray([least, most], float),))


def rotations(degrees: float) -> Function:
    """Turn by up to so many degrees either way around the middle; corners show the border's pixels."""
    return Function(_rotations, (jnp.asarray(jnp.deg2rad(_at_least_0("degrees", degrees)), float),))


def noise(level: float) -> Function:
    """Add Gaussian noise of this standard deviation, in grey levels."""
    return Function(_noise, (jnp.asarray(_at_least_0("level", level), float),))


def blur(pixels: float) -> Function:
    """Blur by a Gaussian of a standard deviation between 0 and so many pixels; borders wrap around."""
    return Function(_blur, (jnp.asarray(_at_least_0("pixels", pixels), float),))


def _at_least_0(name: str, value: float) -> float:
    if not value >= 0:
        raise InvalidParameterError(f"{name} must be at least 0, got {value}.")
    return value


def _chain(*arguments: object) -> Images:
    *augmentations, key, images = arguments
    for number, augmentation in enumerate(augmentations):
        images = augmentation(jax.random.fold_in(key, number), images)
    return images


def _each(one: Callable[[Array, Array], Array], key: Key[Array, ""], images: Images) -> Images:
    """A change of each image (3, height, width), with a key of its own."""
    return jax.vmap(one)(jax.random.split(key, len(images)), images)


def _jitter(pixels: Array, key: Key[Array, ""], images: Images) -> Images:
    def one(key: Array, image: Array) -> Array:
        shift = jax.random.randint(key, (2,), -pixels, pixels + 1)
        return jnp.roll(image, shift, axis=(1, 2))

    return _each(one, key, images)


def _crops(shares: Float[Array, " 2"], key: Key[Array, ""], images: Images) -> Images:
    def one(key: Array, image: Array) -> Array:
        how, where = jax.random.split(key)
        share = jax.random.uniform(how, dtype=image.dtype, minval=shares[0], maxval=shares[1])
        size = jnp.asarray(image.shape[1:], image.dtype)
        corner = jax.random.uniform(where, (2,), image.dtype) * (1 - share) * size
        scale = jnp.full(2, 1 / share)
        return jax.image.scale_and_translate(
            image, image.shape, (1, 2), scale, -corner / share, "linear", precision=jax.lax.Precision.HIGHEST
        )

    return _each(one, key, images)


def _rotations(most: Array, key: Key[Array, ""], images: Images) -> Images:
    def one(key: Array, image: Array) -> Array:
        angle = jax.random.uniform(key, dtype=image.dtype, minval=-most, maxval=most)
        rows, columns = (jnp.arange(n, dtype=image.dtype) - (n - 1) / 2 for n in image.shape[1:])
        y, x = rows[:, None], columns[None]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        places = [cos * y - sin * x + (len(rows) - 1) / 2, sin * y + cos * x + (len(columns) - 1) / 2]
        return jax.vmap(lambda channel: jax.scipy.ndimage.map_coordinates(channel, places, 1, mode="nearest"))(image)

    return _each(one, key, images)


def _noise(level: Array, key: Key[Array, ""], images: Images) -> Images:
    return images + level * jax.random.normal(key, images.shape, images.dtype)


def _blur(most: Array, key: Key[Array, ""], images: Images) -> Images:
    def one(key: Array, image: Array) -> Array:
        sigma = jax.random.uniform(key, dtype=image.dtype, maxval=most)
        height, width = image.shape[1:]
        square = jnp.fft.fftfreq(height)[:, None] ** 2 + jnp.fft.rfftfreq(width)[None] ** 2
        kept = jnp.exp(-2 * (jnp.pi * sigma) ** 2 * square)
        return jnp.fft.irfft2(jnp.fft.rfft2(image) * kept[None], (height, width))

    return _each(one, key, images)

"""What images are kept to: penalties, (images, 3, height, width) → (images,), and projections, images → images.

A penalty is taken off the objective; scale it: ``0.02 * total_variation()``. One of a whole set has one entry, (1,).
A projection is part of what is differentiated, and holds whatever the optimizer does.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError
from ...model.images import check_images
from .functions import Function

Images = Float[Array, "images 3 height width"]
_LUMA = (0.2126, 0.7152, 0.0722)  # of red, green and blue (ITU-R BT.709)
_TINY = 1e-6  # (grey levels)², keeps the gradient of a root finite
_STEPS = 24  # of Newton's method
_TOLERANCE = 1e-3  # grey levels: what misses luminance or contrast by more has no such image
_COARSE = 16  # pixels of the images that a set's likeness compares, along a side


def total_variation() -> Function:
    """The mean length of a pixel's step to its right and lower neighbors, in grey levels (Rudin et al. 1992)."""
    return Function(_total_variation)


def distance(photograph: Num[np.ndarray, "3 height width"]) -> Function:
    """The root mean square difference from a photograph, in grey levels."""
    return Function(_distance, (_photograph(photograph),))


def likeness() -> Function:
    """How alike a set's images are at coarse scale: the mean correlation of pairs, at 16 × 16 pixels."""
    return Function(_likeness)


def within(photograph: Num[np.ndarray, "3 height width"], radius: float, norm: str = "l2") -> Function:
    """A projection into a ball around a photograph, for small controlled edits.

    Parameters
    ----------
    photograph
        In 0–255.
    radius
        In grey levels.
    norm
        ``"l2"``: the root mean square difference is at most the radius; ``"linf"``: every value's is.

    Raises
    ------
    InvalidParameterError
        The radius is not positive, or there is no such norm.
    """
    if norm not in ("l2", "linf"):
        raise InvalidParameterError(f"norm must be 'l2' or 'linf', got {norm!r}.")
    if not radius > 0:
        raise InvalidParameterError(f"radius must be above 0 grey levels, got {radius}.")
    numbers = (_photograph(photograph), jnp.asarray(radius, float))
    return Function(_within_l2 if norm == "l2" else _within_linf, numbers)


def luminance_and_contrast(luminance: float, contrast: float) -> Function:
    """A projection to a mean luminance and an RMS contrast, which stays in 0–255.

    Each image is scaled and shifted, and clipped to 0–255, such that afterwards both hold. An image for which no
    scale and shift do it, such as one of a single color, becomes NaN.

    Parameters
    ----------
    luminance
        Mean of the luma (0.2126 R + 0.7152 G + 0.0722 B), 0–255.
    contrast
        Its standard deviation in grey levels.

    Raises
    ------
    InvalidParameterError
        No image has both.
    """
    if not (0 < luminance < 255 and contrast > 0 and contrast**2 < luminance * (255 - luminance)):
        raise InvalidParameterError(
            f"No image in 0–255 has mean luminance {luminance} and RMS contrast {contrast}: the contrast must lie "
            "between 0 and √(luminance · (255 − luminance))."
        )
    return Function(_luminance_and_contrast, (jnp.asarray([luminance, contrast], float),))


def chain(*projections: Callable[[Images], Images]) -> Function:
    """One projection after the other; only the last is sure to hold."""
    return Function(_chain, projections)


def _photograph(photograph: Num[np.ndarray, "3 height width"]) -> Float[Array, "3 height width"]:
    photograph = np.asarray(photograph)
    check_images(photograph[None])
    return jnp.asarray(photograph, float)


def _chain(*arguments: object) -> Images:
    *projections, images = arguments
    for projection in projections:
        images = projection(images)
    return images


def _total_variation(images: Images) -> Float[Array, " images"]:
    right = images[:, :, :-1, 1:] - images[:, :, :-1, :-1]
    down = images[:, :, 1:, :-1] - images[:, :, :-1, :-1]
    return jnp.sqrt(right**2 + down**2 + _TINY).mean(axis=(1, 2, 3))


def _distance(photograph: Array, images: Images) -> Float[Array, " images"]:
    return jnp.sqrt(((images - photograph[None]) ** 2).mean(axis=(1, 2, 3)) + _TINY)


def _likeness(images: Images) -> Float[Array, " 1"]:
    if len(images) < 2:
        raise InvalidParameterError("likeness is of a set of images: give set_size, at least 2.")
    coarse = jax.image.resize(images, (*images.shape[:2], _COARSE, _COARSE), "linear").reshape(len(images), -1)
    coarse -= coarse.mean(axis=1, keepdims=True)
    coarse /= jnp.sqrt((coarse**2).sum(axis=1, keepdims=True) + _TINY)
    first, second = np.triu_indices(len(images), 1)
    return (coarse[first] * coarse[second]).sum(axis=1).mean(keepdims=True)


def _within_l2(photograph: Array, radius: Array, images: Images) -> Images:
    away = images - photograph[None]
    length = jnp.sqrt((away**2).mean(axis=(1, 2, 3), keepdims=True) + _TINY)
    return photograph[None] + away * jnp.minimum(1, radius / length)


def _within_linf(photograph: Array, radius: Array, images: Images) -> Images:
    return photograph[None] + radius * jnp.tanh((images - photograph[None]) / radius)


def _luminance_and_contrast(wanted: Float[Array, " 2"], images: Images) -> Images:
    return jax.vmap(lambda image: _matched(wanted, image))(images)


def _matched(wanted: Float[Array, " 2"], image: Float[Array, "3 h w"]) -> Float[Array, "3 h w"]:
    """The image scaled and shifted; how much is the root of two equations, differentiated as such."""
    center = _statistics(image)[0]
    away = image - center

    def changed(pair: Float[Array, " 2"]) -> Float[Array, "3 h w"]:
        return jnp.clip(pair[0] * away + pair[1], 0, 255)

    def off(pair: Float[Array, " 2"]) -> Float[Array, " 2"]:
        return _statistics(changed(pair)) - wanted

    def closer(_: Array, pair: Float[Array, " 2"]) -> Float[Array, " 2"]:
        """Newton's step where it helps, else the one that would be right without clipping."""
        missed = off(pair)
        newton = pair - _solved(jax.jacfwd(off)(pair), missed)
        plain = jnp.stack([pair[0] * wanted[1] / (wanted[1] + missed[1]), pair[1] - missed[0]])
        return jnp.where(jnp.abs(off(newton)).max() < jnp.abs(missed).max(), newton, plain)

    def root(off: Callable[[Array], Array], start: Float[Array, " 2"]) -> Float[Array, " 2"]:
        return jax.lax.fori_loop(0, _STEPS, closer, start)

    def linear(slope: Callable[[Array], Array], value: Float[Array, " 2"]) -> Float[Array, " 2"]:
        return _solved(jax.jacfwd(slope)(jnp.zeros_like(value)), value)

    start = jnp.stack([wanted[1] / _statistics(image)[1], wanted[0]])
    pair = jax.lax.custom_root(off, jax.lax.stop_gradient(start), root, linear)
    return jnp.where(jnp.abs(off(pair)).max() < _TOLERANCE, changed(pair), jnp.nan)


def _statistics(image: Float[Array, "3 h w"]) -> Float[Array, " 2"]:
    """Mean and standard deviation of the luma."""
    luma = jnp.tensordot(jnp.asarray(_LUMA, image.dtype), image, 1, precision=jax.lax.Precision.HIGHEST)
    return jnp.stack([luma.mean(), luma.std()])


def _solved(matrix: Float[Array, "2 2"], value: Float[Array, " 2"]) -> Float[Array, " 2"]:
    (a, b), (c, d) = matrix
    return jnp.stack([d * value[0] - b * value[1], a * value[1] - c * value[0]]) / (a * d - b * c)

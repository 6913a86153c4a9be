"""Penalties, (images, 3, height, width) → (images,), and projections, images → images.

A penalty is subtracted from the objective, scaled by a factor of yours: ``0.02 * total_variation()``. A penalty on a
whole set has one entry, (1,). A projection is differentiated along with the decoder, and its constraint holds
whatever the optimizer does.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num
from optax.projections import projection_l1_ball

from ....errors import InvalidParameterError
from ....model.images import check_images
from ..functions import Function

Images = Float[Array, "images 3 height width"]
_LUMA = (0.2126, 0.7152, 0.0722)  # weights of red, green and blue (ITU-R BT.709)
_TINY = 1e-6  # (grey levels)², keeps the gradient of a root finite
_STEPS = 24  # steps of Newton's method
_TOLERANCE = 1e-3  # grey levels by which luminance or contrast may be missed
_COARSE = 16  # side in pixels of the images that likeness compares


def total_variation() -> Function:
    """Return the penalty of total variation (Rudin et al. 1992).

    It is the mean length of a pixel's gradient (its differences from its right and lower neighbors) in grey levels.

    See Also
    --------
    distance, likeness

    Examples
    --------
    >>> penalty = 0.02 * total_variation()
    >>> penalty(jnp.zeros((2, 3, 8, 8))).shape
    (2,)
    """
    return Function(_total_variation)


def distance(photograph: Num[np.ndarray, "3 height width"]) -> Function:
    """Return the penalty of the root mean square difference from a photograph, in grey levels.

    Parameters
    ----------
    photograph
        Image in 0–255.

    See Also
    --------
    within : Limit the difference instead.
    """
    return Function(_distance, (_photograph(photograph),))


def likeness() -> Function:
    """Return the penalty on images of a set that look alike: the mean correlation of pairs at 16 × 16 pixels.

    See Also
    --------
    berg_jax.experiments.synthesis.objectives.variety : Images that are different for a ROI.
    """
    return Function(_likeness)


def within(photograph: Num[np.ndarray, "3 height width"], radius: float, norm: str | float = "l2") -> Function:
    """Return a projection into a ball around a photograph: small controlled edits, or a budget of contrast.

    Around a uniform grey image, the ball is the budget that most exciting images are commonly given: with ``"l2"``
    the largest RMS contrast.

    Parameters
    ----------
    photograph
        Image in 0–255.
    radius
        Radius of the ball in grey levels: the largest p-th root of the mean p-th power of the differences.
    norm
        ``"l2"``, the root mean square; ``"linf"``, the difference of every single value; ``"l1"``, the mean absolute
        difference, whose nearest point in the ball leaves most values as they are; or a number p of at least 1, for
        which differences are scaled down.

    Raises
    ------
    InvalidParameterError
        The radius is not positive, or there is no such norm.

    See Also
    --------
    distance : Penalize the difference instead.
    luminance_and_contrast : Fix the contrast instead of limiting it.

    References
    ----------
    Walker et al. 2019, *Inception loops discover what excites neurons most using deep predictive models*, Nature
    Neuroscience (a budget of contrast).

    Duchi, Shalev-Shwartz, Singer, Chandra 2008, *Efficient projections onto the l1-ball for learning in high
    dimensions*, ICML.

    Examples
    --------
    >>> grey = np.full((3, 8, 8), 128.0)
    >>> project = within(grey, radius=5.0)
    >>> round(float(project(jnp.full((1, 3, 8, 8), 255.0)).max()), 2)
    133.0
    """
    numeric = isinstance(norm, (int, float)) and not isinstance(norm, bool)
    if not (norm in ("l1", "l2", "linf") or (numeric and 1 <= norm < np.inf)):
        raise InvalidParameterError(f"norm must be 'l1', 'l2', 'linf' or a number of at least 1, got {norm!r}.")
    if not radius > 0:
        raise InvalidParameterError(f"radius must be above 0 grey levels, got {radius}.")
    numbers = (_photograph(photograph), jnp.asarray(radius, float))
    if numeric:
        return Function(_within_p, (*numbers, jnp.asarray(norm, float)))
    return Function({"l1": _within_l1, "l2": _within_l2, "linf": _within_linf}[norm], numbers)


def luminance_and_contrast(luminance: float, contrast: float) -> Function:
    """Return a projection to a given mean luminance and RMS contrast, which stays in 0–255.

    Each image is scaled, shifted and clipped to 0–255 so that both hold afterwards. An image for which no scale and
    shift achieve this, such as one of a single color, becomes NaN.

    Parameters
    ----------
    luminance
        Mean of the luma (0.2126 R + 0.7152 G + 0.0722 B), 0–255.
    contrast
        Standard deviation of the luma in grey levels.

    Raises
    ------
    InvalidParameterError
        No image has both.

    See Also
    --------
    chain : Combine projections.
    """
    if not (0 < luminance < 255 and contrast > 0 and contrast**2 < luminance * (255 - luminance)):
        raise InvalidParameterError(
            f"No image in 0–255 has mean luminance {luminance} and RMS contrast {contrast}: the contrast must lie "
            "between 0 and √(luminance · (255 − luminance))."
        )
    return Function(_luminance_and_contrast, (jnp.asarray([luminance, contrast], float),))


def chain(*projections: Callable[[Images], Images]) -> Function:
    """Return a projection that applies several, one after the other; only the last one's constraint surely holds."""
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
    difference = images - photograph[None]
    length = jnp.sqrt((difference**2).mean(axis=(1, 2, 3), keepdims=True) + _TINY)
    return photograph[None] + difference * jnp.minimum(1, radius / length)


def _within_l1(photograph: Array, radius: Array, images: Images) -> Images:
    difference = images - photograph[None]
    return photograph[None] + jax.vmap(lambda one: projection_l1_ball(one, radius * one.size))(difference)


def _within_p(photograph: Array, radius: Array, p: Float[Array, ""], images: Images) -> Images:
    difference = images - photograph[None]
    size = jnp.abs(difference) + _TINY  # whose power has a gradient everywhere
    most = size.max(axis=(1, 2, 3), keepdims=True)  # so that no power is too large
    length = most * ((size / most) ** p).mean(axis=(1, 2, 3), keepdims=True) ** (1 / p)
    return photograph[None] + difference * jnp.minimum(1, radius / length)


def _within_linf(photograph: Array, radius: Array, images: Images) -> Images:
    return photograph[None] + radius * jnp.tanh((images - photograph[None]) / radius)


def _luminance_and_contrast(target: Float[Array, " 2"], images: Images) -> Images:
    return jax.vmap(lambda image: _matched(target, image))(images)


def _matched(target: Float[Array, " 2"], image: Float[Array, "3 h w"]) -> Float[Array, "3 h w"]:
    """Scale and shift an image to a target luminance and contrast.

    Scale and shift are the root of two equations, and are differentiated as such.
    """
    deviation = image - _statistics(image)[0]

    def changed(scale_and_shift: Float[Array, " 2"]) -> Float[Array, "3 h w"]:
        scale, shift = scale_and_shift[0], scale_and_shift[1]
        return jnp.clip(scale * deviation + shift, 0, 255)

    def error(scale_and_shift: Float[Array, " 2"]) -> Float[Array, " 2"]:
        return _statistics(changed(scale_and_shift)) - target

    def closer(_: Array, scale_and_shift: Float[Array, " 2"]) -> Float[Array, " 2"]:
        """Make Newton's step where it helps, else the step that would be right without clipping."""
        scale, shift = scale_and_shift[0], scale_and_shift[1]
        residual = error(scale_and_shift)
        newton = scale_and_shift - _solve(jax.jacfwd(error)(scale_and_shift), residual)
        unclipped = jnp.stack([scale * target[1] / (target[1] + residual[1]), shift - residual[0]])
        return jnp.where(jnp.abs(error(newton)).max() < jnp.abs(residual).max(), newton, unclipped)

    def find_root(error: Callable[[Array], Array], start: Float[Array, " 2"]) -> Float[Array, " 2"]:
        return jax.lax.fori_loop(0, _STEPS, closer, start)

    def solve_linear(linear: Callable[[Array], Array], value: Float[Array, " 2"]) -> Float[Array, " 2"]:
        return _solve(jax.jacfwd(linear)(jnp.zeros_like(value)), value)

    start = jnp.stack([target[1] / _statistics(image)[1], target[0]])
    root = jax.lax.custom_root(error, jax.lax.stop_gradient(start), find_root, solve_linear)
    return jnp.where(jnp.abs(error(root)).max() < _TOLERANCE, changed(root), jnp.nan)


def _statistics(image: Float[Array, "3 h w"]) -> Float[Array, " 2"]:
    """Return mean and standard deviation of the luma."""
    luma = jnp.tensordot(jnp.asarray(_LUMA, image.dtype), image, 1, precision=jax.lax.Precision.HIGHEST)
    return jnp.stack([luma.mean(), luma.std()])


def _solve(matrix: Float[Array, "2 2"], value: Float[Array, " 2"]) -> Float[Array, " 2"]:
    (a, b), (c, d) = matrix
    return jnp.stack([d * value[0] - b * value[1], a * value[1] - c * value[0]]) / (a * d - b * c)

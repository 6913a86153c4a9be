"""Maximal-difference competition: images that one model, subject or region holds alike and another tells apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError, ValidationError
from ...model.images import check_values
from ..synthesis.ascent import Model
from ..synthesis.functions import Function, as_function
from ..synthesis.parametrizations.base import SLOPE, bound, inverse_bound
from .attribution import _as_pytree

_CORRECTIONS = 8  # Newton steps that bring the held value back at the end
Side = tuple[Model, Callable[..., Array]]


class Competition(NamedTuple):
    """Four images of a competition of two sides.

    Attributes
    ----------
    names
        Description of each image.
    images
        (4, 3, height, width): second side raised, then lowered, while the first is held; first side raised, then
        lowered, while the second is held.
    first, second
        (4,) value of each side for the images.
    start
        (2,) both sides' values for the image that they started from.
    """

    names: tuple[str, ...]
    images: Float[np.ndarray, "4 3 height width"]
    first: Float[np.ndarray, " 4"]
    second: Float[np.ndarray, " 4"]
    start: Float[np.ndarray, " 2"]


def compete(
    first: Side, second: Side, image: Num[np.ndarray, "3 height width"], *, steps: int = 128, step: float = 1.0
) -> Competition:
    """Return images on which two sides differ most: one side's value is held while the other's rises or falls.

    The image moves along the gradient of the one value without its part along the gradient of the other, and a Newton
    step brings the held value back after each step.

    Parameters
    ----------
    first, second
        A model and an objective of its responses each: two models, two subjects, or two regions of one model.
    image
        Image (3, height, width) in 0–255 to start from.
    steps
        Number of steps.
    step
        Root mean square length of a step in grey levels, where pixels are far from black and white.

    Raises
    ------
    StimulusError
        It is no image in 0–255.
    InvalidParameterError
        A number is not above 0.
    ValidationError
        An image is not finite.

    See Also
    --------
    berg_jax.experiments.synthesis.objectives.contrast : Two regions driven apart at once.

    References
    ----------
    Wang, Simoncelli 2008, *Maximum differentiation (MAD) competition: a methodology for comparing computational
    models of perceptual quantities*, Journal of Vision.

    Examples
    --------
    >>> def red(images):
    ...     return images[:, :1].mean(axis=(2, 3))
    >>> def grey(images):
    ...     return images.mean(axis=(1, 2, 3))[:, None]
    >>> def value(responses):
    ...     return responses[:, 0]
    >>> found = compete((red, value), (grey, value), np.full((3, 4, 4), 128.0), steps=4)
    >>> bool(found.second[0] > found.second[1] + 4), found.first[:2].round(2).tolist()
    (True, [128.0, 128.0])
    """
    check_values(image[None])
    if steps < 1 or not step > 0:
        raise InvalidParameterError(f"Give at least 1 step, longer than 0; got {steps} steps of {step}.")
    sides = [Function(_value, (_as_pytree(model), as_function(objective))) for model, objective in (first, second)]
    latent = jnp.asarray(inverse_bound(np.asarray(image, np.float32)[None]), float)
    names, images = [], []
    for held, moved in ((0, 1), (1, 0)):
        for sign, word in ((1, "raised"), (-1, "lowered")):
            names.append(f"{('first', 'second')[moved]} {word}, {('first', 'second')[held]} held")
            length = jnp.asarray(sign * step / SLOPE, float)
            images.append(np.asarray(_moved(sides[held], sides[moved], latent, length, jnp.zeros(steps)))[0])
    images = np.stack(images)
    if not np.isfinite(images).all():
        raise ValidationError("An image is not finite: give shorter steps, or precision float32.")
    values = [
        np.asarray(jax.lax.map(lambda one, side=side: side(one[None])[0], jnp.asarray(images))) for side in sides
    ]
    start = np.array([float(side(bound(latent))[0]) for side in sides])
    return Competition(tuple(names), images, *values, start)


def _value(model: Model, objective: Function, images: Array) -> Float[Array, " n"]:
    return objective(model(images))


@jax.jit
def _moved(
    held: Function, moved: Function, latent: Float[Array, "1 3 h w"], length: Array, steps: Float[Array, " steps"]
) -> Float[Array, "1 3 h w"]:
    def with_gradient(side: Function, latent: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(lambda latent: side(bound(latent))[0])(latent)

    target = held(bound(latent))[0]

    def corrected(latent: Array) -> tuple[Array, Array]:
        value, gradient = with_gradient(held, latent)
        return latent - (value - target) * gradient / ((gradient**2).sum() + 1e-20), gradient

    def advance(latent: Array, _: Array) -> tuple[Array, None]:
        latent, gradient = corrected(latent)
        _, direction = with_gradient(moved, latent)
        direction -= (direction * gradient).sum() / ((gradient**2).sum() + 1e-20) * gradient
        root_mean_square = jnp.sqrt((direction**2).mean()) + 1e-20
        return latent + length * direction / root_mean_square, None

    latent, _ = jax.lax.scan(advance, latent, steps)
    latent, _ = jax.lax.scan(lambda latent, _: (corrected(latent)[0], None), latent, None, length=_CORRECTIONS)
    return bound(latent)

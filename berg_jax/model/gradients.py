"""Gradients of objectives of the responses with respect to pixels, for more images than fit into memory at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from ..errors import InvalidParameterError
from .encoding_model import EncodingModel
from .images import check_shape, check_values
from .stacking import StackedModel

Objective = Callable[[Float[Array, "... vertices"]], Float[Array, ""]]


def value_and_pixel_gradient(
    model: EncodingModel | StackedModel,
    images: Num[Array, "batch 3 height width"],
    objective: Objective,
    *,
    microbatch: int | None = None,
    check: bool = True,
) -> tuple[Float[Array, " batch"], Float[Array, "batch 3 height width"]]:
    """Return an objective's value for each image, and its gradient with respect to the image's pixels.

    Parameters
    ----------
    model
        Model of one subject, or stacked models of several. ``model.rematerialized()`` needs less memory and more
        time.
    images
        Images (batch, 3, height, width) in 0–255.
    objective
        Function that maps one image's responses to a number, such as ``jnp.mean``. Responses are (vertices,), or
        (subjects, vertices) for stacked models. It is compiled once for each function object, so define it outside
        loops.
    microbatch
        Number of images computed at a time, which limits the memory. The default is all at once.
    check
        Whether to check the values of the images, too, which waits for a JAX array to be computed.

    Returns
    -------
    The values (batch,), and the gradients (batch, 3, height, width).

    Raises
    ------
    StimulusError
        The shape or type of the images is wrong, or values are not in 0–255 or look like 0–1.
    InvalidParameterError
        The objective does not return one number; ``microbatch`` is below 1, or does not divide the batch.

    See Also
    --------
    EncodingModel.rematerialized : Gradients in less memory.
    berg_jax.experiments.synthesis : Images that maximize objectives.

    Examples
    --------
    >>> from berg_jax import load
    >>> from berg_jax.demo import images
    >>> model = load("demo", 1, roi="FFA-1")
    >>> values, gradients = value_and_pixel_gradient(model, images("faces", 2), jnp.mean, microbatch=1)
    >>> values.shape, gradients.shape
    ((2,), (2, 3, 224, 224))
    """
    (check_values if check else check_shape)(images)
    batch = len(images)
    microbatch = batch if microbatch is None else microbatch
    if microbatch < 1 or batch % microbatch:
        raise InvalidParameterError(f"microbatch must divide the batch, {batch}; got {microbatch}.")
    return _value_and_gradient(model, jnp.asarray(images), objective, microbatch)


@partial(jax.jit, static_argnames=("objective", "microbatch"))
def _value_and_gradient(
    model: EncodingModel | StackedModel, images: Num[Array, "b 3 h w"], objective: Objective, microbatch: int
) -> tuple[Float[Array, " b"], Float[Array, "b 3 h w"]]:
    def total(few_images: Float[Array, "m 3 h w"]) -> tuple[Float[Array, ""], Float[Array, " m"]]:
        responses = model(few_images)
        values = jax.vmap(objective, in_axes=responses.ndim - 2)(responses)
        shape = getattr(values, "shape", None)  # None if it returned several things
        if shape != (len(few_images),):
            found = type(values).__name__ if shape is None else f"an array of shape {shape[1:]}"
            raise InvalidParameterError(
                f"The objective must return one number for an image's responses, got {found}. Take a mean or a sum."
            )
        return values.sum(), values

    def one_step(few_images: Float[Array, "m 3 h w"]) -> tuple[Float[Array, " m"], Float[Array, "m 3 h w"]]:
        gradient, values = jax.grad(total, has_aux=True)(few_images)
        return values, gradient

    images = images.astype(jnp.result_type(images, jnp.float32))
    if microbatch == len(images):
        return one_step(images)
    steps = images.reshape(-1, microbatch, *images.shape[1:])
    values, gradients = jax.lax.map(one_step, steps)
    return values.reshape(-1), gradients.reshape(images.shape)

"""A look at an optimization before it starts: does all fit, and if a number or the gradient is lost, where?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...errors import BERGError, InvalidParameterError, StimulusError, ValidationError
from ...model.images import check_shape
from .ascent import Model, Problem, render

# In the order in which one is computed from the other, forward and backward.
_VALUES = ("latents", "images", "responses", "objective's values", "penalties")
_ENDS = {
    "responses": "The objective does not depend on the responses: is its ROI in this model? Is its margin met?",
    "images": "The objective does not depend on the images, neither through the responses nor by penalties.",
    "latents": "The images do not depend on the latents: decode is constant, or a projection undoes it.",
}


def check_shapes(model: Model, problem: Problem, latents: Any) -> None:
    """Raise unless decoded images, model and objective fit together. Nothing is computed.

    Raises
    ------
    StimulusError
        What is decoded are no images.
    InvalidParameterError
        The objective cannot be computed from the model's responses, or gives no value for each image or the set.
    """
    images = jax.eval_shape(render, problem, latents)
    check_shape(images)
    responses = jax.eval_shape(_applied, model, images)
    try:
        values = jax.eval_shape(_applied, problem.objective, responses)
    except BERGError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(
            f"The objective cannot be computed from responses {responses.shape}: are its weights, targets and ROIs "
            f"those of this model's vertices? ({str(error).splitlines()[0]})"
        ) from error
    count = images.shape[0]
    if values.shape not in ((count,), (1,)):
        raise InvalidParameterError(
            f"The objective must give a value for each of {count} images, ({count},), or (1,) for the set; got "
            f"{values.shape} from responses {responses.shape}. Of stacked subjects: group(objective)."
        )


def check_range(images: Float[np.ndarray, "... 3 height width"]) -> None:
    """Raise StimulusError if decoded images are not in 0–255; NaN is left to :func:`diagnose`."""
    low, high = np.nanmin(images), np.nanmax(images)
    if low < 0 or high > 255:
        raise StimulusError(f"Decoded images must be in 0–255, got {low:g} to {high:g}.")


def diagnose(model: Model, problem: Problem, latents: Any, key: Array) -> BERGError:
    """Why a restart cannot make its first step: the first number that is not finite, or where the gradient ends."""
    values, gradients = jax.device_get(_parts(model, problem, latents, key))
    if lost := _first_lost(values):
        return lost
    for name in _ENDS:
        if not _all_finite(gradients[name]):
            return ValidationError(f"Before the first step the gradient by the {name} is not finite.")
    for name, end in _ENDS.items():
        if not any(leaf.any() for leaf in jax.tree.leaves(gradients[name])):
            return InvalidParameterError(f"The gradient does not flow. {end}")
    return ValidationError("The optimizer makes numbers that are not finite from the first gradient.")


def diagnose_value(model: Model, problem: Problem, latents: Any) -> BERGError:
    """Why a candidate has no value: the first number that is not finite. No gradient is needed."""
    return _first_lost(jax.device_get(_values(model, problem, latents))) or ValidationError(
        "The candidates' values are not finite."
    )


def _first_lost(values: dict[str, Any]) -> ValidationError | None:
    for name in _VALUES:
        if not _all_finite(values[name]):
            return ValidationError(f"Before the first step the {name} hold a number that is not finite.")
    return None


def _applied(function: Callable[[Any], Any], argument: Any) -> Any:
    return function(argument)


def _all_finite(tree: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@jax.jit
def _parts(model: Model, problem: Problem, latents: Any, key: Array) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the first value is made of, and how it depends on each."""
    images, decoded = jax.vjp(lambda latents: render(problem, latents), latents)
    seen = images if problem.augment is None else problem.augment(key, images)
    responses, predicted = jax.vjp(model, seen)
    values, judged = jax.vjp(lambda responses: problem.objective(responses).mean(), responses)
    (by_responses,) = judged(jnp.ones_like(values))
    (by_images,) = predicted(by_responses)
    penalties = jnp.zeros(())
    if problem.penalties is not None:
        penalties, by_penalties = jax.value_and_grad(lambda images: problem.penalties(images).mean())(images)
        by_images -= by_penalties
    (by_latents,) = decoded(by_images)
    parts = {"latents": latents, "images": images, "responses": responses}
    return (
        {**parts, "objective's values": values, "penalties": penalties},
        {"responses": by_responses, "images": by_images, "latents": by_latents},
    )


@jax.jit
def _values(model: Model, problem: Problem, latents: Any) -> dict[str, Any]:
    images = render(problem, latents)
    responses = model(images)
    penalties = jnp.zeros(()) if problem.penalties is None else problem.penalties(images)
    found = (latents, images, responses, problem.objective(responses), penalties)
    return dict(zip(_VALUES, found, strict=True))

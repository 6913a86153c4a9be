"""Checks of an optimization before it starts: shapes, ranges, and where a finite number or the gradient is lost."""

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

# Forward, each is computed from those before it; backward, each gradient from those before it.
_VALUES = ("latents", "images", "responses", "objective's values", "penalties")
_GRADIENT_ENDS = {
    "responses": "The objective does not depend on the responses: is its ROI in this model? Is its margin met?",
    "images": "The objective does not depend on the images, neither through the responses nor by penalties.",
    "latents": "The images do not depend on the latents: decode is constant, or a projection undoes it.",
}


def check_shapes(model: Model, problem: Problem, latents: Any) -> None:
    """Raise unless decoded images, model and objective fit together. Only shapes are computed.

    Raises
    ------
    StimulusError
        Latents are not decoded to images.
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
    """Raise StimulusError unless decoded images are in 0–255; NaN is left to :func:`diagnose`."""
    low, high = np.nanmin(images), np.nanmax(images)
    if low < 0 or high > 255:
        raise StimulusError(f"Decoded images must be in 0–255, got {low:g} to {high:g}.")


def diagnose(model: Model, problem: Problem, latents: Any, key: Array) -> BERGError:
    """Return an error that says why a restart cannot make its first step.

    It names the first number that is not finite, or the place where the gradient ends.

    See Also
    --------
    diagnose_value : The same for searches without gradients.
    """
    values, gradients = jax.device_get(_values_and_gradients(model, problem, latents, key))
    if error := _first_not_finite(values):
        return error
    for name in _GRADIENT_ENDS:
        if not _all_finite(gradients[name]):
            return ValidationError(f"Before the first step the gradient by the {name} is not finite.")
    for name, reason in _GRADIENT_ENDS.items():
        if not any(leaf.any() for leaf in jax.tree.leaves(gradients[name])):
            return InvalidParameterError(f"The gradient does not flow. {reason}")
    return ValidationError("The optimizer makes numbers that are not finite from the first gradient.")


def diagnose_value(model: Model, problem: Problem, latents: Any) -> BERGError:
    """Return an error that names the first number that is not finite in a candidate's value, without a gradient."""
    error = _first_not_finite(jax.device_get(_values(model, problem, latents)))
    return error or ValidationError("The candidates' values are not finite.")


def _first_not_finite(values: dict[str, Any]) -> ValidationError | None:
    for name in _VALUES:
        if not _all_finite(values[name]):
            return ValidationError(f"Before the first step the {name} hold a number that is not finite.")
    return None


def _applied(function: Callable[[Any], Any], argument: Any) -> Any:
    return function(argument)


def _all_finite(tree: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@jax.jit
def _values_and_gradients(
    model: Model, problem: Problem, latents: Any, key: Array
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return every intermediate result of the first value, and the gradient by each."""
    images, render_vjp = jax.vjp(lambda latents: render(problem, latents), latents)
    augmented = images if problem.augment is None else problem.augment(key, images)
    responses, model_vjp = jax.vjp(model, augmented)
    values, objective_vjp = jax.vjp(lambda responses: problem.objective(responses).mean(), responses)
    (by_responses,) = objective_vjp(jnp.ones_like(values))
    (by_images,) = model_vjp(by_responses)
    penalties = jnp.zeros(())
    if problem.penalties is not None:
        penalties, by_penalties = jax.value_and_grad(lambda images: problem.penalties(images).mean())(images)
        by_images -= by_penalties
    (by_latents,) = render_vjp(by_images)
    results = {
        "latents": latents,
        "images": images,
        "responses": responses,
        "objective's values": values,
        "penalties": penalties,
    }
    return results, {"responses": by_responses, "images": by_images, "latents": by_latents}


@jax.jit
def _values(model: Model, problem: Problem, latents: Any) -> dict[str, Any]:
    images = render(problem, latents)
    responses = model(images)
    penalties = jnp.zeros(()) if problem.penalties is None else problem.penalties(images)
    return {
        "latents": latents,
        "images": images,
        "responses": responses,
        "objective's values": problem.objective(responses),
        "penalties": penalties,
    }

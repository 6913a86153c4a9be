"""A look at an optimization before it starts: are all numbers finite, and if the gradient ends, where?"""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...errors import BERGError, InvalidParameterError, StimulusError, ValidationError
from ...images import check_shape
from .ascent import Model, Problem, render


def probe(model: Model, problem: Problem, latents: Any, key: Array) -> str:
    """Evaluate the first restart, and raise unless it can be optimized.

    Returns
    -------
    A sha256 of its value and its gradient: another model, objective, seed or image gives another.

    Raises
    ------
    InvalidParameterError
        The objective does not give a value for each image (or one for the set), or it does not depend on the
        responses or the responses not on the latents.
    StimulusError
        What is decoded are no images in 0–255.
    ValidationError
        A number is not finite; the message says which.
    """
    _check_shapes(model, problem, latents)
    found = jax.device_get(_probed(model, problem, latents, key))
    images = found["images"]
    for name in ("latents", "images", "responses", "objective", "penalties"):
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found[name])):
            raise ValidationError(
                f"Before the first step the {name} hold a number that is not finite. Nothing was done."
            )
    if images.min() < 0 or images.max() > 255:
        raise StimulusError(f"Decoded images must be in 0–255, got {images.min():g} to {images.max():g}.")
    for name, ends in (
        (
            "by_responses",
            "The objective does not depend on the responses: is its ROI in this model? Is its margin met?",
        ),
        ("by_images", "The objective does not depend on the images, neither through the responses nor by penalties."),
        ("by_latents", "The images do not depend on the latents: decode is constant, or a projection undoes it."),
    ):
        leaves = jax.tree.leaves(found[name])
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            raise ValidationError(f"Before the first step the gradient {name.replace('_', ' ')} is not finite.")
        if not any(leaf.any() for leaf in leaves):
            raise InvalidParameterError(f"The gradient does not flow. {ends}")
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(found))).hexdigest()


def _check_shapes(model: Model, problem: Problem, latents: Any) -> None:
    images = jax.eval_shape(render, problem, latents)
    check_shape(images)
    responses = jax.eval_shape(lambda model, images: model(images), model, images)
    try:
        values = jax.eval_shape(lambda objective, responses: objective(responses), problem.objective, responses)
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
            f"The objective must give a value for each of {count} images, ({count},), or (1,) for the set; "
            f"got {values.shape} from responses {responses.shape}. Of stacked subjects: group(objective)."
        )


@jax.jit
def _probed(model: Model, problem: Problem, latents: Any, key: Array) -> dict[str, Any]:
    """The parts of the first value and how each depends on the one before. The network runs back once."""
    images, decoded = jax.vjp(lambda latents: render(problem, latents), latents)
    seen = images if problem.augment is None else problem.augment(key, images)
    responses, predicted = jax.vjp(model, seen)
    objective, judged = jax.vjp(lambda responses: problem.objective(responses).mean(), responses)
    (by_responses,) = judged(jnp.ones_like(objective))
    (by_images,) = predicted(by_responses)
    if problem.penalties is None:
        penalties = jnp.zeros_like(objective)
    else:
        penalties, by_penalty = jax.value_and_grad(lambda images: problem.penalties(images).mean())(images)
        by_images = by_images - by_penalty
    (by_latents,) = decoded(by_images)
    return {
        "latents": latents,
        "images": images,
        "responses": responses,
        "objective": objective,
        "penalties": penalties,
        "by_responses": by_responses,
        "by_images": by_images,
        "by_latents": by_latents,
    }

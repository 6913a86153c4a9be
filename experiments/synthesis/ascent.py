"""One restart of an optimization: pure ``init`` and ``step``, and what they are of.

A restart is a set of images (often one) that is optimized on its own, with its own optimizer state and random key.
Many restarts are a ``vmap`` of these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, UInt32

from .functions import Function
from .parametrizations.base import Parametrization

Images = Float[Array, "images 3 height width"]
Model = Callable[[Images], Float[Array, "... images vertices"]]


@flax.struct.dataclass
class Problem:
    """What is sought, as a pytree: an argument of the program, as the model is.

    Attributes
    ----------
    objective
        Responses → values, to be maximized.
    decode
        Latents → images in 0–255.
    project
        Images → images, part of what is differentiated, or None.
    penalties
        Images → values that are taken off, or None.
    augment
        (key, images) → images that are seen instead, or None.
    draws
        Static: how many augmentations of each image a step takes the mean over.
    """

    objective: Function
    decode: Function
    project: Function | None = None
    penalties: Function | None = None
    augment: Function | None = None
    draws: int = flax.struct.field(pytree_node=False, default=1)


@flax.struct.dataclass
class State:
    """Where a restart is.

    Attributes
    ----------
    latents, optimizer
        The latents of its images, and the optimizer's state.
    key
        Of its augmentations, as raw data.
    step
        How many steps it has made.
    skipped
        How many of them were left out because a number was not finite.
    best_latents, best_value, best_step
        The best that was seen where it was looked at without augmentation, its value, and after how many steps.
    """

    latents: Any
    optimizer: Any
    key: UInt32[Array, " words"]
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    best_latents: Any
    best_value: Float[Array, ""]
    best_step: Int[Array, ""]


def init(optimizer: optax.GradientTransformation, latents: Any, key: UInt32[Array, " words"]) -> State:
    """A restart before its first step; nothing is the best yet."""
    zero = jnp.zeros((), jnp.int32)
    worst = jnp.full((), -jnp.inf, jax.tree.leaves(latents)[0].dtype)
    return State(latents, optimizer.init(latents), key, zero, zero, latents, worst, zero)


def start(
    images: Parametrization, optimizer: optax.GradientTransformation, n: int, set_size: int, seed: int
) -> State:
    """All of ``n`` restarts before their first step, with their own starts and keys from one seed."""
    first, later = jax.random.split(jax.random.key(seed))
    latents = jax.tree.map(
        lambda leaf: jnp.asarray(leaf).reshape(n, set_size, *leaf.shape[1:]), images.init(first, n * set_size)
    )
    keys = jax.random.key_data(jax.random.split(later, n))
    return jax.vmap(partial(init, optimizer))(latents, keys)


def render(problem: Problem, latents: Any) -> Images:
    """The images of latents: decoded, then projected."""
    images = problem.decode(latents)
    return images if problem.project is None else problem.project(images)


def value(model: Model, problem: Problem, latents: Any) -> Float[Array, ""]:
    """Objective less penalties of the images as they are, without augmentation: their mean over a set."""
    images = render(problem, latents)
    return problem.objective(model(images)).mean() - _penalty(problem, images)


def expected_value(model: Model, problem: Problem, latents: Any, key: Array) -> Float[Array, ""]:
    """As :func:`value`, the objective's mean over random augmentations."""
    images = render(problem, latents)

    def once(key: Array) -> Float[Array, ""]:
        seen = images if problem.augment is None else problem.augment(key, images)
        return problem.objective(model(seen)).mean()

    if problem.augment is None or problem.draws == 1:
        return once(key) - _penalty(problem, images)
    # One draw's network at a time is in memory.
    return jax.lax.map(jax.checkpoint(once), jax.random.split(key, problem.draws)).mean() - _penalty(problem, images)


def _penalty(problem: Problem, images: Images) -> Float[Array, ""] | float:
    return 0.0 if problem.penalties is None else problem.penalties(images).mean()


def step_key(state: State) -> Array:
    """The random key of a restart's next step."""
    return jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(state.key)), state.step)


def step(
    model: Model, problem: Problem, optimizer: optax.GradientTransformation, state: State
) -> tuple[State, Float[Array, ""], Float[Array, ""]]:
    """One step uphill; the value before it and the length of its gradient.

    A step with a number that is not finite is left out and counted.
    """
    key = step_key(state)

    def loss(latents: Any) -> Float[Array, ""]:
        return -expected_value(model, problem, latents, key)

    now, gradient = jax.value_and_grad(loss)(state.latents)
    updates, moved = optax.with_extra_args_support(optimizer).update(
        gradient, state.optimizer, state.latents, value=now, grad=gradient, value_fn=loss
    )
    latents = optax.apply_updates(state.latents, updates)
    fine = _finite((now, gradient, latents))
    latents, moved = jax.tree.map(
        lambda new, old: jnp.where(fine, new, old), (latents, moved), (state.latents, state.optimizer)
    )
    skipped = state.skipped + jnp.where(fine, 0, 1)
    state = state.replace(latents=latents, optimizer=moved, step=state.step + 1, skipped=skipped)
    length = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
    return state, -now, length


def look(model: Model, problem: Problem, state: State) -> tuple[State, Float[Array, ""]]:
    """Keep the latents if they are the best so far, judged without augmentation; and their value."""
    now = value(model, problem, state.latents)
    better = now > state.best_value
    latents, best_value, best_step = jax.tree.map(
        lambda new, old: jnp.where(better, new, old),
        (state.latents, now, state.step),
        (state.best_latents, state.best_value, state.best_step),
    )
    return state.replace(best_latents=latents, best_value=best_value, best_step=best_step), now


def climb(
    model: Model,
    problem: Problem,
    optimizer: optax.GradientTransformation,
    most: int,
    count: int | Int[Array, ""],
    state: State,
) -> tuple[State, Float[Array, " most"], Float[Array, " most"], Float[Array, ""]]:
    """``count`` ≤ ``most`` steps, then a look: the state, each step's value and gradient length, what was seen."""

    def body(number: Array, carried: tuple[State, Array, Array]) -> tuple[State, Array, Array]:
        state, values, lengths = carried
        state, value, length = step(model, problem, optimizer, state)
        return state, values.at[number].set(value), lengths.at[number].set(length)

    nothing = jnp.zeros(most, state.best_value.dtype)
    # How many is no part of the program, so that one serves the first step, the last ones and all between.
    state, values, lengths = jax.lax.fori_loop(0, count, body, (state, nothing, nothing))
    state, seen = look(model, problem, state)
    return state, values, lengths, seen


def _finite(tree: Any) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()

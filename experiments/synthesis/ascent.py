"""Gradient ascent of one restart: the problem, the state, and pure functions ``init``, ``step`` and ``look``.

A restart is a set of images (often one) that is optimized on its own, with its own optimizer state and random key.
Many restarts are computed by mapping these functions over stacked states.
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
    """An optimization problem, as a pytree: like the model, it is an argument of the compiled program.

    Attributes
    ----------
    objective
        Function responses → values, which are maximized.
    decode
        Function latents → images in 0–255.
    project
        Function images → images, which is differentiated, too; or None.
    penalties
        Function images → values, which are subtracted from the objective; or None.
    augment
        Function (key, images) → images, which the model sees instead; or None.
    draws
        Number of augmentations of each image that a step averages over (static).
    """

    objective: Function
    decode: Function
    project: Function | None = None
    penalties: Function | None = None
    augment: Function | None = None
    draws: int = flax.struct.field(pytree_node=False, default=1)


@flax.struct.dataclass
class State:
    """State of a restart.

    Attributes
    ----------
    latents
        Latents of its images.
    optimizer
        The optimizer's state.
    key
        Random key of its augmentations, as raw data.
    step
        Number of steps made.
    skipped
        Number of these steps that were left out because a number was not finite.
    best_latents, best_value, best_step
        Latents with the highest value of all looks without augmentation, that value, and the number of steps before.
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
    """Return the state of a restart before its first step."""
    zero = jnp.zeros((), jnp.int32)
    worst = jnp.full((), -jnp.inf, jax.tree.leaves(latents)[0].dtype)
    return State(
        latents=latents,
        optimizer=optimizer.init(latents),
        key=key,
        step=zero,
        skipped=zero,
        best_latents=latents,
        best_value=worst,
        best_step=zero,
    )


def start(
    parametrization: Parametrization,
    optimizer: optax.GradientTransformation,
    n: int,
    set_size: int,
    seed: int,
) -> State:
    """Return the stacked states of ``n`` restarts before their first step, with starts and keys from one seed."""
    init_key, augmentation_key = jax.random.split(jax.random.key(seed))
    flat_latents = parametrization.init(init_key, n * set_size)
    latents = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(n, set_size, *leaf.shape[1:]), flat_latents)
    keys = jax.random.key_data(jax.random.split(augmentation_key, n))
    return jax.vmap(partial(init, optimizer))(latents, keys)


def render(problem: Problem, latents: Any) -> Images:
    """Decode latents, and project the images."""
    images = problem.decode(latents)
    return images if problem.project is None else problem.project(images)


def value(model: Model, problem: Problem, latents: Any) -> Float[Array, ""]:
    """Return the objective minus the penalties of the images without augmentation, each averaged over the set."""
    images = render(problem, latents)
    return problem.objective(model(images)).mean() - _penalty(problem, images)


def expected_value(model: Model, problem: Problem, latents: Any, key: Array) -> Float[Array, ""]:
    """Return the objective, averaged over random augmentations, minus the penalties.

    See Also
    --------
    value : The same without augmentation.
    """
    images = render(problem, latents)

    def one_draw(key: Array) -> Float[Array, ""]:
        augmented = images if problem.augment is None else problem.augment(key, images)
        return problem.objective(model(augmented)).mean()

    if problem.augment is None or problem.draws == 1:
        return one_draw(key) - _penalty(problem, images)
    # One draw's network at a time is in memory.
    draws = jax.lax.map(jax.checkpoint(one_draw), jax.random.split(key, problem.draws))
    return draws.mean() - _penalty(problem, images)


def _penalty(problem: Problem, images: Images) -> Float[Array, ""] | float:
    return 0.0 if problem.penalties is None else problem.penalties(images).mean()


def step_key(state: State) -> Array:
    """Return the random key of a restart's next step."""
    return jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(state.key)), state.step)


def step(
    model: Model, problem: Problem, optimizer: optax.GradientTransformation, state: State
) -> tuple[State, Float[Array, ""], Float[Array, ""]]:
    """Make one step of gradient ascent. A step with a number that is not finite is left out and counted.

    Returns
    -------
    state
        The state after the step.
    value
        The expected value before the step.
    length
        The length of the gradient.
    """
    key = step_key(state)

    def loss_of(latents: Any) -> Float[Array, ""]:
        return -expected_value(model, problem, latents, key)

    loss, gradient = jax.value_and_grad(loss_of)(state.latents)
    updates, optimizer_state = optax.with_extra_args_support(optimizer).update(
        gradient, state.optimizer, state.latents, value=loss, grad=gradient, value_fn=loss_of
    )
    latents = optax.apply_updates(state.latents, updates)
    finite = _all_finite((loss, gradient, latents))
    latents, optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), (latents, optimizer_state), (state.latents, state.optimizer)
    )
    skipped = state.skipped + jnp.where(finite, 0, 1)
    updated = state.replace(latents=latents, optimizer=optimizer_state, step=state.step + 1, skipped=skipped)
    length = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
    return updated, -loss, length


def look(model: Model, problem: Problem, state: State) -> tuple[State, Float[Array, ""]]:
    """Evaluate a restart without augmentation, and keep its latents if they are the best so far.

    Returns
    -------
    The state, and the value of its present latents.
    """
    current = value(model, problem, state.latents)
    better = current > state.best_value
    best_latents, best_value, best_step = jax.tree.map(
        lambda new, old: jnp.where(better, new, old),
        (state.latents, current, state.step),
        (state.best_latents, state.best_value, state.best_step),
    )
    return state.replace(best_latents=best_latents, best_value=best_value, best_step=best_step), current


def climb(
    model: Model,
    problem: Problem,
    optimizer: optax.GradientTransformation,
    most: int,
    count: int | Int[Array, ""],
    state: State,
) -> tuple[State, Float[Array, " most"], Float[Array, " most"], Float[Array, ""]]:
    """Make ``count`` ≤ ``most`` steps, then evaluate the restart without augmentation.

    Returns
    -------
    state
        The state after the steps.
    values, lengths
        Value before each step, and length of its gradient; 0 beyond ``count``.
    current
        Value after the steps, without augmentation.
    """

    def body(index: Array, carried: tuple[State, Array, Array]) -> tuple[State, Array, Array]:
        state, values, lengths = carried
        state, value, length = step(model, problem, optimizer, state)
        return state, values.at[index].set(value), lengths.at[index].set(length)

    zeros = jnp.zeros(most, state.best_value.dtype)
    # The count is an argument, so that one program serves the first step, the last ones and all between.
    state, values, lengths = jax.lax.fori_loop(0, count, body, (state, zeros, zeros))
    state, current = look(model, problem, state)
    return state, values, lengths, current


def _all_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()

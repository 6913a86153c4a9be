"""One training step as pure functions, ``init`` and ``step``, with trained and frozen tensors apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, UInt32

from .distillation import distilled
from .losses import Loss, Regularizer
from .scores import Moments, moments


class Prediction(NamedTuple):
    """Responses of a step's vertices, and the selectors by which they were computed."""

    responses: Float[Array, "images vertices"]
    layer_weights: Float[Array, "vertices layers"]
    rf_center: Float[Array, "vertices 2"]
    penalty: Float[Array, ""]


# Function (params, inputs, rows, key) → prediction; without a key the receptive fields do not jitter.
Predict = Callable[[Any, Any, Int[Array, " vertices"], Array | None], Prediction]


@flax.struct.dataclass
class TrainState:
    """State of a training.

    Attributes
    ----------
    trained, frozen
        Parameters that move, and those that do not: two trees of one structure, each with None in the other's places.
    optimizer
        The optimizer's state.
    key
        Random key of the whole training, as raw data.
    step
        Number of steps made.
    skipped
        Number of these that were left out because a number was not finite.
    """

    trained: Any
    frozen: Any
    optimizer: Any
    key: UInt32[Array, " words"]
    step: Int[Array, ""]
    skipped: Int[Array, ""]


@flax.struct.dataclass
class Batch:
    """Data of a step.

    Attributes
    ----------
    inputs
        Images, or their kept features; the first axis of each array counts the images.
    measured
        Responses in z units, NaN where not measured.
    rows
        Rows of the vertices.
    vertex_weights
        Weight of each vertex's loss.
    teacher
        A teacher's responses, or None.
    share
        Share of the measured responses' loss: see
        :func:`~berg_jax.experiments.fitting.training.distillation.measured_share`.
    """

    inputs: Any
    measured: Float[Array, "images vertices"]
    rows: Int[Array, " vertices"]
    vertex_weights: Float[Array, " vertices"]
    teacher: Float[Array, "images vertices"] | None = None
    share: Float[Array, ""] | float = 1.0


def partition(params: Any, is_trained: Callable[[tuple[str, ...]], bool]) -> tuple[Any, Any]:
    """Divide parameters into those that are trained and those that are not, by their paths.

    Examples
    --------
    >>> partition({"kernel": 1, "lora_up": 2}, lambda path: path[-1] == "lora_up")
    ({'kernel': None, 'lora_up': 2}, {'kernel': 1, 'lora_up': None})
    """

    def chosen(wanted: bool) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf if is_trained(tuple(key.key for key in path)) == wanted else None, params
        )

    return chosen(True), chosen(False)


def combine(trained: Any, frozen: Any) -> Any:
    """Put together what :func:`partition` has divided."""
    return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=lambda leaf: leaf is None)


def init(
    params: Any,
    optimizer: optax.GradientTransformation,
    is_trained: Callable[[tuple[str, ...]], bool] = lambda path: True,
    seed: int = 0,
) -> TrainState:
    """Return the state before the first step.

    Parameters
    ----------
    params
        Nested dicts of arrays.
    optimizer
        Any optax transformation.
    is_trained
        Function path → whether the tensor is trained.
    seed
        Seed of the random numbers.
    """
    trained, frozen = (jax.tree.map(jnp.asarray, tree) for tree in partition(params, is_trained))
    zero = jnp.zeros((), jnp.int32)
    return TrainState(trained, frozen, optimizer.init(trained), jax.random.key_data(jax.random.key(seed)), zero, zero)


def step_of(
    predict: Predict,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    regularizers: Sequence[Regularizer] = (),
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Return the compiled function (state, batch) → (state, metrics) of one training step.

    A step whose loss or gradient is not finite leaves the parameters as they are and is counted.

    Parameters
    ----------
    predict
        Function (params, inputs, rows, key) → prediction.
    optimizer
        The optimizer with which the state was made.
    loss, regularizers
        See :mod:`~berg_jax.experiments.fitting.training.losses`.

    Returns
    -------
    The function. Its metrics are ``loss``, without regularizers and vertex weights, and ``gradient_norm``, before
    clipping.
    """

    @jax.jit
    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        gradient, value = gradient_of(predict, loss, regularizers, state, batch)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        norm = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        trained, optimizer_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (trained, optimizer_state), (state.trained, state.optimizer)
        )
        skipped = state.skipped + jnp.where(finite, 0, 1)
        after = state.replace(trained=trained, optimizer=optimizer_state, step=state.step + 1, skipped=skipped)
        return after, {"loss": value, "gradient_norm": norm}

    return step


def gradient_of(
    predict: Predict, loss: Loss, regularizers: Sequence[Regularizer], state: TrainState, batch: Batch
) -> tuple[Any, Float[Array, ""]]:
    """Return the gradient of loss and regularizers with respect to the trained tensors, and the plain loss.

    The plain loss has no regularizers, and all vertices count alike, so that it can be compared between epochs.

    The random key is that of the state's seed and step.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

    def total(trained: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        predicted = predict(combine(trained, state.frozen), batch.inputs, batch.rows, key)

        def value(vertex_weights: Float[Array, " vertices"]) -> Float[Array, ""]:
            return distilled(loss, predicted.responses, batch.measured, vertex_weights, batch.teacher, batch.share)

        regular = sum(term(predicted.layer_weights, predicted.rf_center) for term in regularizers)
        return value(batch.vertex_weights) + regular + predicted.penalty, value(jnp.ones_like(batch.vertex_weights))

    return jax.grad(total, has_aux=True)(state.trained)


def moments_of(predict: Predict) -> Callable[[Any, Any, Batch], Moments]:
    """Return the compiled function (trained, frozen, batch) → moments of predicted and measured responses."""

    @jax.jit
    def validated(trained: Any, frozen: Any, batch: Batch) -> Moments:
        predicted = predict(combine(trained, frozen), batch.inputs, batch.rows, None)
        return moments(predicted.responses, batch.measured)

    return validated

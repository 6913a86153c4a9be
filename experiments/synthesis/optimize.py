"""Image optimization by gradient ascent: maximize an objective of a model's responses, from many starts at once."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from ...errors import Interrupted, InvalidParameterError, ValidationError
from ...stream.progress import stop_requests
from . import ascent
from .ascent import Model, Problem, State
from .checkpoints import Saved, restore, save
from .checks import check_range, check_shapes, diagnose
from .functions import as_function
from .parametrizations.base import Parametrization
from .parametrizations.fourier import fourier

ADAM = optax.adam(0.05)
_LOG_SECONDS = 30
_log = logging.getLogger(__name__)


class Result(NamedTuple):
    """Result of an optimization.

    Attributes
    ----------
    images
        Best images of each restart, set after set: (n · set_size, 3, height, width) in 0–255.
    values
        Objective minus penalties of each restart's best images, without augmentation: (n,).
    latents
        Latents of these images: (n, set_size, …).
    history
        Value that was maximized before each step, with augmentation: (steps, n).
    gradient_lengths
        Length of the gradient by the latents at each step: (steps, n).
    looks
        Value without augmentation every ``every`` steps, of which ``values`` are the largest: (steps / every, n).
    best_steps
        Number of steps before the best images were found: (n,).
    skipped
        Number of steps that were left out because a number was not finite: (n,).
    """

    images: Float[np.ndarray, "images 3 height width"]
    values: Float[np.ndarray, " n"]
    latents: Any
    history: Float[np.ndarray, "steps n"]
    gradient_lengths: Float[np.ndarray, "steps n"]
    looks: Float[np.ndarray, "looks n"]
    best_steps: Int[np.ndarray, " n"]
    skipped: Int[np.ndarray, " n"]

    def __repr__(self) -> str:
        """Return one line: the numbers of images and steps, and the best value."""
        count = f"{len(self.images)} image{'s' * (len(self.images) != 1)}"
        return f"Result({count} after {len(self.history)} steps, best value {float(self.values.max()):.3f})"


def optimize(
    model: Model,
    objective: Callable[..., Array],
    parametrization: Parametrization | None = None,
    *,
    n: int = 1,
    set_size: int = 1,
    steps: int = 256,
    optimizer: optax.GradientTransformation = ADAM,
    penalties: Callable[..., Array] | None = None,
    project: Callable[..., Array] | None = None,
    augment: Callable[..., Array] | None = None,
    draws: int = 1,
    seed: int = 0,
    microbatch: int | None = None,
    devices: int = 1,
    every: int = 16,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> Result:
    """Optimize images so that the responses to them maximize an objective.

    Parameters
    ----------
    model
        An :class:`~berg_jax.EncodingModel`, a stacked model, or any function images → responses. A function that
        holds arrays must be a pytree, such as :class:`~berg_jax.experiments.synthesis.functions.Function`.
        ``model.rematerialized()`` takes less memory.
    objective
        Function responses (images, vertices) → values (images,), or (1,) for a whole set: see
        :mod:`~berg_jax.experiments.synthesis.objectives`.
    parametrization
        Parametrization of the images; by default
        :func:`~berg_jax.experiments.synthesis.parametrizations.fourier.fourier`.
    n
        Number of restarts, each of which is optimized on its own.
    set_size
        Number of images in each restart; objectives of sets need more than one.
    steps
        Number of steps.
    optimizer
        An optax optimizer. The program is compiled once for each optimizer object, so make it outside loops.
    penalties, project
        Penalty and projection: see :mod:`~berg_jax.experiments.synthesis.priors`.
    augment
        Augmentation: see :mod:`~berg_jax.experiments.synthesis.augmentations`.
    draws
        Number of augmentations of each image that a step averages over.
    seed
        Seed of the starts and augmentations.
    microbatch
        Number of restarts that a device computes at a time, which bounds the memory. By default all.
    devices
        Number of local devices among which the restarts are divided. The result is the same bit for bit if the
        microbatch is.
    every
        Number of steps between looks at the images without augmentation, when the best are kept and a checkpoint is
        written.
    patience
        Number of steps without a better image in any restart after which to stop. By default all steps are made.
    checkpoint
        A file to write at every look, and to resume from, bit for bit, if it is there.
    settings
        Further settings by name, as JSON has them. They are kept in the checkpoint, and the message names those that
        differ if it belongs to another optimization.
    time_limit
        Seconds after which to stop. Ctrl-C and SIGTERM stop, too; the steps in progress are finished first.
    show_progress
        Show a progress bar, or log a line now and then where there is no terminal.

    Raises
    ------
    InvalidParameterError
        A number makes no sense, the objective does not fit the responses, or the gradient does not flow; the message
        says where it ends.
    ValidationError
        A number is not finite, before the first step or in every restart; the message says which.
    IntegrityError
        The checkpoint belongs to another optimization, or is damaged.
    Interrupted
        The optimization was asked to stop; with a checkpoint, the same call goes on.

    See Also
    --------
    berg_jax.experiments.synthesis.search.evolution.evolve : Maximize without gradients.
    berg_jax.experiments.synthesis.judging.judge.score : Evaluate an objective for images.
    berg_jax.experiments.synthesis.experiment.synthesize : The whole experiment, with files and a report.

    Examples
    --------
    ::

        subject = berg_jax.Subject("demo", 1)
        vertices, area = union(subject, {"faces": "FFA-1 + FFA-2", "places": "PPA"})
        model, objective = subject.model(vertices), contrast(area["faces"], area["places"])
        result = optimize(model, objective, n=4, augment=jitter(8))
    """
    parametrization = fourier() if parametrization is None else parametrization
    microbatch = _checked(n, set_size, steps, draws, every, patience, devices, microbatch)
    model = as_function(model) if any(callable(leaf) for leaf in jax.tree.leaves(model)) else model
    problem = Problem(
        objective=as_function(objective),
        decode=as_function(parametrization.decode),
        project=None if project is None else as_function(project),
        penalties=None if penalties is None else as_function(penalties),
        augment=None if augment is None else as_function(augment),
        draws=draws,
    )
    states = ascent.start(parametrization, optimizer, n, set_size, seed)
    check_shapes(model, problem, jax.tree.map(lambda leaf: leaf[0], states.latents))
    mesh = _mesh(devices)
    model, problem = jax.device_put((model, problem), NamedSharding(mesh, PartitionSpec()))
    run = partial(_advance, optimizer=optimizer, most=every, microbatch=microbatch, devices=devices)
    states = jax.device_put(states, NamedSharding(mesh, PartitionSpec("data")))
    if show_progress:
        _log.info("Compiling the steps of %d restarts …", n)
    identity = _first_step(model, problem, states, run, microbatch)
    empty = np.zeros((0, n), np.float32)
    fresh = Saved(states=states, history=empty, gradient_lengths=empty, looks=empty)
    settings = {"n": n, "set_size": set_size, "draws": draws, "seed": seed, **(settings or {})}
    states, history, lengths, looks = restore(checkpoint, fresh, identity, settings)
    states = jax.device_put(states, NamedSharding(mesh, PartitionSpec("data")))
    with (
        stop_requests(time_limit) as stopped,
        tqdm(total=steps, initial=len(history), unit="step", disable=None if show_progress else True) as bar,
    ):
        last_log = time.monotonic()
        while len(history) < steps and not _settled(states, patience):
            if stopped():
                remedy = "The same call goes on." if checkpoint else "Give checkpoint=…, and the same call goes on."
                raise Interrupted(f"Stopped after {len(history)} of {steps} steps. {remedy}")
            count = min(every, steps - len(history))
            skipped_before = states.skipped
            states, values, new_lengths, look = run(model, problem, states, count)
            _require_progress(states, skipped_before, count)
            history = np.concatenate([history, np.asarray(values)[:, :count].T])
            lengths = np.concatenate([lengths, np.asarray(new_lengths)[:, :count].T])
            looks = np.concatenate([looks, np.asarray(look)[None]])
            if checkpoint is not None:
                current = Saved(states=states, history=history, gradient_lengths=lengths, looks=looks)
                save(checkpoint, current, identity, settings)
            best = float(states.best_value.max())
            bar.update(count)
            bar.set_postfix(best=f"{best:.3f}", mean=f"{looks[-1].mean():.3f}")
            if show_progress and bar.disable and time.monotonic() - last_log > _LOG_SECONDS:
                last_log = time.monotonic()
                _log.info("%d of %d steps, best %.3f, mean %.3f", len(history), steps, best, looks[-1].mean())
    if skipped := int(states.skipped.sum()):
        _log.warning("%d steps were left out, because a number in them was not finite.", skipped)
    images = np.asarray(_rendered(problem, states.best_latents, microbatch=microbatch))
    return Result(
        images=images.reshape(-1, *images.shape[2:]),
        values=np.asarray(states.best_value),
        latents=jax.device_get(states.best_latents),
        history=history,
        gradient_lengths=lengths,
        looks=looks,
        best_steps=np.asarray(states.best_step),
        skipped=np.asarray(states.skipped),
    )


def _checked(
    n: int,
    set_size: int,
    steps: int,
    draws: int,
    every: int,
    patience: int | None,
    devices: int,
    microbatch: int | None,
) -> int:
    """Return the microbatch, or raise if a number makes no sense."""
    numbers = {"n": n, "set_size": set_size, "steps": steps, "draws": draws, "every": every, "devices": devices}
    numbers |= {} if patience is None else {"patience": patience}
    for name, number in numbers.items():
        if number < 1:
            raise InvalidParameterError(f"{name} must be at least 1, got {number}.")
    if devices > jax.local_device_count():
        raise InvalidParameterError(f"There are {jax.local_device_count()} local devices, not {devices}.")
    if n % devices:
        raise InvalidParameterError(f"n must be a multiple of the number of devices, {devices}; got {n}.")
    share = n // devices
    microbatch = share if microbatch is None else microbatch
    if microbatch < 1 or share % microbatch:
        raise InvalidParameterError(f"microbatch must divide a device's restarts, {share}; got {microbatch}.")
    return microbatch


@partial(jax.jit, static_argnames=("optimizer", "most", "microbatch", "devices"))
def _advance(
    model: Model,
    problem: Problem,
    states: State,
    count: int | Int[Array, ""],
    *,
    optimizer: optax.GradientTransformation,
    most: int,
    microbatch: int,
    devices: int,
) -> tuple[State, Float[Array, "n most"], Float[Array, "n most"], Float[Array, " n"]]:
    """Make ``count`` ≤ ``most`` steps of all restarts, then look at them. No device waits for another."""

    def advance_share(
        model: Model, problem: Problem, count: Array, states: State
    ) -> tuple[State, Array, Array, Array]:
        climb = partial(ascent.climb, model, problem, optimizer, most, count)
        return jax.lax.map(climb, states, batch_size=microbatch)

    replicated, split = PartitionSpec(), PartitionSpec("data")
    advance = jax.shard_map(
        advance_share,
        mesh=_mesh(devices),
        in_specs=(replicated, replicated, replicated, split),
        out_specs=split,
        check_vma=False,
    )
    return advance(model, problem, jnp.asarray(count), states)


def _mesh(devices: int) -> Mesh:
    chosen = jax.local_devices()[:devices]
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def _first_step(
    model: Model,
    problem: Problem,
    states: State,
    run: Callable[..., tuple[State, Array, Array, Array]],
    microbatch: int,
) -> str:
    """Make the first step on trial, raise if it fails, and return the sha256 of its numbers.

    The hash is the identity of the optimization; the step itself is discarded.
    """
    check_range(np.asarray(_rendered(problem, states.latents, microbatch=microbatch)))
    after, values, lengths, _ = run(model, problem, states, 1)
    failed = np.flatnonzero(np.asarray(after.skipped))
    if len(failed) or not np.asarray(lengths)[:, 0].any():
        index = failed[0] if len(failed) else 0
        state = jax.tree.map(lambda leaf: np.asarray(leaf)[index], states)
        raise diagnose(model, problem, state.latents, ascent.step_key(state))
    numbers = jax.tree.leaves((after.latents, values[:, 0]))
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in numbers)).hexdigest()


def _settled(states: State, patience: int | None) -> bool:
    """Say whether no restart has found a better image for ``patience`` steps."""
    if patience is None:
        return False
    return int(states.step[0]) - int(states.best_step.max()) >= patience


def _require_progress(states: State, skipped_before: Array, count: int) -> None:
    """Raise if all of the last ``count`` steps of every restart were left out."""
    if bool((states.skipped - skipped_before == count).all()):
        raise ValidationError(
            f"No restart could make a step after step {int(states.step[0]) - count}: the objective or its gradient "
            "is not finite. A smaller learning rate may help."
        )


@partial(jax.jit, static_argnames="microbatch")
def _rendered(problem: Problem, latents: Any, *, microbatch: int) -> Float[Array, "n set 3 h w"]:
    return jax.lax.map(partial(ascent.render, problem), latents, batch_size=microbatch)

"""Images that maximize an objective of a model's responses, by gradient ascent from many starts at once."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
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
    """What an optimization found.

    Attributes
    ----------
    images
        (n · set_size, 3, height, width) in 0–255: the best of each restart, set after set.
    values
        (n,) objective less penalties of each restart's images, without augmentation.
    latents
        What the images are decoded from, (n, set_size, …).
    history
        (steps, n) what was maximized, before each step: with augmentation.
    gradient_lengths
        (steps, n) the length of the gradient by the latents.
    looks
        (steps / every, n) what ``values`` are the largest of: every so many steps, without augmentation.
    best_steps
        (n,) after how many steps the best was seen.
    skipped
        (n,) how many steps were left out because a number was not finite.
    """

    images: Float[np.ndarray, "images 3 height width"]
    values: Float[np.ndarray, " n"]
    latents: Any
    history: Float[np.ndarray, "steps n"]
    gradient_lengths: Float[np.ndarray, "steps n"]
    looks: Float[np.ndarray, "looks n"]
    best_steps: Int[np.ndarray, " n"]
    skipped: Int[np.ndarray, " n"]


def optimize(
    model: Model,
    objective: Callable[..., Array],
    images: Parametrization | None = None,
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
    time_limit: float | None = None,
    show_progress: bool = True,
) -> Result:
    """Maximize an objective of the responses over images.

    Parameters
    ----------
    model
        An :class:`~berg_jax.EncodingModel`, a stacked model, or any function of images to responses: with numbers
        inside, a pytree such as :class:`~berg_jax.experiments.synthesis.functions.Function`.
        ``model.rematerialized()`` takes less memory.
    objective
        Responses (images, vertices) → values (images,), or (1,) for a whole set: see
        :mod:`~berg_jax.experiments.synthesis.objectives`.
    images
        How images are written; by default :func:`~berg_jax.experiments.synthesis.parametrizations.fourier.fourier`.
    n
        How many restarts: each is optimized on its own.
    set_size
        How many images each has; objectives of sets need more than one.
    steps
        How many steps.
    optimizer
        Any of optax. The program is compiled once for each optimizer object: make it outside loops.
    penalties, project, augment
        See :mod:`~berg_jax.experiments.synthesis.priors` and :mod:`~berg_jax.experiments.synthesis.augmentations`.
    draws
        How many augmentations of each image a step takes the mean over.
    seed
        Of the starts and augmentations.
    microbatch
        How many restarts a device computes at a time, which bounds the memory. By default all.
    devices
        Over how many local devices the restarts are spread. With an equal microbatch the result has the same bits.
    every
        After how many steps the images are looked at without augmentation, the best are kept and a checkpoint is
        written.
    patience
        Stop when no restart has found a better one for so many steps. By default never.
    checkpoint
        A file to write every so many steps, and to go on from if it is there: to the same bits.
    time_limit
        Seconds after which to stop. Ctrl-C and SIGTERM stop, too, after the steps at hand.
    show_progress
        Show a progress bar, or log a line now and then where there is no terminal.

    Raises
    ------
    InvalidParameterError
        A number makes no sense, the objective does not fit the responses, or the gradient does not flow: the message
        says where it ends.
    ValidationError
        A number is not finite, before the first step or in every restart; the message says which.
    IntegrityError
        The checkpoint is of another optimization, or damaged.
    Interrupted
        It was asked to stop; with a checkpoint, the same call goes on.

    Examples
    --------
    ::

        person = berg_jax.Subject("demo", 1)
        vertices, area = union(person, {"faces": "FFA-1 + FFA-2", "places": "PPA"})
        result = optimize(person.model(vertices), contrast(area["faces"], area["places"]), n=4, augment=jitter(8))
    """
    images = fourier() if images is None else images
    microbatch = _checked(n, set_size, steps, draws, every, patience, devices, microbatch)
    model = as_function(model) if any(callable(leaf) for leaf in jax.tree.leaves(model)) else model
    functions = {"project": project, "penalties": penalties, "augment": augment}
    problem = Problem(
        objective=as_function(objective),
        decode=as_function(images.decode),
        draws=draws,
        **{name: None if function is None else as_function(function) for name, function in functions.items()},
    )
    states = ascent.start(images, optimizer, n, set_size, seed)
    check_shapes(model, problem, jax.tree.map(lambda leaf: leaf[0], states.latents))
    mesh = _mesh(devices)
    model, problem = jax.device_put((model, problem), NamedSharding(mesh, PartitionSpec()))
    run = partial(_advance, optimizer=optimizer, most=every, microbatch=microbatch, devices=devices)
    states = jax.device_put(states, NamedSharding(mesh, PartitionSpec("data")))
    if show_progress:
        _log.info("Compiling the steps of %d restarts …", n)
    identity = _first_step(model, problem, states, run, microbatch)
    nothing = np.zeros((0, n), np.float32)
    states, history, lengths, looks = restore(checkpoint, Saved(states, nothing, nothing, nothing), identity)
    states = jax.device_put(states, NamedSharding(mesh, PartitionSpec("data")))
    with (
        stop_requests(time_limit) as stopped,
        tqdm(total=steps, initial=len(history), unit="step", disable=None if show_progress else True) as bar,
    ):
        told = time.monotonic()
        while len(history) < steps and not _settled(states, patience):
            if stopped():
                remedy = "The same call goes on." if checkpoint else "Give checkpoint=…, and the same call goes on."
                raise Interrupted(f"Stopped after {len(history)} of {steps} steps. {remedy}")
            count = min(every, steps - len(history))
            before = states.skipped
            states, *seen = run(model, problem, states, count)
            _require_progress(states, before, count)
            values, gradients, look = (np.asarray(x) for x in seen)
            history = np.concatenate([history, values[:, :count].T])
            lengths = np.concatenate([lengths, gradients[:, :count].T])
            looks = np.concatenate([looks, look[None]])
            if checkpoint is not None:
                save(checkpoint, Saved(states, history, lengths, looks), identity)
            best = float(states.best_value.max())
            bar.update(count)
            bar.set_postfix(best=f"{best:.3f}", mean=f"{looks[-1].mean():.3f}")
            if show_progress and bar.disable and time.monotonic() - told > _LOG_SECONDS:
                told = time.monotonic()
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
    """The microbatch, once all numbers make sense."""
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
    """``count`` ≤ ``most`` steps of all restarts, then a look at them. No device waits for another."""

    def of_device(model: Model, problem: Problem, count: Array, states: State) -> tuple[State, Array, Array, Array]:
        climb = partial(ascent.climb, model, problem, optimizer, most, count)
        return jax.lax.map(climb, states, batch_size=microbatch)

    whole, split = PartitionSpec(), PartitionSpec("data")
    specs = {"mesh": _mesh(devices), "in_specs": (whole, whole, whole, split), "out_specs": split}
    return jax.shard_map(of_device, **specs, check_vma=False)(model, problem, jnp.asarray(count), states)


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
    """Make the first step, raise unless it goes well, and forget it but for a sha256 of its numbers."""
    check_range(np.asarray(_rendered(problem, states.latents, microbatch=microbatch)))
    after, values, lengths, _ = run(model, problem, states, 1)
    lost = np.flatnonzero(np.asarray(after.skipped))
    if len(lost) or not np.asarray(lengths)[:, 0].any():
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[lost[0] if len(lost) else 0], states)
        raise diagnose(model, problem, first.latents, ascent.step_key(first))
    numbers = jax.tree.leaves((after.latents, values[:, 0]))
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in numbers)).hexdigest()


def _settled(states: State, patience: int | None) -> bool:
    if patience is None:
        return False
    return int(states.step[0]) - int(states.best_step.max()) >= patience


def _require_progress(states: State, before: Array, count: int) -> None:
    if bool((states.skipped - before == count).all()):
        raise ValidationError(
            f"No restart could make a step after step {int(states.step[0]) - count}: the objective or its gradient "
            "is not finite. A smaller learning rate may help."
        )


@partial(jax.jit, static_argnames="microbatch")
def _rendered(problem: Problem, latents: Any, *, microbatch: int) -> Float[Array, "n set 3 h w"]:
    return jax.lax.map(partial(ascent.render, problem), latents, batch_size=microbatch)

"""The trials of a chunk in one compiled program: each its own ROIs, start, learning rate, all in the same steps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from ...errors import BERGError, Interrupted, InvalidParameterError, ValidationError
from ...model.encoding_model import EncodingModel
from ...subject import Subject
from ..synthesis import ascent, augmentations, objectives, priors
from ..synthesis.areas import union
from ..synthesis.ascent import Problem, State
from ..synthesis.checks import diagnose
from ..synthesis.parametrizations.base import Parametrization
from ..synthesis.parametrizations.photographs import make_parametrization, projection, read_squares
from .chunks import Chunk
from .trial import Settings, Trial

EVERY = 16  # steps between looks without augmentation
_LOST = "After its first steps its numbers are not finite. A smaller learning rate may help."


class Regions(NamedTuple):
    """A model of all ROIs that a sweep asks of a subject, each ROI's weights over it, and why others are missing."""

    model: EncodingModel | None
    weights: dict[str, Float[np.ndarray, " vertices"]]
    missing: dict[str, str]
    facts: dict[str, Any]


class Outcome(NamedTuple):
    """What came of a trial: an image, unless it failed, and what is recorded of it."""

    image: UInt8[np.ndarray, "3 height width"] | None
    entry: dict[str, Any]


def load_regions(person: Subject, names: list[str], settings: Settings) -> Regions:
    """The model of those of some ROIs that a subject has, under a trial's thresholds; none, if it has none."""
    thresholds = {name: settings[name] for name in ("hemisphere", "min_ncsnr")}
    there, missing = {}, {}
    for name in names:
        try:
            there[name] = person.vertices(name, **thresholds)
        except InvalidParameterError as error:
            missing[name] = str(error)
    facts = {"weights": person.description.origin, "synthetic": person.description.synthetic}
    if not there:
        return Regions(None, {}, missing, facts)
    vertices, weights = union(person, there)
    facts["identity"] = person.identity(vertices, settings["precision"])
    facts["vertices"] = {name: len(found) for name, found in there.items()}
    return Regions(person.model(vertices, precision=settings["precision"]), weights, missing, facts)


def run_chunk(
    regions: Regions, chunk: Chunk, microbatch: int | None = None, stopped: Callable[[], bool] = lambda: False
) -> list[Outcome]:
    """Make the images of a chunk's trials, in their order.

    A trial that makes no sense for this subject, or whose numbers are not finite, fails on its own: its outcome says
    why. Scores are of the image rounded to 8 bits.

    Raises
    ------
    Interrupted
        It was asked to stop.
    """
    found: dict[str, Outcome] = {}
    problems, states = [], []
    for trial in chunk.trials:
        try:
            problem, state = _begun(regions, trial.settings)
        except BERGError as error:
            found[trial.id] = failed(trial, error)
        else:
            problems.append(problem)
            states.append(state)
    running = [trial for trial in chunk.trials if trial.id not in found]
    if running:
        places = [min(place, len(running) - 1) for place in range(chunk.size)]  # the last trial again in those left
        problem, state = (_stacked([every[place] for place in places]) for every in (problems, states))
        batch = microbatch or chunk.size
        ended, history, lengths = _climbed(regions.model, problem, state, running[0].settings, batch, stopped)
        images, values, responses = jax.device_get(_judged(regions.model, problem, ended.best_latents, batch))
        seen = _Course(*map(np.asarray, (ended.best_value, ended.best_step, ended.skipped, values)), history, lengths)
        for place, trial in enumerate(running):
            course = _Course(*(numbers[..., place] for numbers in seen))
            if error := _lost(regions.model, problems[place], states[place], course):
                found[trial.id] = failed(trial, error)
            else:
                found[trial.id] = _made(trial, images[place], responses[place], regions, course)
    return [found[trial.id] for trial in chunk.trials]


class _Course(NamedTuple):
    """How trials went: numbers of each, or by step of each."""

    best: np.ndarray
    best_step: np.ndarray
    skipped: np.ndarray
    value: np.ndarray
    history: np.ndarray
    lengths: np.ndarray


def _lost(model: EncodingModel, problem: Problem, state: State, course: _Course) -> BERGError | None:
    """Why a trial has no result, given where it started; a step that is lost now and then is no reason."""
    if course.skipped == len(course.history) or course.lengths[0] == 0:
        return diagnose(model, problem, state.latents, ascent.step_key(state))
    return None if np.isfinite([course.best, course.value]).all() else ValidationError(_LOST)


def _made(
    trial: Trial,
    image: UInt8[np.ndarray, "3 height width"],
    responses: Float[np.ndarray, " vertices"],
    regions: Regions,
    course: _Course,
) -> Outcome:
    facts = {
        "value": float(course.value),
        "best_step": int(course.best_step),
        "skipped_steps": int(course.skipped),
        "responses": {name: float(responses @ weights) for name, weights in regions.weights.items()},
        "history": [round(float(x), 6) if np.isfinite(x) else None for x in course.history],
        "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
    }
    return Outcome(image, {**_told(trial), "error": None, **facts})


def failed(trial: Trial, error: Exception) -> Outcome:
    """The outcome of a trial that ended with an error."""
    said = str(error) if isinstance(error, BERGError) else f"{type(error).__name__}: {error}"
    return Outcome(None, {**_told(trial), "error": said[:2000]})


def _told(trial: Trial) -> dict[str, Any]:
    return {"id": trial.id, "settings": trial.settings}


def _begun(regions: Regions, settings: Settings) -> tuple[Problem, State]:
    """What a trial is after and where it starts: as ``optimize`` with one restart has it."""
    images, photograph = _images(settings)
    problem = Problem(
        objective=_objective(regions, settings),
        decode=images.decode,
        project=projection(photograph, settings["radius"]),
        penalties=settings["total_variation"] * priors.total_variation(),
        augment=augmentations.jitter(settings["jitter"]),
        draws=settings["draws"],
    )
    optimizer = _optimizer(settings["optimizer"])
    state = jax.tree.map(lambda leaf: leaf[0], ascent.start(images, optimizer, 1, 1, settings["seed"]))
    rates = state.optimizer.hyperparams
    rate, momentum = (jnp.asarray(settings[name], rates["learning_rate"].dtype) for name in _RATES)
    rates = {**rates, "learning_rate": rate, _MOMENTUM[settings["optimizer"]]: momentum}
    return problem, state.replace(optimizer=state.optimizer._replace(hyperparams=rates))


_RATES = ("learning_rate", "momentum")
_MOMENTUM = {"adam": "b1", "sgd": "momentum"}  # as optax calls it
_CONSTANTS = {"adam": ("b2", "eps", "eps_root"), "sgd": ()}  # exact in the program, as in an optimizer of one's own


@cache
def _optimizer(name: str) -> optax.GradientTransformation:
    """One object for all trials, whose rates are part of each trial's state."""
    kind = {"adam": optax.adam, "sgd": optax.sgd}[name]
    make = optax.inject_hyperparams(kind, static_args=_CONSTANTS[name])
    return make(learning_rate=0.0, **{_MOMENTUM[name]: 0.0})


def _objective(regions: Regions, settings: Settings) -> Any:
    drive, suppress = settings["drive"], settings["suppress"]
    for name in (*drive, *suppress):
        if name in regions.missing:
            raise InvalidParameterError(regions.missing[name])
    rows, directions = (
        [regions.weights[name] for name in (*drive, *suppress)],
        [1] * len(drive) + [-1] * len(suppress),
    )
    if settings["objective"] == "control":
        return objectives.control(rows, directions, margin=settings["margin"])
    signed = [sign * objectives.top_mean(row, settings["k"]) for row, sign in zip(rows, directions, strict=True)]
    return sum(signed[1:], start=signed[0])


def _images(settings: Settings) -> tuple[Parametrization, Any]:
    photograph = None if settings["start"] is None else read_squares(settings["start"])[0][0]
    if settings["images"] == "phases":
        return _phases(settings["photographs"]), None
    return make_parametrization(settings["images"], photograph, None)[0], photograph


@cache
def _phases(photographs: str | Path | None) -> Parametrization:
    """Measured once for all trials."""
    return make_parametrization("phases", None, photographs)[0]


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _climbed(
    model: EncodingModel,
    problem: Problem,
    state: State,
    settings: Settings,
    microbatch: int,
    stopped: Callable[[], bool],
) -> tuple[State, Float[np.ndarray, "steps n"], Float[np.ndarray, "steps n"]]:
    """All trials after their steps: states, and of each step values and gradient lengths."""
    history, lengths = [], []
    for at in range(0, settings["steps"], EVERY):
        if stopped():
            raise Interrupted(f"Stopped after {at} of {settings['steps']} steps of a chunk, which is left.")
        count = min(EVERY, settings["steps"] - at)
        state, values, gradients, _ = _advance(
            model, problem, state, count, optimizer=_optimizer(settings["optimizer"]), microbatch=microbatch
        )
        history.append(np.asarray(values)[:, :count].T)
        lengths.append(np.asarray(gradients)[:, :count].T)
    return state, np.concatenate(history), np.concatenate(lengths)


@partial(jax.jit, static_argnames=("optimizer", "microbatch"))
def _advance(
    model: EncodingModel,
    problem: Problem,
    state: State,
    count: int | Array,
    *,
    optimizer: optax.GradientTransformation,
    microbatch: int,
) -> tuple[State, Float[Array, "n most"], Float[Array, "n most"], Float[Array, " n"]]:
    """``count`` steps of every trial, whose problems and states are stacked."""

    def climb(trial: tuple[Problem, State]) -> tuple[State, Array, Array, Array]:
        return ascent.climb(model, trial[0], optimizer, EVERY, count, trial[1])

    return jax.lax.map(climb, (problem, state), batch_size=microbatch)


@partial(jax.jit, static_argnames="microbatch")
def _judged(
    model: EncodingModel, problem: Problem, latents: Any, microbatch: int
) -> tuple[UInt8[Array, "n 3 height width"], Float[Array, " n"], Float[Array, "n vertices"]]:
    """Every trial's image in 8 bits, its objective, and the responses to it."""

    def judge(trial: tuple[Problem, Any]) -> tuple[Array, Array, Array]:
        image = ascent.render(*trial).round().astype(jnp.uint8)
        responses = model(image)
        return image[0], trial[0].objective(responses)[0], responses[0]

    return jax.lax.map(judge, (problem, latents), batch_size=microbatch)

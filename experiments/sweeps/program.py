"""Program of a chunk: its trials in one compiled program, each with its own ROIs, start and learning rate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from ...errors import BERGError, Interrupted, InvalidParameterError, ResourceError, ValidationError
from ...model.batches import filled_batches
from ...model.encoding_model import EncodingModel
from ...subject import Subject
from ..synthesis import ascent, augmentations, objectives, priors
from ..synthesis.areas import union
from ..synthesis.ascent import Problem, State
from ..synthesis.checkpoints import Saved
from ..synthesis.checks import diagnose
from ..synthesis.judging.course import start_images
from ..synthesis.judging.crops import photograph_crops
from ..synthesis.parametrizations.base import Parametrization
from ..synthesis.parametrizations.photographs import make_parametrization, projection, read_one
from .checkpoint import Checkpoint
from .chunks import Chunk
from .records import Outcome, failure, success
from .trial import Settings, Trial

_BATCH = 8  # natural images that are computed at a time
EVERY = 16  # steps between looks without augmentation
_NOT_FINITE = "After its first steps its numbers are not finite. A smaller learning rate may help."


class Regions(NamedTuple):
    """A subject's model for all ROIs of a sweep.

    Attributes
    ----------
    model
        The model; None if the subject has none of the ROIs.
    weights
        Weights of each ROI over the model's vertices.
    missing
        The reason why each missing ROI is missing.
    facts
        Facts for the records: weights' origin, identity, numbers of vertices.
    natural
        Mean response of each ROI to crops of photographs, where there are photographs.
    """

    model: EncodingModel | None
    weights: dict[str, Float[np.ndarray, " vertices"]]
    missing: dict[str, str]
    facts: dict[str, Any]
    natural: Mapping[str, Float[np.ndarray, " images"]] = MappingProxyType({})


def load_regions(subject: Subject, names: list[str], settings: Settings) -> Regions:
    """Load a subject's model for those of the named ROIs that it has.

    Parameters
    ----------
    subject
        The subject.
    names
        ROI expressions.
    settings
        A trial's settings, of which hemisphere, noise-ceiling threshold and precision are used.
    """
    thresholds = {name: settings[name] for name in ("hemisphere", "min_ncsnr")}
    selections, missing = {}, {}
    for name in names:
        try:
            selections[name] = subject.vertices(name, **thresholds)
        except InvalidParameterError as error:
            missing[name] = str(error)
    facts = {"weights": subject.description.origin, "synthetic": subject.description.synthetic}
    if not selections:
        return Regions(model=None, weights={}, missing=missing, facts=facts)
    vertices, weights = union(subject, selections)
    facts["identity"] = subject.identity(vertices, settings["precision"])
    facts["vertices"] = {name: len(selection) for name, selection in selections.items()}
    model = subject.model(vertices, precision=settings["precision"])
    return Regions(model=model, weights=weights, missing=missing, facts=facts, natural=_natural(model, weights))


def _natural(
    model: EncodingModel, weights: Mapping[str, Float[np.ndarray, " vertices"]]
) -> dict[str, Float[np.ndarray, " images"]]:
    try:
        crops, _ = photograph_crops()
    except ResourceError:  # the packages that the photographs come with are optional
        return {}
    parts = [np.asarray(model(crops[rows]))[:new] for rows, new in filled_batches(len(crops), _BATCH)]
    responses = np.concatenate(parts)
    return {name: responses @ own for name, own in weights.items()}


def start_image(settings: Settings) -> UInt8[np.ndarray, "3 height width"]:
    """Return the image that a trial starts from, rounded to 8 bits.

    Parameters
    ----------
    settings
        The trial's settings.
    """
    parametrization, photograph = _parametrization(settings)
    project = projection(photograph, settings["radius"])
    return start_images(parametrization, n=1, seed=settings["seed"], project=project)[0]


def run_chunk(
    regions: Regions,
    chunk: Chunk,
    microbatch: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    checkpoint: Path | None = None,
) -> list[Outcome]:
    """Optimize the images of a chunk's trials, and return the outcomes in the trials' order.

    A trial that makes no sense for this subject, or whose numbers are not finite, fails alone; its outcome says why.
    Scores are those of the images rounded to 8 bits.

    Parameters
    ----------
    regions
        Model and weights of the ROIs.
    chunk
        The trials.
    microbatch
        Number of trials that are computed at a time; None for all.
    stopped
        Function that says whether to stop.
    checkpoint
        File in which the state is saved now and then, and when the work is stopped. If it is there, the chunk goes on
        from it, to the same bits.

    Raises
    ------
    Interrupted
        The work was asked to stop.
    ResourceError
        The checkpoint cannot be written.
    """
    outcomes: dict[str, Outcome] = {}
    problems, states = [], []
    for trial in chunk.trials:
        try:
            problem, state = _problem_and_state(regions, trial.settings)
        except BERGError as error:
            outcomes[trial.id] = failure(trial, error)
        else:
            problems.append(problem)
            states.append(state)
    running = [trial for trial in chunk.trials if trial.id not in outcomes]
    if running:
        # The last trial fills the places that are left over.
        places = [min(place, len(running) - 1) for place in range(chunk.size)]
        problem = _stacked([problems[place] for place in places])
        state = _stacked([states[place] for place in places])
        batch = microbatch or chunk.size
        identity = _identity(regions, running, chunk.size, batch)
        kept = Checkpoint(checkpoint, identity)
        final, history, lengths = _run_steps(regions.model, problem, state, running[0].settings, batch, stopped, kept)
        images, values, responses = jax.device_get(_evaluate(regions.model, problem, final.best_latents, batch))
        best_values, best_steps, skipped = map(np.asarray, (final.best_value, final.best_step, final.skipped))
        for place, trial in enumerate(running):
            progress = _Progress(
                best=best_values[place],
                best_step=best_steps[place],
                skipped=skipped[place],
                value=values[place],
                history=history[:, place],
                lengths=lengths[:, place],
            )
            if error := _failure_reason(regions.model, problems[place], states[place], progress):
                outcomes[trial.id] = failure(trial, error)
            else:
                numbers = {
                    "value": float(progress.value),
                    "best_step": int(progress.best_step),
                    "skipped_steps": int(progress.skipped),
                    "history": progress.history,
                }
                rois = regions.weights, regions.natural
                outcomes[trial.id] = success(trial, images[place], responses[place], *rois, **numbers)
    return [outcomes[trial.id] for trial in chunk.trials]


class _Progress(NamedTuple):
    """Progress of a trial: its best value so far and when it was found, its final value, and numbers by step."""

    best: np.ndarray
    best_step: np.ndarray
    skipped: np.ndarray
    value: np.ndarray
    history: np.ndarray
    lengths: np.ndarray


def _failure_reason(model: EncodingModel, problem: Problem, state: State, progress: _Progress) -> BERGError | None:
    """Return the reason why a trial that started in this state has no result, or None if it has one.

    A step that is left out now and then is no reason.
    """
    if progress.skipped == len(progress.history) or progress.lengths[0] == 0:
        return diagnose(model, problem, state.latents, ascent.step_key(state))
    return None if np.isfinite([progress.best, progress.value]).all() else ValidationError(_NOT_FINITE)


def _problem_and_state(regions: Regions, settings: Settings) -> tuple[Problem, State]:
    """Return a trial's problem and first state, which are those of ``optimize`` with one restart."""
    parametrization, photograph = _parametrization(settings)
    problem = Problem(
        objective=objective_of(regions, settings),
        decode=parametrization.decode,
        project=projection(photograph, settings["radius"]),
        penalties=settings["total_variation"] * priors.total_variation(),
        augment=augmentations.jitter(settings["jitter"]),
        draws=settings["draws"],
    )
    optimizer = _optimizer(settings["optimizer"])
    states = ascent.start(parametrization, optimizer, n=1, set_size=1, seed=settings["seed"])
    state = jax.tree.map(lambda leaf: leaf[0], states)
    rates = state.optimizer.hyperparams
    dtype = rates["learning_rate"].dtype
    learning_rate = jnp.asarray(settings["learning_rate"], dtype)
    momentum = jnp.asarray(settings["momentum"], dtype)
    rates = {**rates, "learning_rate": learning_rate, _MOMENTUM[settings["optimizer"]]: momentum}
    return problem, state.replace(optimizer=state.optimizer._replace(hyperparams=rates))


_MOMENTUM = {"adam": "b1", "sgd": "momentum"}  # optax's names of momentum
_CONSTANTS = {"adam": ("b2", "eps", "eps_root"), "sgd": ()}  # exact in the program, as in any other optimizer


@cache
def _optimizer(name: str) -> optax.GradientTransformation:
    """Return one optimizer for all trials; its rates are part of each trial's state."""
    kind = {"adam": optax.adam, "sgd": optax.sgd}[name]
    make = optax.inject_hyperparams(kind, static_args=_CONSTANTS[name])
    return make(learning_rate=0.0, **{_MOMENTUM[name]: 0.0})


def objective_of(regions: Regions, settings: Settings) -> Any:
    """Return a trial's objective.

    Raises
    ------
    InvalidParameterError
        The subject lacks a ROI.
    """
    drive, suppress = settings["drive"], settings["suppress"]
    for name in (*drive, *suppress):
        if name in regions.missing:
            raise InvalidParameterError(regions.missing[name])
    rows = [regions.weights[name] for name in (*drive, *suppress)]
    directions = [1] * len(drive) + [-1] * len(suppress)
    if settings["objective"] == "control":
        return objectives.control(rows, directions, margin=settings["margin"])
    signed = [sign * objectives.top_mean(row, settings["k"]) for row, sign in zip(rows, directions, strict=True)]
    return sum(signed[1:], start=signed[0])


def _parametrization(settings: Settings) -> tuple[Parametrization, Any]:
    """Return a trial's parametrization, and the photograph to start from, if there is one."""
    photograph = None if settings["start"] is None else read_photo(settings["start"], settings["fit_images"])
    if settings["images"] == "phases":
        return _phases(settings["photographs"]), None
    return make_parametrization(settings["images"], photograph, None)[0], photograph


read_photo = cache(read_one)  # once for all trials


@cache
def _phases(photographs: str | Path | None) -> Parametrization:
    """Return the parametrization by phases, whose spectrum is measured once for all trials."""
    return make_parametrization("phases", None, photographs)[0]


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _identity(regions: Regions, trials: Sequence[Trial], size: int, microbatch: int) -> str:
    """Return a hash of all that a chunk's steps depend on."""
    parts = [regions.facts.get("identity"), size, microbatch, *(trial.id for trial in trials)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _run_steps(
    model: EncodingModel,
    problem: Problem,
    state: State,
    settings: Settings,
    microbatch: int,
    stopped: Callable[[], bool],
    kept: Checkpoint,
) -> tuple[State, Float[np.ndarray, "steps n"], Float[np.ndarray, "steps n"]]:
    """Make all steps of all trials, and return their states with each step's values and gradient lengths."""
    optimizer, steps = _optimizer(settings["optimizer"]), settings["steps"]
    empty = np.zeros((0, len(state.step)), np.float32)
    saved = kept.restore(Saved(states=state, history=empty, gradient_lengths=empty, looks=empty))
    while (start := len(saved.history)) < steps:
        if stopped():
            kept.save(saved, at_once=True)
            raise Interrupted(f"Stopped after {start} of {steps} steps of a chunk, which is left.")
        count = min(EVERY, steps - start)
        state, values, lengths, _ = _advance(
            model, problem, saved.states, count, optimizer=optimizer, microbatch=microbatch
        )
        saved = Saved(
            states=state,
            history=np.concatenate([saved.history, np.asarray(values)[:, :count].T]),
            gradient_lengths=np.concatenate([saved.gradient_lengths, np.asarray(lengths)[:, :count].T]),
            looks=empty,
        )
        kept.save(saved)
    return saved.states, saved.history, saved.gradient_lengths


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
    """Make ``count`` steps of every trial; problems and states are stacked."""

    def climb(trial: tuple[Problem, State]) -> tuple[State, Array, Array, Array]:
        problem, state = trial
        return ascent.climb(model, problem, optimizer, EVERY, count, state)

    return jax.lax.map(climb, (problem, state), batch_size=microbatch)


@partial(jax.jit, static_argnames="microbatch")
def _evaluate(
    model: EncodingModel, problem: Problem, latents: Any, microbatch: int
) -> tuple[UInt8[Array, "n 3 height width"], Float[Array, " n"], Float[Array, "n vertices"]]:
    """Return every trial's image in 8 bits, its value of the objective, and the responses to it."""

    def evaluate(trial: tuple[Problem, Any]) -> tuple[Array, Array, Array]:
        problem, latents = trial
        image = ascent.render(problem, latents).round().astype(jnp.uint8)
        responses = model(image)
        return image[0], problem.objective(responses)[0], responses[0]

    return jax.lax.map(evaluate, (problem, latents), batch_size=microbatch)

"""Images that maximize an objective without its gradient: by evolution of latents, or of sets of images at hand."""

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
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from ....errors import Interrupted, InvalidParameterError, StimulusError, ValidationError
from ....model.batches import filled_batches
from ....model.images import check_shape
from ....stream.progress import stop_requests
from .. import ascent
from ..ascent import Model, Problem
from ..checkpoints import Saved, restore, save
from ..checks import check_range, check_shapes, diagnose_value
from ..functions import Function, as_function
from ..optimize import Result
from ..parametrizations.base import Parametrization
from .algorithms import Algorithm, Individuals, Values, cma_es, distinct, genetic_sets

_PROBED = 8  # individuals that are valued before it starts
_SETS = 16  # sets that are valued at a time
_LOG_SECONDS = 30
_log = logging.getLogger(__name__)


class _Run(NamedTuple):
    """Where one run is: the algorithm's state, and the best individual so far."""

    state: Any
    best: Individuals
    value: Float[np.ndarray, ""]
    generation: Int[np.ndarray, ""]
    skipped: Int[np.ndarray, ""]


def evolve(
    model: Model,
    objective: Callable[..., Array],
    images: Parametrization,
    algorithm: Algorithm | None = None,
    *,
    n: int = 1,
    set_size: int = 1,
    generations: int = 100,
    penalties: Callable[..., Array] | None = None,
    project: Callable[..., Array] | None = None,
    on_host: bool = False,
    seed: int = 0,
    microbatch: int = 8,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> Result:
    """Maximize an objective of the responses over images, without gradients.

    Parameters
    ----------
    model, objective, penalties, project, seed, checkpoint, time_limit, show_progress
        As of :func:`~berg_jax.experiments.synthesis.optimize.optimize`; none needs a gradient.
    images
        How images are written, such as a generator's latents.
    algorithm
        :func:`~berg_jax.experiments.synthesis.search.algorithms.cma_es` (the default) or
        :func:`~berg_jax.experiments.synthesis.search.algorithms.genetic`. An individual is the latents of a whole
        set.
    n
        How many runs, each of its own.
    set_size
        How many images an individual has.
    generations
        How many of them.
    on_host
        ``images.decode`` is no JAX function: it takes NumPy latents of n images and gives NumPy images.
    microbatch
        How many individuals are computed at a time.
    patience
        Stop when no run has found a better one for so many generations. By default never.

    Returns
    -------
    As of ``optimize``, a step being a generation: ``values`` are the best's, ``looks`` each generation's largest,
    ``history`` its mean; there are no gradients, so ``gradient_lengths`` is (0, n); ``skipped`` counts individuals
    without a finite value.

    Raises
    ------
    InvalidParameterError
        A number makes no sense, the objective does not fit the responses, or is the same for all of a generation.
    StimulusError
        What is decoded are no images in 0–255.
    ValidationError
        No individual has a finite value; the message says where it is lost.
    IntegrityError
        The checkpoint is of another evolution, or damaged.
    Interrupted
        It was asked to stop; with a checkpoint, the same call goes on.

    Examples
    --------
    ::

        vertices, area = union(person, {"faces": "FFA-1 + FFA-2"})
        result = evolve(person.model(vertices), mean(area["faces"]), example_generator(), generations=200)
    """
    _check({"n": n, "set_size": set_size, "generations": generations, "microbatch": microbatch}, patience)
    algorithm = cma_es() if algorithm is None else algorithm
    model = as_function(model) if any(callable(leaf) for leaf in jax.tree.leaves(model)) else model
    optional = {"project": project, "penalties": penalties}
    problem = Problem(
        objective=as_function(objective),
        decode=Function(_as_it_is) if on_host else as_function(images.decode),
        **{name: None if function is None else as_function(function) for name, function in optional.items()},
    )
    start = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0), n)
    latents = [
        jax.tree.map(
            lambda leaf: jnp.asarray(leaf).reshape(algorithm.starts, set_size, *leaf.shape[1:]),
            images.init(key, algorithm.starts * set_size),
        )
        for key in start
    ]
    genes = jax.vmap(lambda latents: ravel_pytree(latents)[0])
    latents_of = jax.jit(jax.vmap(ravel_pytree(jax.tree.map(lambda leaf: leaf[0], latents[0]))[1]))

    def written(individuals: Individuals) -> Any:
        """Latents, or what a decoder on the host makes of them."""
        found = latents_of(individuals)
        return _decoded(images.decode, found) if on_host else found

    def values(individuals: Individuals) -> Values:
        return _in_blocks(lambda block: _values(model, problem, written(block)), individuals, microbatch)

    def probe(individuals: Individuals) -> Values:
        first = jax.tree.map(lambda leaf: leaf[0], written(individuals[:1]))
        try:
            check_shapes(model, problem, first)
        except jax.errors.TracerArrayConversionError as error:
            raise InvalidParameterError("decode is no JAX function: give on_host=True.") from error
        check_range(np.asarray(_shown(problem, written(individuals))))
        found = values(individuals)
        if not np.isfinite(found).any():
            raise diagnose_value(model, problem, first)
        return found

    options = {"checkpoint": checkpoint, "time_limit": time_limit, "show_progress": show_progress}
    runs, history, looks = _evolved(
        algorithm, [np.asarray(genes(x)) for x in latents], values, probe, generations, seed, patience, **options
    )
    best = np.stack([run.best for run in runs])
    shown = np.concatenate([np.asarray(_shown(problem, written(one[None])))[0] for one in best])
    return _result(runs, shown, jax.device_get(latents_of(best)), history, looks)


def evolve_sets(
    responses: Float[np.ndarray, "... images vertices"],
    objective: Callable[..., Array],
    set_size: int = 50,
    *,
    n: int = 1,
    generations: int = 2000,
    population: int = 200,
    keep: float = 0.25,
    heritability: float = 0.25,
    mutation: float = 0.25,
    seed: int = 0,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> Result:
    """Choose sets of images whose responses are there already, by a genetic algorithm.

    Parameters
    ----------
    responses
        Of all images to choose from, such as a response store's; with subjects in front for objectives of groups.
    objective
        Of a set's responses, such as :func:`~berg_jax.experiments.synthesis.objectives.align`.
    set_size
        How many images a set has, at most half of all.
    generations, population, keep, heritability, mutation
        See :func:`~berg_jax.experiments.synthesis.search.algorithms.genetic_sets`; by default as published.
    n, seed, patience, checkpoint, time_limit, show_progress
        As of :func:`evolve`.

    Returns
    -------
    As of :func:`evolve`: ``latents`` (n, set_size) are the chosen images' numbers; ``images`` is empty, because
    there are only responses here.

    Raises
    ------
    BERGError
        As of :func:`evolve`.

    References
    ----------
    Gifford et al. 2025, *In silico discovery of representational relationships across visual cortex*, Nature Human
    Behaviour: sets of 50 images, 200 sets, 2,000 generations.
    """
    _check({"n": n, "set_size": set_size, "generations": generations}, patience)
    responses = jnp.asarray(responses, float)
    images = responses.shape[-2]
    if 2 * set_size > images:
        raise InvalidParameterError(f"A set may have at most half of the {images} images, got {set_size}.")
    if not bool(jnp.isfinite(responses).all()):
        raise ValidationError("The responses hold a number that is not finite: choose images that have all of them.")
    shares = {"keep": keep, "heritability": heritability, "mutation": mutation}
    algorithm = genetic_sets(images, population, **shares)
    objective = as_function(objective)
    first = [random_sets(images, set_size, population, [seed, run]) for run in range(n)]
    value = partial(_set_values, objective, responses)
    options = {"checkpoint": checkpoint, "time_limit": time_limit, "show_progress": show_progress}
    runs, history, looks = _evolved(
        algorithm, first, lambda sets: np.asarray(value(sets)), value, generations, seed, patience, **options
    )
    return _result(runs, np.zeros((0, 3, 0, 0), np.float32), np.stack([run.best for run in runs]), history, looks)


def random_sets(images: int, set_size: int, n: int, seed: int | list[int]) -> Int[np.ndarray, "n set_size"]:
    """Sets of different images, by number."""
    random = np.random.default_rng(seed)
    return distinct(random, random.integers(images, size=(n, set_size)), images)


def set_values(
    responses: Float[np.ndarray, "... images vertices"],
    objective: Callable[..., Array],
    sets: Int[np.ndarray, "n set_size"],
) -> Values:
    """What an objective is of sets of images, as of :func:`evolve_sets`."""
    return np.asarray(_set_values(as_function(objective), jnp.asarray(responses, float), jnp.asarray(sets)))


def _evolved(
    algorithm: Algorithm,
    first: list[Individuals],
    values: Callable[[Individuals], Values],
    probe: Callable[[Individuals], Values],
    generations: int,
    seed: int,
    patience: int | None,
    *,
    checkpoint: str | Path | None,
    time_limit: float | None,
    show_progress: bool,
) -> tuple[list[_Run], Float[np.ndarray, "generations n"], Float[np.ndarray, "generations n"]]:
    """All runs, generation by generation; the mean and the largest value of each."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), len(first))
    runs = [_Run(algorithm.init(x), x[0], np.array(-np.inf, np.float32), np.array(0), np.array(0)) for x in first]
    individuals, _ = algorithm.ask(jax.random.fold_in(keys[0], 0), runs[0].state)
    known = np.asarray(probe(individuals[:_PROBED]))
    parts = (algorithm.settings.encode(), individuals.tobytes(), known.tobytes())
    identity = hashlib.sha256(b"".join(parts)).hexdigest()
    nothing = np.zeros((0, len(first)), np.float32)
    runs, history, _, looks = restore(checkpoint, Saved(runs, nothing, nothing, nothing), identity)
    with (
        stop_requests(time_limit) as stopped,
        tqdm(
            total=generations, initial=len(history), unit="generation", disable=None if show_progress else True
        ) as bar,
    ):
        told = saved = time.monotonic()
        while len(history) < generations and not _settled(runs, len(history), patience):
            stop = stopped()
            if not stop:
                runs, found = zip(
                    *(_next(algorithm, run, key, len(history), values) for run, key in zip(runs, keys, strict=True)),
                    strict=True,
                )
                runs = list(runs)
                _require_values(found, len(history))
                history = np.concatenate([history, _each(np.mean, found)])
                looks = np.concatenate([looks, _each(np.max, found)])
            now = time.monotonic()
            if checkpoint is not None and (stop or len(history) == generations or now - saved > 1):
                saved = now
                save(checkpoint, Saved(runs, history, nothing, looks), identity)
            if stop:
                remedy = "The same call goes on." if checkpoint else "Give checkpoint=…, and the same call goes on."
                raise Interrupted(f"Stopped after {len(history)} of {generations} generations. {remedy}")
            best = max(float(run.value) for run in runs)
            bar.update()
            bar.set_postfix(best=f"{best:.3f}", mean=f"{history[-1].mean():.3f}")
            if show_progress and bar.disable and now - told > _LOG_SECONDS:
                told = now
                _log.info("%d of %d generations, best %.3f", len(history), generations, best)
    return runs, history, looks


def _next(
    algorithm: Algorithm, run: _Run, key: Array, generation: int, values: Callable[[Individuals], Values]
) -> tuple[_Run, Values]:
    """One generation of a run, and its values; NaN is what is not finite."""
    key = jax.random.fold_in(key, generation)
    individuals, state = algorithm.ask(key, run.state)
    found = values(individuals)
    found = np.where(np.isfinite(found), found, np.nan)
    skipped = run.skipped + np.isnan(found).sum()
    if np.isnan(found).all():
        return run._replace(skipped=skipped), found
    best = int(np.nanargmax(found))
    run = run._replace(state=algorithm.tell(key, state, individuals, found), skipped=skipped)
    if found[best] > run.value:
        run = run._replace(best=individuals[best], value=found[best], generation=np.array(generation + 1))
    return run, found


def _check(numbers: dict[str, int], patience: int | None) -> None:
    for name, number in {**numbers, **({} if patience is None else {"patience": patience})}.items():
        if number < 1:
            raise InvalidParameterError(f"{name} must be at least 1, got {number}.")


def _settled(runs: list[_Run], generation: int, patience: int | None) -> bool:
    return patience is not None and generation - max(int(run.generation) for run in runs) >= patience


def _require_values(found: tuple[Values, ...], generation: int) -> None:
    every = np.concatenate(found)
    if np.isnan(every).all():
        raise ValidationError(
            f"No individual of generation {generation + 1} has a value that is finite: a smaller spread may help."
        )
    if generation == 0 and len(every) > 1 and np.nanmin(every) == np.nanmax(every):
        raise InvalidParameterError(
            f"All {len(every)} individuals of the first generation have the value {np.nanmax(every):g}. Does the "
            "objective depend on the responses, and are the images not all the same? Is its margin met?"
        )


def _each(of: Callable[[Values], Any], found: tuple[Values, ...]) -> Float[np.ndarray, "1 n"]:
    """Of each run's finite values; NaN where it has none."""
    finite = [values[~np.isnan(values)] for values in found]
    return np.array([[of(values) if len(values) else np.nan for values in finite]], np.float32)


def _result(runs: list[_Run], images: np.ndarray, latents: Any, history: np.ndarray, looks: np.ndarray) -> Result:
    values, best, skipped = (np.array([getattr(run, x) for run in runs]) for x in ("value", "generation", "skipped"))
    if skipped.any():
        _log.warning("%d individuals had no finite value.", skipped.sum())
    return Result(images, values, latents, history, np.zeros((0, len(runs)), np.float32), looks, best, skipped)


def _in_blocks(function: Callable[[Individuals], Array], individuals: Individuals, size: int) -> Values:
    """The function's values, of so many at a time."""
    batches = filled_batches(len(individuals), size)
    return np.concatenate([np.asarray(function(individuals[rows]))[:new] for rows, new in batches])


def _as_it_is(images: Array) -> Array:
    return images


def _decoded(decode: Callable[[Any], Any], latents: Any) -> Float[np.ndarray, "m set 3 h w"]:
    """Images of a decoder that is no JAX function."""
    counts = jax.tree.leaves(latents)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), latents)
    images = np.asarray(decode(flat))
    check_shape(images)
    if len(images) != np.prod(counts):
        raise StimulusError(f"decode must give an image for each of {np.prod(counts)} latents, got {len(images)}.")
    check_range(images)
    return images.reshape(*counts, *images.shape[1:]).astype(np.float32)


@jax.jit
def _values(model: Model, problem: Problem, latents: Any) -> Float[Array, " m"]:
    return jax.vmap(partial(ascent.value, model, problem))(latents)


@jax.jit
def _shown(problem: Problem, latents: Any) -> Float[Array, "m set 3 h w"]:
    return jax.vmap(partial(ascent.render, problem))(latents)


@jax.jit
def _set_values(objective: Function, responses: Array, sets: Int[Array, "n set_size"]) -> Float[Array, " n"]:
    def value(numbers: Int[Array, " set_size"]) -> Float[Array, ""]:
        return objective(jnp.take(responses, numbers, axis=-2)).mean()

    return jax.lax.map(value, sets, batch_size=_SETS)

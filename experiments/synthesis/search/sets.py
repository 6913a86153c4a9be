"""Evolution of sets: choose sets of images with known responses by a genetic algorithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ....errors import InvalidParameterError, ValidationError
from ..functions import Function, as_function
from ..optimize import Result
from .algorithms import Values, distinct, genetic_sets
from .generations import make_result, require_positive, run_generations

_SETS = 16  # sets that are evaluated at a time


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
    """Choose sets of images with known responses by a genetic algorithm.

    Parameters
    ----------
    responses
        Responses to all images to choose from, such as a response store's. Objectives of groups need an axis of
        subjects in front.
    objective
        Objective of a set's responses, such as :func:`~berg_jax.experiments.synthesis.objectives.align`.
    set_size
        Number of images in a set, at most half of all images.
    generations
        Number of generations.
    population, keep, heritability, mutation
        See :func:`~berg_jax.experiments.synthesis.search.algorithms.genetic_sets`; the defaults are as published.
    n, seed, patience, checkpoint, time_limit, show_progress
        See :func:`~berg_jax.experiments.synthesis.search.evolution.evolve`.

    Returns
    -------
    A result as that of :func:`~berg_jax.experiments.synthesis.search.evolution.evolve`. ``latents`` (n, set_size) are
    the indices of the chosen images. ``images`` is empty, because only responses are known here.

    Raises
    ------
    BERGError
        As :func:`~berg_jax.experiments.synthesis.search.evolution.evolve`.

    See Also
    --------
    berg_jax.experiments.synthesis.search.evolution.evolve : Search for new images.
    random_sets : Sets to compare with.

    References
    ----------
    Gifford et al. 2025, *In silico discovery of representational relationships across visual cortex*, Nature Human
    Behaviour: sets of 50 images, 200 sets, 2,000 generations.

    Examples
    --------
    >>> from berg_jax.experiments.synthesis import objectives
    >>> responses = np.random.default_rng(0).normal(size=(20, 6))  # 20 images, 6 vertices
    >>> objective = objectives.align(np.array([1, 1, 1, 0, 0, 0]), np.array([0, 0, 0, 1, 1, 1]))
    >>> options = {"generations": 10, "population": 20, "show_progress": False}
    >>> evolve_sets(responses, objective, set_size=5, **options).latents.shape
    (1, 5)
    """
    require_positive({"n": n, "set_size": set_size, "generations": generations}, patience)
    responses = jnp.asarray(responses, float)
    n_images = responses.shape[-2]
    if 2 * set_size > n_images:
        raise InvalidParameterError(f"A set may have at most half of the {n_images} images, got {set_size}.")
    if not bool(jnp.isfinite(responses).all()):
        raise ValidationError("The responses hold a number that is not finite: choose images that have all of them.")
    algorithm = genetic_sets(n_images, population, keep=keep, heritability=heritability, mutation=mutation)
    starts = [random_sets(n_images, set_size, population, [seed, run]) for run in range(n)]
    values = partial(_set_values, as_function(objective), responses)
    runs, history, looks = run_generations(
        algorithm,
        starts,
        lambda sets: np.asarray(values(sets)),
        values,
        generations=generations,
        seed=seed,
        patience=patience,
        checkpoint=checkpoint,
        time_limit=time_limit,
        show_progress=show_progress,
    )
    no_images = np.zeros((0, 3, 0, 0), np.float32)
    return make_result(runs, no_images, np.stack([run.best for run in runs]), history, looks)


def random_sets(n_images: int, set_size: int, n: int, seed: int | list[int]) -> Int[np.ndarray, "n set_size"]:
    """Draw random sets of different images.

    Parameters
    ----------
    n_images
        Number of images to choose from.
    set_size
        Number of images in a set.
    n
        Number of sets.
    seed
        Seed of the draws.

    Returns
    -------
    Indices of the images of each set.

    Examples
    --------
    >>> random_sets(n_images=10, set_size=3, n=4, seed=0).shape
    (4, 3)
    """
    random = np.random.default_rng(seed)
    return distinct(random, random.integers(n_images, size=(n, set_size)), n_images)


def set_values(
    responses: Float[np.ndarray, "... images vertices"],
    objective: Callable[..., Array],
    sets: Int[np.ndarray, "n set_size"],
) -> Values:
    """Return an objective's value for sets of images.

    Parameters
    ----------
    responses, objective
        See :func:`evolve_sets`.
    sets
        Indices of the images of each set.
    """
    return np.asarray(_set_values(as_function(objective), jnp.asarray(responses, float), jnp.asarray(sets)))


@jax.jit
def _set_values(objective: Function, responses: Array, sets: Int[Array, "n set_size"]) -> Float[Array, " n"]:
    def value(indices: Int[Array, " set_size"]) -> Float[Array, ""]:
        return objective(jnp.take(responses, indices, axis=-2)).mean()

    return jax.lax.map(value, sets, batch_size=_SETS)

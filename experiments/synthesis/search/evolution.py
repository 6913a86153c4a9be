"""Gradient-free search for images: evolution of the latents of a parametrization, such as a generator's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ....errors import InvalidParameterError, StimulusError
from ....model.batches import filled_batches
from ....model.images import check_shape
from .. import ascent
from ..ascent import Model, Problem
from ..checks import check_range, check_shapes, diagnose_value
from ..functions import Function, as_function
from ..optimize import Result
from ..parametrizations.base import Parametrization
from .algorithms import Algorithm, Individuals, Values, cma_es
from .generations import make_result, require_positive, run_generations


def evolve(
    model: Model,
    objective: Callable[..., Array],
    parametrization: Parametrization,
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
    """Search for images that maximize an objective of the responses, without gradients.

    Parameters
    ----------
    model, objective, penalties, project, seed, checkpoint, time_limit, show_progress
        See :func:`~berg_jax.experiments.synthesis.optimize.optimize`; none of them needs a gradient.
    parametrization
        Parametrization of the images, such as a generator.
    algorithm
        :func:`~berg_jax.experiments.synthesis.search.algorithms.cma_es` (the default) or
        :func:`~berg_jax.experiments.synthesis.search.algorithms.genetic`. An individual holds the latents of a whole
        set.
    n
        Number of independent runs.
    set_size
        Number of images in an individual.
    generations
        Number of generations.
    on_host
        ``parametrization.decode`` is not a JAX function, but takes NumPy latents of n images and returns NumPy
        images.
    microbatch
        Number of individuals that are computed at a time.
    patience
        Number of generations without a better individual in any run after which to stop. By default all generations
        are made.

    Returns
    -------
    A result as that of :func:`~berg_jax.experiments.synthesis.optimize.optimize`, with generations in place of steps:
    ``values`` are those of the best individuals, ``looks`` the largest values of each generation, and ``history``
    their means. ``gradient_lengths`` is empty, (0, n), because there are no gradients. ``skipped`` counts individuals
    without a finite value.

    Raises
    ------
    InvalidParameterError
        A number makes no sense, the objective does not fit the responses, or all individuals of the first generation
        have the same value.
    StimulusError
        Latents are not decoded to images in 0–255.
    ValidationError
        No individual has a finite value; the message says where it is lost.
    IntegrityError
        The checkpoint belongs to another evolution, or is damaged.
    Interrupted
        The search was asked to stop; with a checkpoint, the same call goes on.

    See Also
    --------
    berg_jax.experiments.synthesis.search.sets.evolve_sets : Choose sets among images with known responses.
    berg_jax.experiments.synthesis.optimize.optimize : Maximize by gradient ascent.

    Examples
    --------
    ::

        vertices, area = union(subject, {"faces": "FFA-1 + FFA-2"})
        result = evolve(subject.model(vertices), mean(area["faces"]), example_generator(), generations=200)
    """
    require_positive({"n": n, "set_size": set_size, "generations": generations, "microbatch": microbatch}, patience)
    algorithm = cma_es() if algorithm is None else algorithm
    model = as_function(model) if any(callable(leaf) for leaf in jax.tree.leaves(model)) else model
    problem = Problem(
        objective=as_function(objective),
        decode=Function(_identity) if on_host else as_function(parametrization.decode),
        project=None if project is None else as_function(project),
        penalties=None if penalties is None else as_function(penalties),
    )
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0), n)
    starts = [
        jax.tree.map(
            lambda leaf: jnp.asarray(leaf).reshape(algorithm.starts, set_size, *leaf.shape[1:]),
            parametrization.init(key, algorithm.starts * set_size),
        )
        for key in keys
    ]
    genes_of = jax.vmap(lambda latents: ravel_pytree(latents)[0])
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], starts[0]))
    latents_of = jax.jit(jax.vmap(unravel))

    def decodable(individuals: Individuals) -> Any:
        """Return the latents, or the images that a decoder on the host makes from them."""
        latents = latents_of(individuals)
        return _decoded(parametrization.decode, latents) if on_host else latents

    def values(individuals: Individuals) -> Values:
        return _in_blocks(lambda block: _values(model, problem, decodable(block)), individuals, microbatch)

    def probe(individuals: Individuals) -> Values:
        first = jax.tree.map(lambda leaf: leaf[0], decodable(individuals[:1]))
        try:
            check_shapes(model, problem, first)
        except jax.errors.TracerArrayConversionError as error:
            raise InvalidParameterError("decode is no JAX function: give on_host=True.") from error
        check_range(np.asarray(_rendered(problem, decodable(individuals))))
        probed = values(individuals)
        if not np.isfinite(probed).any():
            raise diagnose_value(model, problem, first)
        return probed

    runs, history, looks = run_generations(
        algorithm,
        [np.asarray(genes_of(latents)) for latents in starts],
        values,
        probe,
        generations=generations,
        seed=seed,
        patience=patience,
        checkpoint=checkpoint,
        time_limit=time_limit,
        show_progress=show_progress,
    )
    best = np.stack([run.best for run in runs])
    images = np.concatenate([np.asarray(_rendered(problem, decodable(one[None])))[0] for one in best])
    return make_result(runs, images, jax.device_get(latents_of(best)), history, looks)


def _in_blocks(function: Callable[[Individuals], Array], individuals: Individuals, size: int) -> Values:
    """Return a function's values for all individuals, computed ``size`` at a time."""
    batches = filled_batches(len(individuals), size)
    return np.concatenate([np.asarray(function(individuals[rows]))[:new] for rows, new in batches])


def _identity(images: Array) -> Array:
    return images


def _decoded(decode: Callable[[Any], Any], latents: Any) -> Float[np.ndarray, "m set 3 h w"]:
    """Return the images of a decoder that is not a JAX function."""
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
def _rendered(problem: Problem, latents: Any) -> Float[Array, "m set 3 h w"]:
    return jax.vmap(partial(ascent.render, problem))(latents)

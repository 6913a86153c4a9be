"""Evolutionary algorithms: CMA-ES and a genetic algorithm, as pure functions ``init``, ``ask`` and ``tell``.

Individuals are vectors of genes. CMA-ES is evosax's. The genetic algorithm is implemented here, because evosax's
changes every gene of every child, keeps no parent and has no genes that are indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import CMA_ES
from jaxtyping import Array, Float, Int, Key, Num

from ....errors import InvalidParameterError

Individuals = Num[np.ndarray, "individuals genes"]
Values = Float[np.ndarray, " individuals"]
_MOST = 4_000  # genes that CMA-ES can have: their covariance takes 64 MB


class Algorithm(NamedTuple):
    """A search algorithm, which varies and selects individuals; every function is pure.

    Attributes
    ----------
    starts
        Number of individuals that ``init`` takes.
    init
        Function individuals to start from → state, a pytree.
    ask
        Function (key, state) → individuals to evaluate, and state.
    tell
        Function (key, state, individuals, values) → state. Values are maximized; NaN stands for no value.
    settings
        Text that tells this algorithm from others.

    See Also
    --------
    cma_es, genetic, genetic_sets
    """

    starts: int
    init: Callable[[Individuals], Any]
    ask: Callable[[Key[Array, ""], Any], tuple[Individuals, Any]]
    tell: Callable[[Key[Array, ""], Any, Individuals, Values], Any]
    settings: str


class Population(NamedTuple):
    """A genetic algorithm's state: individuals, and their values, which are NaN before they are known.

    The names of the class and of its fields are written into checkpoints.
    """

    individuals: Individuals
    values: Values


def cma_es(population: int | None = None, spread: float = 0.5) -> Algorithm:
    """Return CMA-ES, the evolution of a normal distribution whose covariance adapts.

    Parameters
    ----------
    population
        Number of individuals in a generation; by default 4 + 3 ln genes.
    spread
        Standard deviation of the individuals in the first generation.

    Raises
    ------
    InvalidParameterError
        A number makes no sense. When the search starts: there are too many genes for a covariance.

    See Also
    --------
    genetic : An algorithm for any number of genes.

    References
    ----------
    Hansen and Ostermeier 2001, *Completely derandomized self-adaptation in evolution strategies*, Evolutionary
    Computation.
    """
    if (population is not None and population < 4) or not spread > 0:
        raise InvalidParameterError(
            f"CMA-ES needs a population of at least 4 and a spread above 0, got {population} and {spread}."
        )

    def init(first: Individuals) -> Any:
        strategy, params = _strategy(population, first.shape[1])
        with _promotion():
            state = strategy.init(jax.random.key(0), jnp.asarray(first[0]), params)
        return state.replace(std=jnp.asarray(spread, state.mean.dtype))

    def ask(key: Key[Array, ""], state: Any) -> tuple[Individuals, Any]:
        strategy, params = _strategy(population, state.mean.size)
        with _promotion():
            individuals, state = strategy.ask(key, state, params)
        return np.asarray(individuals), state

    def tell(key: Key[Array, ""], state: Any, individuals: Individuals, values: Values) -> Any:
        strategy, params = _strategy(population, state.mean.size)
        with _promotion():
            # evosax minimizes, and ranks NaN last.
            return strategy.tell(key, individuals, jnp.asarray(-values), state, params)[0]

    return Algorithm(starts=1, init=init, ask=ask, tell=tell, settings=f"CMA-ES {population} {spread}")


def genetic(
    population: int = 1000,
    *,
    keep: float = 0.25,
    heritability: float = 0.25,
    mutation: float = 0.25,
    size: float = 0.75,
) -> Algorithm:
    """Return a genetic algorithm for latents: the best individuals survive, the others are children of two of them.

    Parameters
    ----------
    population
        Number of individuals.
    keep
        Share of the population that survives unchanged.
    heritability
        Share of a child's genes that come from the second parent.
    mutation
        Share of a child's genes that change.
    size
        Standard deviation of these changes.

    Raises
    ------
    InvalidParameterError
        A number makes no sense.

    See Also
    --------
    genetic_sets : The same for sets of images.
    cma_es : An algorithm for few genes.

    References
    ----------
    Ponce et al. 2019, *Evolving images for visual neurons using a deep generative network reveals coding principles
    and neuronal preferences*, Cell; the defaults are those of Gifford et al. 2025, *In silico discovery of
    representational relationships across visual cortex*, Nature Human Behaviour, who use 500 generations.
    """
    if not size > 0:
        raise InvalidParameterError(f"size must be above 0, got {size}.")

    def mutated(random: np.random.Generator, children: Individuals, changed: np.ndarray) -> Individuals:
        return children + (changed * random.normal(0, size, children.shape)).astype(children.dtype)

    return _genetic(population, keep, heritability, mutation, mutated, f"latents {size}")


def genetic_sets(
    n_images: int, population: int = 200, *, keep: float = 0.25, heritability: float = 0.25, mutation: float = 0.25
) -> Algorithm:
    """Return a genetic algorithm for sets of images, whose genes are the indices of different images.

    Parameters
    ----------
    n_images
        Number of images to choose from.
    population, keep, heritability, mutation
        See :func:`genetic`. A mutation replaces an image by any other.

    Raises
    ------
    InvalidParameterError
        A number makes no sense.
    """

    def mutated(random: np.random.Generator, children: Individuals, changed: np.ndarray) -> Individuals:
        replaced = np.where(changed, random.integers(n_images, size=children.shape), children)
        return distinct(random, replaced, n_images)

    return _genetic(population, keep, heritability, mutation, mutated, f"sets of {n_images}")


def distinct(random: np.random.Generator, sets: Int[np.ndarray, "n k"], n_images: int) -> Int[np.ndarray, "n k"]:
    """Replace indices that a set holds more than once by random ones below ``n_images``, until all are different."""
    sets = sets.copy()
    rows = np.arange(len(sets))[:, None]
    while True:
        order = np.argsort(sets, axis=1, kind="stable")
        ordered = sets[rows, order]
        repeated = np.zeros(sets.shape, bool)
        repeated[rows, order[:, 1:]] = ordered[:, 1:] == ordered[:, :-1]
        if not repeated.any():
            return sets
        sets[repeated] = random.integers(n_images, size=int(repeated.sum()))


def _genetic(
    population: int,
    keep: float,
    heritability: float,
    mutation: float,
    mutated: Callable[[np.random.Generator, Individuals, np.ndarray], Individuals],
    genes: str,
) -> Algorithm:
    n_kept = round(keep * population)
    if not (0 <= heritability <= 1 and 0 < mutation <= 1 and 2 <= n_kept < population):
        raise InvalidParameterError(
            "A genetic algorithm keeps at least 2 of its population and not all, inherits from 0 to 1 and changes a "
            f"share of genes: got population {population}, keep {keep}, heritability {heritability}, mutation "
            f"{mutation}."
        )

    def init(first: Individuals) -> Population:
        return Population(np.asarray(first), np.full(population, np.nan))

    def ask(key: Key[Array, ""], state: Population) -> tuple[Individuals, Population]:
        if np.isnan(state.values).all():
            return state.individuals, state
        random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        parents = _best(state, n_kept).individuals
        shape = (population - n_kept, parents.shape[1])
        first, second = parents[random.integers(n_kept, size=(2, shape[0]))]
        children = np.where(random.random(shape) < heritability, second, first)
        return mutated(random, children, random.random(shape) < mutation), state

    def tell(key: Key[Array, ""], state: Population, individuals: Individuals, values: Values) -> Population:
        survivors = _best(state, population - len(individuals))
        values = np.where(np.isnan(values), -np.inf, values)
        return Population(
            individuals=np.concatenate([survivors.individuals, individuals]),
            values=np.concatenate([survivors.values, values]),
        )

    settings = f"genetic {population} {keep} {heritability} {mutation} {genes}"
    return Algorithm(starts=population, init=init, ask=ask, tell=tell, settings=settings)


def _best(state: Population, count: int) -> Population:
    order = np.argsort(-np.asarray(state.values), kind="stable")[:count]
    return Population(np.asarray(state.individuals)[order], np.asarray(state.values)[order])


@lru_cache(maxsize=16)
def _strategy(population: int | None, genes: int) -> tuple[CMA_ES, Any]:
    """Return the strategy for a size, and its parameters.

    Strategies are cached, because a program is compiled for each of them.
    """
    if genes > _MOST:
        raise InvalidParameterError(
            f"CMA-ES keeps a covariance of all genes, and {genes:,} are more than {_MOST:,}. Give images that are "
            "written with fewer latents, such as a generator's, or the genetic algorithm."
        )
    strategy = CMA_ES(population_size=population or 4 + int(3 * math.log(genes)), solution=jnp.zeros(genes))
    return strategy, strategy.default_params


def _promotion() -> Any:
    """Allow rank promotion, which evosax needs even where its caller forbids it."""
    return jax.numpy_rank_promotion("allow")

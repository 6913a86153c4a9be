"""Search without gradients: pure ``init``, ``ask`` and ``tell``, of individuals that are vectors of genes.

CMA-ES is evosax's. The genetic algorithm is written here, because evosax's changes every gene of every child, keeps
no parent and knows no genes that are indices.
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
_MOST = 4_000  # genes of which CMA-ES keeps a covariance, 64 MB of it


class Algorithm(NamedTuple):
    """How individuals are varied and chosen; every function is pure.

    Attributes
    ----------
    starts
        How many individuals ``init`` takes.
    init
        Individuals to start from → state, a pytree.
    ask
        (key, state) → individuals to be valued, and state.
    tell
        (key, state, individuals, values) → state. Values are to be large, and NaN where they are no number.
    settings
        What tells it from others.
    """

    starts: int
    init: Callable[[Individuals], Any]
    ask: Callable[[Key[Array, ""], Any], tuple[Individuals, Any]]
    tell: Callable[[Key[Array, ""], Any, Individuals, Values], Any]
    settings: str


class Population(NamedTuple):
    """A genetic algorithm's state: individuals and their values, NaN before they are known."""

    individuals: Individuals
    values: Values


def cma_es(population: int | None = None, spread: float = 0.5) -> Algorithm:
    """Evolution of a normal distribution, whose covariance adapts.

    Parameters
    ----------
    population
        How many individuals a generation has; by default 4 + 3 ln genes.
    spread
        Their standard deviation in the first one.

    Raises
    ------
    InvalidParameterError
        A number makes no sense; later, there are too many genes for a covariance.

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
            # It minimizes, and ranks what is not a number last.
            return strategy.tell(key, individuals, jnp.asarray(-values), state, params)[0]

    return Algorithm(1, init, ask, tell, f"CMA-ES {population} {spread}")


def genetic(
    population: int = 1000,
    *,
    keep: float = 0.25,
    heritability: float = 0.25,
    mutation: float = 0.25,
    size: float = 0.75,
) -> Algorithm:
    """Evolution of a population of latents: the best are kept, and all others are children of two of them.

    Parameters
    ----------
    population
        How many individuals.
    keep
        The share that is kept, as it is.
    heritability
        The share of a child's genes that it has from the second parent.
    mutation
        The share of its genes that is changed.
    size
        The standard deviation of these changes.

    Raises
    ------
    InvalidParameterError
        A number makes no sense.

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
    images: int, population: int = 200, *, keep: float = 0.25, heritability: float = 0.25, mutation: float = 0.25
) -> Algorithm:
    """As :func:`genetic`, of sets of images: a gene is an image's number, below ``images``, and none is there twice.

    A mutation is any other image.
    """

    def mutated(random: np.random.Generator, children: Individuals, changed: np.ndarray) -> Individuals:
        return distinct(random, np.where(changed, random.integers(images, size=children.shape), children), images)

    return _genetic(population, keep, heritability, mutation, mutated, f"sets of {images}")


def distinct(random: np.random.Generator, sets: Int[np.ndarray, "n k"], images: int) -> Int[np.ndarray, "n k"]:
    """The sets, with any other images below ``images`` in place of those that a set has already."""
    sets = sets.copy()
    rows = np.arange(len(sets))[:, None]
    while True:
        order = np.argsort(sets, axis=1, kind="stable")
        ordered = sets[rows, order]
        again = np.zeros(sets.shape, bool)
        again[rows, order[:, 1:]] = ordered[:, 1:] == ordered[:, :-1]
        if not again.any():
            return sets
        sets[again] = random.integers(images, size=int(again.sum()))


def _genetic(
    population: int,
    keep: float,
    heritability: float,
    mutation: float,
    mutated: Callable[[np.random.Generator, Individuals, np.ndarray], Individuals],
    genes: str,
) -> Algorithm:
    kept = round(keep * population)
    if not (0 <= heritability <= 1 and 0 < mutation <= 1 and 2 <= kept < population):
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
        parents = _best(state, kept).individuals
        shape = (population - kept, parents.shape[1])
        first, second = parents[random.integers(kept, size=(2, shape[0]))]
        children = np.where(random.random(shape) < heritability, second, first)
        return mutated(random, children, random.random(shape) < mutation), state

    def tell(key: Key[Array, ""], state: Population, individuals: Individuals, values: Values) -> Population:
        old = _best(state, population - len(individuals))
        values = np.where(np.isnan(values), -np.inf, values)
        return Population(np.concatenate([old.individuals, individuals]), np.concatenate([old.values, values]))

    return Algorithm(population, init, ask, tell, f"genetic {population} {keep} {heritability} {mutation} {genes}")


def _best(state: Population, count: int) -> Population:
    order = np.argsort(-np.asarray(state.values), kind="stable")[:count]
    return Population(np.asarray(state.individuals)[order], np.asarray(state.values)[order])


@lru_cache(maxsize=16)
def _strategy(population: int | None, genes: int) -> tuple[CMA_ES, Any]:
    """One for each size, because a program is compiled for each of them; and its parameters."""
    if genes > _MOST:
        raise InvalidParameterError(
            f"CMA-ES keeps a covariance of all genes, and {genes:,} are more than {_MOST:,}. Give images that are "
            "written with fewer latents, such as a generator's, or the genetic algorithm."
        )
    strategy = CMA_ES(population_size=population or 4 + int(3 * math.log(genes)), solution=jnp.zeros(genes))
    return strategy, strategy.default_params


def _promotion() -> Any:
    """evosax broadcasts ranks, whatever its caller has JAX say of that."""
    return jax.numpy_rank_promotion("allow")

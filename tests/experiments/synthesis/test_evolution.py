"""Evolution: known optima are found, operators keep what they promise, runs resume to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import berg_jax
from berg_jax.errors import (
    BERGError,
    IntegrityError,
    Interrupted,
    InvalidParameterError,
    StimulusError,
    ValidationError,
)
from berg_jax.experiments.representations.dissimilarity import dissimilarities
from berg_jax.experiments.synthesis import objectives, priors
from berg_jax.experiments.synthesis.areas import union
from berg_jax.experiments.synthesis.optimize import Result, optimize
from berg_jax.experiments.synthesis.parametrizations.base import Parametrization
from berg_jax.experiments.synthesis.parametrizations.generators import example_generator, principal_components
from berg_jax.experiments.synthesis.search.algorithms import Population, cma_es, genetic, genetic_sets
from berg_jax.experiments.synthesis.search.evolution import evolve
from berg_jax.experiments.synthesis.search.sets import evolve_sets, random_sets, set_values

SIZE = 4
RANDOM = np.random.default_rng(0)


@flax.struct.dataclass
class Means:
    """A model whose vertices are channels' means, in 0–1."""

    scale: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.scale * images.mean(axis=(2, 3)) / 255


MODEL = Means(jnp.ones(()))


def tint(latents: jax.Array) -> jax.Array:
    """Three latents, the mean colors."""
    return 255 * jax.nn.sigmoid(latents)[:, :, None, None] * jnp.ones((1, 1, SIZE, SIZE))


def numpy_tint(latents: np.ndarray) -> np.ndarray:
    return 255 / (1 + np.exp(-np.asarray(latents)))[:, :, None, None] * np.ones((1, 1, SIZE, SIZE))


def draw(key: jax.Array, n: int) -> jax.Array:
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return jnp.asarray(random.normal(size=(n, 3)), float)


COLORS = Parametrization(draw, tint)
TARGET = np.array([0.2, 0.5, 0.9], np.float32)
CLOSE = objectives.squared_error(TARGET)
QUIET = {"show_progress": False}


def same(a: Result, b: Result) -> None:
    for name in Result._fields:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize(("algorithm", "generations"), [(cma_es(12), 60), (genetic(40, size=0.3), 60)])
def test_a_known_optimum_is_found(algorithm: object, generations: int) -> None:
    result = evolve(MODEL, CLOSE, COLORS, algorithm, n=2, generations=generations, **QUIET)
    assert result.images.shape == (2, 3, SIZE, SIZE)
    assert result.latents.shape == (2, 1, 3)
    np.testing.assert_allclose(result.images.mean((2, 3)) / 255, np.stack([TARGET] * 2), atol=0.02)
    np.testing.assert_allclose(result.images, numpy_tint(result.latents[:, 0]), rtol=1e-5)
    shown = result.images.mean((2, 3)) / 255
    np.testing.assert_allclose(result.values, -((shown - TARGET) ** 2).mean(1), atol=1e-6)
    assert result.history.shape == result.looks.shape == (generations, 2)
    np.testing.assert_allclose(result.looks.max(0), result.values, rtol=1e-6)
    assert (result.looks[result.best_steps - 1, [0, 1]] == result.looks.max(0)).all()
    assert (result.history <= result.looks + 1e-6).all()
    assert result.gradient_lengths.shape == (0, 2)
    assert not np.array_equal(*result.latents)  # each run is its own


def test_cma_es_learns_directions() -> None:
    """On a stretched and turned quadratic, where a spread of one size for all directions is slow."""
    turn = np.linalg.qr(RANDOM.normal(size=(3, 3)))[0]
    scale = 10.0 ** np.arange(0, 6, 2)
    algorithm = cma_es(12, 0.3)
    state = algorithm.init(np.ones((1, 3), np.float32))
    for key in jax.random.split(jax.random.key(0), 120):
        individuals, state = algorithm.ask(key, state)
        values = -((np.asarray(individuals, np.float64) @ turn) ** 2 @ scale)
        state = algorithm.tell(key, state, individuals, values)
    assert values.max() > -1e-6


def test_children_are_of_two_parents_and_the_best_are_kept() -> None:
    """Shares of genes against what was asked for."""
    algorithm = genetic(1000, keep=0.3, heritability=0.2, mutation=0.1, size=2.0)
    individuals = RANDOM.normal(size=(1000, 200))
    values = RANDOM.permutation(1000).astype(float)
    values[0] = np.nan
    asked, state = algorithm.ask(jax.random.key(0), algorithm.init(individuals))
    np.testing.assert_array_equal(asked, individuals)
    state = algorithm.tell(jax.random.key(0), state, individuals, values)
    children, state = algorithm.ask(jax.random.key(1), state)
    assert children.shape == (700, 200)
    best = np.argsort(-np.where(np.isnan(values), -np.inf, values))[:300]
    parents = individuals[best]
    owners = children[:20, None] == parents  # (children, parents, genes)
    assert (~owners.any(1)).mean() == pytest.approx(0.1, abs=0.02)
    shares = np.sort(owners.mean(2), axis=1)[:, ::-1]
    np.testing.assert_allclose(shares[:, :2].mean(0), [0.8 * 0.9, 0.2 * 0.9], atol=0.03)
    np.testing.assert_array_equal(shares[:, 2], 0)
    changed = (children[:20] - np.take_along_axis(parents, owners.mean(2).argmax(1)[:, None], 0))[~owners.any(1)]
    assert changed.std() > 1.5
    after = algorithm.tell(jax.random.key(1), state, children, np.full(700, -5.0))
    np.testing.assert_array_equal(after.individuals[:300], parents)
    np.testing.assert_array_equal(after.values[:300], values[best])


def test_sets_hold_no_image_twice() -> None:
    algorithm = genetic_sets(11, 50, mutation=0.5)
    sets = random_sets(11, 5, 50, 0)
    state = Population(sets, np.arange(50.0))
    for generation in range(20):
        assert all(len(set(row)) == 5 for row in sets.tolist())
        assert sets.min() >= 0
        assert sets.max() <= 10
        sets, state = algorithm.ask(jax.random.key(generation), state)
        state = algorithm.tell(jax.random.key(generation), state, sets, RANDOM.normal(size=len(sets)))
    assert len(np.unique(sets)) == 11


def alignment(responses: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(dissimilarities(responses[:, first]), dissimilarities(responses[:, second]))[0, 1])


def test_the_best_set_is_found() -> None:
    """Of few images, where all sets can be tried."""
    responses = RANDOM.normal(size=(12, 10)).astype(np.float32)
    first, second = np.arange(10) < 5, np.arange(10) >= 5
    every = np.array(list(combinations(range(12), 4)))
    truth = np.array([alignment(responses[row], first, second) for row in every])
    np.testing.assert_allclose(
        set_values(responses, objectives.align(first, second), every[:9]), truth[:9], atol=1e-5
    )
    for objective, expected in ((objectives.align, truth.max()), (objectives.disentangle, -np.abs(truth).min())):
        result = evolve_sets(
            responses, objective(first, second), 4, n=2, generations=60, population=60, seed=1, **QUIET
        )
        best = result.values.argmax()
        np.testing.assert_allclose(result.values[best], expected, atol=2e-3)
        reached = alignment(responses[result.latents[best]], first, second)
        np.testing.assert_allclose(reached if expected > 0 else -abs(reached), result.values[best], atol=1e-5)
    assert result.latents.shape == (2, 4)
    assert len(result.images) == 0


def test_sets_of_latents_penalties_and_decoders_that_are_not_jax() -> None:
    options = {"algorithm": genetic(8), "n": 2, "set_size": 2, "generations": 3, "seed": 4, **QUIET}
    ours = evolve(MODEL, CLOSE, COLORS, penalties=0.1 * priors.distance(np.full((3, SIZE, SIZE), 99.0)), **options)
    theirs = evolve(
        MODEL,
        CLOSE,
        Parametrization(draw, numpy_tint),
        penalties=0.1 * priors.distance(np.full((3, SIZE, SIZE), 99.0)),
        on_host=True,
        **options,
    )
    assert ours.images.shape == theirs.images.shape == (4, 3, SIZE, SIZE)
    assert ours.latents.shape == (2, 2, 3)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-4)
    away = np.sqrt(((ours.images - 99) ** 2).mean((1, 2, 3)))
    value = -((ours.images.mean((2, 3)) / 255 - TARGET) ** 2).mean(1) - 0.1 * away
    np.testing.assert_allclose(ours.values, value.reshape(2, 2).mean(1), rtol=1e-4)


@pytest.mark.parametrize("algorithm", [cma_es(12), genetic(12)])
def test_it_resumes_to_the_same_bits(algorithm: object, tmp_path: Path) -> None:
    options = {"n": 2, **QUIET}
    whole = evolve(MODEL, CLOSE, COLORS, algorithm, generations=9, **options)
    path = tmp_path / "run" / "checkpoint.npz"
    with pytest.raises(Interrupted, match=r"after 0 of 9 generations. The same call goes on"):
        evolve(MODEL, CLOSE, COLORS, algorithm, generations=9, checkpoint=path, time_limit=-1, **options)
    evolve(MODEL, CLOSE, COLORS, algorithm, generations=4, checkpoint=path, **options)
    same(whole, evolve(MODEL, CLOSE, COLORS, algorithm, generations=9, checkpoint=path, **options))
    same(whole, evolve(MODEL, CLOSE, COLORS, algorithm, generations=9, checkpoint=path, **options))
    for other in ({"algorithm": genetic(12, keep=0.5)}, {"seed": 1}, {"objective": 2 * CLOSE}):
        arguments = {"objective": CLOSE, "parametrization": COLORS, "algorithm": algorithm, "generations": 9, **other}
        with pytest.raises(IntegrityError, match="another optimization"):
            evolve(MODEL, checkpoint=path, **arguments, **options)


def test_patience_ends() -> None:
    result = evolve(MODEL, CLOSE, COLORS, genetic(12, mutation=1e-6), n=1, generations=500, patience=7, **QUIET)
    assert len(result.history) < 500
    assert len(result.history) - result.best_steps[0] == 7


def edge(responses: jax.Array) -> jax.Array:
    """The brighter the better, and not a number beyond a half."""
    return jnp.where(responses[..., 0] < 0.5, responses[..., 0], jnp.nan)


def test_what_is_not_finite_is_left_out() -> None:
    for algorithm in (cma_es(12), genetic(40)):
        result = evolve(MODEL, edge, COLORS, algorithm, generations=40, **QUIET)
        assert 0.47 < result.values[0] < 0.5
        assert result.skipped[0] > 0
        assert np.isfinite(result.history).all()


def constant(responses: jax.Array) -> jax.Array:
    return jnp.zeros(responses.shape[:-1])


def infinite(responses: jax.Array) -> jax.Array:
    return responses.sum(-1) / 0


def evolved(objective: object = CLOSE, images: Parametrization = COLORS, **options: object) -> Result:
    return evolve(MODEL, objective, images, **{"algorithm": genetic(12), "generations": 2, **QUIET, **options})


BRIGHT = Parametrization(draw, lambda latents: 300 * jnp.ones((len(latents), 3, SIZE, SIZE)))
FEW = Parametrization(draw, lambda latents: numpy_tint(latents)[:-1])
MANY = Parametrization(lambda key, n: jnp.zeros((n, 5000)), lambda latents: jnp.zeros((len(latents), 3, SIZE, SIZE)))
RESPONSES = RANDOM.normal(size=(9, 6)).astype(np.float32)
ALIGN = objectives.align(np.arange(6) < 3, np.arange(6) >= 3)
MISTAKES: dict[str, tuple[Callable[[], object], type[BERGError], str]] = {
    "constant": (lambda: evolved(constant), InvalidParameterError, "have the value 0. Does the objective depend"),
    "infinite": (lambda: evolved(infinite), ValidationError, "objective's values hold a number that is not finite"),
    "too bright": (lambda: evolved(images=BRIGHT), StimulusError, "0–255, got 300 to 300"),
    "not JAX": (
        lambda: evolved(images=Parametrization(draw, numpy_tint)),
        InvalidParameterError,
        "no JAX function: give on_host=True",
    ),
    "too few": (lambda: evolved(images=FEW, on_host=True), StimulusError, "each of 1 latents, got 0|empty batch"),
    "other ROI": (lambda: evolved(objectives.mean(np.ones(7))), InvalidParameterError, "this model's vertices"),
    "n": (lambda: evolved(n=0), InvalidParameterError, "n must be at least 1, got 0"),
    "genes": (lambda: evolved(images=MANY, algorithm=None), InvalidParameterError, "5,000 are more than 4,000"),
    "population": (lambda: cma_es(3), InvalidParameterError, "at least 4"),
    "keep": (lambda: genetic(10, keep=0.1), InvalidParameterError, "keeps at least 2"),
    "size": (lambda: genetic(size=0), InvalidParameterError, "size must be above 0"),
    "set size": (lambda: evolve_sets(RESPONSES, ALIGN, 5), InvalidParameterError, "at most half of the 9"),
    "no number": (lambda: evolve_sets(RESPONSES * np.nan, ALIGN, 4), ValidationError, "not finite"),
    "components": (
        lambda: principal_components(np.full((5, 3, 8, 8), 9, np.uint8), 5),
        InvalidParameterError,
        "less than the number of images, 5; got 5",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_before_it_starts(name: str) -> None:
    call, error, said = MISTAKES[name]
    with pytest.raises(error, match=said):
        call()


def test_the_generator_makes_what_it_was_fitted_on() -> None:
    """Images of three hidden causes are made again from three latents, and those have unit variance."""
    random = np.random.default_rng(3)
    causes = random.normal(size=(40, 3))
    coarse = np.repeat(np.repeat(random.normal(size=(3, 3, 14, 14)), 4, axis=2), 4, axis=3)
    argument = 0.3 * np.tensordot(causes, coarse, 1)
    images = 256 / (1 + np.exp(-argument)) - 0.5
    generator = principal_components(images.astype(np.float32), 3)
    mean, components, _ = (np.asarray(x) for x in generator.decode.numbers)
    codes = (argument - mean).reshape(40, -1) @ np.linalg.pinv(components.reshape(3, -1))
    np.testing.assert_allclose(codes.std(axis=0, ddof=1), 1, rtol=1e-3)
    assert np.abs(codes).max() < 3
    undone = 3 * np.arctanh(codes / 3)  # what the bound makes these of
    made = np.asarray(generator.decode(jnp.asarray(undone, float)))
    np.testing.assert_allclose(made, 255 / (1 + np.exp(-argument)), atol=0.02)
    one, other = (np.asarray(generator.decode(generator.init(jax.random.key(5), 2))) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (2, 3, 56, 56)


@pytest.mark.nightly
def test_cma_es_reaches_the_gradient_s_optimum(demo: Path) -> None:
    """In the latent space of the example generator, by values alone."""
    person, generator = berg_jax.Subject("demo", 1), example_generator()
    vertices, area = union(person, {"faces": "FFA-1 + FFA-2", "places": "PPA"})
    model, objective = person.model(vertices), objectives.mean(area["faces"])
    gradient = optimize(model, objective, generator, n=4, steps=128, optimizer=optax.adam(0.2), show_progress=False)
    evolution = evolve(model, objective, generator, generations=120, show_progress=False)
    start = gradient.history[0].mean()
    share = (evolution.values[0] - start) / (gradient.values.max() - start)
    print(
        f"\ngradient {gradient.values.round(2)} z from {start:.2f}, 4 × 128 steps; CMA-ES {evolution.values[0]:.2f}, "
        f"120 generations of 13; share of the gain {share:.2f}"
    )
    assert share > 0.9

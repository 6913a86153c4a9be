"""Losses, schedule, optimizer, scores, vertex weights and soup against hand computation and SciPy."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.fitting.recipe import Recipe
from berg_jax.experiments.fitting.training.distillation import distilled, measured_share
from berg_jax.experiments.fitting.training.losses import entropy, mean_squared_error, smooth_l1
from berg_jax.experiments.fitting.training.optimizers import adamw, decays, schedule
from berg_jax.experiments.fitting.training.scores import (
    averaged_rise,
    mean_r,
    merged,
    moments,
    pearson,
    vertex_weights,
)
from berg_jax.experiments.fitting.training.soup import greedy_soup


@pytest.fixture
def responses() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    predicted, measured = random.normal(size=(2, 40, 7)).astype(np.float32)
    measured[random.random(measured.shape) < 0.2] = np.nan
    measured[:, 3] = np.nan
    return predicted, measured


@pytest.mark.parametrize("beta", [0.01, 0.5])
def test_smooth_l1_is_huber_s_loss_over_beta(responses: tuple[np.ndarray, np.ndarray], beta: float) -> None:
    predicted, measured = responses

    value = jax.jit(partial(smooth_l1, beta=beta))(*responses, np.ones(7, np.float32))

    residual = (predicted - measured)[~np.isnan(measured)].astype(np.float64)
    assert float(value) == pytest.approx((scipy.special.huber(beta, residual) / beta).mean(), rel=1e-6)


def test_losses_weigh_vertices_and_leave_nan_out(responses: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = responses
    weights = np.arange(7, dtype=np.float32)

    value = jax.jit(mean_squared_error)(predicted, measured, weights)

    squares = (predicted - measured) ** 2 * weights
    assert float(value) == pytest.approx(np.nanmean(squares, dtype=np.float64), rel=1e-6)
    for loss in (smooth_l1, mean_squared_error):
        gradient = jax.jit(jax.grad(loss))(jnp.asarray(predicted), measured, jnp.ones(7))
        assert np.array_equal(np.asarray(gradient) == 0, np.isnan(measured))


def test_a_step_without_any_response_has_no_loss() -> None:
    nothing = jnp.full((2, 3), jnp.nan)

    value, gradient = jax.jit(jax.value_and_grad(smooth_l1))(jnp.ones((2, 3)), nothing, jnp.ones(3))

    assert float(value) == 0
    assert np.array_equal(gradient, np.zeros((2, 3)))


def test_entropy_regularizer() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(4), 9).astype(np.float32)
    weights[0] = 0, 0, 1, 0

    value = jax.jit(partial(entropy, weight=0.5))(weights, np.zeros((9, 2), np.float32))

    expected = -0.5 * scipy.stats.entropy(weights.astype(np.float64), axis=1).mean()
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_distillation_passes_from_teacher_to_measured(responses: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = responses
    teacher, ones = np.zeros_like(predicted), np.ones(7, np.float32)

    shares = [measured_share(epoch, 300) for epoch in (0, 150, 300, 900)]
    value = jax.jit(partial(distilled, mean_squared_error))(predicted, measured, ones, teacher, 0.25)

    assert shares == [0, 0.5, 1, 1]
    of_measured = np.nanmean((predicted - measured) ** 2, dtype=np.float64)
    of_teacher = (predicted[~np.isnan(measured)].astype(np.float64) ** 2).mean()
    assert float(value) == pytest.approx(0.25 * of_measured + 0.75 * of_teacher, rel=1e-6)
    alone = jax.jit(partial(distilled, mean_squared_error))(predicted, measured, ones, None, 0.0)
    assert float(alone) == pytest.approx(of_measured, rel=1e-6)


def test_the_published_schedule() -> None:
    rates = jax.vmap(schedule(Recipe(), epoch_steps=7))(jnp.arange(100))

    expected = np.minimum(1e-4 + 2e-4 * np.arange(100) / 70, 3e-4)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_weight_decay_skips_biases_norms_and_selectors() -> None:
    ones = np.ones((2, 2), np.float32)
    params = {
        "heads": {"conv_0": ones, "norm_0": {"scale": ones, "bias": ones}},
        "selectors": {"logits": ones, "position": ones},
        "readout": {"weight": ones, "bias": ones},
        "frozen": None,
    }
    recipe = Recipe(weight_decay=0.1, learning_rate=0.01, start_rate=0.01, network_rate=0.5)
    optimizer = adamw(recipe, epoch_steps=1)

    updates, _ = jax.jit(optimizer.update)(
        jax.tree.map(np.zeros_like, params), jax.jit(optimizer.init)(params), params
    )

    after = jax.tree.map(lambda update: float(update.reshape(-1)[0]), updates)
    assert after["heads"] == {"conv_0": pytest.approx(-5e-4), "norm_0": {"scale": 0, "bias": 0}}
    assert after["selectors"] == {"logits": 0, "position": 0}
    assert after["readout"] == {"weight": pytest.approx(-1e-3), "bias": 0}
    assert decays({"lora_up": 0, "lora_down": 0}) == {"lora_up": True, "lora_down": True}


def test_gradients_are_clipped_together() -> None:
    optimizer = optax.chain(optax.clip_by_global_norm(Recipe().clip_norm))
    gradient = {"a": np.full(4, 3, np.float32), "b": np.full(4, 4, np.float32)}

    @jax.jit
    def updated(gradient: dict) -> tuple[dict, dict]:
        first = adamw(Recipe(), 1)
        start = jax.tree.map(jnp.zeros_like, gradient)
        return optimizer.update(gradient, optimizer.init(gradient))[0], first.update(
            gradient, first.init(start), start
        )[0]

    clipped, updates = updated(gradient)

    assert float(clipped["a"][0]) == pytest.approx(3 * 0.5 / 10)
    assert float(updates["a"][0]) == pytest.approx(-1e-4, rel=1e-4)  # Adam's first step is the rate


def test_pearson_r_of_batches_is_scipy_s(responses: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = (x.copy() for x in responses)
    predicted[:, 5] = 2.0  # says nothing
    measured += 30  # far from 0
    parts = [jax.jit(moments)(predicted[rows], measured[rows]) for rows in (slice(0, 1), slice(1, 17), slice(17, 40))]

    r = np.asarray(jax.jit(lambda a, b, c: pearson(merged(merged(a, b), c)))(*parts))

    for vertex in (0, 1, 2, 4, 6):
        there = ~np.isnan(measured[:, vertex])
        expected = scipy.stats.pearsonr(predicted[there, vertex], measured[there, vertex]).statistic
        assert r[vertex] == pytest.approx(expected, abs=2e-6)
    assert np.isnan(r[3])
    assert r[5] == 0
    assert mean_r(r) == pytest.approx(np.nanmean(r, dtype=np.float64))
    assert mean_r(np.full(3, np.nan)) == 0


def test_vertex_weights_by_hand() -> None:
    average = np.zeros(3)
    for before, now in (([0.1, 0.1, np.nan], [0.2, 0.1, np.nan]), ([0.2, 0.1, 0.0], [0.2, 0.3, 0.0])):
        average = averaged_rise(average, np.array(before), np.array(now), 0.9)

    np.testing.assert_allclose(average, [0.9 * 0.01, 0.02, 0])
    np.testing.assert_allclose(vertex_weights(average), [0.45, 1, 0], rtol=1e-6)
    assert vertex_weights(np.full(3, 0.2)).tolist() == [1, 1, 1]


def test_a_soup_never_lowers_the_score() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        target = random.normal(size=5)
        tensors = [random.normal(size=5).astype(np.float32) for _ in range(10)]

        def score(params: dict, target: np.ndarray = target) -> float:
            return -float(((params["w"] - target) ** 2).sum())

        scores = [score({"w": tensor}) for tensor in tensors]
        soup = greedy_soup([partial(dict, w=tensor) for tensor in tensors], scores, score)

        assert soup.score >= max(scores)
        assert soup.members[0] == int(np.argmax(scores))
        mean = np.mean([tensors[index] for index in soup.members], axis=0, dtype=np.float64)
        np.testing.assert_allclose(soup.params["w"], mean, rtol=0, atol=1e-6)
        assert soup.score == pytest.approx(score(soup.params))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"epochs": 1.5}, "epochs must be an integer, got 1.5"),
        ({"beta": float("nan")}, "beta must be finite"),
        ({"epoch_fraction": 1.5}, "epoch_fraction must be above 0 and at most 1"),
        ({"weighting_memory": 1.0}, "weighting_memory must be below 1"),
        ({"entropy": -1.0}, "entropy must be finite and at least 0"),
        ({"jitter": "much"}, "jitter must be a number"),
    ],
)
def test_a_recipe_that_makes_no_sense(options: dict, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        Recipe(**options)


def test_epochs_of_few_and_many_images() -> None:
    assert [Recipe().epoch_steps(images) for images in (5, 300, 9000, 72_000)] == [1, 1, 14, 112]
    assert [Recipe().validated(images) for images in (5, 256, 1000, 2000)] == [5, 256, 256, 500]

"""Objectives of synthesis against NumPy and SciPy in float64."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.synthesis import objectives
from berg_jax.experiments.synthesis.functions import Function
from berg_jax.published.metadata import noise_ceiling

RANDOM = np.random.default_rng(0)
RESPONSES = RANDOM.normal(size=(5, 12)).astype(np.float32)
STACKED = RANDOM.normal(size=(3, 5, 12)).astype(np.float32)
A = np.repeat([1 / 4, 0], [4, 8]).astype(np.float32)
B = np.repeat([0, 1 / 5, 0], [2, 5, 5]).astype(np.float32)
TARGET = RANDOM.normal(size=12)
CEILING = noise_ceiling(RANDOM.uniform(0.2, 2, 12))


def weighted_correlation(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    covariance = np.cov(x, y, aweights=w)
    return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])


def alignment(responses: np.ndarray) -> float:
    first, second = (pdist(responses[:, rows].astype(np.float64), "correlation") for rows in (A > 0, B > 0))
    return float(np.corrcoef(first, second)[0, 1])


def controlled(responses: np.ndarray) -> np.ndarray:
    a, b = responses[:, :4].mean(1), responses[:, 2:7].mean(1)
    return np.minimum(a - 0.1, 0.3) + np.minimum(0.2 - b, 0.3)


EXPECTED: dict[str, tuple[Function, Callable[[np.ndarray], object]]] = {
    "mean": (objectives.mean(A), lambda r: r[:, :4].mean(1)),
    "top 2": (objectives.top_mean(B, 2), lambda r: np.sort(r[:, 2:7], 1)[:, -2:].mean(1)),
    "weighted": (objectives.mean(TARGET), lambda r: r @ TARGET),
    "contrast": (objectives.contrast(A, B), lambda r: r[:, :4].mean(1) - r[:, 2:7].mean(1)),
    "margin": (objectives.contrast(A, B, (0.1, 0.2), 0.3), controlled),
    "drive both": (objectives.control([A, B], (1, 1)), lambda r: r[:, :4].mean(1) + r[:, 2:7].mean(1)),
    "correlation": (objectives.correlation(TARGET), lambda r: [np.corrcoef(row, TARGET)[0, 1] for row in r]),
    "ceiling": (
        objectives.correlation(TARGET, CEILING),
        lambda r: [weighted_correlation(row, TARGET, CEILING) for row in r],
    ),
    "squared error": (
        objectives.squared_error(TARGET, CEILING),
        lambda r: -np.average((r - TARGET) ** 2, axis=1, weights=CEILING),
    ),
    "align": (objectives.align(A, B), lambda r: [alignment(r)]),
    "disentangle": (objectives.disentangle(A, B), lambda r: [-abs(alignment(r))]),
    "variety": (objectives.variety(B), lambda r: [pdist(r[:, 2:7].astype(np.float64), "correlation").mean()]),
    "sum": (
        2 * objectives.mean(A) - objectives.mean(B) + objectives.variety(B) * 0.5,
        lambda r: (
            2 * r[:, :4].mean(1) - r[:, 2:7].mean(1) + 0.5 * pdist(r[:, 2:7].astype(np.float64), "correlation").mean()
        ),
    ),
}


run = jax.jit(lambda objective, responses: objective(responses))


@pytest.mark.parametrize("name", EXPECTED)
def test_values(name: str) -> None:
    """Any axes may come before the images."""
    objective, expected = EXPECTED[name]
    got = jax.jit(jax.vmap(objective))(STACKED) if name == "sum" else run(objective, jnp.asarray(STACKED))
    np.testing.assert_allclose(got, [expected(some) for some in STACKED], atol=2e-6)


def test_groups() -> None:
    weights = np.stack([A, B, A])
    own = np.stack([STACKED[0] @ A, STACKED[1] @ B, STACKED[2] @ A])
    stacked = jnp.asarray(STACKED)
    inner = objectives.mean(weights)
    np.testing.assert_allclose(run(inner, stacked), own, atol=1e-6)
    np.testing.assert_allclose(run(objectives.group(inner), stacked), own.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        run(objectives.group(inner, [True, False, True]), stacked), own[::2].mean(0), atol=1e-6
    )
    np.testing.assert_allclose(run(objectives.disagreement(inner), stacked), own.std(0), atol=1e-5)
    aligned = objectives.group(objectives.align(np.stack([A] * 3), np.stack([B] * 3)))
    np.testing.assert_allclose(run(aligned, stacked), [np.mean([alignment(some) for some in STACKED])], atol=2e-6)
    together = np.stack([np.corrcoef(row, TARGET)[0, 1] for some in STACKED for row in some]).reshape(3, 5)
    each = objectives.correlation(np.stack([TARGET] * 3))
    np.testing.assert_allclose(run(objectives.group(each), stacked), together.mean(0), atol=1e-6)


def test_rois_and_scales_share_a_program() -> None:
    program = jax.jit(lambda objective, responses: objective(responses))
    for weights, scale in ((A, 2.0), (B, 3.0)):
        objective = scale * objectives.mean(weights) - objectives.contrast(A, weights, (0.1, 0.2), 0.5)
        program(objective, jnp.asarray(RESPONSES))
    assert program._cache_size() == 1


def test_a_plain_function_adds() -> None:
    def largest(responses: jax.Array) -> jax.Array:
        return responses.max(axis=-1)

    for both in (objectives.mean(A) + largest, largest + objectives.mean(A)):
        np.testing.assert_allclose(
            both(jnp.asarray(RESPONSES)), RESPONSES[:, :4].mean(1) + RESPONSES.max(1), atol=1e-6
        )
    np.testing.assert_allclose((-objectives.mean(A))(jnp.asarray(RESPONSES)), -RESPONSES[:, :4].mean(1), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: objectives.mean(np.zeros(3)), "ROI is empty"),
        (lambda: objectives.mean(np.array([[1.0, 0], [0, 0]])), "ROI is empty"),
        (lambda: objectives.mean(np.array([1, np.nan])), "finite number for each vertex"),
        (lambda: objectives.top_mean(A, 5), "from 1 to the ROI's number of vertices, 4; got 5"),
        (lambda: objectives.control([A, B], (1, 0)), r"1 \(drive\) or -1 \(suppress\)"),
        (lambda: objectives.control([A, B], (1,)), "2 ROIs, 1 directions and 2 baselines"),
        (lambda: objectives.correlation(TARGET, np.ones(3)), r"target \(12,\), weights \(3,\)"),
        (lambda: objectives.correlation(TARGET, -np.ones(12)), "weight of at least 0"),
        (lambda: objectives.group(objectives.mean(A), [False, False]), "at least one subject"),
        (lambda: objectives.align(A, B)(jnp.asarray(RESPONSES[:2])), "set_size, at least 3"),
        (lambda: objectives.variety(A)(jnp.asarray(RESPONSES[:1])), "set_size"),
    ],
)
def test_mistakes(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        make()

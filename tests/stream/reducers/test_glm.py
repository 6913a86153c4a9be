"""The general linear model: t, designs without intercept or rank, and numbers that nearly cancel."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from berg_jax.errors import InvalidParameterError, ValidationError
from berg_jax.stream.reducers import (
    GLM,
)
from berg_jax.stream.reducers.pairs import Pair

from .oracle import (
    CATEGORY,
    IMAGES,
    RANDOM,
    REDUCERS,
    RESPONSES,
    SPREAD,
    VERTICES,
    assert_close,
    fitted,
    in_order,
    reduce,
    reduce_in_shares,
)


def test_a_vertex_that_never_changes_has_no_t() -> None:
    responses = RESPONSES.copy()
    responses[:, [0, 3]] = [0, 7]
    (state,) = reduce_in_shares(REDUCERS["glm"], responses, in_order())
    results = REDUCERS["glm"].finalize(state)
    np.testing.assert_allclose(results["betas"][:, [0, 3]], [[0, 7]] * 3 + [[0, 0]], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(results["residual_variance"][[0, 3]], 0)
    assert not np.isfinite(results["t"][:, [0, 3]]).any()
    assert np.isfinite(results["t"][:, [1, 2, 4, 5, 6]]).all()


def test_a_design_that_has_no_intercept() -> None:
    """Then the mean is part of what is not explained. The state is made by NumPy."""
    design, contrasts = RANDOM.normal(size=(IMAGES, 2)) + 3, np.array([[1, 0], [1, -1]])
    reducer = GLM(design, contrasts, VERTICES)
    y = RESPONSES.astype(np.float64)
    both = np.concatenate([reducer._basis.rows, y], axis=1)
    deviations = both - both.mean(axis=0)
    products = np.concatenate([deviations[:, :2].T @ deviations, (deviations**2).sum(0)[None]])
    pairs = [Pair(x.astype(np.float32), x - x.astype(np.float32)) for x in (both.mean(axis=0), products)]
    results = reducer.finalize({"count": np.int32(IMAGES), "mean": pairs[0], "products": pairs[1]})
    truth = fitted(design, contrasts, y)
    assert_close({key: results[key] for key in truth}, truth, 1e-5)


@pytest.mark.nightly
def test_two_categories_are_a_t_test() -> None:
    category = CATEGORY > 0
    reducer = GLM(np.stack([~category, category], axis=1), [[-1, 1]], VERTICES)
    results = reducer.finalize(reduce(reducer, RESPONSES, in_order()))
    one, other = (RESPONSES[category == c].astype(np.float64) for c in (1, 0))
    oracle = scipy.stats.ttest_ind(one, other)
    np.testing.assert_allclose(results["t"][0], oracle.statistic, rtol=1e-5, atol=1e-5)
    assert results["degrees_of_freedom"] == oracle.df[0] == IMAGES - 2
    assert (np.abs(results["betas"] - [other.mean(0), one.mean(0)]) / SPREAD).max() < 1e-7


@pytest.mark.nightly
def test_a_nearly_collinear_design_of_other_units() -> None:
    """A line and a curve on years: normal equations of these numbers in float32 are worthless."""
    years = 2000 + np.linspace(0, 1, IMAGES)
    design = np.column_stack([np.ones(IMAGES), years, years**2])
    y = np.column_stack([years, (years - 2000.3) ** 2, 1000 + years - years]) + RANDOM.normal(size=(IMAGES, 3)) / 9
    y = y.astype(np.float32)
    reducer = GLM(design, [[0, 0, 1]], 3)
    results = reducer.finalize(reduce(reducer, y, in_order()))
    centered = np.polynomial.legendre.legvander(np.linspace(-1, 1, IMAGES), 2)
    truth = fitted(centered, np.array([[0, 0, 1]]), y.astype(np.float64))
    # The years' own rounding in float64 is the larger part of it.
    np.testing.assert_allclose(results["t"], truth["t"][0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(results["residual_variance"], truth["residual_variance"][0], rtol=1e-5)


def test_the_images_counted_must_have_the_design_s_rank() -> None:
    reducer = REDUCERS["glm"]
    (state,) = reduce_in_shares(reducer, RESPONSES, in_order(stop=60))
    with pytest.raises(ValidationError, match=r"60 images were counted, .* rank 2\. It needs rank 4"):
        reducer.finalize(state)


@pytest.mark.parametrize(
    ("design", "rank"),
    [
        (np.column_stack([np.ones(IMAGES), np.eye(3)[CATEGORY]]), 3),
        (np.column_stack([np.ones(IMAGES), np.zeros(IMAGES)]), 1),
        (np.column_stack([np.arange(IMAGES), np.arange(IMAGES) * 1e-9, np.ones(IMAGES)]), 2),
        (np.eye(3)[:2], 2),
        (np.eye(3), 3),
    ],
)
def test_a_design_without_full_rank(design: np.ndarray, rank: int) -> None:
    with pytest.raises(InvalidParameterError, match=rf"full rank, {design.shape[1]}, .* got rank {rank} and"):
        GLM(design, np.eye(design.shape[1]), VERTICES)

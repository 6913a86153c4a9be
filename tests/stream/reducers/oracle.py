"""Responses with large means, every reducer, and each result by NumPy in float64."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from berg_jax.stream.reducers import (
    GLM,
    ArgmaxOverProbes,
    Covariance,
    GroupMeans,
    Moments,
    RoiMeans,
    TopK,
    WeightedSums,
)

IMAGES, VERTICES, BATCH, BLOCK, PER_PROBE = 576, 7, 32, 96, 6  # a batch holds parts of six or seven probes
PROBES = IMAGES // PER_PROBE
SHARES = 3
RANDOM = np.random.default_rng(0)
SPREAD = 10.0 ** np.linspace(-2, 2, VERTICES)
CATEGORY = np.repeat([0, 1, 2], [288, 200, 88])  # sorted, so that batches differ
# Some means are a thousand times what varies.
RESPONSES = (
    SPREAD
    * (
        np.array([0, 1, -10, 1000, -1000, 300, 1000])
        + RANDOM.normal(size=(3, VERTICES))[CATEGORY]
        + RANDOM.normal(size=(IMAGES, VERTICES))
    )
).astype(np.float32)
SKIPPED = np.array([0, 17, 18, *range(96, 128), *range(132, 138), 575])  # a whole batch and a whole probe among them
COUNTED = np.setdiff1d(np.arange(IMAGES), SKIPPED)
# As localizers have it: in int8, 288 ones add up to 32.
DESIGN = np.column_stack([np.eye(3)[CATEGORY], RANDOM.integers(90, 110, IMAGES)]).astype(np.int8)
CONTRASTS = np.array([[2, -1, -1, 0], [0, 1, -1, 0], [0, 0, 0, 1]], np.int8)
ROIS = 2.0 ** RANDOM.integers(-3, 3, (3, VERTICES))  # sums of whole numbers are exact
REDUCERS = {
    reducer.name: reducer
    for reducer in (
        Moments(VERTICES),
        Covariance(VERTICES),
        WeightedSums(RANDOM.normal(size=(IMAGES, 2)).astype(np.float32), VERTICES),
        GLM(DESIGN, CONTRASTS, VERTICES, names=("first", "second and third", "covariate")),
        GroupMeans(np.where(CATEGORY == 2, -1, CATEGORY), VERTICES),
        TopK(9, ROIS),
        RoiMeans(ROIS, IMAGES),
        ArgmaxOverProbes(PROBES, PER_PROBE, VERTICES),
    )
}
every_reducer = pytest.mark.parametrize("name", REDUCERS)


@functools.cache
def jitted(reducer: Any) -> Callable:
    return jax.jit(reducer.update)


@functools.cache
def jitted_for_shares(reducer: Any) -> Callable:
    return jax.jit(jax.vmap(reducer.update))


@functools.cache
def jitted_merge(reducer: Any) -> Callable:
    return jax.jit(reducer.merge)


def merged(reducer: Any, *states: Any) -> Any:
    return functools.reduce(jitted_merge(reducer), states)


def in_order(first: int = 0, stop: int = IMAGES, size: int = BATCH) -> list[range]:
    return [range(start, min(start + size, stop)) for start in range(first, stop, size)]


def batch_of(responses: np.ndarray, rows: Sequence[int], skipped: Any, size: int) -> tuple[np.ndarray, ...]:
    """Some images as a batch, filled up with NaN under an index that counts before; NaN for skipped images, too."""
    rows = np.asarray(rows, np.int32)
    indices = np.full(size, rows[-1] if len(rows) else 0, np.int32)
    indices[: len(rows)] = rows
    valid = np.arange(size) < len(rows)
    if len(skipped):
        valid &= ~np.isin(indices, skipped)
    return np.where(valid[:, None], responses[indices], np.float32(np.nan)), indices, valid


def reduce(reducer: Any, responses: np.ndarray, parts: Iterable[Sequence[int]], size: int = BATCH) -> Any:
    """The state after batches of these images."""
    state = reducer.init()
    for rows in parts:
        state = jitted(reducer)(state, *batch_of(responses, rows, (), size))
    return state


def reduce_in_shares(
    reducer: Any, responses: np.ndarray, *shares: Sequence[Sequence[int]], skipped: Any = ()
) -> list[Any]:
    """The states of up to three shares, each of batches of its own, in one program as the loop has it for devices."""
    states = jax.device_put(jax.tree.map(lambda leaf: np.stack([leaf] * SHARES), reducer.init()))
    waiting = [*shares, *[[]] * (SHARES - len(shares))]
    for rows in itertools.zip_longest(*waiting, fillvalue=()):
        batches = [batch_of(responses, part, skipped, BATCH) for part in rows]
        states = jitted_for_shares(reducer)(states, *map(np.stack, zip(*batches, strict=True)))
    assert jitted_for_shares(reducer)._cache_size() == 1
    return [jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], states) for i in range(len(shares))]


def fitted(design: np.ndarray, contrasts: np.ndarray, responses: np.ndarray) -> dict[str, tuple[np.ndarray, Any]]:
    """A GLM by numpy.linalg.lstsq, each result with ten standard errors, or its size."""
    betas, *_ = np.linalg.lstsq(design, responses, rcond=None)
    free = len(design) - design.shape[1]
    residual = ((responses - design @ betas) ** 2).sum(0) / free
    inverse = np.linalg.inv(design.T @ design)
    errors = np.sqrt(np.outer(np.diag(contrasts @ inverse @ contrasts.T), residual))
    return {
        "betas": (betas, 10 * np.sqrt(np.outer(np.diag(inverse), residual))),
        "effects": (contrasts @ betas, 10 * errors),
        "t": (contrasts @ betas / errors, 10),
        "residual_variance": (residual, residual),
        "degrees_of_freedom": (free, None),
    }


def expected(reducer: Any, counted: np.ndarray) -> dict[str, tuple[Any, Any]]:
    """Each result in float64, and what its error is to be compared with; None where it must be equal."""
    y = RESPONSES.astype(np.float64)[counted]
    spread = y.std(axis=0, ddof=1)
    count = {"count": (len(counted), None)}
    match reducer:
        case Moments():
            variance = y.var(axis=0, ddof=1)
            return count | {"mean": (y.mean(0), spread), "variance": (variance, variance), "std": (spread, spread)}
        case Covariance():
            both = np.outer(spread, spread)
            return count | {"mean": (y.mean(0), spread), "covariance": (np.cov(y, rowvar=False), both)}
        case WeightedSums():
            weights = reducer.weights[counted]
            # Where the mean exceeds the spread a thousand times, so does the rounding of a weight.
            size = np.outer(np.abs(weights).sum(0), spread + np.abs(y.mean(0)) / 50)
            return count | {"sums": (weights.T @ y, size)}
        case GLM():
            names = {"names": (np.array(reducer.names), None)}
            return count | names | fitted(reducer.design[counted], reducer.contrasts, y)
        case GroupMeans():
            groups = reducer.groups[counted]
            means = np.stack([y[groups == group].mean(0) for group in range(2)])
            counts = np.bincount(groups + 1)[1:]
            return {"means": (means, spread), "counts": (counts, None), "count": (counts.sum(), None)}
        case TopK():
            means = y @ ROIS.T
            order = np.argsort(-means, axis=0, kind="stable")[: reducer.k].T
            values = np.take_along_axis(means.T, order, axis=1)
            size = ROIS @ np.abs(y).T
            return count | {
                "images": (counted[order], None),
                "values": (values, np.take_along_axis(size, order, axis=1)),
            }
        case RoiMeans():
            means = np.full((IMAGES, len(ROIS)), np.nan)
            means[counted] = y @ ROIS.T
            size = np.abs(RESPONSES) @ ROIS.T
            return count | {"means": (means, size), "seen": (np.isin(np.arange(IMAGES), counted), None)}
        case ArgmaxOverProbes():
            probes = counted // PER_PROBE
            seen = np.isin(np.arange(PROBES), probes)
            means = np.full((PROBES, VERTICES), -np.inf)
            means[seen] = [y[probes == probe].mean(0) for probe in np.flatnonzero(seen)]
            best = {"probe": (means.argmax(0), None), "value": (means.max(0), spread)}
            return count | best | {"seen": (seen, None)}


def assert_close(results: dict[str, np.ndarray], truth: dict[str, tuple[Any, Any]], tolerance: float) -> None:
    assert results.keys() == truth.keys()
    for key, (value, size) in truth.items():
        assert isinstance(results[key], np.ndarray | np.generic)
        assert np.shape(results[key]) == np.shape(value), key
        if size is None:
            np.testing.assert_array_equal(results[key], value, err_msg=key)
        else:
            np.testing.assert_array_equal(np.isnan(results[key]), np.isnan(value), err_msg=key)
            worst = np.nanmax(np.abs(results[key] - value) / size)
            assert worst <= tolerance, f"{key} is off by {worst:.1e}"

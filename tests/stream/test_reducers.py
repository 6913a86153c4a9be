"""Reducers against NumPy in float64: large means, NaN in what does not count, any split, interleaved shares."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from berg_jax.errors import InvalidParameterError, ValidationError
from berg_jax.stream.reducers import (
    GLM,
    ArgmaxOverProbes,
    Covariance,
    GroupMeans,
    Moments,
    RoiMeans,
    TopK,
    WeightedSums,
    check_reducers,
    roi_weights,
)
from berg_jax.stream.reducers.pairs import Pair, add_pairs, exact, paired
from berg_jax.vertices import Vertices

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


@every_reducer
def test_equals_numpy(name: str) -> None:
    """In order, with skipped images, an unfull batch and NaN wherever nothing counts."""
    reducer = REDUCERS[name]
    (state,) = reduce_in_shares(reducer, RESPONSES, in_order(), skipped=SKIPPED)
    assert_close(reducer.finalize(state), expected(reducer, COUNTED), 1e-6)


@every_reducer
def test_merged_shares_are_the_same(name: str) -> None:
    """Three devices with interleaved blocks, merged in orders of all kinds."""
    reducer = REDUCERS[name]
    blocks = [in_order(start, min(start + BLOCK, IMAGES)) for start in range(0, IMAGES, BLOCK)]
    shares = [[batch for block in blocks[i::SHARES] for batch in block] for i in range(SHARES)]
    one, two, three = reduce_in_shares(reducer, RESPONSES, *shares, skipped=SKIPPED)
    truth, none = expected(reducer, COUNTED), reducer.init()
    for states in (
        [one, two, three],
        [three, one, two],
        [none, two, three, none, one],
        [three, merged(reducer, two, one)],
    ):
        assert_close(reducer.finalize(merged(reducer, *states)), truth, 1e-6)


@pytest.mark.parametrize("name", [name for name in REDUCERS if name != "argmax_over_probes"])
def test_any_split_is_the_same(name: str) -> None:
    """Batches of random images, of random sizes, some of them empty."""
    reducer = REDUCERS[name]
    random = np.random.default_rng(1)
    cuts = np.sort(random.integers(0, IMAGES, 40))
    parts = [part[i : i + BATCH] for part in np.split(random.permutation(IMAGES), cuts) for i in range(0, 96, BATCH)]
    assert sum(map(len, parts)) == IMAGES
    assert min(map(len, parts)) == 0
    states = reduce_in_shares(reducer, RESPONSES, parts[::3], parts[1::3], parts[2::3], skipped=SKIPPED)
    assert_close(reducer.finalize(merged(reducer, *states)), expected(reducer, COUNTED), 1e-6)


@every_reducer
def test_a_batch_that_counts_nowhere_changes_nothing(name: str) -> None:
    reducer = REDUCERS[name]
    before, after = reduce_in_shares(reducer, RESPONSES, in_order(stop=64), in_order(stop=96), skipped=range(64, 96))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, reducer.init())


@every_reducer
def test_products_are_float32_on_every_device(name: str) -> None:
    """Unless told, GPUs and TPUs round what they multiply."""
    reducer = REDUCERS[name]
    batch = batch_of(RESPONSES, range(BATCH), (), BATCH)
    program = str(jax.make_jaxpr(reducer.update)(reducer.init(), *batch))
    assert program.count("dot_general[") > 0
    assert program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == program.count("dot_general[")


def test_no_image_no_result() -> None:
    def result(name: str) -> dict[str, np.ndarray]:
        return REDUCERS[name].finalize(REDUCERS[name].init())

    assert np.isnan(result("moments")["mean"]).all()
    assert np.isnan(result("covariance")["covariance"]).all()
    assert np.isnan(result("group_means")["means"]).all()
    assert not result("weighted_sums")["sums"].any()
    assert (result("top_k")["images"] == -1).all()
    assert np.isnan(result("roi_means")["means"]).all()
    assert (result("argmax_over_probes")["probe"] == -1).all()
    assert np.isnan(result("argmax_over_probes")["value"]).all()
    with pytest.raises(ValidationError, match="0 images were counted, on which the design has rank 0"):
        result("glm")


def test_one_image_has_a_mean_and_no_variance() -> None:
    (state,) = reduce_in_shares(REDUCERS["moments"], RESPONSES, [[5]])
    results = REDUCERS["moments"].finalize(state)
    np.testing.assert_array_equal(results["mean"], RESPONSES[5])
    assert np.isnan(results["variance"]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["moments", "covariance", "glm", "weighted_sums", "group_means"])
def test_what_is_broken_shows(name: str, value: float) -> None:
    """A valid image's response that is no number spoils its vertex, and no other."""
    responses = RESPONSES.copy()
    responses[40, 2] = value
    reducer = REDUCERS[name]
    (broken,), (whole,) = (reduce_in_shares(reducer, y, in_order()) for y in (responses, RESPONSES))
    key = {"moments": "variance", "covariance": "covariance", "glm": "t", "weighted_sums": "sums"}.get(name, "means")
    broken, whole = reducer.finalize(broken)[key], reducer.finalize(whole)[key]
    assert np.isnan(broken[..., 2]).any()
    others = np.arange(VERTICES) != 2
    columns = np.ix_(others, others) if name == "covariance" else (..., others)
    np.testing.assert_array_equal(broken[columns], whole[columns])


def test_what_is_broken_comes_first() -> None:
    responses = RESPONSES.copy()
    responses[40, 2] = np.nan
    (top,), (best,) = (reduce_in_shares(REDUCERS[n], responses, in_order()) for n in ("top_k", "argmax_over_probes"))
    top = REDUCERS["top_k"].finalize(top)
    assert (top["images"][:, 0] == 40).all()
    np.testing.assert_array_equal(np.isnan(top["values"]), np.arange(9)[None] + np.zeros((3, 1)) == 0)
    best = REDUCERS["argmax_over_probes"].finalize(best)
    np.testing.assert_array_equal(np.isnan(best["value"]), np.arange(VERTICES) == 2)


@pytest.mark.parametrize("index", [IMAGES, -1])
def test_an_index_of_another_source_shows(index: int) -> None:
    names = ("weighted_sums", "group_means", "glm", "roi_means", "argmax_over_probes")
    responses = np.concatenate([RESPONSES, RESPONSES[:1]])
    parts = [[*range(BATCH - 1), index]]
    states = {name: reduce_in_shares(REDUCERS[name], responses, parts)[0] for name in names}
    assert np.isnan(REDUCERS["weighted_sums"].finalize(states["weighted_sums"])["sums"]).all()
    assert REDUCERS["group_means"].finalize(states["group_means"])["count"] == BATCH - 1
    for name in ("glm", "roi_means", "argmax_over_probes"):
        with pytest.raises(ValidationError):
            REDUCERS[name].finalize(states[name])


# Pairs of float32.


def test_compensation_survives_compilation() -> None:
    """If XLA reordered these additions, a pair would be no better than one number."""
    values = (RANDOM.normal(size=4096) * 10.0 ** RANDOM.uniform(-6, 6, 4096)).astype(np.float32)

    @jax.jit
    def sums(values: jax.Array) -> tuple[Pair, jax.Array]:
        zero = jnp.zeros((), jnp.float32)
        return jax.lax.fori_loop(
            0,
            len(values),
            lambda i, s: (add_pairs(s[0], paired(values[i])), s[1] + values[i]),
            (paired(zero), zero),
        )

    pair, plain = sums(values)
    size = math.fsum(np.abs(values.astype(np.float64)))
    truth = math.fsum(values.astype(np.float64))
    assert abs(exact(pair) - truth) / size < 1e-13
    assert abs(float(plain) - truth) / size > 1e-10


def million(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A million images' responses at six vertices, and the number of their category."""
    random = np.random.default_rng(seed)
    category = np.sort(random.integers(0, 4, 1_000_000))
    spread, mean = 10.0 ** np.arange(-2, 4), np.array([0, 1, 1000, -1000, 1000, -30])
    responses = random.normal(size=(len(category), 6)) + random.normal(size=(4, 6))[category] / 10 + mean
    return (responses * spread).astype(np.float32), category


@pytest.mark.nightly
def test_moments_of_a_million() -> None:
    responses, _ = million(2)
    reducer = Moments(6)
    parts = in_order(stop=len(responses), size=250)
    one, two, three = (reduce(reducer, responses, parts[i::3], size=250) for i in range(3))
    variance = responses.var(axis=0, ddof=1, dtype=np.float64)
    mean = responses.mean(axis=0, dtype=np.float64)
    for states in ([one, two, three], [three, one, two]):
        results = reducer.finalize(merged(reducer, *states))
        assert (np.abs(results["mean"] - mean) / np.sqrt(variance)).max() < 1e-7
        assert (np.abs(results["variance"] - variance) / variance).max() < 1e-7
        assert results["count"] == len(responses)


@pytest.mark.nightly
def test_glm_of_a_million() -> None:
    responses, category = million(3)
    contrasts = np.array([[1, -1, 0, 0, 0], [3, -1, -1, -1, 0], [0, 0, 0, 0, 1]])
    design = np.column_stack([np.eye(4)[category], np.linspace(0, 1, len(category)) ** 2])
    reducer = GLM(design, contrasts, 6)
    parts = in_order(stop=len(responses), size=250)
    states = [reduce(reducer, responses, parts[i::2], size=250) for i in range(2)]
    results = reducer.finalize(merged(reducer, *states))
    truth = fitted(design, contrasts, responses.astype(np.float64))
    for key in ("effects", "betas", "t"):  # in standard errors, which are less than a hundredth of the spread
        assert (np.abs(results[key] - truth[key][0]) / truth[key][1]).max() < 1e-4, key
    residual = truth["residual_variance"][0]
    assert (np.abs(results["residual_variance"] - residual) / residual).max() < 1e-7


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", ["covariance", "weighted_sums", "group_means", "top_k", "roi_means", "argmax_over_probes"]
)
def test_the_others_of_a_million(name: str) -> None:
    """As a whole, and in three shares that take turns: within 1e-5 of the spread, and 1e-6 of each other."""
    responses, category = million(4)
    exact = responses.astype(np.float64)
    spread = exact.std(axis=0, ddof=1)
    weights = np.random.default_rng(5).normal(size=(len(exact), 2)).astype(np.float32)
    # One image's mean is a float32 number: where the mean is a thousand times the spread, that is no measure for it.
    rois = np.array([[1, 0, 0, 0, 0, 0], [0.5, 0.25, 0, 0, 0, 0.25]])
    probes = exact.reshape(-1, 500, 6).mean(axis=1)
    top = np.argsort(-exact, axis=0, kind="stable")[:9].T
    reducer, truth = {
        "covariance": (Covariance(6), {"covariance": (np.cov(exact, rowvar=False), np.outer(spread, spread))}),
        "weighted_sums": (
            WeightedSums(weights, 6),
            {"sums": (weights.T.astype(np.float64) @ exact, np.outer(np.abs(weights).sum(axis=0), spread))},
        ),
        "group_means": (
            GroupMeans(category, 6),
            {"means": (np.stack([exact[category == group].mean(axis=0) for group in range(4)]), spread)},
        ),
        "top_k": (TopK(9, np.eye(6)), {"images": (top, None), "values": (exact[top, np.arange(6)[:, None]], None)}),
        "roi_means": (RoiMeans(rois, len(exact)), {"means": (exact @ rois.T, rois @ spread)}),
        "argmax_over_probes": (
            ArgmaxOverProbes(len(probes), 500, 6),
            {"probe": (probes.argmax(axis=0), None), "value": (probes.max(axis=0), spread)},
        ),
    }[name]
    parts = in_order(stop=len(responses), size=2000)
    whole = reducer.finalize(reduce(reducer, responses, parts, size=2000))
    shares = [reduce(reducer, responses, parts[i::3], size=2000) for i in range(3)]
    joined = reducer.finalize(merged(reducer, *shares))
    assert_close({key: whole[key] for key in truth}, truth, 1e-5)
    assert_close(
        {key: joined[key] for key in truth}, {key: (whole[key], size) for key, (_, size) in truth.items()}, 1e-6
    )
    for key, (value, size) in truth.items():
        if size is not None:
            print(f"{name} {key}: off by {np.max(np.abs(whole[key] - value) / size):.1e} of the spread")


# GLM.


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


# Images and probes.


def test_equal_images_by_number() -> None:
    reducer, responses = REDUCERS["top_k"], RANDOM.integers(0, 2, RESPONSES.shape).astype(np.float32)
    states = reduce_in_shares(reducer, responses, in_order()[2::3], in_order()[::3], in_order()[1::3])
    results = reducer.finalize(merged(reducer, *states))
    for roi, values in enumerate(ROIS @ responses.T):
        order = np.lexsort([np.arange(IMAGES), -values])[: reducer.k]
        np.testing.assert_array_equal(results["images"][roi], order)
        np.testing.assert_array_equal(results["values"][roi], values[order])
    assert len(np.unique(results["values"])) < results["values"].size / 2


def test_fewer_images_than_k() -> None:
    (state,) = reduce_in_shares(REDUCERS["top_k"], RESPONSES, [range(4, 9)])
    results = REDUCERS["top_k"].finalize(state)
    assert sorted(results["images"][0, :5]) == list(range(4, 9))
    assert (results["images"][:, 5:] == -1).all()
    assert np.isnan(results["values"][:, 5:]).all()


def test_an_image_that_comes_twice() -> None:
    reducer = REDUCERS["roi_means"]
    (state,) = reduce_in_shares(reducer, RESPONSES, in_order(stop=32))
    with pytest.raises(ValidationError, match="64 images, of which 32 are different"):
        reducer.finalize(merged(reducer, state, state))


@pytest.mark.nightly
@pytest.mark.parametrize("per_probe", [1, 16, 144])
def test_short_and_long_probes(per_probe: int) -> None:
    """Sixteen a batch, one, and a ninth of one."""
    reducer = ArgmaxOverProbes(IMAGES // per_probe, per_probe, VERTICES)
    results = reducer.finalize(reduce(reducer, RESPONSES, in_order()))
    means = RESPONSES.astype(np.float64).reshape(-1, per_probe, VERTICES).mean(1)
    np.testing.assert_array_equal(results["probe"], means.argmax(0))
    assert (np.abs(results["value"] - means.max(0)) / SPREAD).max() < 1e-6


def test_of_equal_probes_the_first_wins() -> None:
    reducer, responses = REDUCERS["argmax_over_probes"], np.ones_like(RESPONSES)
    backwards = [range(96, 102), range(18, 24), range(12, 18)]
    late, early, third = reduce_in_shares(reducer, responses, in_order(96, 192), in_order(0, 96), backwards)
    for states in ((late, early), (early, late)):
        assert (reducer.finalize(merged(reducer, *states))["probe"] == 0).all()
    assert (reducer.finalize(third)["probe"] == 2).all()


def test_a_divided_probe_is_an_error() -> None:
    reducer = REDUCERS["argmax_over_probes"]
    again = [range(3), range(6, 12), range(3, 6)]
    head, tail, again = reduce_in_shares(reducer, RESPONSES, in_order(0, 64), in_order(64), again)
    (gap,) = reduce_in_shares(reducer, RESPONSES, [[0, 1, 50, 51]])
    assert reducer.finalize(merged(reducer, head, reducer.init()))["count"] == 64
    for states in ([head, tail], [tail, head], [head, head], [again], [gap]):
        with pytest.raises(ValidationError, match="multiple of 6 images, or GroupMeans"):
            reducer.finalize(merged(reducer, *states))


# Settings.


@every_reducer
def test_the_fingerprint_holds_every_setting(name: str) -> None:
    reducer = REDUCERS[name]
    settings = {field.name: getattr(reducer, field.name) for field in dataclasses.fields(reducer)}
    same = type(reducer)(**settings)
    assert same is not reducer
    assert same.fingerprint == reducer.fingerprint
    for key, value in settings.items():
        if key == "names":
            other = [f"{one} too" for one in value]
        elif isinstance(value, np.ndarray):
            other = value.copy()
            other.flat[0] = 1 if value.dtype.kind == "i" else value.flat[0] + 0.125
        else:
            other = value + "2" if isinstance(value, str) else value + 1
        assert type(reducer)(**{**settings, key: other}).fingerprint != reducer.fingerprint, key
    assert len({reducer.fingerprint for reducer in REDUCERS.values()}) == len(REDUCERS)


def test_settings_are_their_own() -> None:
    weights = np.ones((IMAGES, 1))
    reducer = WeightedSums(weights, VERTICES)
    before = reducer.fingerprint
    weights[:] = 2
    assert reducer.fingerprint == before
    with pytest.raises(ValueError, match="read-only"):
        reducer.weights[:] = 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Moments(0), "vertices must be a positive integer, got 0"),
        (lambda: Moments(True), "vertices must be a positive integer, got True"),
        (lambda: Moments(2.0), r"vertices must be a positive integer, got 2\.0"),
        (lambda: Moments(2, name="../up"), "name must be of at most 100 letters"),
        (lambda: Moments(2, name=""), "name must be of at most 100 letters"),
        (lambda: TopK(0, ROIS), "k must be a positive integer"),
        (lambda: TopK(3, ROIS[0]), "rois must be of finite numbers .* 2-dimensional"),
        (lambda: RoiMeans(ROIS * np.nan, 5), "rois must be of finite numbers"),
        (lambda: WeightedSums(np.empty((0, 2)), 3), "weights must be .* not empty"),
        (lambda: WeightedSums([["1"]], 3), "weights must be of finite numbers"),
        (lambda: WeightedSums([[1j]], 3), "weights must be of finite numbers"),
        (lambda: WeightedSums([[1], [1, 2]], 3), "weights must be of finite numbers"),
        (lambda: WeightedSums([[1e39]], 3), "weights must be .* float32"),
        (lambda: GroupMeans([0.0, 1.0], 3), "groups must be of integers"),
        (lambda: GroupMeans([0, -2], 3), "got -2 to 0"),
        (lambda: GroupMeans([-1, -1], 3), "not all −1"),
        (lambda: GroupMeans([0, 9], 3), "from 0 to 1 for 2 images"),
        (lambda: GLM(DESIGN, CONTRASTS[:, :3], 3), r"contrasts must be \(c, 4\)"),
        (lambda: GLM(DESIGN, CONTRASTS * 0, 3), "not all 0"),
        (lambda: GLM(DESIGN, CONTRASTS, 3, names=["a", "b"]), "names must be 3 different strings"),
        (lambda: GLM(DESIGN, CONTRASTS, 3, names=["a", "b", "a"]), "names must be 3 different strings"),
        (lambda: GLM(np.full((3, 1), np.inf), [[1]], 3), "design must be of finite numbers"),
        (lambda: ArgmaxOverProbes(3, 0, 3), "images_per_probe must be a positive integer"),
    ],
)
def test_settings_that_make_no_sense(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        make()


def test_reducers_of_a_run() -> None:
    every = list(REDUCERS.values())
    check_reducers(every, IMAGES, VERTICES, BLOCK)
    check_reducers(every, IMAGES, VERTICES, IMAGES + 1)  # all in one block
    for message, wrong in (
        ("'moments' is for any number of images and 7 vertices", (every, IMAGES, VERTICES + 1, BLOCK)),
        ("'weighted_sums' is for 576 images", (every, IMAGES + 1, VERTICES, BLOCK)),
        ("'argmax_over_probes' needs blocks of a multiple of 6 images, got 64", (every, IMAGES, VERTICES, 64)),
    ):
        with pytest.raises(InvalidParameterError, match=message):
            check_reducers(*wrong)


def test_roi_weights() -> None:
    vertices = Vertices(np.array([5, 2, 0]), np.array([2, 9, 4]), 10)
    rois = {"both": Vertices([0, 2], [4], 10), "right": Vertices([], [2, 9], 10)}
    responses = RANDOM.normal(size=(4, 6)).astype(np.float32)
    means = responses @ roi_weights(vertices, rois).T
    np.testing.assert_allclose(means[:, 0], responses[:, [2, 1, 5]].mean(1), rtol=1e-5)
    np.testing.assert_allclose(means[:, 1], responses[:, [3, 4]].mean(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("rois", "message"),
    [
        ({}, "at least one ROI"),
        ({"a": Vertices([], [], 10)}, "'a' must have vertices"),
        ({"a": Vertices([0], [], 11)}, "hemispheres of 11"),
        ({"a": Vertices([0, 1], [3], 10)}, "2 of the 3 vertices of ROI 'a' are not among the model's"),
    ],
)
def test_roi_weights_refuse(rois: dict[str, Vertices], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        roi_weights(Vertices([0], [0], 10), rois)

"""Every reducer against NumPy in float64: NaN in what does not count, any split, interleaved shares."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax.errors import ValidationError
from berg_jax.stream.reducers.pairs import Pair, add_pairs, exact, paired

from .oracle import (
    BATCH,
    BLOCK,
    COUNTED,
    IMAGES,
    RANDOM,
    REDUCERS,
    RESPONSES,
    SHARES,
    SKIPPED,
    VERTICES,
    assert_close,
    batch_of,
    every_reducer,
    expected,
    in_order,
    merged,
    reduce_in_shares,
)


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

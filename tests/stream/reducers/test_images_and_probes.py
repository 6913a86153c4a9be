"""The best images and probes: ties, repetitions, and probes that are cut in two."""

from __future__ import annotations

import numpy as np
import pytest

from berg_jax.errors import ValidationError
from berg_jax.stream.reducers import (
    ArgmaxOverProbes,
)

from .oracle import (
    IMAGES,
    RANDOM,
    REDUCERS,
    RESPONSES,
    ROIS,
    SPREAD,
    VERTICES,
    in_order,
    merged,
    reduce,
    reduce_in_shares,
)


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

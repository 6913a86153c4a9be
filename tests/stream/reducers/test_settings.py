"""Reducers' settings: all in the fingerprint, copied, checked; and the weights of ROIs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from berg_jax.errors import InvalidParameterError
from berg_jax.stream.reducers import (
    GLM,
    ArgmaxOverProbes,
    GroupMeans,
    Moments,
    RoiMeans,
    TopK,
    WeightedSums,
    check_reducers,
    roi_weights,
)
from berg_jax.vertices import Vertices

from .oracle import BLOCK, CONTRASTS, DESIGN, IMAGES, RANDOM, REDUCERS, ROIS, VERTICES, every_reducer


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

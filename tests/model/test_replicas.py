"""Models on several devices: the same responses, each device's own images, and mistakes."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import berg_jax
from berg_jax import replicate
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.model.replicas import placed_like

from ..conftest import Golden

ROI = "V3v"


@pytest.mark.nightly
@pytest.mark.parametrize("devices", [2, 3, None])
def test_devices_divide_the_images_of_a_call_and_change_no_response(complement: Golden, devices: int | None) -> None:
    model = berg_jax.load(complement.folder, complement.subject, roi=ROI)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    spread = replicate(model, devices)
    count = devices or len(jax.devices())
    placed = placed_like(spread.order, images)
    assert len(placed.sharding.device_set) == count
    assert {len(shard.data) for shard in placed.addressable_shards} == {-(-5 // count)}
    responses = spread(images)
    assert responses.shape == (5, len(model.vertices))
    np.testing.assert_allclose(responses, model(images), atol=1e-5)


@pytest.mark.nightly
def test_a_stacked_model_is_divided_too(complement: Golden) -> None:
    model = berg_jax.load(complement.folder, complement.subject, roi=ROI)
    group = berg_jax.stack([model, model])
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)).astype(">u2")
    responses = replicate(group, 2)(images)
    assert responses.shape[:2] == (2, 3)
    np.testing.assert_allclose(responses[0], model(images), atol=1e-5)


@pytest.mark.nightly
def test_a_jitted_function_computes_where_its_images_are(complement: Golden) -> None:
    model = replicate(berg_jax.load(complement.folder, complement.subject, roi=ROI), 2)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    responses = jax.jit(lambda model, images: model(images))(model, images)
    np.testing.assert_allclose(responses, model(images), atol=1e-5)


@pytest.mark.nightly
def test_berg_encodes_on_several_devices(complement: Golden) -> None:
    images = np.random.default_rng(0).integers(0, 256, (19, 3, 32, 32)).astype(np.uint8)
    berg = berg_jax.BERG(complement.folder)
    options = {"subject": complement.subject, "selection": {"roi": ROI}}
    alone = berg.get_encoding_model("fmri-nsd_fsaverage-huze", **options)
    both = berg.get_encoding_model("fmri-nsd_fsaverage-huze", devices=2, **options)
    assert both.encoder.order.sharding.device_set == set(jax.devices()[:2])
    for a, b in zip(berg.encode(alone, images), berg.encode(both, images), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_more_devices_than_there_are_is_an_error(complement: Golden) -> None:
    model = berg_jax.load(complement.folder, complement.subject, roi=ROI)
    for wrong in (0, 9):
        with pytest.raises(InvalidParameterError, match=f"from 1 to 8, which are here, got {wrong}"):
            replicate(model, wrong)
    with pytest.raises(ResourceError, match="from 1 to 8, which are here, or None for all; got 9"):
        berg_jax.BERG(complement.folder).get_encoding_model("fmri-nsd_fsaverage-huze", subject=1, devices=9)

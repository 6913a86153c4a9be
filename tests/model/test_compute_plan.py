"""How the network is computed does not change what it computes: Winograd's form, crops, stacks, microbatches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

import berg_jax
from berg_jax import stack, value_and_pixel_gradient
from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.model.nn import winograd
from berg_jax.model.nn.config import ComputePlan, Window, window_around
from berg_jax.model.nn.heads import FeatureMap
from berg_jax.model.nn.precision import PRECISIONS
from berg_jax.vertices import Vertices

from ..conftest import Golden

FLOAT32 = PRECISIONS["float32"]


def relative(a: jax.Array, b: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64)) / np.linalg.norm(b))


@pytest.mark.parametrize(("high", "wide"), [(4, 4), (16, 16), (8, 12)])
def test_winograd_equals_a_convolution(high: int, wide: int) -> None:
    random = np.random.default_rng(high)
    maps = random.normal(size=(2, high + 4, wide + 4, 6)).astype(np.float32)
    kernel = random.normal(size=(5, 5, 6, 3)).astype(np.float32)
    expected = np.zeros((2, high, wide, 3))
    for b, i, o in np.ndindex(2, 6, 3):
        expected[b, ..., o] += correlate(maps[b, ..., i].astype(float), kernel[..., i, o].astype(float), mode="valid")
    result = winograd.convolve(jnp.asarray(maps), jnp.asarray(winograd.transform_kernel(kernel)), FLOAT32)
    assert relative(result, expected) < 1e-6  # a direct one in float32 has 2e-7


@pytest.mark.nightly
def test_winograds_gradients_are_a_convolutions() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    maps, kernel, outer = (
        jax.random.normal(key, shape)
        for key, shape in zip(keys, ((2, 12, 8, 6), (5, 5, 6, 3), (2, 8, 4, 3)), strict=True)
    )

    def in_winograds_form(maps: jax.Array, kernel: jax.Array) -> jax.Array:
        return winograd.convolve(maps, jnp.einsum("pk,klio->plio", winograd._G, kernel), FLOAT32)

    @jax.jit
    def gradients(maps: jax.Array, kernel: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        return [jax.vjp(convolve, maps, kernel)[1](outer) for convolve in (in_winograds_form, FLOAT32.convolve)]

    winograds, transposed = gradients(maps, kernel)
    for own, expected in zip(winograds, transposed, strict=True):
        assert relative(own, expected) < 2e-6


CROPS = [(0, 4, 12, 16), (7, 11, 2, 14), (4, 12, 0, 8), (0, 16, 0, 16)]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("in_winograds_form", "crops"),
    [(True, CROPS[:2]), (True, CROPS), (False, CROPS)],
)
def test_a_crop_of_a_feature_map_is_a_part_of_the_whole(in_winograds_form: bool, crops: list) -> None:
    grid = jax.random.normal(jax.random.key(0), (1, 16, 16, 8))
    whole = FeatureMap(5, FLOAT32, ComputePlan())
    params = jax.jit(whole.init)(jax.random.key(1), grid)["params"]
    direct = jax.jit(whole.apply)({"params": params}, grid)
    if in_winograds_form:
        convolutions = {key: jnp.asarray(winograd.transform_kernel(params[key])) for key in params if "conv" in key}
        params = {**params, **convolutions}
    for top, bottom, left, right in crops:
        plan = ComputePlan(in_winograds_form, Window(top, bottom, left, right))
        cropped = jax.jit(FeatureMap(5, FLOAT32, plan).apply)({"params": params}, grid)
        expected = np.zeros((1, 16, 16, 5), np.float32)
        expected[:, top:bottom, left:right] = direct[:, top:bottom, left:right]
        np.testing.assert_allclose(cropped, expected, atol=2e-5)
        assert (np.asarray(cropped)[expected == 0] == 0).all()


def test_windows_fit_the_map_and_the_tiles() -> None:
    assert window_around(5, 6, 15, 16) == Window(5, 9, 12, 16)
    assert Window(0, 4, 12, 16).grown(2) == Window(0, 8, 8, 16)
    assert Window(4, 12, 0, 16).grown(4) == Window()
    for wrong in ((0, 3, 0, 4), (0, 20, 0, 4), (4, 4, 0, 4), (-4, 0, 0, 4)):
        with pytest.raises(ValueError, match="window"):
            Window(*wrong)


def near_the_middle(golden: Golden) -> berg_jax.EncodingModel:
    """Vertices of both parts that look close to the fovea."""
    chosen = []
    offset = 0
    model = golden.model
    order, vertices = np.asarray(model.order), np.asarray(model.vertices)
    for name, _ in model.config.parts:
        centers = np.asarray(model.params[name]["readout"]["rf_center"]).reshape(-1, 2)
        inside = (np.abs(centers) < 0.3).all(axis=1)
        of_part = (order >= offset) & (order < offset + len(centers))
        chosen.append(vertices[of_part][inside[order[of_part] - offset]])
        offset += len(centers)
    return model.select(Vertices.from_global(np.sort(np.concatenate(chosen)), golden.hemisphere_size))


@pytest.mark.nightly
def test_a_cropped_model_answers_the_same(complement: Golden) -> None:
    model = near_the_middle(complement)
    cropped = model.crop()
    window = cropped.config.compute_plan.window
    assert window != Window()
    images = jnp.asarray(complement.expected["images_96"], jnp.float32)
    np.testing.assert_allclose(cropped(images), model(images), atol=1e-5)
    vertex = Vertices.from_global(np.asarray(model.vertices[:1]), complement.hemisphere_size)
    assert cropped.select(vertex).config.compute_plan == model.config.compute_plan
    assert complement.model.crop().config == complement.model.config  # its vertices look everywhere


@pytest.mark.nightly
def test_direct_convolutions_answer_the_same(complement: Golden) -> None:
    direct = berg_jax.load(complement.folder, complement.subject, precision="tensorfloat32")
    assert complement.model.config.compute_plan.winograd
    assert not direct.config.compute_plan.winograd
    images = complement.expected["images_224"]
    np.testing.assert_allclose(direct(images), complement.model(images), atol=2e-5)  # on CPU both are float32


def two_models(golden: Golden) -> list[berg_jax.EncodingModel]:
    """Different weights, different vertices and numbers of vertices, the same sizes of network."""
    size = golden.hemisphere_size
    first = golden.model.select(Vertices(np.array([3, 1]), np.array([0, 7, 5]), size))
    other = golden.model.select(Vertices(np.arange(0, size, 2), np.array([4]), size))
    params = jax.tree.map(lambda leaf: leaf * 1.01, other.params)
    return [first, other.replace(params=params)]


@pytest.mark.nightly
def test_stacked_models_answer_as_each_alone(complement: Golden) -> None:
    models = two_models(complement)
    stacked = stack(models)
    images = jnp.asarray(complement.expected["images_96"], jnp.float32)
    responses = stacked(images)
    assert responses.shape == (2, len(images), stacked.mask.shape[1])
    for model, mask, own in zip(models, stacked.mask, responses, strict=True):
        np.testing.assert_allclose(own[:, mask], model(images), atol=1e-5)
        assert (own[:, ~mask] == 0).all()
        assert int(mask.sum()) == len(model.vertices)


@pytest.mark.nightly
def test_the_gradient_of_stacked_models_is_the_sum_of_each_ones(complement: Golden) -> None:
    models = two_models(complement)
    images = jnp.asarray(complement.expected["images_96"][:1], jnp.float32)
    values, gradient = value_and_pixel_gradient(stack(models), images, jnp.sum)
    alone = [value_and_pixel_gradient(model, images, jnp.sum) for model in models]
    np.testing.assert_allclose(values, sum(value for value, _ in alone), rtol=1e-4)
    assert relative(gradient, sum(gradient for _, gradient in alone)) < 1e-5


def test_models_that_cannot_be_stacked_are_refused(complement: Golden, overlay: Golden) -> None:
    with pytest.raises(InvalidParameterError, match="at least one"):
        stack([])
    with pytest.raises(InvalidParameterError, match="same sizes, precision, crop and parts"):
        stack([complement.model, overlay.model])


@pytest.mark.nightly
@pytest.mark.parametrize("rematerialized", [False, True])
def test_microbatches_do_not_change_the_gradient(complement: Golden, rematerialized: bool) -> None:
    size = complement.hemisphere_size
    model = complement.model.select(Vertices(np.array([3, 1]), np.array([0]), size))
    images = np.random.default_rng(0).uniform(0, 255, (4, 3, 32, 32)).astype(np.float32)
    values, gradient = value_and_pixel_gradient(model, images, jnp.mean)
    assert values.shape == (4,)
    assert gradient.shape == images.shape
    np.testing.assert_allclose(values, np.asarray(model(images)).mean(axis=1), atol=1e-6)
    other = model.rematerialized() if rematerialized else model
    again = value_and_pixel_gradient(other, images, jnp.mean, microbatch=2)
    np.testing.assert_allclose(again[0], values, atol=1e-6)
    assert relative(again[1], gradient) < 1e-5


@pytest.mark.parametrize("microbatch", [0, 3, 8])
def test_a_microbatch_divides_the_batch(complement: Golden, microbatch: int) -> None:
    with pytest.raises(InvalidParameterError, match="divide the batch"):
        value_and_pixel_gradient(complement.model, np.zeros((4, 3, 8, 8)), jnp.mean, microbatch=microbatch)
    with pytest.raises(StimulusError):
        value_and_pixel_gradient(complement.model, np.zeros((4, 8, 8, 3)), jnp.mean)

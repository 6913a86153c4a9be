"""Attribution: against closed forms, and on demo subjects against planted places and drawings."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

import berg_jax
from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.experiments.explanation import (
    contributions,
    deletion_and_insertion,
    gradient_times_input,
    integrated_gradients,
    occlusion,
    randomized,
    reading,
    smooth_grad,
)
from berg_jax.experiments.explanation.sanity import likeness
from berg_jax.experiments.synthesis import objectives, union
from berg_jax.model.images import FIELD

from ...conftest import Golden

SIDE = 16
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(20, 230, (3, 3, SIDE, SIDE)).astype(np.float32)
WEIGHTS = jnp.asarray(RANDOM.normal(size=(3, SIDE, SIDE)), jnp.float32)
ONE = objectives.mean(np.ones(1))


def linear(images: jnp.ndarray) -> jnp.ndarray:
    return jnp.einsum("nchw,chw->n", images, WEIGHTS, precision="highest")[:, None] / 100


def square(images: jnp.ndarray) -> jnp.ndarray:
    return linear(((images - 100) / 10) ** 2)


def difference() -> np.ndarray:
    return (IMAGES - 127.5) * np.asarray(WEIGHTS) / 100


@pytest.mark.parametrize("method", [gradient_times_input, integrated_gradients])
def test_a_linear_model_s_shares_are_its_terms(method: object) -> None:
    np.testing.assert_allclose(method(linear, ONE, IMAGES, batch=2), difference().sum(axis=1), atol=1e-4)


def test_integrated_gradients_of_a_square_are_the_integral() -> None:
    # The gradient is linear in the share of the way, so that the rule of middles is exact: its mean is half way.
    half = (IMAGES + 127.5) / 2
    expected = (2 * (half - 100) / 100 * np.asarray(WEIGHTS) / 100 * (IMAGES - 127.5)).sum(axis=1)
    maps = integrated_gradients(square, ONE, IMAGES, steps=4)
    np.testing.assert_allclose(maps, expected, atol=1e-4)
    change = np.asarray(square(IMAGES) - square(np.full_like(IMAGES, 127.5)))[:, 0]
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), change, rtol=1e-3, atol=1e-3)


def test_smooth_grad_of_a_linear_model_is_the_gradient_s_length() -> None:
    expected = np.linalg.norm(np.asarray(WEIGHTS), axis=0) / 100
    maps = smooth_grad(linear, ONE, IMAGES, draws=3)
    np.testing.assert_allclose(maps, np.broadcast_to(expected, maps.shape), rtol=1e-4)


def test_occlusion_of_a_linear_model_is_the_sum_of_the_covered_terms() -> None:
    terms = difference().sum(axis=1).reshape(3, 4, 4, 4, 4).sum(axis=(2, 4))
    maps = occlusion(linear, ONE, IMAGES, window=4, stride=4)
    np.testing.assert_allclose(maps, np.kron(terms, np.ones((4, 4))), atol=2e-3)
    assert occlusion(linear, ONE, IMAGES, window=7, stride=5).shape == (3, SIDE, SIDE)


def test_exact_maps_beat_random_orders_and_reversed_ones_lose() -> None:
    maps = gradient_times_input(linear, ONE, IMAGES)
    curves = deletion_and_insertion(linear, ONE, IMAGES, maps, points=5)
    whole, nothing = (np.asarray(linear(x))[:, 0] for x in (IMAGES, np.full_like(IMAGES, 127.5)))
    for curve in (curves.insertion, curves.random_insertion):
        np.testing.assert_allclose(curve[:, 0], nothing, atol=1e-4)
        np.testing.assert_allclose(curve[:, -1], whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(curves.insertion + curves.deletion, (whole + nothing)[:, None] * np.ones(5), atol=2e-3)
    assert (curves.gain > 0).all()
    assert (deletion_and_insertion(linear, ONE, IMAGES, -maps, points=5).gain < 0).all()


@pytest.mark.nightly
def test_what_places_and_layers_add_is_the_whole_response(golden: Golden) -> None:
    images = RANDOM.uniform(0, 255, (2, 3, 224, 224)).astype(np.float32)
    model = golden.model
    if len(model.config.parts) > 1:
        first = len(model.params["part1"]["readout"]["bias"].ravel())
        of_part_1 = np.sort(np.asarray(model.vertices)[np.asarray(model.order) < first])
        model = model.select(berg_jax.Vertices.from_global(of_part_1, golden.hemisphere_size))
    weights = RANDOM.normal(size=len(model.vertices))
    shares = contributions(model, weights, images)
    total = shares.places.sum(axis=(1, 2, 3)) + shares.vectors.sum(axis=1) + shares.bias
    expected = np.asarray(model(images), np.float64) @ weights
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


MISTAKES = {
    "0 to 1": (lambda: gradient_times_input(linear, ONE, IMAGES / 255), StimulusError, "look like 0–1"),
    "baseline": (lambda: gradient_times_input(linear, ONE, IMAGES, baseline=300), InvalidParameterError, "0–255"),
    "steps": (lambda: integrated_gradients(linear, ONE, IMAGES, steps=0), InvalidParameterError, "steps must be"),
    "noise": (lambda: smooth_grad(linear, ONE, IMAGES, noise=0), InvalidParameterError, "above 0"),
    "stride": (lambda: occlusion(linear, ONE, IMAGES, window=4, stride=5), InvalidParameterError, "stride 5"),
    "maps": (
        lambda: deletion_and_insertion(linear, ONE, IMAGES, np.zeros((3, 8, 8))),
        InvalidParameterError,
        "Give a map for each image",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake: str) -> None:
    make, kind, sentence = MISTAKES[mistake]
    with pytest.raises(kind, match=sentence):
        make()


@pytest.fixture(scope="module")
def subject(demo: object) -> berg_jax.Subject:
    return berg_jax.Subject("demo", 1)


def test_the_look_of_a_vertex_is_its_planted_place(subject: berg_jax.Subject) -> None:
    planted = np.concatenate([subject.metadata.raw["planted"][f"{side}_rf_center"] for side in ("lh", "rh")])
    vertices = subject.vertices("V1")
    model = subject.model(vertices)
    degrees = (np.arange(16) + 0.5) / 16 * 2 * FIELD - FIELD
    for column in range(0, len(vertices), len(vertices) // 7):
        found = reading(model, np.eye(len(vertices))[column])
        x, y = planted[vertices.global_indices[column]]
        np.testing.assert_allclose(found.rf_center[column], (x, y), atol=1e-4)
        if max(abs(x), abs(y)) < FIELD * 15 / 16:
            center = (found.look.sum(axis=0) @ degrees, -(found.look.sum(axis=1) @ degrees))
            np.testing.assert_allclose(center, (x, y), atol=1e-3)
    mixed = reading(model, np.full(len(vertices), 1 / len(vertices)))
    assert mixed.layers[np.argmax(mixed.layer_share)] == 0  # early vertices read the first layer
    np.testing.assert_allclose(mixed.layer_share.sum(), 1, rtol=1e-5)


METHODS = {
    "gradient times input": gradient_times_input,
    "integrated gradients": integrated_gradients,
    "SmoothGrad": smooth_grad,
    "occlusion": occlusion,
}


@pytest.mark.nightly
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_planted_area_depend_on_the_weights_and_beat_random_orders(
    method: str, subject: berg_jax.Subject
) -> None:
    vertices, weights = union(subject, {"area": "FFA-1 + FFA-2"})
    model, objective = subject.model(vertices), objectives.mean(weights["area"])
    images = berg_jax.demo.images("faces", 8, 7)
    maps = METHODS[method](model, objective, images)
    other = METHODS[method](randomized(model), objective, images)
    assert likeness(maps, other).mean() < 0.5
    np.testing.assert_allclose(likeness(maps, maps), 1)
    gain = deletion_and_insertion(model, objective, images, maps).gain
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


@pytest.mark.nightly
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_vertex_lie_at_its_planted_place(method: str, subject: berg_jax.Subject) -> None:
    vertices = subject.vertices("V1")
    model = subject.model(vertices)
    planted = np.concatenate([subject.metadata.raw["planted"][f"{side}_rf_center"] for side in ("lh", "rh")])
    images = berg_jax.demo.images("natural", 6, 3)
    degrees = (np.arange(224) + 0.5) / 224 * 2 * FIELD - FIELD
    distances, chance = [], []
    for column in range(0, len(vertices), len(vertices) // 6):
        maps = METHODS[method](model, objectives.mean(np.eye(len(vertices))[column]), images)
        mass = np.abs(maps).mean(axis=0) ** 2  # the square, as the center of a map on a broad ground is the middle
        mass /= mass.sum()
        center = np.array([mass.sum(axis=0) @ degrees, -(mass.sum(axis=1) @ degrees)])
        place = planted[vertices.global_indices[column]]
        distances.append(np.linalg.norm(center - place))
        chance.append(np.linalg.norm(place))
    assert np.median(distances) < 1.0
    assert np.mean(distances) < 0.5 * np.mean(chance)


def beside(first: str, second: str, n: int) -> np.ndarray:
    """Drawings of one kind at the left and of another at the right, each at half its size, on grey."""
    images = np.full((n, 3, 224, 224), 127, np.uint8)
    for kind, left in ((first, 0), (second, 112)):
        drawn = berg_jax.demo.images(kind, n, 17).reshape(n, 3, 112, 2, 112, 2).mean(axis=(3, 5))
        images[:, :, 56:168, left : left + 112] = drawn.round()
    return images


@pytest.mark.nightly
@pytest.mark.parametrize("method", ["integrated gradients", "occlusion"])
def test_maps_point_at_the_drawing_that_the_area_prefers(
    method: str, subject: berg_jax.Subject, record_property: Callable[[str, object], None]
) -> None:
    vertices, weights = union(subject, {"faces": "FFA-1 + FFA-2", "words": "VWFA-1"})
    model, images = subject.model(vertices), beside("faces", "words", 16)
    shares = {}
    for area in weights:
        maps = METHODS[method](model, objectives.mean(weights[area]), images)
        left, right = maps[:, :, :112].sum(axis=(1, 2)), maps[:, :, 112:].sum(axis=(1, 2))
        shares[area] = left - right
        record_property(f"{area}: sum over the face less that over the word (z)", shares[area].round(3).tolist())
    for area, sign in (("faces", 1), ("words", -1)):
        assert (sign * shares[area] > 0).mean() >= 3 / 4
        assert sign * shares[area].mean() > 3 * shares[area].std(ddof=1) / np.sqrt(16)

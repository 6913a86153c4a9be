"""Metamers, eigendistortions and competition, against dense singular values and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.datasets

import berg_jax
from berg_jax.errors import InvalidParameterError, StimulusError, ValidationError
from berg_jax.experiments.explanation import compete, eigendistortions, metamers
from berg_jax.experiments.synthesis import objectives, union
from berg_jax.experiments.synthesis.parametrizations.photographs import read_squares

SIDE = 4
PIXELS = 3 * SIDE * SIDE
IMAGE = np.random.default_rng(0).uniform(60, 200, (3, SIDE, SIDE)).astype(np.float32)
MIX = jnp.asarray(np.random.default_rng(1).normal(size=(PIXELS, 2 * PIXELS)), jnp.float32) / PIXELS


def model(images: jax.Array) -> jax.Array:
    """A small model that is not linear, with more responses than pixels, so that no change is invisible."""
    flat = (images.reshape(len(images), -1) - 128) / 64
    return jnp.tanh(jnp.matmul(flat, MIX, precision="highest") * 6)


def jacobian() -> np.ndarray:
    return np.asarray(jax.jacobian(lambda flat: model(flat.reshape(1, 3, SIDE, SIDE))[0])(jnp.asarray(IMAGE.ravel())))


def test_eigendistortions_are_the_dense_singular_vectors() -> None:
    found = eigendistortions(model, IMAGE, k=2, tolerance=1e-5, iterations=500)
    _, lengths, right = np.linalg.svd(jacobian().astype(np.float64), full_matrices=False)
    scale = np.sqrt(PIXELS / (2 * PIXELS))  # from lengths to root mean squares
    np.testing.assert_allclose(found.largest_sensitivity, lengths[:2] * scale, rtol=1e-3)
    np.testing.assert_allclose(found.smallest_sensitivity, lengths[::-1][:2] * scale, rtol=1e-3)
    for end, rows in ((found.largest, right[:2]), (found.smallest, right[::-1][:2])):
        np.testing.assert_allclose((end**2).mean(axis=(1, 2, 3)), 1, rtol=1e-5)
        cosines = (end.reshape(2, -1) / np.sqrt(PIXELS) * rows).sum(axis=1)
        np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-3)


def test_the_predicted_change_is_the_measured_one() -> None:
    found = eigendistortions(model, IMAGE, k=1)
    np.testing.assert_allclose(found.largest_measured, found.largest_sensitivity, rtol=1e-3)
    np.testing.assert_allclose(found.smallest_measured, found.smallest_sensitivity, rtol=2e-3)
    assert found.largest_sensitivity[0] > 5 * found.smallest_sensitivity[0]


def test_few_vertices_are_no_excuse_for_a_change_that_is_none() -> None:
    """A random change of many pixels hardly moves few vertices, and is nearly an eigenvector."""
    side, vertices = 64, 5
    weights = np.random.default_rng(2).normal(size=(3 * side * side, vertices)) * [1, 0.05, 0.05, 0.05, 0.05] / side
    image = np.random.default_rng(0).uniform(60, 200, (3, side, side)).astype(np.float32)

    def wide(images: jax.Array) -> jax.Array:
        return jnp.matmul(images.reshape(len(images), -1), jnp.asarray(weights, jnp.float32), precision="highest")

    expected = np.linalg.svd(weights, compute_uv=False)[0] * np.sqrt(3 * side * side / vertices)
    for seed in range(3):
        found = eigendistortions(wide, image, tolerance=1e-2, seed=seed)
        np.testing.assert_allclose(found.largest_sensitivity, expected, rtol=1e-2)
        assert found.smallest_sensitivity[0] < 1e-2 * expected


def test_eigendistortions_that_do_not_exist_or_do_not_converge_are_errors() -> None:
    with pytest.raises(ValidationError, match="do not depend on the image"):
        eigendistortions(lambda images: 0 * images.reshape(len(images), -1), IMAGE)
    with pytest.raises(ValidationError, match="not converged in 1 iterations"):
        eigendistortions(model, IMAGE, iterations=1, tolerance=1e-9)
    with pytest.raises(InvalidParameterError, match="a fifth of the pixel values, 9"):
        eigendistortions(model, IMAGE, k=10)
    with pytest.raises(StimulusError, match="look like 0–1"):
        eigendistortions(model, IMAGE / 255)


def few(images: jax.Array) -> jax.Array:
    return model(images)[:, :10]


@pytest.mark.parametrize("apart", [pytest.param(0.0, marks=pytest.mark.nightly), 1e-3])
def test_metamers_match_responses_and_not_pixels(apart: float) -> None:
    found = metamers(few, IMAGE, n=3, steps=300, apart=apart, show_progress=False)
    target, responses = np.asarray(few(IMAGE[None]))[0], np.asarray(few(jnp.asarray(found.images)))
    error = np.sqrt(((responses - target) ** 2).mean(axis=1)) / target.std()
    np.testing.assert_allclose(found.error, error, rtol=1e-3, atol=1e-5)
    assert (found.error < 0.01).all()
    assert (found.psnr < 20).all()


def test_the_last_steps_remove_what_is_left_of_the_difference() -> None:
    found = metamers(few, IMAGE, n=2, steps=8, show_progress=False)
    adam = np.sqrt(-found.history[-1])
    assert (adam > 0.05).all()
    assert (found.error < 1e-3).all()
    assert (found.psnr < 20).all()


@pytest.mark.nightly
def test_apart_pushes_metamers_away() -> None:
    near = metamers(few, IMAGE, start=IMAGE, n=1, steps=200, show_progress=False)
    far = metamers(few, IMAGE, start=IMAGE, n=1, steps=200, apart=1e-2, show_progress=False)
    assert far.error[0] < 0.01
    assert far.psnr[0] < near.psnr[0] - 10


def test_metamers_of_one_vertex_have_no_scale() -> None:
    with pytest.raises(InvalidParameterError, match="more than one"):
        metamers(lambda images: model(images)[:, :1], IMAGE, show_progress=False)


def test_a_competition_whose_images_are_lost_is_refused() -> None:
    def broken(images: jax.Array) -> jax.Array:
        return jnp.sqrt(images.mean(axis=(1, 2, 3)) - 1e9)[:, None]

    with pytest.raises(ValidationError, match="not finite"):
        compete(
            (broken, objectives.mean(np.ones(1))), (model, objectives.mean(np.eye(2 * PIXELS)[0])), IMAGE, steps=2
        )


def test_competition_holds_one_side_and_moves_the_other() -> None:
    first, second = (objectives.mean(np.eye(2 * PIXELS)[index]) for index in (0, 1))
    found = compete((model, first), (model, second), IMAGE, steps=24, step=2.0)
    np.testing.assert_allclose(found.start, np.asarray(model(IMAGE[None]))[0, :2], atol=2e-2)
    np.testing.assert_allclose(found.first[:2], found.start[0], atol=1e-4)
    np.testing.assert_allclose(found.second[2:], found.start[1], atol=1e-4)
    assert found.second[0] > found.start[1] + 0.1
    assert found.second[1] < found.start[1] - 0.1
    assert found.first[2] > found.start[0] + 0.1
    assert found.first[3] < found.start[0] - 0.1


def test_rounds_are_made_until_the_error_is_small() -> None:
    """From noise one round is enough, and steps that are left are not made; from an edge, several are made."""
    short = metamers(few, IMAGE, n=1, steps=512, show_progress=False)
    assert len(short.history) == 128
    assert short.error[0] < 5e-3
    black = np.where(np.arange(IMAGE.shape[-1]) % 2, 255, 0) * np.ones_like(IMAGE)
    longer = metamers(few, IMAGE, start=black, n=1, steps=512, learning_rate=1e-3, show_progress=False)
    assert len(longer.history) == 512


@pytest.mark.nightly
def test_a_metamer_of_a_photograph_from_another(demo: object, record_property: Callable[[str, object], None]) -> None:
    """Two photographs → a metamer by the default number of steps, where one round leaves more than a hundredth."""
    subject = berg_jax.Subject("demo", 1)
    china, flower = read_squares(Path(sklearn.datasets.__file__).parent / "images", "crop")[0]
    found = metamers(subject.model(roi="PPA"), china, start=flower, n=1, show_progress=False)
    record_property("steps, error and PSNR", (len(found.history), found.error.tolist(), found.psnr.tolist()))
    assert len(found.history) > 128
    assert found.error[0] < 0.01
    assert found.psnr[0] < 20


@pytest.mark.nightly
def test_metamers_and_eigendistortions_of_a_demo_subject(
    demo: object, record_property: Callable[[str, object], None]
) -> None:
    subject = berg_jax.Subject("demo", 1)
    vertices, _ = union(subject, {"area": "FFA-1"})
    encoder = subject.model(vertices)
    image = berg_jax.demo.images("faces", 1)[0]
    place = berg_jax.demo.images("places", 1)[0]
    from_noise = metamers(encoder, image, n=1, steps=200, show_progress=False)
    from_another = metamers(encoder, image, start=place, n=1, steps=200, show_progress=False)
    for name, found in (("noise", from_noise), ("another image", from_another)):
        record_property(f"errors and PSNR from {name}", (found.error.tolist(), found.psnr.tolist()))
        assert (found.error < 0.01).all()
        assert (found.psnr < 20).all()
    changes = eigendistortions(encoder, image, k=1, tolerance=1e-3)
    record_property("sensitivity predicted and measured", (changes.largest_sensitivity, changes.largest_measured))
    np.testing.assert_allclose(changes.largest_measured, changes.largest_sensitivity, rtol=0.05)
    assert changes.smallest_measured[0] < 0.05 * changes.largest_measured[0]


@pytest.mark.nightly
def test_competition_of_two_subjects_and_of_two_regions(
    demo: object, record_property: Callable[[str, object], None]
) -> None:
    image = berg_jax.demo.images("faces", 1)[0]
    sides = []
    for number, area in ((1, "FFA-1"), (2, "FFA-1"), (1, "PPA")):
        subject = berg_jax.Subject("demo", number)
        vertices, weights = union(subject, {area: area})
        sides.append((subject.model(vertices), objectives.mean(weights[area])))
    for name, second in (("subjects", sides[1]), ("regions", sides[2])):
        found = compete(sides[0], second, image, steps=12, step=4.0)
        record_property(name, (found.start.tolist(), found.first.tolist(), found.second.tolist()))
        np.testing.assert_allclose(found.first[:2], found.start[0], atol=0.02)
        np.testing.assert_allclose(found.second[2:], found.start[1], atol=0.02)
        assert found.second[0] > found.second[1] + 0.5
        assert found.first[2] > found.first[3] + 0.5

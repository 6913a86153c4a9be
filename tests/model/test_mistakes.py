"""Mistakes that would give wrong numbers without a word, and are refused: values, objectives, options given twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.model.images import check_shape, check_values

from ..conftest import Golden

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 3, 32, 32)).astype(np.float32)
BAD = [
    (IMAGES / 255, "which look like 0–1"),
    (IMAGES - 300, "must be in 0–255, got -"),
    (np.where(IMAGES > 254, np.nan, IMAGES) * np.nan, "NaN or infinity"),
]


@pytest.mark.parametrize(("images", "said"), BAD)
def test_values_are_checked_where_they_are_known(images: np.ndarray, said: str, complement: Golden) -> None:
    """Images in 0–1, normalized, or with NaN are given to a model itself → refused; under a trace they cannot be."""
    model = complement.model
    calls: list[Callable[..., Any]] = [
        model,
        berg_jax.stack([model, model]),
        lambda images: berg_jax.value_and_pixel_gradient(model, images, jnp.mean),
        check_values,
    ]
    for call in calls:
        for given in (images, jnp.asarray(images)):
            with pytest.raises(StimulusError, match=said):
                call(given)
    assert model(images, check=False).shape == jax.eval_shape(model, images).shape


def test_integers_and_dark_images_are_values(complement: Golden) -> None:
    for images in (np.ones((1, 3, 32, 32), np.uint8), jnp.zeros((1, 3, 32, 32)), jnp.ones((1, 3, 32, 32), jnp.int32)):
        check_values(images)


@pytest.mark.parametrize("objective", [lambda r: r, lambda r: r[:3], lambda r: (r.mean(), r.sum())])
def test_objectives_give_one_number(objective: Callable[..., Any], complement: Golden) -> None:
    """An objective returns no number an image, but many → refused, not summed."""
    with pytest.raises(InvalidParameterError, match="must return one number for an image's responses, got"):
        berg_jax.value_and_pixel_gradient(complement.model, IMAGES, objective)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("retinotopy --berg-dir demo --subject 1 --subject 2 --output x", "--subject"),
        ("encode images --berg-dir demo --subject 1 --subject 2 --output x", "--subject"),
        ("synthesize --berg-dir demo --subject 1 --subject=2 --drive V1 --output x", "--subject"),
        ("encode images --berg-dir demo --subject 1 --roi V1 --roi V2 --output x", "--roi"),
        ("encode images --berg-dir demo --subject 1 --output x --fit crop --fit-images pad", "--fit-images"),
    ],
)
def test_an_option_is_given_once(arguments: str, option: str) -> None:
    """An option of which one is taken is given twice → refused, not the last one taken."""
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2
    assert f"{option} is given 2 times" in result.output


def test_options_of_several_are_given_often(tmp_path: Path) -> None:
    arguments = f"localize --berg-dir {tmp_path} --subject 1 --subject 2 --output x"
    assert "encoding_models" in CliRunner().invoke(app, arguments.split()).output


@pytest.mark.nightly
def test_images_that_a_jitted_function_holds_are_checked_by_their_values(complement: Golden) -> None:
    model, images, scaled = complement.model, jnp.asarray(IMAGES), jnp.asarray(IMAGES / 255)
    responses = jax.jit(lambda model: model(images))(model)
    np.testing.assert_allclose(responses, model(IMAGES), atol=1e-4)
    with pytest.raises(StimulusError, match="look like 0–1"):
        jax.jit(lambda model: model(scaled))(model)


def test_the_rounding_of_a_resize_is_no_mistake(complement: Golden) -> None:
    white = np.full((1, 3, 32, 32), 255, np.float32)
    resized = white + np.float32(3e-5)
    assert resized.max() > 255
    np.testing.assert_allclose(complement.model(resized), complement.model(white), atol=1e-4)
    with pytest.raises(StimulusError, match=r"must be in 0–255, got 255\.5"):
        complement.model(white + np.float32(0.5))


def test_a_path_is_no_array_of_images() -> None:
    for path in ("face.jpg", Path("face.jpg")):
        with pytest.raises(StimulusError, match=r"Read it: berg_jax\.read_images\(path\)"):
            check_shape(path)
    with pytest.raises(StimulusError, match=r"got list\. Use numpy\.asarray"):
        check_shape([1])

"""A checkpoint of another optimization names the settings that differ."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import pytest

from berg_jax.errors import IntegrityError, Interrupted
from berg_jax.experiments.synthesis import optimize
from berg_jax.experiments.synthesis.parametrizations import pixels


def brightness(images: jnp.ndarray) -> jnp.ndarray:
    return images.mean((2, 3))


def green(responses: jnp.ndarray) -> jnp.ndarray:
    return responses[:, 1]


def test_a_checkpoint_of_another_optimization_names_what_differs(tmp_path: Path) -> None:
    options = {"steps": 4, "every": 1, "checkpoint": tmp_path / "c.npz", "show_progress": False}
    given = {"seed": 0, "settings": {"drive": ["V1"], "learning_rate": 0.05, "steps": 4}}
    with pytest.raises(Interrupted):
        optimize(brightness, green, pixels(8), time_limit=0, **options, **given)
    optimize(brightness, green, pixels(8), **options, **given)
    other = {"seed": 1, "settings": {"drive": ["V1"], "learning_rate": 0.1, "steps": 8}}
    said = r"of another optimization: seed is 0 there and 1 now; learning_rate is 0\.05 there and 0\.1 now\. Give"
    with pytest.raises(IntegrityError, match=said):
        optimize(brightness, green, pixels(8), **options, **other)

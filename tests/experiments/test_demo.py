"""The demonstration: gradient ascent does what it says, and the whole runs."""

from __future__ import annotations

from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from PIL import Image

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.demo import ascend, demonstrate

from .reporting.standing import check_figure


@flax.struct.dataclass
class Linear:
    """A model of one vertex, whose gradient is its weights whatever the image."""

    weights: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        return jnp.einsum("bchw,chw->b", images, self.weights)[:, None]


def test_ascent() -> None:
    random = np.random.default_rng(0)
    start = random.uniform(0, 255, (1, 3, 224, 224)).astype(np.float32)
    weights = random.normal(size=(3, 224, 224)).astype(np.float32) / 1000
    path, means = ascend(Linear(jnp.asarray(weights)), jnp.asarray(start), 3, 4.0)
    assert path.shape == (3, 1, 3, 224, 224)
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224)[None]).clip(1 / 224)
    smooth = np.fft.irfft2(np.fft.rfft2(weights.astype(np.float64)) / frequency, (224, 224))
    image = start[0].astype(np.float64)
    for step in range(3):
        np.testing.assert_allclose(means[step, 0], (image * weights).sum(), rtol=1e-4)
        image = np.clip(image + 4 * smooth / np.sqrt((smooth**2).mean()), 0, 255)
        np.testing.assert_allclose(path[step, 0], image, atol=0.01)
    assert np.isclose(means[3, 0], (image * weights).sum(), rtol=1e-4)
    assert (np.diff(means[:, 0]) > 0).all()


def test_devices_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="devices must be from 1 to 8, which are here, got 99"):
        demonstrate(tmp_path / "out", devices=99)
    assert not (tmp_path / "out").exists()


@pytest.mark.nightly
def test_the_demonstration(demo: Path, tmp_path: Path) -> None:
    said = demonstrate(tmp_path / "out", show_progress=False)
    assert "SYNTHETIC" in said
    for name in ("brain.png", "ascent.png"):
        check_figure(tmp_path / "out" / name)
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 500
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 1000
    with xarray.open_zarr(tmp_path / "out" / "responses.zarr") as data:
        assert data.responses.shape == (19, 20_484)
        assert not np.isnan(data.responses.values).any()
    assert demonstrate(tmp_path / "out", show_progress=False)  # again, into the same folder

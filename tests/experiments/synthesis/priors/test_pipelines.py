"""Guidance of a diffusers pipeline of random weights, built from a config: nothing is downloaded."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax import bridge
from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.synthesis import objectives, priors
from berg_jax.experiments.synthesis.priors import pipelines

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.nightly]
WEIGHTS = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8)), jnp.float32) / 100
ONE = objectives.mean(np.ones(1))


def model(images: jax.Array) -> jax.Array:
    return jnp.tanh(jnp.einsum("nchw,chw->n", images - 127.5, WEIGHTS, precision="highest") / 20)[:, None]


def pipeline(prediction: str) -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    return diffusers.DDPMPipeline(unet, diffusers.DDIMScheduler(prediction_type=prediction, clip_sample=False))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_guided_gradient_agrees_with_finite_differences(prediction: str) -> None:
    made = pipeline(prediction)
    made.unet.double().requires_grad_(False).eval()
    reward = bridge.to_torch(model, ONE)
    generator = torch.Generator().manual_seed(1)
    latents, direction = (torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    level = torch.tensor(300)
    kept = made.scheduler.alphas_cumprod[300].double()
    _, gradient, _ = pipelines._value_and_gradient(made, reward, latents, level, kept, None)
    step = 1e-3  # so short that few pixels reach black or white on the way, where the value has a kink

    def value(latents: Any) -> float:
        return float(pipelines._clean_value(made, reward, latents, level, kept, None)[0].sum())

    with torch.no_grad():
        measured = (value(latents + step * direction) - value(latents - step * direction)) / (2 * step)
    np.testing.assert_allclose(float((gradient * direction).sum()), measured, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_guidance_raises_and_lowers_the_value() -> None:
    made = pipeline("epsilon")
    down, none, up = (priors.guide(made, model, ONE, n=2, steps=10, scale=scale).values for scale in (-1.0, 0.0, 1.0))
    assert (down < none).all()
    assert (none < up).all()


def test_a_pipeline_without_a_denoiser_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="must have a unet"):
        priors.guide(object(), model, ONE)

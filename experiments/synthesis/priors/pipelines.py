"""Guidance of PyTorch diffusion pipelines (Hugging Face's diffusers) by the encoding model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array

from ....errors import InvalidParameterError
from ....model import bridge
from .guidance import Samples

_TINY = 1e-12


def guide(
    pipeline: Any,
    model: Callable[[Array], Array],
    objective: Callable[..., Array],
    *,
    n: int = 1,
    steps: int = 50,
    scale: float = 1.0,
    condition: Any = None,
    seed: int = 0,
) -> Samples:
    """Return samples of a diffusers pipeline, guided by an objective of the encoding model's responses.

    The clean estimate of each step is decoded and shown to the encoder; the gradient, through decoder and denoiser,
    moves the predicted noise as in :func:`~berg_jax.experiments.synthesis.priors.guidance.sample`.

    Parameters
    ----------
    pipeline
        A pipeline with ``unet`` and ``scheduler``, and with ``vae`` if it works on latents, such as
        ``StableDiffusionPipeline`` or ``DDPMPipeline``. The scheduler predicts noise or velocity.
    model, objective
        See :func:`berg_jax.model.bridge.to_torch`; the objective is of single images.
    n
        Number of samples.
    steps
        Number of the scheduler's steps.
    scale
        Guidance scale; negative ones lower the objective.
    condition
        Text embeddings (n, tokens, width) of a pipeline that takes them, such as ``pipeline.encode_prompt(…)[0]``.
    seed
        Seed of the noise.

    Raises
    ------
    ResourceError
        PyTorch is not installed.
    InvalidParameterError
        The pipeline has no denoiser or scheduler of these kinds.

    References
    ----------
    Pierzchlewicz et al. 2023, *Energy guided diffusion for generating neurally exciting images*, NeurIPS.

    Examples
    --------
    ::

        pipeline = StableDiffusionPipeline.from_pretrained(…).to("cuda")
        empty = pipeline.encode_prompt("", "cuda", 4, False)[0]
        samples = guide(pipeline, model, objectives.mean(weights), n=4, condition=empty)
    """
    reward = bridge.to_torch(model, objective)
    import torch

    denoiser, scheduler = (getattr(pipeline, name, None) for name in ("unet", "scheduler"))
    kind = getattr(getattr(scheduler, "config", None), "prediction_type", None)
    if denoiser is None or kind not in ("epsilon", "v_prediction"):
        raise InvalidParameterError(
            "The pipeline must have a unet, and a scheduler that predicts noise (epsilon) or velocity "
            f"(v_prediction); got {type(pipeline).__name__} with prediction type {kind}."
        )
    weight = next(denoiser.parameters())
    for part in (denoiser, getattr(pipeline, "vae", None)):
        if part is not None:
            part.requires_grad_(False).eval()
    size = denoiser.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((n, denoiser.config.in_channels, height, width), generator=generator)
    latents = noise.to(weight.device, weight.dtype) * scheduler.init_noise_sigma
    scheduler.set_timesteps(steps)
    history = []
    for level in scheduler.timesteps:
        kept = scheduler.alphas_cumprod[int(level)].to(weight.device, weight.dtype)
        values, gradient, predicted = _value_and_gradient(pipeline, reward, latents, level, kept, condition)
        length = gradient.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        # The clean estimate moves by scale · σ; of the noise that is −scale · α, of the velocity −scale.
        factor = kept.sqrt() if kind == "epsilon" else 1.0
        moved = predicted - scale * factor * gradient / (length + _TINY)
        latents = scheduler.step(moved, level, latents).prev_sample.detach()
        history.append(values)
    with torch.no_grad():
        images = _decoded(pipeline, latents).float()
        values = reward(images)
    return Samples(
        images.cpu().numpy(), latents.float().cpu().numpy(), values.float().cpu().numpy(), np.stack(history)
    )


def _value_and_gradient(
    pipeline: Any, reward: Any, latents: Any, level: Any, kept: Any, condition: Any
) -> tuple[np.ndarray, Any, Any]:
    """Return the reward of the clean estimates, its gradient by the noisy latents, and the prediction."""
    import torch

    latents = latents.detach().requires_grad_()
    with torch.enable_grad():
        values, predicted = _clean_value(pipeline, reward, latents, level, kept, condition)
        (gradient,) = torch.autograd.grad(values.sum(), latents)
    return values.detach().float().cpu().numpy(), gradient, predicted.detach()


def _clean_value(pipeline: Any, reward: Any, latents: Any, level: Any, kept: Any, condition: Any) -> tuple[Any, Any]:
    scaled = pipeline.scheduler.scale_model_input(latents, level)
    given = {} if condition is None else {"encoder_hidden_states": condition}
    predicted = pipeline.unet(scaled, level, **given).sample
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    if pipeline.scheduler.config.prediction_type == "epsilon":
        clean = (latents - sigma * predicted) / alpha
    else:
        clean = alpha * latents - sigma * predicted
    return reward(_decoded(pipeline, clean).float()), predicted


def _decoded(pipeline: Any, clean: Any) -> Any:
    """Return latents, or pixels in −1 to 1, as images in 0–255."""
    vae = getattr(pipeline, "vae", None)
    if vae is not None:
        clean = vae.decode(clean / vae.config.scaling_factor).sample
    return (127.5 * (clean + 1)).clamp(0, 255)

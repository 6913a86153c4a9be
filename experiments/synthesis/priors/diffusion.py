"""Diffusion models as values: a denoiser, its noise schedule and a decoder, and the steps that solve its equation."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ....errors import InvalidParameterError
from ..functions import Function

Prediction = Literal["noise", "velocity", "clean"]
Sampler = Literal["ddim", "dpm-solver++"]
_LEAST = 1e-4  # share of the clean variance at the highest level: a clean latent can still be told from the noise


@flax.struct.dataclass
class Diffusion:
    """A diffusion model of images or latents, as a pytree.

    A noisy latent of level t is α·clean + σ·noise, with α² + σ² = 1 and α² = ``kept[t]``.

    Attributes
    ----------
    denoise
        Function (latents (n, …), t (n,)) → prediction (n, …), with whole numbers t from 0 to ``len(kept) - 1``.
    kept
        (levels,) share of the clean latent's variance that is left at each level, descending in (0, 1].
    decode
        Function latents → images (n, 3, height, width) in 0–255, differentiable.
    shape
        Shape of one latent (static).
    predicts
        Meaning of a prediction (static): ``"noise"`` (ε), ``"velocity"`` (α·noise − σ·clean) or ``"clean"``.
    encode
        Function images → latents, for variations of photographs; or None.

    See Also
    --------
    berg_jax.experiments.synthesis.priors.guidance.sample : Draw images, with or without guidance.

    References
    ----------
    Ho, Jain, Abbeel 2020, *Denoising diffusion probabilistic models*, NeurIPS.

    Salimans, Ho 2022, *Progressive distillation for fast sampling of diffusion models*, ICLR (velocity).
    """

    denoise: Function
    kept: Float[Array, " levels"]
    decode: Function
    shape: tuple[int, ...] = flax.struct.field(pytree_node=False)
    predicts: Prediction = flax.struct.field(pytree_node=False, default="noise")
    encode: Function | None = None

    def clean(self, latents: Float[Array, "n ..."], level: Int[Array, ""]) -> Float[Array, "n ..."]:
        """Return the clean latents that the model expects behind noisy ones."""
        kept = self.kept[level]
        alpha, sigma = jnp.sqrt(kept), jnp.sqrt(1 - kept)
        predicted = self.denoise(latents, jnp.full(len(latents), level))
        if self.predicts == "clean":
            return predicted
        if self.predicts == "velocity":
            return alpha * latents - sigma * predicted
        return (latents - sigma * predicted) / alpha


class Steps(NamedTuple):
    """Coefficients of a sampler's steps: next = a·latents + b·((1 + c)·clean − c·previous clean).

    Attributes
    ----------
    level
        (steps,) level of noise before each step.
    sigma
        (steps,) standard deviation of the noise before each step.
    a, b, c
        (steps,) coefficients.
    """

    level: Int[np.ndarray, " steps"]
    sigma: Float[np.ndarray, " steps"]
    a: Float[np.ndarray, " steps"]
    b: Float[np.ndarray, " steps"]
    c: Float[np.ndarray, " steps"]


def cosine_schedule(levels: int = 1000) -> Float[np.ndarray, " levels"]:
    """Return the cosine schedule: the share of the clean variance that is left at each level, down to 0.0001.

    Parameters
    ----------
    levels
        Number of levels.

    References
    ----------
    Nichol, Dhariwal 2021, *Improved denoising diffusion probabilistic models*, ICML.

    Examples
    --------
    >>> kept = cosine_schedule(10)
    >>> bool(kept[0] > 0.95), bool(kept[-1] < 0.03)
    (True, True)
    """
    share = (np.arange(levels) + 1) / levels
    kept = np.cos((share + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    return _LEAST + (1 - _LEAST) * kept


def sampler_steps(kept: Float[np.ndarray, " levels"], steps: int, sampler: Sampler, strength: float = 1.0) -> Steps:
    """Return the coefficients of a sampler's steps from a level of noise to none.

    DDIM solves the probability-flow equation to first order, DPM-Solver++(2M) to second order with the clean estimate
    of the step before. The last step is of first order. DDIM's levels are evenly spaced, those of DPM-Solver++ evenly
    in the logarithm of signal to noise.

    Parameters
    ----------
    kept
        The model's schedule.
    steps
        Number of steps.
    sampler
        ``"ddim"`` or ``"dpm-solver++"``.
    strength
        Share of the levels that are passed, above 0 to 1, from the noise to start with.

    Raises
    ------
    InvalidParameterError
        The sampler is unknown, or there are more steps than levels.

    References
    ----------
    Song, Meng, Ermon 2021, *Denoising diffusion implicit models*, ICLR.

    Lu, Zhou, Bao, Chen, Li, Zhu 2022, *DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
    models*, arXiv:2211.01095.
    """
    if sampler not in get_args(Sampler):
        raise InvalidParameterError(f"sampler must be one of {list(get_args(Sampler))}, got {sampler!r}.")
    if not 0 < strength <= 1:
        raise InvalidParameterError(f"strength must be above 0 and at most 1, got {strength}.")
    highest = round(strength * len(kept)) - 1
    if not 1 <= steps <= highest + 1:
        raise InvalidParameterError(
            f"steps must be from 1 to the number of levels passed, {highest + 1}; got {steps}."
        )
    kept = np.asarray(kept, np.float64)
    level = np.linspace(highest, 0, steps).round().astype(int)
    if sampler == "dpm-solver++":
        log_ratio = np.log(kept / (1 - kept))[: highest + 1]
        wanted = np.linspace(log_ratio[-1], log_ratio[0], steps)
        level = np.interp(wanted, log_ratio[::-1], np.arange(highest + 1)[::-1]).round().astype(int)
        # Levels that fall together move apart, down first, then up from the lowest.
        count = np.arange(steps)
        level = np.maximum(np.minimum.accumulate(level + count) - count, count[::-1])
    alpha, sigma = np.sqrt(kept[level]), np.sqrt(1 - kept[level])
    next_alpha, next_sigma = np.append(alpha[1:], 1.0), np.append(sigma[1:], 0.0)
    a = next_sigma / sigma
    c = np.zeros(steps)
    if sampler == "dpm-solver++" and steps > 2:
        log_ratio = np.log(alpha / sigma)
        width = np.diff(log_ratio)
        c[1:-1] = width[1:] / (2 * width[:-1])
    return Steps(level, sigma, a, next_alpha - alpha * a, c)

"""Guided diffusion: samples of a diffusion model that an objective of the responses steers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ....errors import InvalidParameterError, ValidationError
from ..ascent import Model
from ..functions import Function, as_function
from ..recipe import GUIDANCE
from .diffusion import Diffusion, Sampler, Steps, sampler_steps

_TINY = 1e-12


class Samples(NamedTuple):
    """Samples of a diffusion model.

    Attributes
    ----------
    images
        (n, 3, height, width) in 0–255.
    latents
        Their latents, (n, …).
    values
        (n,) objective's value for each image; NaN without an objective.
    history
        (steps, n) objective's value for the clean estimate before each step; NaN without an objective.
    """

    images: Float[np.ndarray, "n 3 height width"]
    latents: Float[np.ndarray, "n ..."]
    values: Float[np.ndarray, " n"]
    history: Float[np.ndarray, "steps n"]


def sample(
    diffusion: Diffusion,
    n: int,
    *,
    model: Model | None = None,
    objective: Callable[..., Array] | None = None,
    scale: float | Float[np.ndarray, " n"] = GUIDANCE,
    schedule: Callable[[Float[np.ndarray, " steps"]], Float[np.ndarray, " steps"]] | None = None,
    steps: int = 50,
    sampler: Sampler = "dpm-solver++",
    start: Float[np.ndarray, "n ..."] | None = None,
    strength: float = 1.0,
    reach: float | None = None,
    seed: int = 0,
    microbatch: int | None = None,
) -> Samples:
    """Return samples of a diffusion model, guided by an objective of the responses if there is one.

    At each step the clean estimate is moved along the gradient of the objective by the noisy latent. The gradient is
    normalized to a root mean square of 1, so that the scale means the same at every level and for every objective:
    the move is ``scale`` times the level's standard deviation of noise.

    Parameters
    ----------
    diffusion
        The diffusion model.
    n
        Number of samples.
    model, objective
        See :func:`berg_jax.experiments.synthesis.optimize`; the objective is of single images. Several objectives are
        added: ``mean(faces) - 0.5 * mean(places)``. Without them, samples are on the prior.
    scale
        Guidance scale, one for all or one for each sample; negative ones lower the objective.
    schedule
        Function from progress, 0 at the start to 1, to a factor of the scale; by default 1 throughout.
    steps, sampler
        Number of steps, and how they are made: see
        :func:`~berg_jax.experiments.synthesis.priors.diffusion.sampler_steps`.
    start
        Clean latents to start from, to which noise is added up to ``strength``; by default pure noise.
    strength
        Share of the noise levels that are passed, above 0 to 1.
    reach
        Largest root mean square distance of the clean estimates from ``start``, in units of the latents, so that
        guidance finds what drives the objective most within it. By default there is no limit.
    seed
        Seed of the noise; sample i is the same in any microbatch.
    microbatch
        Number of samples computed at a time, which limits the memory; by default all. Denoiser and decoder are
        rematerialized.

    Raises
    ------
    InvalidParameterError
        A number makes no sense, only one of model and objective is given, or ``start`` does not fit.
    ValidationError
        A sample is not finite.

    See Also
    --------
    berg_jax.experiments.synthesis.priors.variation.vary : Variations of a photograph.
    berg_jax.experiments.synthesis.priors.pipelines.guide : The same for pipelines of diffusers.

    References
    ----------
    Pierzchlewicz et al. 2023, *Energy guided diffusion for generating neurally exciting images*, NeurIPS: normalized
    gradients of the encoder through the clean estimate.

    Luo, Henderson, Wehbe, Tarr 2023, *Brain diffusion for visual exploration: cortical discovery using large scale
    generative models* (BrainDiVE), NeurIPS.

    Examples
    --------
    >>> from berg_jax.experiments.synthesis.priors.diffusion import cosine_schedule
    >>> def denoise(latents, level):  # of images that are one grey level throughout
    ...     return jnp.full_like(latents, 0.5)
    >>> flat = Diffusion(
    ...     Function(denoise), jnp.asarray(cosine_schedule(50)), Function(lambda x: 255 * x), (3, 8, 8), "clean"
    ... )
    >>> sample(flat, 2, steps=4).images.mean().round(2).item()
    127.5
    """
    microbatch = n if microbatch is None else microbatch
    if n < 1 or microbatch < 1 or n % microbatch:
        raise InvalidParameterError(
            f"Give at least 1 sample and a microbatch that divides n, got {n} and {microbatch}."
        )
    if (model is None) != (objective is None):
        raise InvalidParameterError("Give both a model and an objective, or neither.")
    scales = np.broadcast_to(np.asarray(scale, np.float32), (n,))
    shape = (n, *diffusion.shape)
    if start is not None and np.shape(start) != shape:
        raise InvalidParameterError(f"start must have the shape {shape}, got {np.shape(start)}.")
    if start is None and strength != 1:
        raise InvalidParameterError("strength is for samples that start from latents: give start, too.")
    if reach is not None and (start is None or not reach > 0):
        raise InvalidParameterError(
            f"reach must be above 0, and is a distance from start: give it, too. Got {reach}."
        )
    table = sampler_steps(np.asarray(diffusion.kept), steps, sampler, strength)
    factors = np.ones(steps) if schedule is None else np.asarray(schedule(np.linspace(0, 1, steps)), float)
    if factors.shape != (steps,):
        raise InvalidParameterError(f"schedule must give a factor for each of {steps} steps, got {factors.shape}.")
    keys = jax.vmap(lambda index: jax.random.fold_in(jax.random.key(seed), index))(jnp.arange(n))
    noise = jax.vmap(lambda key: jax.random.normal(key, diffusion.shape))(keys)
    kept = float(diffusion.kept[int(table.level[0])])
    latents = noise if start is None else np.sqrt(kept) * jnp.asarray(start) + np.sqrt(1 - kept) * noise
    guide = None if objective is None else Function(_guide, (_as_pytree(model), as_function(objective)))
    coefficients = Steps(*(jnp.asarray(column) for column in table))
    center = None if reach is None else jnp.asarray(start)
    sampled = []
    for first in range(0, n, microbatch):
        few = slice(first, first + microbatch)
        ball = None if center is None else (center[few], jnp.asarray(reach, float))
        numbers = (latents[few], jnp.asarray(scales[few]), coefficients, jnp.asarray(factors))
        found = _sampled(diffusion, guide, *numbers, ball)
        sampled.append(jax.device_get(found))
    images, clean, values = (np.concatenate([part[index] for part in sampled]) for index in range(3))
    history = np.concatenate([part[3] for part in sampled], axis=1)
    if not np.isfinite(images).all():
        raise ValidationError("A sample is not finite: use a smaller scale, or check the denoiser at high noise.")
    return Samples(images, clean, values, history)


def _as_pytree(model: Model) -> Model:
    return as_function(model) if any(callable(leaf) for leaf in jax.tree.leaves(model)) else model


def _guide(model: Model, objective: Function, images: Array) -> Float[Array, " n"]:
    return objective(model(images))


@jax.jit
def _sampled(
    diffusion: Diffusion,
    guide: Function | None,
    latents: Float[Array, "n ..."],
    scales: Float[Array, " n"],
    table: Steps,
    factors: Float[Array, " steps"],
    ball: tuple[Float[Array, "n ..."], Float[Array, ""]] | None,
) -> tuple[Array, Array, Array, Array]:
    per_sample = (len(latents),) + (1,) * (latents.ndim - 1)
    nothing = jnp.full(len(latents), jnp.nan)

    @jax.checkpoint
    def value(latents: Array, level: Array) -> tuple[Array, tuple[Array, Array]]:
        clean = diffusion.clean(latents, level)
        values = guide(diffusion.decode(clean))
        return values.sum(), (clean, values)

    def step(carried: tuple[Array, Array], row: tuple[Steps, Array]) -> tuple[tuple[Array, Array], Array]:
        latents, previous = carried
        at, factor = row
        if guide is None:
            clean, values = diffusion.clean(latents, at.level), nothing
        else:
            gradient, (clean, values) = jax.grad(value, has_aux=True)(latents, at.level)
            axes = tuple(range(1, gradient.ndim))
            length = jnp.sqrt((gradient**2).mean(axis=axes, keepdims=True))
            clean += scales.reshape(per_sample) * factor * at.sigma * gradient / (length + _TINY)
        if ball is not None:
            center, radius = ball
            away = clean - center
            length = jnp.sqrt((away**2).mean(axis=tuple(range(1, away.ndim)), keepdims=True))
            clean = center + away * jnp.minimum(1, radius / (length + _TINY))
        blended = (1 + at.c) * clean - at.c * previous
        return (at.a * latents + at.b * blended, clean), values

    (latents, _), history = jax.lax.scan(step, (latents, jnp.zeros_like(latents)), (table, factors))
    images = diffusion.decode(latents)
    return images, latents, nothing if guide is None else guide(images), history

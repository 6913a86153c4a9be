"""Variations of a photograph that raise or lower a region, at a matched distance from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ....errors import InvalidParameterError
from ....model.images import check_values
from ..ascent import Model
from ..judging.judge import score
from .diffusion import Diffusion, Sampler
from .guidance import _as_pytree, sample


class Variations(NamedTuple):
    """A strip of variations, from suppressed to driven.

    Attributes
    ----------
    images
        (scales, 3, height, width) in 0–255.
    scales
        Guidance scale of each.
    values
        Objective's value for each.
    pixel_distance
        Root mean square difference from the reconstruction of the photograph, grey levels.
    feature_distance
        Distance of each in the given features, or NaN.
    reconstruction
        (3, height, width) the photograph as the diffusion model's encoder and decoder give it back.
    """

    images: Float[np.ndarray, "scales 3 height width"]
    scales: Float[np.ndarray, " scales"]
    values: Float[np.ndarray, " scales"]
    pixel_distance: Float[np.ndarray, " scales"]
    feature_distance: Float[np.ndarray, " scales"]
    reconstruction: Float[np.ndarray, "3 height width"]


def vary(
    diffusion: Diffusion,
    model: Model,
    objective: Callable[..., Array],
    photograph: Num[np.ndarray, "3 height width"],
    *,
    scales: Sequence[float] = (-1.0, -0.25, 0.0, 0.25, 1.0),
    strength: float = 0.5,
    matched: bool = True,
    radius: float | None = None,
    features: Callable[[Array], Array] | None = None,
    steps: int = 50,
    sampler: Sampler = "ddim",
    seed: int = 0,
) -> Variations:
    """Return variations of a photograph: noise is added and removed again under guidance, down and up.

    Parameters
    ----------
    diffusion
        A diffusion model with ``encode``.
    model, objective
        See :func:`berg_jax.experiments.synthesis.optimize`; the objective is of single images.
    photograph
        Image (3, height, width) in 0–255.
    scales
        Guidance scales, ascending: below 0 suppress, above 0 drive. All start from the same noise.
    strength
        Share of the noise levels that are passed: at 1 nothing of the photograph is left.
    matched
        Guide within the distance of the unguided variation from the photograph, in latents, and draw every variation
        towards the reconstruction until all have the smallest pixel distance among them.
    radius
        Largest pixel distance, in grey levels, to which variations are drawn.
    features
        Function images → features (n, …), such as those of a stock DINOv2, in which distances are given, too.
    steps, sampler, seed
        See :func:`~berg_jax.experiments.synthesis.priors.guidance.sample`. DDIM is the default, because strong
        guidance within a distance makes the extrapolation of the second order overshoot.

    Raises
    ------
    StimulusError
        It is no image in 0–255.
    InvalidParameterError
        The diffusion model has no encoder, or the scales do not ascend.

    References
    ----------
    Meng et al. 2022, *SDEdit: guided image synthesis and editing with stochastic differential equations*, ICLR.

    Cerdas, Sartzetaki, Petersen, Roig, Mettes, Groen 2025, *BrainACTIV: identifying visuo-semantic properties driving
    cortical selectivity using diffusion-based image manipulation*, ICLR.
    """
    check_values(photograph[None])
    if diffusion.encode is None:
        raise InvalidParameterError("Variations need a diffusion model with encode, images → latents.")
    scales = np.asarray(scales, float)
    if scales.ndim != 1 or not len(scales) or (np.diff(scales) <= 0).any():
        raise InvalidParameterError(f"scales must ascend, got {scales.tolist()}.")
    if radius is not None and not radius > 0:
        raise InvalidParameterError(f"radius must be above 0 grey levels, got {radius}.")
    model, n = _as_pytree(model), len(scales)
    latent = diffusion.encode(jnp.asarray(photograph[None], float))
    options = {"steps": steps, "sampler": sampler, "strength": strength, "seed": seed}
    if matched:
        free = sample(diffusion, 1, start=latent, **options).latents
        options["reach"] = max(float(np.sqrt(((free - latent) ** 2).mean())), 1e-6)
    # One at a time: sample 0 has the same noise whatever the scale.
    images = np.concatenate(
        [
            sample(diffusion, 1, model=model, objective=objective, scale=scale, start=latent, **options).images
            for scale in scales
        ]
    )
    reconstruction = np.asarray(diffusion.decode(latent))[0]
    distances = _distances(images, reconstruction)
    wanted = distances.min() if matched else distances
    wanted = np.minimum(wanted, np.inf if radius is None else radius)
    if (wanted < distances).any():
        share = np.minimum(wanted / np.maximum(distances, 1e-12), 1)
        images = reconstruction + share[:, None, None, None] * (images - reconstruction)
        distances = _distances(images, reconstruction)
    apart = np.full(n, np.nan)
    if features is not None:
        found = [
            np.asarray(features(jnp.asarray(one))).reshape(len(one), -1) for one in (images, reconstruction[None])
        ]
        apart = np.linalg.norm(found[0] - found[1], axis=1)
    images = images.astype(np.float32).clip(0, 255)
    return Variations(images, scales, score(model, objective, images), distances, apart, reconstruction)


def _distances(images: Float[np.ndarray, "n 3 h w"], original: Float[np.ndarray, "3 h w"]) -> Float[np.ndarray, " n"]:
    return np.sqrt(((images - original) ** 2).mean(axis=(1, 2, 3)))

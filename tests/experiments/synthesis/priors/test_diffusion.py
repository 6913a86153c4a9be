"""Samplers and guidance against closed forms: a Gaussian prior, whose flow and guided course are known exactly."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax.errors import InvalidParameterError, ValidationError
from berg_jax.experiments.synthesis import objectives, priors
from berg_jax.experiments.synthesis.functions import Function
from berg_jax.experiments.synthesis.priors.diffusion import Prediction, Sampler, sampler_steps

SHAPE = (3, 2, 2)
MEAN, SPREAD = 0.4, 0.3
KEPT = priors.cosine_schedule(1000)
ONE = objectives.mean(np.ones(1))


def gaussian(predicts: Prediction) -> priors.Diffusion:
    """The exact diffusion model of independent Gaussian latents."""

    def denoise(kept: jax.Array, latents: jax.Array, level: jax.Array) -> jax.Array:
        share = kept[level][:, None, None, None]
        alpha, sigma = jnp.sqrt(share), jnp.sqrt(1 - share)
        clean = MEAN + alpha * SPREAD**2 / (share * SPREAD**2 + 1 - share) * (latents - alpha * MEAN)
        noise = (latents - alpha * clean) / sigma
        return {"clean": clean, "noise": noise, "velocity": alpha * noise - sigma * clean}[predicts]

    kept = jnp.asarray(KEPT, jnp.float32)
    decode = Function(lambda latents: 127.5 + 20 * latents)
    encode = Function(lambda images: (images - 127.5) / 20)
    return priors.Diffusion(Function(denoise, (kept,)), kept, decode, SHAPE, predicts, encode)


def flow(noise: np.ndarray) -> np.ndarray:
    """The end of the probability-flow equation from the highest level, in closed form."""
    alpha = np.sqrt(KEPT[-1])
    return MEAN + SPREAD / np.sqrt(KEPT[-1] * SPREAD**2 + 1 - KEPT[-1]) * (noise - alpha * MEAN)


def noise_of(n: int) -> np.ndarray:
    keys = [jax.random.fold_in(jax.random.key(0), index) for index in range(n)]
    return np.stack([jax.random.normal(key, SHAPE) for key in keys])


def error(sampler: str, steps: int) -> float:
    found = priors.sample(gaussian("clean"), 16, steps=steps, sampler=sampler)
    return float(np.abs(found.latents - flow(noise_of(16))).max())


def test_ddim_is_of_first_and_dpm_solver_of_second_order() -> None:
    first = [error("ddim", steps) for steps in (20, 40, 80)]
    second = [error("dpm-solver++", steps) for steps in (20, 40, 80)]
    assert all(1.6 < coarse / fine < 2.6 for coarse, fine in itertools.pairwise(first))
    assert all(coarse / fine > 3 for coarse, fine in itertools.pairwise(second))
    assert all(one < other / 5 for one, other in zip(second, first, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 3, 50, 900, 1000])
@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_levels_descend_without_a_repetition(sampler: Sampler, steps: int) -> None:
    table = sampler_steps(KEPT, steps, sampler)
    assert (np.diff(table.level) < 0).all()
    assert table.level[0] == 999
    assert table.level[-1] == (0 if steps > 1 else 999)
    assert all(np.isfinite(column).all() for column in table)


@pytest.mark.parametrize("predicts", ["noise", "velocity", "clean"])
def test_each_prediction_leads_to_the_same_samples(predicts: Prediction) -> None:
    found = priors.sample(gaussian(predicts), 4, steps=40, microbatch=2)
    np.testing.assert_allclose(found.latents, flow(noise_of(4)), atol=0.02)
    np.testing.assert_allclose(found.images, 127.5 + 20 * found.latents, rtol=1e-6)
    assert np.isnan(found.values).all()


def test_unguided_samples_have_the_prior_s_mean_and_spread() -> None:
    latents = priors.sample(gaussian("noise"), 400, steps=30).latents
    assert abs(latents.mean() - MEAN) < 5 * SPREAD / np.sqrt(latents.size)
    assert abs(latents.std() / SPREAD - 1) < 0.05


def linear(images: jax.Array) -> jax.Array:
    return images[:, 0].mean(axis=(1, 2))[:, None]


def test_guidance_moves_along_the_normalized_gradient_only() -> None:
    """By hand in NumPy: the same recursion, with the gradient that a linear objective has."""
    found = priors.sample(gaussian("clean"), 2, model=linear, objective=ONE, scale=0.7, steps=12, sampler="ddim")
    direction = np.zeros(SHAPE)
    direction[0] = np.sqrt(3)  # a root mean square of 1 over the three channels
    table = sampler_steps(KEPT, 12, "ddim")
    latents = noise_of(2).astype(float)
    for level, sigma, a, b, _ in zip(*table, strict=True):
        alpha = np.sqrt(KEPT[level])
        clean = MEAN + alpha * SPREAD**2 / (KEPT[level] * SPREAD**2 + 1 - KEPT[level]) * (latents - alpha * MEAN)
        latents = a * latents + b * (clean + 0.7 * sigma * direction)
    np.testing.assert_allclose(found.latents, latents, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.values, (127.5 + 20 * latents)[:, 0].mean(axis=(1, 2)), rtol=1e-5)


def test_scale_and_sign_of_the_guidance_order_the_values() -> None:
    def values(scale: float, schedule: Callable | None = None) -> np.ndarray:
        options = {"model": linear, "objective": ONE, "scale": scale, "schedule": schedule, "steps": 12}
        return priors.sample(gaussian("noise"), 3, **options).values

    down, none, up = values(-1.0), values(0.0), values(1.0)
    assert (down < none).all()
    assert (none < up).all()
    assert (values(1.0, lambda progress: progress) < up).all()
    np.testing.assert_allclose(values(1.0, lambda progress: 0 * progress), none, rtol=1e-6)


def test_variations_rise_at_a_matched_distance() -> None:
    photograph = np.random.default_rng(0).uniform(110, 150, SHAPE).astype(np.float32)
    options = {"strength": 0.4, "steps": 20}
    found = priors.vary(gaussian("noise"), linear, ONE, photograph, features=lambda images: images, **options)
    assert (np.diff(found.values) > 0).all()
    np.testing.assert_allclose(found.pixel_distance, found.pixel_distance.min(), rtol=1e-4)
    np.testing.assert_allclose(found.feature_distance, found.pixel_distance * np.sqrt(12), rtol=1e-3)
    np.testing.assert_allclose(found.reconstruction, photograph, rtol=1e-5)


def two_subjects(images: jax.Array) -> jax.Array:
    """Responses (subjects, images, vertices) of two that weigh another channel each, as a stacked model's are."""
    return jnp.stack([images[:, channel].mean(axis=(1, 2))[:, None] for channel in (0, 2)])


def test_an_ensemble_of_subjects_guides_as_its_mean() -> None:
    """Of subjects that weigh a channel each, the gradient of the mean moves both channels alike and no other."""
    ensemble = objectives.group(objectives.mean(np.ones((2, 1))))
    options = {"scale": 0.7, "steps": 12}
    found = priors.sample(gaussian("clean"), 2, model=two_subjects, objective=ensemble, **options)
    unguided = priors.sample(gaussian("clean"), 2, steps=12)
    np.testing.assert_allclose(found.values, found.images[:, [0, 2]].mean(axis=(1, 2, 3)), rtol=1e-5)
    moved = (found.images - unguided.images).mean(axis=(0, 2, 3))
    assert moved[0] > 1
    np.testing.assert_allclose(moved, moved[0] * np.array([1, 0, 1]), atol=1e-3)


def test_variations_are_drawn_to_a_radius() -> None:
    photograph = np.random.default_rng(0).uniform(110, 150, SHAPE).astype(np.float32)
    options = {"strength": 0.4, "steps": 20, "matched": False}
    free = priors.vary(gaussian("noise"), linear, ONE, photograph, **options).pixel_distance
    radius = float(np.median(free))
    near = priors.vary(gaussian("noise"), linear, ONE, photograph, radius=radius, **options).pixel_distance
    np.testing.assert_allclose(near, np.minimum(free, radius), rtol=1e-4)


def test_clean_estimates_stay_within_reach() -> None:
    start = np.full((2, *SHAPE), 0.5, np.float32)
    options = {"model": linear, "objective": ONE, "scale": 3.0, "steps": 12, "start": start, "strength": 0.5}
    free, near = (priors.sample(gaussian("noise"), 2, reach=reach, **options) for reach in (None, 0.1))
    distances = [np.sqrt(((found.latents - start) ** 2).mean(axis=(1, 2, 3))) for found in (free, near)]
    assert (distances[0] > 0.2).all()
    np.testing.assert_allclose(distances[1], 0.1, rtol=1e-4)
    assert (near.values > 127.5 + 20 * 0.5 + 1).all()  # it still drives, within the reach


def broken() -> priors.Diffusion:
    return gaussian("clean").replace(denoise=Function(lambda latents, level: latents / 0))


MISTAKES = {
    "sampler": (lambda: priors.sample(gaussian("clean"), 1, sampler="euler"), InvalidParameterError, "one of"),
    "steps": (lambda: priors.sample(gaussian("clean"), 1, steps=1001), InvalidParameterError, "passed, 1000"),
    "half": (lambda: priors.sample(gaussian("clean"), 1, model=linear), InvalidParameterError, "or neither"),
    "batch": (lambda: priors.sample(gaussian("clean"), 3, microbatch=2), InvalidParameterError, "divides n"),
    "strength": (lambda: priors.sample(gaussian("clean"), 1, strength=0.5), InvalidParameterError, "give start"),
    "reach": (lambda: priors.sample(gaussian("clean"), 1, reach=1.0), InvalidParameterError, "distance from start"),
    "not finite": (lambda: priors.sample(broken(), 1, steps=2), ValidationError, "not finite"),
    "no encoder": (
        lambda: priors.vary(gaussian("clean").replace(encode=None), linear, ONE, np.full(SHAPE, 99.0)),
        InvalidParameterError,
        "with encode",
    ),
    "radius": (
        lambda: priors.vary(gaussian("clean"), linear, ONE, np.full(SHAPE, 99.0), radius=0),
        InvalidParameterError,
        "radius must be above 0",
    ),
    "scales": (
        lambda: priors.vary(gaussian("clean"), linear, ONE, np.full(SHAPE, 99.0), scales=(1, -1)),
        InvalidParameterError,
        "must ascend",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake: str) -> None:
    make, kind, sentence = MISTAKES[mistake]
    with pytest.raises(kind, match=sentence):
        make()

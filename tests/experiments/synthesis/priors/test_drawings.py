"""The diffusion model of drawings on a demo subject: on the prior without guidance, in an area's favor with it."""

from __future__ import annotations

import numpy as np
import pytest

import berg_jax
from berg_jax.demo.geography import PREFERENCES
from berg_jax.experiments.synthesis import objectives, optimize, priors, union
from berg_jax.experiments.synthesis.judging.judge import percentile, score
from berg_jax.experiments.synthesis.priors.drawings import training_drawings

pytestmark = pytest.mark.nightly
N = 8


def patterns(images: np.ndarray) -> np.ndarray:
    """Images as 28 × 28 pixels of mean 0 and length 1, whose products are correlations."""
    blocks = np.asarray(images, np.float32).reshape(len(images), 3, 28, 8, 28, 8)
    coarse = blocks.mean(axis=(3, 5)).reshape(len(images), -1)
    deviations = coarse - coarse.mean(axis=1, keepdims=True)
    return deviations / np.linalg.norm(deviations, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def drawings() -> np.ndarray:
    return patterns(training_drawings())


@pytest.fixture(scope="module")
def diffusion(demo: object) -> priors.Diffusion:
    return priors.drawings_diffusion()


def nearest(images: np.ndarray, drawings: np.ndarray) -> np.ndarray:
    """Return each image's correlation distance, 1 − r, to the drawing that it is most like."""
    return 1 - (patterns(images) @ drawings.T).max(axis=1)


def test_unguided_samples_are_on_the_prior(diffusion: priors.Diffusion, drawings: np.ndarray) -> None:
    samples = priors.sample(diffusion, 64, steps=40).images
    fresh = np.concatenate([berg_jax.demo.images(kind, 12, 5) for kind in ("faces", "bodies", "places", "words")])
    noise = np.random.default_rng(0).uniform(0, 255, fresh.shape)
    typical = nearest(fresh, drawings)
    assert np.median(nearest(samples, drawings)) < 1.2 * np.median(typical)
    assert np.median(nearest(noise, drawings)) > 2 * np.median(typical)
    assert samples.std(axis=0).mean() > 0.5 * fresh.std(axis=0).mean()  # and they differ from each other


@pytest.mark.parametrize("area", PREFERENCES)
def test_guided_samples_drive_the_area_and_stay_near_the_drawings(
    area: str, diffusion: priors.Diffusion, drawings: np.ndarray
) -> None:
    subject = berg_jax.Subject("demo", 1)
    vertices, weights = union(subject, {"area": area})
    model, objective = subject.model(vertices), objectives.mean(weights["area"])
    natural = score(model, objective, berg_jax.demo.images("natural", 200, 9))
    found = priors.sample(diffusion, N, model=model, objective=objective, scale=2.0, steps=40)
    best = found.values.max()
    assert percentile(np.array([best]), natural)[0] >= 99
    # Gradient ascent up to the same score: the first look whose value reaches the guided samples' best.
    for steps in (2, 4, 8, 16, 32, 64):
        ascent = optimize(model, objective, n=2, steps=steps, every=steps, show_progress=False)
        if ascent.values.max() >= best:
            break
    guided = nearest(found.images[[found.values.argmax()]], drawings)
    assert guided.mean() < nearest(ascent.images, drawings).mean()

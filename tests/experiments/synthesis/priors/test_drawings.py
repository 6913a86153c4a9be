"""The diffusion model of drawings on a demo subject: on the prior without guidance, in an area's favor with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import berg_jax
from berg_jax.demo.geography import PREFERENCES
from berg_jax.experiments.synthesis import objectives, optimize, priors, union
from berg_jax.experiments.synthesis.judging.judge import percentile
from berg_jax.experiments.synthesis.optimize import ADAM
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


@pytest.fixture(scope="module")
def areas(demo: object) -> tuple[berg_jax.EncodingModel, dict[str, np.ndarray], np.ndarray]:
    """One model for all areas, so that one program serves them; each one's weights; responses to natural images."""
    subject = berg_jax.Subject("demo", 1)
    vertices, weights = union(subject, {area: area for area in PREFERENCES})
    model, natural = subject.model(vertices), berg_jax.demo.images("natural", 200, 9)
    return model, weights, np.concatenate([np.asarray(model(natural[at : at + 8])) for at in range(0, 200, 8)])


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
    area: str,
    areas: tuple[berg_jax.EncodingModel, dict[str, np.ndarray], np.ndarray],
    diffusion: priors.Diffusion,
    drawings: np.ndarray,
    record_property: Callable[[str, object], None],
) -> None:
    model, weights, responses = areas
    objective = objectives.mean(weights[area])
    found = priors.sample(diffusion, N, model=model, objective=objective, scale=2.0, steps=40)
    best = found.values.max()
    rank = percentile(np.array([best]), responses @ weights[area])[0]
    # Gradient ascent up to the same score: the first look whose value reaches the guided samples' best.
    options = {"n": 2, "every": 2, "optimizer": ADAM, "show_progress": False}
    looks = optimize(model, objective, steps=64, **options).looks.max(axis=1)
    reached = 2 * (int(np.argmax(looks >= best)) + 1) if (looks >= best).any() else 64
    ascent = optimize(model, objective, steps=reached, **options)
    guided = nearest(found.images[[found.values.argmax()]], drawings).mean()
    ascended = nearest(ascent.images, drawings).mean()
    record_property("value", float(best))
    record_property("percentile", float(rank))
    record_property("value of the ascent", float(ascent.values.max()))
    record_property("distance of the guided sample", float(guided))
    record_property("distance of the ascent's images", float(ascended))
    assert rank >= 99
    assert guided < ascended

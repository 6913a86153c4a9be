"""The diffusion model of drawings on a demo subject: on the prior without guidance, in an area's favor with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import berg_jax
from berg_jax.demo.geography import PREFERENCES
from berg_jax.experiments.synthesis import accentuate, objectives, optimize, priors, union
from berg_jax.experiments.synthesis.areas import stacked_union
from berg_jax.experiments.synthesis.judging.judge import percentile, score
from berg_jax.experiments.synthesis.judging.winner import Judge, judge_images
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
    found = priors.sample(diffusion, N, model=model, objective=objective, steps=40)
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


def test_the_area_rises_along_a_strip_and_others_move_less(
    areas: tuple[berg_jax.EncodingModel, dict[str, np.ndarray], np.ndarray],
    diffusion: priors.Diffusion,
    record_property: Callable[[str, object], None],
) -> None:
    model, weights, responses = areas
    photograph = berg_jax.demo.images("objects", 1, 23)[0]
    for area in ("FFA-1", "PPA", "EBA", "VWFA-1"):
        features = priors.class_token(model)
        objective = objectives.mean(weights[area])
        found = priors.vary(diffusion, model, objective, photograph, features=features, steps=25)
        assert (np.diff(found.values) > 0).all()
        np.testing.assert_allclose(found.pixel_distance, found.pixel_distance[0], rtol=1e-3)
        assert ((found.feature_distance > 0) & (found.feature_distance < 2)).all()
        strip = np.concatenate([np.asarray(model(image[None])) for image in found.images])
        # In standard deviations over natural images, as areas' responses differ in size.
        moves = {
            name: float(np.abs(np.ptp(strip @ own)) / (responses @ own).std())
            for name, own in weights.items()
            if name == area or PREFERENCES[name] != PREFERENCES[area]
        }
        record_property(f"{area} moves, and the most of areas with another preference", (
            moves[area], max(move for name, move in moves.items() if name != area)
        ))  # fmt: skip
        assert moves[area] == max(moves.values())


def test_samples_for_an_ensemble_drive_a_subject_that_took_no_part(
    demo: object, diffusion: priors.Diffusion, record_property: Callable[[str, object], None]
) -> None:
    subjects = [berg_jax.Subject("demo", number) for number in (1, 2, 3)]
    ensemble, weights = stacked_union(subjects[:2], {"area": "FFA-1 + FFA-2"})
    objective = objectives.group(objectives.mean(weights["area"]))
    found = priors.sample(diffusion, 4, model=ensemble, objective=objective, scale=2.0, steps=25)
    vertices, own = union(subjects[2], {"area": "FFA-1 + FFA-2"})
    judge = Judge(subjects[2].model(vertices), objectives.mean(own["area"]))
    natural = berg_jax.demo.images("natural", 100, 9)
    judged = judge_images(ensemble, objective, found.images, others={"subject 3": judge}, natural=natural)
    best = int(found.values.argmax())
    ranks = [
        float(percentile(values[[best]], judged.natural[name])[0])
        for name, values in (("the model", judged.values["8 bits"]), ("subject 3", judged.transfer["subject 3"]))
    ]
    record_property("percentiles in the ensemble and in the subject that took no part", ranks)
    record_property("values after changes", {name: float(own[best]) for name, own in judged.values.items()})
    assert min(ranks) >= 95
    assert min(values[best] for values in judged.values.values()) > 0.5 * judged.values["as made"][best]


def test_accentuation_raises_the_area_and_keeps_the_photograph(
    areas: tuple[berg_jax.EncodingModel, dict[str, np.ndarray], np.ndarray],
    record_property: Callable[[str, object], None],
) -> None:
    model, weights, responses = areas
    photograph = berg_jax.demo.images("faces", 1, 31)[0].astype(np.float32)
    objective = objectives.mean(weights["FFA-1"])
    before = float(score(model, objective, photograph[None])[0])
    distance = priors.feature_distance(photograph, priors.network_tokens(model, 0))
    far, near = (
        accentuate(model, objective, photograph, weight=weight, features=priors.network_tokens(model, 0),
                   steps=24, every=12, show_progress=False).images
        for weight in (0.0, 20.0)
    )  # fmt: skip
    values = [float(score(model, objective, images)[0]) for images in (near, far)]
    apart = [float(distance(images)[0]) for images in (near, far)]
    record_property("values of photograph, accentuation and free ascent", (before, *values))
    record_property("feature distances of accentuation and free ascent", apart)
    assert before + 0.5 * (responses @ weights["FFA-1"]).std() < values[0] < values[1]
    assert apart[0] < 0.7 * apart[1]

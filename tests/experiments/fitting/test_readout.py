"""Readouts: equal to scikit-learn's ridge, with the penalty that leaving images out one by one would choose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.fitting import Features, VertexTables, fit_readout, mixed_features, predict

IMAGES, LAYERS, WIDTH, VERTICES = 40, 2, 6, 50
PENALTIES = tuple(np.logspace(-3, 3, 9).tolist())


class Made(NamedTuple):
    features: Features
    tables: VertexTables
    mixed: np.ndarray  # (vertices, images, width), by loops
    responses: np.ndarray


def by_loops(features: Features, tables: VertexTables) -> np.ndarray:
    """Mixed features, with zeros around the maps, one vertex after the other."""
    maps = np.pad(np.asarray(features.maps, np.float64), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    found = np.zeros((len(tables.bias), maps.shape[1], maps.shape[-1]))
    for vertex, (mix, center) in enumerate(zip(tables.layer_weights, tables.rf_center, strict=True)):
        x, y = ((center.astype(np.float64) + 1) * 16 - 1) / 2 + 1
        left, top = int(np.floor(x)), int(np.floor(y))
        for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
            for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
                for layer, weight in enumerate(mix):
                    found[vertex] += weight * down * across * (maps[layer, :, row, column] + features.vectors[layer])
    return found


def make(images: int = IMAGES, width: int = WIDTH, noise: float = 1.0, kept: type = np.float32) -> Made:
    random = np.random.default_rng(0)
    maps = random.normal(1, 2, (LAYERS, images, 16, 16, width)).astype(kept)
    features = Features(maps, random.normal(size=(LAYERS, images, width)).astype(np.float32))
    mix = random.dirichlet(np.ones(LAYERS), VERTICES).astype(np.float32)
    places = random.permutation(225)[:VERTICES]  # of 15 × 15 cells, so that compiled programs are few
    center = np.stack([places % 15, places // 15], axis=1) * 2 / 16 - 0.93 + random.uniform(0.01, 0.11, (VERTICES, 2))
    center[:3] = [[0.989, -0.989], [-0.989, 0.1], [0.2, 0.989]]  # which look at the ring around the map
    center[3:19] = center[3] + random.uniform(-0.004, 0.004, (16, 2))  # many of one cell
    center = center.astype(np.float32)
    weight = random.normal(size=(VERTICES, width)).astype(np.float32)
    tables = VertexTables(weight, np.full(VERTICES, 3, np.float32), mix, center)
    mixed = by_loops(features, tables)
    signal = np.einsum("vnd,vd->nv", mixed, weight) / width
    levels = np.linspace(0.05, 4, VERTICES) * noise  # so that vertices want different penalties
    return Made(features, tables, mixed, signal + levels * signal.std(0) * random.normal(size=signal.shape))


def left_out_errors(h: np.ndarray, y: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Mean squared error of each image by a ridge that was fitted without it, for each penalty."""
    errors = np.empty((len(alphas), len(y)))
    for image in range(len(y)):
        kept = np.arange(len(y)) != image
        mean_h, mean_y = h[kept].mean(0), y[kept].mean()
        centered = h[kept] - mean_h
        grams = centered.T @ centered + alphas[:, None, None] * np.eye(h.shape[1])
        moments = (centered.T @ (y[kept] - mean_y))[:, None]
        beta = np.linalg.solve(grams, np.broadcast_to(moments, (*grams.shape[:2], 1)))
        errors[:, image] = y[image] - mean_y - ((h[image] - mean_h) @ beta)[:, 0]
    return (errors**2).mean(1)


@pytest.mark.parametrize(("images", "width"), [(IMAGES, WIDTH), (24, 40)])
def test_it_equals_scikit_learn_s_ridge(images: int, width: int) -> None:
    made = make(images, width)
    found = fit_readout(made.features, made.responses, made.tables, penalties=PENALTIES)
    for vertex in range(VERTICES):
        h, y = made.mixed[vertex], made.responses[:, vertex]
        centered = h - h.mean(0)
        unit = np.linalg.eigvalsh(centered.T @ centered).mean()
        np.testing.assert_allclose(found.alpha[vertex], found.penalty[vertex] * unit, rtol=1e-5)
        ridge = Ridge(alpha=found.alpha[vertex]).fit(h, y)
        scale = abs(ridge.coef_).max()
        np.testing.assert_allclose(found.weight[vertex] / width, ridge.coef_, atol=1e-4 * scale)
        np.testing.assert_allclose(found.bias[vertex], ridge.intercept_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("images", "width"), [(IMAGES, WIDTH), (24, 40)])
def test_penalties_are_those_of_leaving_each_image_out(images: int, width: int) -> None:
    made = make(images, width)
    found = fit_readout(made.features, made.responses, made.tables, penalties=PENALTIES)
    chosen = []
    for vertex in range(VERTICES):
        unit = found.alpha[vertex] / found.penalty[vertex]
        errors = left_out_errors(made.mixed[vertex], made.responses[:, vertex], np.array(PENALTIES) * unit)
        chosen.append(PENALTIES[int(errors.argmin())])
    np.testing.assert_array_equal(found.penalty, chosen)
    assert len(set(chosen)) >= 4


def few(made: Made) -> Made:
    """The three vertices at the border alone."""
    tables = VertexTables(*(table[:3] for table in made.tables))
    return Made(made.features, tables, made.mixed[:3], made.responses[:, :3])


def test_the_left_out_r_is_that_of_the_left_out_predictions() -> None:
    made = few(make())
    found = fit_readout(made.features, made.responses, made.tables, penalties=PENALTIES)
    for vertex in range(3):
        h, y = made.mixed[vertex], made.responses[:, vertex]
        left_out = [
            Ridge(alpha=found.alpha[vertex]).fit(np.delete(h, i, 0), np.delete(y, i)).predict(h[i : i + 1])[0]
            for i in range(len(y))
        ]
        np.testing.assert_allclose(found.loo_r[vertex], np.corrcoef(left_out, y)[0, 1], atol=1e-6)


def test_only_training_images_are_read() -> None:
    made = few(make())
    train = np.arange(0, IMAGES, 2)[:20]
    found = fit_readout(made.features, made.responses, made.tables, images=train)
    others = np.setdiff1d(np.arange(IMAGES), train)
    spoiled, responses = made.features.maps.copy(), made.responses.copy()
    spoiled[:, others], responses[others] = 1e6, np.nan
    again = fit_readout(made.features._replace(maps=spoiled), responses, made.tables, images=train)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.nightly
def test_several_targets_are_fitted_each_as_if_alone() -> None:
    made = few(make())
    random = np.random.default_rng(1)
    targets = np.stack([made.responses, random.permutation(made.responses)], axis=2)
    both = fit_readout(made.features, targets, made.tables, penalties=PENALTIES)
    for number in range(2):
        alone = fit_readout(made.features, targets[:, :, number], made.tables, penalties=PENALTIES)
        np.testing.assert_allclose(both.weight[:, number], alone.weight, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(both.penalty[:, number], alone.penalty)


def test_predictions_and_mixed_features_are_those_of_loops() -> None:
    made = make(kept=np.float16)
    some = np.array([7, 3, 31])
    np.testing.assert_allclose(mixed_features(made.features, made.tables, some), made.mixed[:, some], atol=1e-5)
    expected = np.einsum("vnd,vd->nv", made.mixed, made.tables.weight) / WIDTH + made.tables.bias
    np.testing.assert_allclose(predict(made.features, made.tables), expected, atol=1e-4)
    np.testing.assert_allclose(predict(made.features, made.tables, some), expected[some], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"responses": np.zeros((IMAGES, 3))}, "50 vertices, got shape"),
        ({"responses": np.full((IMAGES, VERTICES), np.nan)}, "must be finite"),
        ({"images": np.arange(19)}, "at least 20 training images, got 19"),
        ({"penalties": (0.0, 1.0)}, "positive"),
        ({"penalties": ()}, "at least one"),
    ],
)
def test_bad_input(change: dict, words: str) -> None:
    made = make()
    given = {"responses": made.responses, **change}
    with pytest.raises(InvalidParameterError, match=words):
        fit_readout(made.features, given.pop("responses"), made.tables, **given)


def test_tables_of_another_donor() -> None:
    made = make()
    tables = made.tables._replace(layer_weights=np.ones((VERTICES, 3)) / 3)
    with pytest.raises(InvalidParameterError, match="3 layers, and the features 2"):
        fit_readout(made.features, made.responses, tables)

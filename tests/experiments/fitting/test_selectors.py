"""Selectors: planted receptive fields and layers are found, parametrizations start where they should, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import RidgeCV

from berg_jax.errors import InvalidParameterError, ValidationError
from berg_jax.experiments.fitting import VertexTables, fit_selectors
from berg_jax.experiments.fitting.recipe import SELECTORS_RECIPE
from berg_jax.experiments.fitting.training.grid_start import _PENALTIES, _ridge, grid_start
from berg_jax.experiments.fitting.training.loop import TrainingOptions
from berg_jax.experiments.fitting.training.parametrizations import coordinates, free, read_coordinate_networks
from berg_jax.model.checkpoint import read_part

from ...conftest import Golden
from .made import Planted, planted, responses_of

RECIPE = replace(SELECTORS_RECIPE, epochs=10, learning_rate=5e-3, start_rate=5e-3)
ONE = TrainingOptions(devices=1)


@pytest.fixture(scope="module")
def person() -> Planted:
    return planted(240, 40)


@pytest.fixture(scope="module")
def fitted(person: Planted) -> tuple:
    return fit_selectors(
        person.features, person.responses, person.split, person.donor, recipe=RECIPE, seed=3, options=ONE
    )


def _r(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [scipy.stats.pearsonr(a[:, axis], b[:, axis]).statistic for axis in (0, 1)]


def test_planted_receptive_fields_are_found(person: Planted, fitted: tuple) -> None:
    tables, curves, _ = fitted

    assert max(_r(person.donor.rf_center, person.truth.rf_center)) < 0.5
    assert min(_r(tables.rf_center, person.truth.rf_center)) > 0.97
    assert np.median(np.linalg.norm(tables.rf_center - person.truth.rf_center, axis=1)) < 0.06
    assert curves.score > 0.7
    assert curves.score == pytest.approx(curves.vertex_r.mean())


def test_planted_layers_are_found(person: Planted, fitted: tuple) -> None:
    tables, _, _ = fitted

    right = tables.layer_weights.argmax(axis=1) == person.truth.layer_weights.argmax(axis=1)
    assert right.mean() > 0.95
    np.testing.assert_allclose(tables.layer_weights.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert (abs(tables.rf_center) <= 0.99).all()


def test_the_gradient_refines_the_cells_of_the_search(person: Planted, fitted: tuple) -> None:
    start = grid_start(
        person.features.maps,
        person.features.vectors,
        person.responses,
        person.split.train,
        person.donor,
        seed=3,
        most=1000,
    )

    def distance(tables: VertexTables) -> float:
        return float(np.median(np.linalg.norm(tables.rf_center - person.truth.rf_center, axis=1)))

    assert start.moved.mean() > 0.9
    assert distance(fitted[0]) < distance(start.tables) < 0.1


@pytest.mark.nightly
def test_from_the_donor_s_centers_alone_the_gradient_does_not_find_them(person: Planted, fitted: tuple) -> None:
    tables, curves, _ = fit_selectors(
        person.features,
        person.responses,
        person.split,
        person.donor,
        recipe=replace(RECIPE, epochs=3),
        start="donor",
        options=ONE,
    )

    assert min(_r(tables.rf_center, person.truth.rf_center)) < 0.5
    assert curves.score < fitted[1].score - 0.2


@pytest.mark.nightly
def test_vertices_of_pure_noise_stay_where_they_are(person: Planted) -> None:
    random = np.random.default_rng(9)
    noise = random.normal(size=(240, 400)).astype(np.float32)
    donor = VertexTables(*(np.resize(table, (400, *table.shape[1:])) for table in person.donor))

    start = grid_start(
        person.features.maps, person.features.vectors, noise, person.split.train, donor, seed=0, most=1000
    )

    assert start.moved.mean() < 0.05
    still = ~start.moved
    for new, old in zip(start.tables, donor, strict=True):
        assert np.array_equal(new[still], old[still])


def test_the_search_s_ridge_is_scikit_learn_s() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(80, 6)) * np.arange(1, 7) + 3
    responses = features @ random.normal(size=(6, 5)) + 4 * random.normal(size=(80, 5))
    responses -= responses.mean(axis=0)

    score, weight, bias = jax.jit(_ridge)(features.astype(np.float32), responses.astype(np.float32))

    centered = features - features.mean(axis=0)
    scale = np.linalg.eigvalsh(centered.T @ centered).mean()
    for vertex in range(5):
        errors = []
        for penalty in np.array(_PENALTIES) * scale:
            model = RidgeCV([penalty]).fit(features, responses[:, vertex])
            hat = centered @ np.linalg.solve(centered.T @ centered + penalty * np.eye(6), centered.T)
            rest = responses[:, vertex] - model.predict(features)
            errors.append(((rest @ rest) / 80 / (1 - (1 + np.trace(hat)) / 80) ** 2, model))
        error, model = min(errors, key=lambda pair: pair[0])
        total = responses[:, vertex] @ responses[:, vertex] / 80 / (1 - 1 / 80) ** 2
        assert score[vertex] == pytest.approx(1 - error / total, abs=1e-5)
        np.testing.assert_allclose(weight[vertex], model.coef_, rtol=1e-3, atol=1e-5)
        assert bias[vertex] == pytest.approx(model.intercept_, abs=1e-4)


def test_free_selectors_begin_at_the_tables(person: Planted) -> None:
    tables = person.donor._replace(rf_center=np.clip(person.donor.rf_center * 2, -0.989, 0.989))
    parametrization = free(tables, anchor=1.0)
    rows = np.array([5, 3])

    weights, center = parametrization.tables(parametrization.params, rows)
    away = {**parametrization.params, "position": parametrization.params["position"] * 0}

    np.testing.assert_allclose(weights, tables.layer_weights[rows], rtol=0, atol=1e-6)
    np.testing.assert_allclose(center, tables.rf_center[rows], rtol=0, atol=1e-4)
    assert float(parametrization.penalty(parametrization.params, rows)) < 1e-7
    expected = (tables.rf_center[rows] ** 2).sum(axis=1).mean()
    assert float(parametrization.penalty(away, rows)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("part", ["part1", "part2"])
def test_coordinate_networks_give_the_donor_s_tables(complement: Golden, part: str) -> None:
    tables = read_part(complement.folder, part).weights()["readout"]
    rows = np.arange(0, len(tables["bias"]), 3)

    parametrization = coordinates(read_coordinate_networks(complement.berg_dir, 2, part), rows)
    weights, center = jax.jit(parametrization.tables)(parametrization.params, np.arange(len(rows)))

    np.testing.assert_allclose(weights, tables["layer_weights"][rows], rtol=0, atol=2e-6)
    np.testing.assert_allclose(center, tables["rf_center"][rows], rtol=0, atol=2e-6)


@pytest.mark.nightly
def test_bfloat16_and_a_part_of_the_vertices_a_step(person: Planted, fitted: tuple) -> None:
    tables, curves, _ = fit_selectors(
        person.features,
        person.responses,
        person.split,
        person.donor,
        recipe=replace(RECIPE, vertices=25, epochs=20),
        precision="bfloat16",
        options=ONE,
    )

    assert min(_r(tables.rf_center, person.truth.rf_center)) > 0.95
    assert curves.score > fitted[1].score - 0.03


@pytest.mark.nightly
def test_the_fit_goes_on_to_the_same_bits(person: Planted, tmp_path: Path) -> None:
    arguments = (person.features, person.responses, person.split, person.donor)
    recipe = replace(RECIPE, epochs=3)
    options = replace(ONE, save_seconds=0)

    straight = fit_selectors(*arguments, recipe=recipe, start="donor", options=options)
    fit_selectors(*arguments, recipe=replace(recipe, epochs=1), start="donor", folder=tmp_path, options=options)
    resumed = fit_selectors(*arguments, recipe=recipe, start="donor", folder=tmp_path, options=options)

    for a, b in zip(straight[0], resumed[0], strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(straight[1].loss, resumed[1].loss)


def test_what_does_not_fit_is_refused(person: Planted, complement: Golden) -> None:
    features, responses, split, _, donor = person

    def refused(error: type, words: str, **changes: object) -> None:
        arguments = {"features": features, "responses": responses, "split": split, "tables": donor, **changes}
        with pytest.raises(error, match=words):
            fit_selectors(**arguments, options=ONE)

    other = SimpleNamespace(maps=features.maps[:, :, :, :, :3], vectors=features.vectors)
    refused(ValidationError, r"Expected maps \(240, 2, 16, 16, 8\)", features=other)
    refused(ValidationError, "NaN or infinity", tables=donor._replace(bias=donor.bias * np.nan))
    refused(ValidationError, "shapes do not match", tables=donor._replace(bias=donor.bias[:3]))
    refused(ValidationError, "40 vertices", responses=responses[:, :5])
    refused(InvalidParameterError, "start must be one of", start="elsewhere")
    refused(InvalidParameterError, "selectors must be 'free'", selectors="coordinates")
    refused(InvalidParameterError, "search_images must be an integer", search_images=0)
    refused(InvalidParameterError, "precision must be one of", precision="float8")
    networks = read_coordinate_networks(complement.berg_dir, 2)
    refused(ValidationError, "The selectors are of 53 vertices", selectors=coordinates(networks))
    others = coordinates(networks, np.arange(40))
    refused(InvalidParameterError, "'donor' for selectors that are not free", selectors=others, start="grid")
    with pytest.raises(InvalidParameterError, match="rows must be integers from 0 to 52"):
        coordinates(networks, np.array([53]))
    with pytest.raises(InvalidParameterError, match="part must be 'part1'"):
        read_coordinate_networks(complement.berg_dir, 2, "part3")


def test_the_planted_responses_are_what_the_fit_models(person: Planted, fitted: tuple) -> None:
    noiseless = responses_of(person.features, fitted[0])[person.split.validation]

    r = [
        scipy.stats.pearsonr(noiseless[:, vertex], person.responses[person.split.validation, vertex]).statistic
        for vertex in range(40)
    ]

    np.testing.assert_allclose(fitted[1].vertex_r, r, rtol=0, atol=1e-4)

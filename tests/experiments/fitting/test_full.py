"""The full network on a golden subject: what moves, what does not, resuming, several devices, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np
import pytest

from berg_jax.errors import InvalidParameterError, StimulusError, ValidationError
from berg_jax.experiments.fitting import Recipe, VertexTables, fit_full
from berg_jax.experiments.fitting.training.loop import TrainingOptions
from berg_jax.experiments.fitting.training.parametrizations import coordinates, read_coordinate_networks
from berg_jax.model.checkpoint import read_part
from berg_jax.model.encoding_model import Part, build
from berg_jax.model.nn.config import ComputePlan
from berg_jax.model.weights import without_lora
from berg_jax.vertices import Vertices

from ...conftest import Golden

RECIPE = Recipe(batch_size=8, vertices=30, epochs=4, epoch_fraction=1.0, learning_rate=1e-3, start_rate=1e-3)
ONE = TrainingOptions(devices=1)


class Person(NamedTuple):
    part: Part
    images: np.ndarray
    responses: np.ndarray
    split: SimpleNamespace
    tables: VertexTables


@pytest.fixture(scope="module")
def person(complement: Golden) -> Person:
    """Responses of part 1 of the golden subject, from which its tables were taken away."""
    random = np.random.default_rng(0)
    part = read_part(complement.folder, "part1")
    images = random.integers(0, 256, (32, 3, 8, 8), np.uint8).repeat(7, axis=2).repeat(7, axis=3)
    tables = VertexTables(**part.weights()["readout"])
    responses = _responses(part, complement.hemisphere_size, images)
    responses = (responses - responses.mean(axis=0)) / responses.std(axis=0)
    split = SimpleNamespace(train=np.arange(24), validation=np.arange(24, 32))
    start = tables._replace(weight=0.01 * random.normal(size=tables.weight.shape).astype(np.float32))
    return Person(part, images, responses, split, start)


def _responses(part: Part, hemisphere_size: int, images: np.ndarray) -> np.ndarray:
    """Responses of the part's rows by the package's model."""
    model = build({"part1": part}, hemisphere_size, Vertices.from_global(np.sort(part.vertices), hemisphere_size))
    return np.asarray(model(images))[:, np.argsort(np.argsort(part.vertices))]


@pytest.fixture(scope="module")
def fitted(person: Person) -> tuple:
    return fit_full(*person, recipe=RECIPE, seed=1, options=ONE)


def _leaves(tree: dict) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.nightly
def test_only_adapters_heads_and_tables_move(person: Person, fitted: tuple) -> None:
    part, tables, _, _ = fitted
    before, after = person.part.weights(), part.weights
    vit_before, vit_after = _leaves(before["vit"]), _leaves(after["vit"])
    heads_before, heads_after = _leaves(before["heads"]), _leaves(after["heads"])

    moved = {name for name in vit_before if not np.array_equal(vit_before[name], vit_after[name])}
    assert moved == {name for name in vit_before if "lora_" in name}
    assert all(not np.array_equal(heads_before[name], heads_after[name]) for name in heads_before)
    assert all(not np.array_equal(new, old) for new, old in zip(tables, person.tables, strict=True))
    assert all(leaf.dtype == np.float32 for leaf in (*vit_after.values(), *heads_after.values(), *tables))


@pytest.mark.nightly
def test_training_raises_r(fitted: tuple) -> None:
    _, _, curves, _ = fitted

    assert curves.score >= curves.validation_r.max() > curves.validation_r[0]
    assert curves.loss[-1] < curves.loss[0]


@pytest.mark.nightly
def test_the_fitted_part_is_a_model(person: Person, fitted: tuple, complement: Golden) -> None:
    part, tables, curves, _ = fitted
    for name, table in tables._asdict().items():
        assert np.array_equal(part.weights["readout"][name], table)

    responses = _responses(part, complement.hemisphere_size, person.images[person.split.validation])

    measured = person.responses[person.split.validation]
    r = [np.corrcoef(responses[:, vertex], measured[:, vertex])[0, 1] for vertex in range(len(tables.bias))]
    np.testing.assert_allclose(curves.vertex_r, r, rtol=0, atol=1e-4)


@pytest.mark.nightly
def test_the_fit_goes_on_to_the_same_bits(person: Person, fitted: tuple, tmp_path: Path) -> None:
    options = replace(ONE, save_seconds=0)
    fit_full(*person, recipe=replace(RECIPE, epochs=1), seed=1, folder=tmp_path, options=options)

    part, tables, curves, _ = fit_full(*person, recipe=RECIPE, seed=1, folder=tmp_path, options=options)

    resumed = (part.weights, tables, curves.loss)
    straight = (fitted[0].weights, fitted[1], fitted[2].loss)
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(straight), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.nightly
def test_a_teacher_is_followed_at_first(person: Person) -> None:
    recipe = replace(RECIPE, epochs=1, distillation_epochs=10**6)
    wrong = np.random.default_rng(0).normal(size=person.responses.shape).astype(np.float32)

    by_teacher = fit_full(*person._replace(responses=wrong), recipe=recipe, teacher=person.responses, options=ONE)
    by_measured = fit_full(*person, recipe=recipe, options=ONE)

    assert by_teacher[2].loss == pytest.approx(by_measured[2].loss, rel=1e-4)


def test_what_does_not_fit_is_refused(complement: Golden) -> None:
    part = read_part(complement.folder, "part1")
    tables = VertexTables(**part.weights()["readout"])
    split = SimpleNamespace(train=np.arange(24), validation=np.arange(24, 32))
    images, responses = np.full((32, 3, 56, 56), 99, np.uint8), np.zeros((32, len(tables.bias)), np.float32)
    person = Person(part, images, responses, split, tables)
    network = {**part.weights()}

    def refused(error: type, words: str, **changes: object) -> None:
        options = {key: changes.pop(key) for key in ("compute_plan", "teacher", "selectors") if key in changes}
        with pytest.raises(error, match=words):
            fit_full(**{**person._asdict(), **changes}, recipe=RECIPE, options=ONE, **options)

    refused(
        InvalidParameterError, "no low-rank adapters", part=Part(without_lora(part.config), network, part.vertices)
    )
    refused(InvalidParameterError, "Winograd", compute_plan=ComputePlan(winograd=True))
    narrow = person.tables._replace(weight=person.tables.weight[:, :3])
    refused(ValidationError, "the network has 8 and 2", tables=narrow)
    refused(ValidationError, "the teacher's responses", teacher=person.responses[:, :3])
    refused(StimulusError, "0–255", images=person.images / 255.0)
    refused(ValidationError, "8 images were asked for, and 7 came", images=lambda numbers: person.images[numbers][:7])


@pytest.mark.nightly
def test_bfloat16_follows_float32(person: Person, fitted: tuple) -> None:
    part, tables, curves, _ = fit_full(*person, recipe=RECIPE, seed=1, precision="bfloat16", options=ONE)

    assert curves.loss == pytest.approx(fitted[2].loss, rel=0.02)
    assert curves.skipped == 0
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves((part.weights, tables)))


@pytest.mark.nightly
def test_one_and_eight_devices(person: Person, complement: Golden) -> None:
    rows = np.arange(len(person.tables.bias))
    selectors = coordinates(read_coordinate_networks(complement.berg_dir, 2), rows)

    alone, together = (
        fit_full(*person, recipe=RECIPE, seed=1, selectors=selectors, options=TrainingOptions(devices=devices))
        for devices in (1, 8)
    )

    np.testing.assert_allclose(together[2].loss, alone[2].loss, rtol=0, atol=1e-6)
    np.testing.assert_allclose(together[2].validation_r, alone[2].validation_r, rtol=0, atol=1e-6)
    trees = ((fit[0].weights, fit[1]) for fit in (alone, together))
    differences = [np.abs(a - b).reshape(-1) for a, b in zip(*map(jax.tree.leaves, trees), strict=True)]
    print(f"one and eight devices: parameters differ by at most {max(map(np.max, differences)):.1e}")
    assert np.quantile(np.concatenate(differences), 0.999) < 1e-6  # Adam divides small gradients by their own size

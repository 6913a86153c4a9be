"""Training in epochs on a model of a few numbers: frozen tensors, resuming, stopping, refusals, the readout."""

from __future__ import annotations

import signal
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.ndimage

from berg_jax.errors import IntegrityError, Interrupted, ValidationError
from berg_jax.experiments.fitting.recipe import Recipe
from berg_jax.experiments.fitting.training import data as data_module
from berg_jax.experiments.fitting.training.data import Data, chosen_images, chosen_vertices
from berg_jax.experiments.fitting.training.loop import Curves, TrainingOptions, train
from berg_jax.experiments.fitting.training.losses import mean_squared_error
from berg_jax.experiments.fitting.training.steps import Batch, Prediction, combine, init, partition, step_of
from berg_jax.experiments.fitting.training.vertex_readout import read, tile_size, tiles_of
from berg_jax.model.nn.precision import PRECISIONS
from berg_jax.model.nn.readout import PADDED, map_position

from ...kills import Program

IMAGES, ROWS, INPUTS = 90, 30, 6
RECIPE = Recipe(
    batch_size=8,
    vertices=20,
    epochs=6,
    epoch_fraction=0.5,
    learning_rate=0.05,
    start_rate=0.02,
    weighting_epochs=2,
    kept=3,
)


def predict(params: Any, inputs: jax.Array, rows: jax.Array, key: jax.Array | None) -> Prediction:
    """A linear model behind frozen features, with noise in training."""
    weight = params["weight"][rows]
    if key is not None:
        weight = weight + 0.01 * jax.random.normal(key, weight.shape)
    responses = inputs @ params["features"] @ weight.T + params["bias"][rows][None]
    layers = jax.nn.softmax(params["logits"][rows], axis=1)
    return Prediction(responses, layers, jnp.zeros((len(rows), 2)), jnp.zeros(()))


def is_trained(path: tuple[str, ...]) -> bool:
    return path[0] != "features"


def made(seed: int = 0) -> tuple[dict[str, np.ndarray], Data]:
    """Parameters of zeros, and responses of other ones."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(INPUTS, 4)).astype(np.float32)
    inputs = random.normal(size=(IMAGES, INPUTS)).astype(np.float32)
    responses = inputs @ features @ random.normal(size=(4, ROWS)) + random.normal(size=(IMAGES, ROWS))
    responses[random.random(responses.shape) < 0.1] = np.nan
    params = {
        "features": features,
        "weight": np.zeros((ROWS, 4), np.float32),
        "bias": np.zeros(ROWS, np.float32),
        "logits": np.zeros((ROWS, 3), np.float32),
    }
    split = SimpleNamespace(train=np.arange(60), validation=np.arange(60, 85))
    return params, Data.of(lambda numbers: inputs[numbers], responses.astype(np.float32), split, ROWS)


def trained(folder: Path | None = None, recipe: Recipe = RECIPE, seed: int = 1, **options: Any) -> tuple[Any, Curves]:
    params, data = made()
    options = TrainingOptions(**{"devices": 1, "save_seconds": 0, **options})
    return train(
        predict, params, is_trained, data, recipe=recipe, seed=seed, folder=folder, settings={}, options=options
    )


def same(a: Any, b: Any) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture(scope="module")
def straight() -> tuple[Any, Curves]:
    """A training from start to end."""
    return trained()


def test_training_raises_r_and_leaves_frozen_tensors(straight: tuple[Any, Curves]) -> None:
    params, curves = straight

    assert same(params["features"], made()[0]["features"])
    assert not np.array_equal(params["weight"], made()[0]["weight"])
    assert curves.validation_r[0] == 0
    assert curves.score >= curves.validation_r.max() > 0.5
    assert curves.loss.shape == (6,)
    assert curves.validation_r.shape == (7,)
    assert curves.vertex_r.shape == (ROWS,)
    assert curves.skipped == 0
    assert not curves.stopped


def test_a_run_that_went_on_has_the_same_bits(tmp_path: Path, straight: tuple[Any, Curves]) -> None:
    trained(tmp_path, replace(RECIPE, epochs=2))
    trained(tmp_path, replace(RECIPE, epochs=4), save_seconds=1e9)
    resumed = trained(tmp_path)
    again = trained(tmp_path)

    assert same(straight, resumed)
    assert same(straight, again)
    assert len(list(tmp_path.glob("state-*"))) == 1
    assert len(list(tmp_path.glob("best-*"))) == 3


@pytest.mark.nightly
def test_other_seeds_have_other_numbers() -> None:
    assert not same(trained()[0], trained(seed=2)[0])


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    few = replace(RECIPE, epochs=1)
    trained(tmp_path, few)

    with pytest.raises(IntegrityError, match=r"another fit: recipe's beta is 0\.01 there and 0\.5 now.*Give another"):
        trained(tmp_path, replace(few, beta=0.5))
    with pytest.raises(IntegrityError, match="seed is 1 there and 2 now"):
        trained(tmp_path, few, seed=2)
    with pytest.raises(IntegrityError, match=r"loss is None there and .*mean_squared_error"):
        trained(tmp_path, few, loss=mean_squared_error)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, replace(RECIPE, epochs=1))
    (state,) = tmp_path.glob("state-*")
    for path in (state / "arrays").rglob("*"):
        if path.is_file() and path.stat().st_size > 200:
            path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(IntegrityError, match=r"cannot be read.*Give another folder"):
        trained(tmp_path, replace(RECIPE, epochs=1))


@pytest.mark.nightly
def test_it_stops_when_asked_and_goes_on(tmp_path: Path, straight: tuple[Any, Curves]) -> None:
    said = []
    with pytest.raises(Interrupted, match="after epoch 1"):
        trained(tmp_path, on_epoch=lambda *epoch: said.append(epoch), should_stop=lambda: True)

    assert same(trained(tmp_path, on_epoch=lambda *epoch: said.append(epoch)), straight)
    assert [epoch for epoch, _, _ in said] == [1, 2, 3, 4, 5, 6]


@pytest.mark.nightly
def test_it_stops_when_r_no_longer_rises() -> None:
    recipe = replace(RECIPE, epochs=500, patience=4, learning_rate=1e-9, start_rate=1e-9, weight_decay=0.0)
    params, data = made()
    params["weight"] = np.random.default_rng(5).normal(size=(ROWS, 4)).astype(np.float32)
    still = optax.set_to_zero()

    options = TrainingOptions(devices=1, optimizer=still)
    found, curves = train(
        predict, params, is_trained, data, recipe=recipe, seed=0, folder=None, settings={}, options=options
    )

    assert curves.stopped
    assert len(curves.loss) == 4
    assert same(found, params)


def test_a_step_that_is_not_finite_is_left_out() -> None:
    params, data = made()
    optimizer = optax.adam(0.1)
    state = init(params, optimizer, is_trained)
    measured = np.asarray(data.responses[:4])
    inputs = data.inputs(np.arange(4))
    good = Batch(inputs, measured, np.arange(ROWS), np.ones(ROWS, np.float32))
    step = step_of(predict, optimizer, mean_squared_error)

    after, _ = step(state, good.replace(inputs=np.full_like(inputs, np.inf)))
    moved, metrics = step(after, good)

    assert same(after.trained, state.trained)
    assert (int(after.skipped), int(after.step)) == (1, 1)
    assert not same(moved.trained, state.trained)
    assert np.isfinite(float(metrics["gradient_norm"]))


def test_partition_and_combine() -> None:
    params = {"a": {"lora_up": 1, "kernel": 2}, "b": 3}

    parts = partition(params, lambda path: path[-1] == "lora_up")

    assert parts == ({"a": {"lora_up": 1, "kernel": None}, "b": None}, {"a": {"lora_up": None, "kernel": 2}, "b": 3})
    assert combine(*parts) == params


def test_every_pass_shows_every_image_once() -> None:
    _, data = made()
    recipe = replace(RECIPE, batch_size=20)
    steps = [chosen_images(data, recipe, 0, step) for step in range(6)]

    assert sorted(np.concatenate(steps[:3])) == sorted(np.concatenate(steps[3:])) == list(range(60))
    assert not np.array_equal(np.concatenate(steps[:3]), np.concatenate(steps[3:]))
    vertices = [chosen_vertices(data, recipe, 0, step) for step in range(200)]
    assert {len(np.unique(rows)) for rows in vertices} == {20}
    counts = np.bincount(np.concatenate(vertices), minlength=ROWS)
    assert (abs(counts - 200 * 20 / ROWS) < 5 * np.sqrt(200 * 20 / ROWS / 3)).all()


@pytest.mark.nightly
def test_images_outside_the_split_are_never_read() -> None:
    params, data = made()
    seen: set[int] = set()

    def inputs(numbers: np.ndarray) -> np.ndarray:
        seen.update(numbers.tolist())
        return data.inputs(numbers)

    options = TrainingOptions(devices=1)
    train(
        predict,
        params,
        is_trained,
        replace(data, inputs=inputs),
        recipe=RECIPE,
        seed=0,
        folder=None,
        settings={},
        options=options,
    )
    assert seen <= set(range(85))


def test_splits_and_responses_that_do_not_fit() -> None:
    _, data = made()

    def of(responses: np.ndarray, train: Any, validation: Any, teacher: Any = None) -> None:
        split = SimpleNamespace(train=np.asarray(train), validation=np.asarray(validation))
        Data.of(data.inputs, responses, split, ROWS, teacher)

    with pytest.raises(ValidationError, match="2 images are in train and validation, such as 1"):
        of(data.responses, [0, 1, 2], [1, 2, 3])
    with pytest.raises(ValidationError, match="there are 90"):
        of(data.responses, [0, 1], [90])
    with pytest.raises(ValidationError, match="each once"):
        of(data.responses, [0, 0], [1])
    with pytest.raises(ValidationError, match="at least one"):
        of(data.responses, [0, 1], [])
    with pytest.raises(ValidationError, match="30 vertices"):
        of(data.responses[:, :4], [0], [1])
    with pytest.raises(ValidationError, match="the teacher's responses"):
        of(data.responses, [0], [1], data.responses[:4])


def test_rows_are_read_in_order_and_once() -> None:
    class Stored:
        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            assert (np.diff(rows) > 0).all()
            return np.arange(10)[rows] * 2

    assert data_module.rows_of(Stored(), np.array([7, 2, 7, 0])).tolist() == [14, 4, 14, 0]


@pytest.mark.nightly
@pytest.mark.parametrize("devices", [8, 3])
def test_devices_divide_the_images(devices: int) -> None:
    alone, together = trained()[1], trained(devices=devices)[1]

    np.testing.assert_allclose(together.loss, alone.loss, rtol=0, atol=1e-6)
    np.testing.assert_allclose(together.validation_r, alone.validation_r, rtol=0, atol=1e-6)


@pytest.mark.parametrize("vertices", [700, pytest.param(1, marks=pytest.mark.nightly)])
def test_the_readout_of_moving_vertices(vertices: int) -> None:
    random = np.random.default_rng(vertices)
    layers, batch, width = 2, 3, 4
    maps = random.normal(size=(layers, batch, 16, 16, width)).astype(np.float32)
    vectors = random.normal(size=(layers, batch, width)).astype(np.float32)
    center = random.uniform(-1, 1, (vertices, 2)).astype(np.float32)
    center[0] = -0.99, 0.99
    weight, bias = random.normal(size=(vertices, width)), random.normal(size=vertices)
    mix = random.dirichlet(np.ones(layers), vertices)
    weight, bias, mix = (x.astype(np.float32) for x in (weight, bias, mix))

    found = jax.jit(read, static_argnums=6)(weight, bias, mix, center, maps, vectors, PRECISIONS["float32"])

    few = np.arange(vertices)[:40]
    pixel = ((center[few] + 1) * 16 - 1) / 2
    expected = np.tile(bias[few], (batch, 1)).astype(np.float64)
    for image in range(batch):
        for feature in range(width):
            for layer in range(layers):
                plane = np.pad(maps[layer, image, :, :, feature], 2)
                sampled = scipy.ndimage.map_coordinates(plane, pixel[:, ::-1].T + 2, order=1)
                of_vertex = sampled + vectors[layer, image, feature]
                expected[image] += weight[few, feature] * mix[few, layer] * of_vertex / width
    np.testing.assert_allclose(found[:, : len(few)], expected, rtol=0, atol=2e-6)


def test_tiles_hold_every_vertex_once() -> None:
    random = np.random.default_rng(0)
    for vertices, spread in ((900, 1), (900, 0.1)):
        center = random.uniform(-spread, spread, (vertices, 2)).astype(np.float32)
        tile = tile_size(vertices)

        slots, rows, corners = (np.asarray(x) for x in jax.jit(tiles_of, static_argnums=1)(center, tile))

        assert len(np.unique(slots)) == vertices
        assert np.array_equal(rows[slots], np.arange(vertices))
        cell = np.floor(map_position(np.asarray(center))).astype(int)
        assert np.array_equal(corners[slots // tile], cell[:, 1] * PADDED + cell[:, 0])


PROGRAM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tests.experiments.fitting.test_training import trained
    from tests.kills import at_call, die
    from berg_jax.experiments.fitting.training import checkpoints
    at_call(checkpoints, sys.argv[2], int(sys.argv[3]), die, after=sys.argv[4] == "after")
    trained(Path(sys.argv[1]))
    """
)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "moment", [("_write", 4, "before"), ("write_arrays", 6, "after"), ("atomic_folder", 9, "after")]
)
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, moment: tuple[str, int, str]) -> None:
    with Program("-c", PROGRAM, tmp_path, *moment) as program:
        assert program.end() == -signal.SIGKILL, program.said

    assert list(tmp_path.glob("state-*"))
    assert same(trained(tmp_path), trained())

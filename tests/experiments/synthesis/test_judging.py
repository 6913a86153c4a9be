"""Judging synthesized images, and searching stored responses, against sums written out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import berg_jax
from berg_jax import Execution
from berg_jax.convert.synthetic import natural_like_images
from berg_jax.errors import InvalidParameterError, ModelNotFoundError
from berg_jax.experiments.synthesis import objectives
from berg_jax.experiments.synthesis.judging import judge as judging
from berg_jax.experiments.synthesis.judging.natural import natural_baseline, relative_scores
from berg_jax.experiments.synthesis.judging.winner import Judge, judge_images, judged_section
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels
from berg_jax.experiments.synthesis.search.stored import area_weights, search, search_control, store_values
from berg_jax.stream.loop import stream
from berg_jax.stream.sources.folders import FolderSource
from berg_jax.stream.store.output import Columns
from berg_jax.vertices import Vertices

from ..reporting.standing import check_figure

SIZE = 16
NATURAL = natural_like_images(9, 1, SIZE)


@flax.struct.dataclass
class Linear:
    """A model whose vertices weigh the pixels."""

    weights: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        return jnp.einsum("bchw,chwv->bv", images / 255, self.weights, precision="highest")


@flax.struct.dataclass
class People:
    """Several of them; the last vertex of the second is none."""

    weights: jax.Array
    mask: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        responses = jnp.einsum("bchw,schwv->sbv", images / 255, self.weights, precision="highest")
        return jnp.where(self.mask[:, None], responses, 0)


RANDOM = np.random.default_rng(0)
MODEL = Linear(jnp.asarray(RANDOM.normal(size=(3, SIZE, SIZE, 4)).astype(np.float32)))
MEAN = objectives.mean(np.full(4, 0.25))


def value(images: np.ndarray) -> np.ndarray:
    return np.einsum("bchw,chwv->bv", images / 255, np.asarray(MODEL.weights, np.float64)).mean(1)


@pytest.mark.parametrize("batch", [1, 4, 9, 100])
def test_scores(batch: int) -> None:
    np.testing.assert_allclose(judging.score(MODEL, MEAN, NATURAL, batch=batch), value(NATURAL), atol=1e-4)


def test_percentiles() -> None:
    natural = np.array([3.0, 1, np.nan, 2, 4])
    np.testing.assert_array_equal(judging.percentile(np.array([0, 2.5, 9]), natural), [0, 50, 100])
    with pytest.raises(InvalidParameterError, match="got none"):
        judging.percentile(np.zeros(1), np.full(3, np.nan))


def test_robustness() -> None:
    images = np.clip(NATURAL[:2] + 0.4, 0, 255)
    found = judging.robustness(MODEL, MEAN, images)
    rounded = images.round().astype(np.uint8)
    np.testing.assert_allclose(found["as made"], value(images), atol=1e-4)
    np.testing.assert_allclose(found["8 bits"], value(rounded), atol=1e-4)
    moved = [value(np.roll(rounded, move, (2, 3))) for move in ((4, 0), (-4, 0), (0, 4), (0, -4))]
    np.testing.assert_allclose(found["shifted"], np.min(moved, axis=0), atol=1e-4)
    np.testing.assert_allclose(found["JPEG"], value(judging.jpeg(rounded)), atol=1e-4)
    assert 0 < np.abs(judging.jpeg(rounded).astype(int) - rounded).mean() < 30
    assert set(found) == {"as made", "8 bits", "shifted", "JPEG", "blurred"}


def test_a_blob_of_noise_is_seen_for_what_it_is() -> None:
    """A pattern of single pixels drives the model that it was made for, and loses that under a blur."""
    pattern = np.where(np.asarray(MODEL.weights).mean(-1) > 0, 255, 0)[None].astype(np.float32)
    found = judging.robustness(MODEL, MEAN, pattern)
    usual = value(NATURAL)
    assert found["as made"][0] > usual.max() + 5 * usual.std()
    assert (found["blurred"] - usual.mean() < 0.4 * (found["as made"] - usual.mean())).all()
    odd = judging.unnaturalness(pattern, NATURAL)
    assert odd["slope"][0] > 3
    assert odd["saturated"][0] > 3


def test_transfer() -> None:
    other = Linear(MODEL.weights * 0.5)
    usual = value(NATURAL).mean()
    gain = value(NATURAL[:3]) - usual
    kept = judging.transfer({"half": (other, MEAN, usual / 2), "same": (MODEL, MEAN, usual)}, NATURAL[:3], gain)
    np.testing.assert_allclose(kept["half"], 0.5, rtol=1e-3)
    np.testing.assert_allclose(kept["same"], 1, rtol=1e-3)


def test_a_judgement_is_made_of_these(tmp_path: Path) -> None:
    other = Judge(Linear(MODEL.weights * 0.5), MEAN)
    images = np.clip(NATURAL[:3] + 7.3, 0, 255).astype(np.float32)
    found = judge_images(MODEL, MEAN, images, others={"subject 2": other}, natural=NATURAL)
    np.testing.assert_allclose(found.values["as made"], value(images), atol=1e-4)
    np.testing.assert_allclose(found.transfer["subject 2"], value(images) / 2, atol=1e-4)
    np.testing.assert_allclose(found.natural["subject 2"], value(NATURAL) / 2, atol=1e-4)
    np.testing.assert_allclose(found.statistics["contrast"], judging.statistics(images)["contrast"])
    section = judged_section(found, tmp_path, subtitle="three images", note=None)
    header, *rows = check_figure(tmp_path / "judged.png")
    assert header == ["judged", "value"]
    drawn = [float(row[1]) for row in rows if row[0] == "subject 2"]
    np.testing.assert_allclose(drawn, value(images) / 2, atol=1e-4)
    (_, worth, looks) = section.parts
    best = int(np.argmax(value(images)))
    assert worth.rows[0][2] == pytest.approx(100 * (value(NATURAL) < value(images)[best]).mean())
    assert [row[0] for row in looks.rows] == list(found.statistics)
    alone = judge_images(MODEL, MEAN, images)
    assert alone.transfer == alone.unusual == alone.natural == {}
    judged_section(alone, tmp_path, subtitle="", note=None)


def test_statistics() -> None:
    found = judging.statistics(NATURAL)
    grey = NATURAL.astype(float).mean(1)
    np.testing.assert_allclose(found["luminance"], grey.mean((1, 2)))
    np.testing.assert_allclose(found["contrast"], grey.std((1, 2)))
    noise = RANDOM.normal(128, 20, (1, 1, 128, 128))
    frequency = np.maximum(np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)), 1e-9)
    pink = np.fft.ifft2(np.fft.fft2(noise - 128) / np.where(frequency > 1e-9, frequency, 1)).real
    two = np.concatenate([noise, 128 + pink], axis=0).repeat(3, axis=1)
    np.testing.assert_allclose(judging.statistics(two)["slope"], [0, -2], atol=0.1)
    np.testing.assert_allclose(judging.statistics(two)["color"], 0, atol=1e-9)
    halves = np.zeros((1, 3, 4, 4))
    halves[:, :, :2] = 99
    np.testing.assert_allclose(judging.statistics(halves)["saturated"], 0.5)


@pytest.mark.nightly
def test_leaving_one_out() -> None:
    weights = np.stack([MODEL.weights, 2 * np.asarray(MODEL.weights), RANDOM.normal(size=MODEL.weights.shape)])
    people = People(jnp.asarray(weights, jnp.float32), jnp.ones((3, 4), bool).at[1, 3].set(False))
    own = objectives.mean(np.asarray(people.mask) / np.asarray(people.mask).sum(1, keepdims=True))
    found = judging.leave_one_out(people, own, pixels(SIZE), n=2, steps=8, every=8, show_progress=False)
    assert len(found) == 3
    for subject, one in enumerate(found):
        each = np.asarray(own(people(jnp.asarray(one.result.images))))
        np.testing.assert_allclose(one.values, each[subject], atol=1e-4)
        np.testing.assert_allclose(one.result.values, np.delete(each, subject, 0).mean(0), atol=1e-4)
    grey = np.asarray(own(people(jnp.full((1, 3, SIZE, SIZE), 127.5))))[:, 0]
    gains = [one.values - grey[subject] for subject, one in enumerate(found)]
    assert (gains[0] > 4 * np.abs(gains[2])).all()  # the second sees as the first does, the third does not


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Responses of twelve vertices, six of them in A and four in B, to some images; and what they are."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "images").mkdir()
    images = natural_like_images(11, 4, SIZE)
    for index, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / "images" / f"{index:02d}.png")
    vertices = Vertices(np.arange(6), np.arange(6), 6)
    model = Linear(jnp.asarray(RANDOM.normal(size=(3, SIZE, SIZE, 12)).astype(np.float32) / 10))
    membership = {"A": np.arange(12) < 6, "B": np.arange(12) >= 8, "C": np.zeros(12, bool)}
    stream(
        model,
        FolderSource(folder / "images"),
        [Columns(vertices, membership)],
        output=folder / "out.zarr",
        identity="x",
        execution=Execution(show_progress=False),
    )
    return folder / "out.zarr", np.asarray(model(images))


def test_search(stored: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = stored
    monkeypatch.setattr("berg_jax.experiments.synthesis.search.stored._BLOCK", 4 * 12 * 3)  # three images at a time
    responses = berg_jax.open_responses(path)
    weights = area_weights(responses, {"a": "A", "b": "B", "both": ["A", "B"]})
    a, b = expected[:, :6].mean(1), expected[:, 8:].mean(1)
    np.testing.assert_allclose(
        weights["both"] @ expected.T, expected[:, [*range(6), *range(8, 12)]].mean(1), atol=1e-6
    )
    objective = objectives.contrast(weights["a"], weights["b"])
    np.testing.assert_allclose(store_values(responses, objective), a - b, atol=1e-5)
    found = search(responses, objective, k=4)
    assert found.indices.tolist() == np.argsort(b - a)[:4].tolist()
    assert found.names == [f"{index:02d}.png" for index in found.indices]
    assert found.considered == 11

    ways = np.stack([a - a.mean(), b.mean() - b], axis=1)
    margin = float(np.sort(ways.min(axis=1))[-3])
    controlled = search_control(responses, weights, {"a": 1, "b": -1}, margin=margin - 1e-6)
    passed = np.flatnonzero(ways.min(axis=1) >= margin)
    assert len(passed) == controlled.found.considered == 3
    assert controlled.found.indices.tolist() == passed[np.argsort(-ways[passed].sum(axis=1))].tolist()
    np.testing.assert_allclose(controlled.shifts, ways[controlled.found.indices], atol=1e-5)
    np.testing.assert_allclose(controlled.baseline, [a.mean(), b.mean()], atol=1e-5)
    lower = search_control(responses, weights, {"b": -1}, margin=0, baseline={"b": float(b.min() + 1e-4)})
    assert lower.found.indices.tolist() == [int(b.argmin())]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda r: search(r, objectives.mean(np.ones(12)), 0),
            "from 1 to the number of images that have a value, 11",
        ),
        (lambda r: area_weights(r, {"c": "C"}), "no vertex of 'C'"),
        (lambda r: area_weights(r, {"c": "Z"}), "no ROI 'Z'"),
        (lambda r: search_control(r, {"a": np.ones(12)}, {"a": 1}, margin=1e6), "the most is"),
        (lambda r: search_control(r, {"a": np.ones(12)}, {"b": 1}), r"no weights for \['b'\]"),
        (lambda r: search_control(r, {"a": np.ones(12)}, {"a": 2}), "A direction is 1"),
    ],
)
def test_mistakes(make: Callable[..., object], said: str, stored: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        make(berg_jax.open_responses(stored[0]))


def test_a_baseline_from_a_store_and_from_images(stored: tuple[Path, np.ndarray]) -> None:
    """In whatever order the store has the vertices, and against sums written out."""
    path, expected = stored
    vertices = Vertices(np.array([4, 1]), np.array([5]), 6)  # the store's columns 4, 1 and 11
    areas = {"a": np.array([0.5, 0.5, 0]), "b": np.array([0, 0, 1.0])}
    found = natural_baseline(path, MODEL, vertices, areas, subject_id=1)
    a, b = expected[:, [4, 1]].mean(1), expected[:, 11]
    np.testing.assert_allclose(found.areas["a"], a, atol=1e-6)
    np.testing.assert_allclose([*found.means.values()], [a.mean(), b.mean()], atol=1e-6)
    assert found.source == f"responses to 11 images in {path}"
    objective = objectives.control([areas["a"], areas["b"]], (1, -1), [a.mean(), b.mean()], 0.05)
    usual = found.values({"a": 1, "b": -1}, 0.05)
    np.testing.assert_allclose(usual, objective(jnp.asarray(expected[:, [4, 1, 11]])), atol=1e-5)
    scores = {"a": np.array([a.max() + 1, np.median(a)])}
    relative = relative_scores(scores, {"a": a})
    np.testing.assert_allclose(relative["a over baseline"], scores["a"] - a.mean(), atol=1e-6)
    np.testing.assert_allclose(relative["a percentile"], [100, 100 * 5 / 11])

    mean = {"mean": np.full(4, 0.25)}
    shown = natural_baseline(path.parent / "images", MODEL, vertices, mean, subject_id=1, batch=4)
    np.testing.assert_allclose(shown.areas["mean"], value(natural_like_images(11, 4, SIZE)), atol=1e-4)
    assert shown.source.startswith("11 images of")
    with pytest.raises(InvalidParameterError, match="lacks 1 of the areas' 2 vertices"):
        natural_baseline(path, MODEL, Vertices(np.array([3]), np.array([6]), 7), areas, subject_id=1)
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        natural_baseline("nowhere", MODEL, vertices, areas, subject_id=1)

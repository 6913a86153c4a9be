"""``berg-jax compare``: a planted better model, equality with scipy, stores that do not fit."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.stats import pearsonr
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution, Images
from berg_jax.cli.app import app
from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError
from berg_jax.experiments.accuracy import compare_stores
from berg_jax.experiments.accuracy.comparison import names_of
from berg_jax.stream import encode_images

from ...conftest import Golden

IMAGES, TRIALS = 24, 3


class Stores(NamedTuple):
    """A store of responses, worse predictions in its order, and trials of the store's responses with noise."""

    subject: berg_jax.Subject
    store: Path
    worse: Path
    betas: Path
    table: Path


@pytest.fixture(scope="module")
def stores(complement: Golden, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    folder = tmp_path_factory.mktemp("stores")
    random = np.random.default_rng(0)
    coarse = random.normal(128, 60, (IMAGES, 3, 1, 1)) + random.normal(0, 50, (IMAGES, 3, 4, 4))
    np.save(folder / "images.npy", np.clip(coarse, 0, 255).astype(np.uint8).repeat(56, 2).repeat(56, 3))
    subject = berg_jax.Subject(complement.folder, 2)
    encode_images(subject, Images(folder / "images.npy"), folder / "a", execution=Execution(show_progress=False))
    responses = berg_jax.open_responses(folder / "a").data.values
    scaled = (responses - responses.mean(0)) / responses.std(0)
    np.save(folder / "b.npy", scaled + 1.5 * random.normal(size=scaled.shape))
    trials = np.tile(np.arange(IMAGES), TRIALS)
    np.save(folder / "betas.npy", scaled[trials] + random.normal(size=(len(trials), scaled.shape[1])))
    rows = [f"{image},{index // IMAGES}" for index, image in enumerate(trials)]
    (folder / "trials.csv").write_text("\n".join(["image,session", *rows]))
    return Stores(subject, folder / "a", folder / "b.npy", folder / "betas.npy", folder / "trials.csv")


@pytest.mark.nightly
def test_the_command_finds_the_better_model(stores: Stores, tmp_path: Path) -> None:
    berg = str(stores.subject.folder)
    command = ["compare", str(stores.store), str(stores.worse), "--berg-dir", berg, "--subject", "2"]
    command += ["--betas", str(stores.betas), "--table", str(stores.table), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        rows = {row["roi"]: row for row in csv.DictReader(file)}
    assert float(rows["all vertices"]["low"]) > 0
    assert int(rows["all vertices"]["images"]) == IMAGES
    maps = dict(np.load(tmp_path / "out" / "maps.npz"))
    ours = berg_jax.open_responses(stores.store).data.values
    betas = np.load(stores.betas).reshape(TRIALS, IMAGES, -1)
    betas = (betas - betas.mean(1, keepdims=True)) / betas.std(1, keepdims=True)
    for vertex in (0, 31, 159):
        for name, model in (("r_first", ours), ("r_second", np.load(stores.worse))):
            expected = pearsonr(model[:, vertex], betas.mean(0)[:, vertex]).statistic
            assert maps[name][vertex] == pytest.approx(expected, abs=1e-5)
    assert float(rows["all vertices"]["difference"]) == pytest.approx(np.median(maps["difference"]), abs=1e-6)
    with Image.open(tmp_path / "out" / "comparison.png") as picture:
        assert min(picture.size) > 250
    assert "subject 2, n = 24 images" in (tmp_path / "out" / "report.html").read_text()
    again = CliRunner().invoke(
        app, ["compare", "--config", str(tmp_path / "out"), "--output", str(tmp_path / "again")]
    )
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "comparison.csv").read_bytes() == (tmp_path / "out" / "comparison.csv").read_bytes()


@pytest.mark.nightly
def test_a_model_with_itself_and_swapped(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No difference to itself; a swap changes the sign; parts of the vertices change nothing."""
    given: dict[str, Any] = {"subject": stores.subject, "betas": stores.betas, "table": stores.table}
    copy = Path(shutil.copytree(stores.store, tmp_path / "copy"))
    same = compare_stores(stores.store, copy, output=tmp_path / "same", **given)
    assert same.values["regions"]["all vertices"]["over_images"] == [0, 0]
    one = compare_stores(stores.store, stores.worse, output=tmp_path / "one", **given)
    monkeypatch.setattr("berg_jax.experiments.accuracy.comparison._AT_ONCE", 37)
    swapped = compare_stores(stores.worse, stores.store, output=tmp_path / "swapped", **given)
    for region, row in one.values["regions"].items():
        assert swapped.values["regions"][region]["difference"] == pytest.approx(-row["difference"])
        assert swapped.values["regions"][region]["over_images"] == pytest.approx(
            [-x for x in row["over_images"][::-1]]
        )


@pytest.mark.parametrize(
    ("paths", "options", "kind", "said"),
    [
        (("worse", "worse"), {}, InvalidParameterError, "Give one store"),
        (("store", "nothing"), {}, ModelNotFoundError, "no stored responses"),
        (("store", "nothing.npy"), {}, ModelNotFoundError, "no file"),
        (("store", "short.npy"), {}, InvalidParameterError, "of the other's images and vertices"),
        (("store", "nan.npy"), {}, InvalidParameterError, "missing or not finite"),
        (("store", "worse"), {"table": None}, InvalidParameterError, "needs a table"),
        (("store", "worse"), {"subject": 1}, InvalidParameterError, "is of subject 2"),
        (("store", "worse"), {"betas": "nothing"}, ModelNotFoundError, "no folder or file"),
    ],
)
def test_stores_that_do_not_fit(
    paths: tuple[str, str],
    options: dict[str, Any],
    kind: type[BERGError],
    said: str,
    stores: Stores,
    overlay: Golden,
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "short.npy", np.zeros((3, 160)))
    np.save(tmp_path / "nan.npy", np.full((IMAGES, 160), np.nan))
    first, second = (getattr(stores, path, tmp_path / path) for path in paths)
    given = {"subject": stores.subject, "betas": stores.betas, "table": stores.table, **options}
    if given["subject"] == 1:
        given["subject"] = berg_jax.Subject(overlay.folder, 1)
    with pytest.raises(kind, match=said):
        compare_stores(first, second, output=tmp_path / "out", **given)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("a/dino.zarr", "a/clip.zarr"), ["dino", "clip"]),
        (("dino/responses.zarr", "clip/responses.zarr"), ["dino", "clip"]),
        (("a", "b/a"), ["a", "b/a"]),
    ],
)
def test_names_are_the_parts_that_differ(paths: tuple[str, str], expected: list[str]) -> None:
    assert names_of(*paths) == expected

"""``berg-jax rsa`` and ``fuse`` with all their options: what is planted is found, tables agree, mistakes are told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution
from berg_jax.cli.app import app
from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError
from berg_jax.experiments.representations import compare_representations
from berg_jax.experiments.representations.fusion import fuse

from ...conftest import Golden
from ..reporting.standing import check_figure

IMAGES = 12


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def given(complement: Golden, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Images, and targets of them: a layer of which is the region's own responses."""
    folder = tmp_path_factory.mktemp("given")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, 3, 224, 224), dtype=np.uint8)
    np.save(folder / "images.npy", pixels)
    subject = berg_jax.Subject(complement.folder, 2)
    own = {roi: np.asarray(subject.model(roi=roi)(pixels)) for roi in ("V3v", "PPA")}
    arrays = {
        "first": own["V3v"],
        "last": own["PPA"],
        "behavior": np.abs(random.normal(size=(IMAGES, 6))),
        "captions": random.normal(size=(IMAGES, 3, 9)),
        "matrix": 1 - np.eye(IMAGES) - 0.1 * (np.add.outer(range(IMAGES), range(IMAGES)) % 3) * (1 - np.eye(IMAGES)),
    }
    whole = random.normal(size=(IMAGES, 2 * subject.hemisphere_size))
    for roi, responses in own.items():
        whole[:, subject.vertices(roi).global_indices] = responses
    shown = np.tile(np.arange(IMAGES), 2)
    arrays["betas"] = whole[shown] + 0.1 * whole.std() * random.normal(size=(2 * IMAGES, whole.shape[1]))
    rows = [f"{image},{index // IMAGES}" for index, image in enumerate(shown)]
    (folder / "trials.csv").write_text("\n".join(["image,session", *rows]))
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {path.stem: path for path in folder.iterdir()}


def rsa(given: dict[str, Path], complement: Golden, output: Path, *options: str) -> tuple[int, str]:
    command = ["rsa", str(given["images"]), "--berg-dir", str(complement.folder), "--subject", "2"]
    command += ["--output", str(output), "--roi", "V3v", "--roi", "PPA", *options]
    result = CliRunner().invoke(app, command)
    return result.exit_code, result.output


@pytest.mark.nightly
def test_every_option_at_once(given: dict[str, Path], complement: Golden, tmp_path: Path) -> None:
    options = ["--layer", f"first={given['first']}", "--layer", f"last={given['last']}"]
    options += ["--embedding", f"spose={given['behavior']}", "--language", f"words={given['captions']}"]
    options += ["--matrix", f"rdm={given['matrix']}", "--weighted", "features"]
    options += ["--partition", "first + last", "--partition", "first + spose + words"]
    code, said = rsa(given, complement, tmp_path / "out", *options)
    assert code == 0, said
    layers = {row["roi"]: row for row in table(tmp_path / "out" / "layers.csv")}
    assert (layers["V3v"]["layer"], layers["PPA"]["layer"]) == ("first", "last")
    assert float(layers["V3v"]["similarity_first"]) == pytest.approx(1)
    targets = {(row["roi"], row["target"]): row for row in table(tmp_path / "out" / "targets.csv")}
    assert len(targets) == 2 * 5
    assert float(targets["V3v", "first"]["similarity"]) == pytest.approx(1)
    assert float(targets["V3v", "first"]["p"]) == pytest.approx(1 / 1001)
    shares = {
        (row["roi"], row["share"]): float(row["variance"]) for row in table(tmp_path / "out" / "partition1.csv")
    }
    assert shares["V3v", "total"] == pytest.approx(1)
    assert shares["V3v", "first"] + shares["V3v", "first ∩ last"] == pytest.approx(1)
    assert len(table(tmp_path / "out" / "partition2.csv")) == 2 * 8
    assert len(table(tmp_path / "out" / "weighted.csv")) == 2 * 4
    for row in table(tmp_path / "out" / "weighted.csv"):
        assert (int(row["images"]), int(row["subjects"])) == (12, 1)
        assert 0 < float(row["p"]) <= float(row["q"]) <= 1
    numbers = json.loads((tmp_path / "out" / "results.json").read_text())
    assert numbers["layers"]["order"] == pytest.approx(1)
    assert numbers["targets"]["noise ceilings"] == {}
    page = (tmp_path / "out" / "report.html").read_text()
    for name in ("similarities", "targets", "layers", "partition1", "partition2", "weighted"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert min(picture.size) > 250
        assert f"{name}.png" in page
    assert "n = 12 images, 1 subject" in page
    again = CliRunner().invoke(app, ["rsa", "--config", str(tmp_path / "out"), "--output", str(tmp_path / "again")])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "weighted.csv").read_bytes() == (tmp_path / "out" / "weighted.csv").read_bytes()


@pytest.mark.nightly
def test_alignment_in_the_command(given: dict[str, Path], complement: Golden, tmp_path: Path) -> None:
    options = ["--measure", "cka", "--layer", f"own={given['first']}", "--layer", f"last={given['last']}"]
    options += ["--language", f"words={given['captions']}", "--partition", "own + words"]
    options += ["--betas", str(given["betas"]), "--trials", str(given["trials"])]
    code, said = rsa(given, complement, tmp_path / "out", *options)
    assert code == 0, said
    assert "CKA" in said
    layers = {row["roi"]: row["layer"] for row in table(tmp_path / "out" / "layers.csv")}
    assert layers == {"V3v": "own", "PPA": "last"}
    for row in table(tmp_path / "out" / "measured.csv"):
        assert float(row["low"]) > 0
        assert float(row["p"]) < 0.05
        assert (row["images"], row["subjects"]) == ("12", "1")
    for name in ("measured", "matrices"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert min(picture.size) > 250
    targets = {(row["roi"], row["target"]): row for row in table(tmp_path / "out" / "targets.csv")}
    assert float(targets["V3v", "own"]["similarity"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"layers": {"first": "first"}}, InvalidParameterError, "two layers and two ROIs at least, got 1 and 2"),
        ({"features": {"a": "first"}, "layers": {"a": "first", "b": "last"}}, InvalidParameterError, "and of layers"),
        ({"features": {"best_layer": "first"}}, InvalidParameterError, "name of a map"),
        ({"features": {"a": "first"}, "partitions": ["a + b"]}, InvalidParameterError, r"names \['b'\]"),
        ({"features": {"a": "first"}, "partitions": ["a"]}, InvalidParameterError, "2 to 5 different targets"),
        ({"partitions": ["a + b"]}, InvalidParameterError, "names"),
        ({"weighted": "encoding"}, InvalidParameterError, "Weights are of features"),
        ({"weighted": "encoding", "matrices": {"m": "matrix"}}, InvalidParameterError, "Weights are of features"),
        ({"weighted": "encoding", "measure": "cka"}, InvalidParameterError, "leave out --measure"),
        ({"measure": "cka", "matrices": {"m": "matrix"}}, InvalidParameterError, "compares patterns"),
        ({"measure": "pearson"}, InvalidParameterError, "measure must be one of"),
        ({"searchlight": "geodesic:-1", "matrices": {"m": "matrix"}}, InvalidParameterError, "fsaverage5 or a finer"),
        ({"searchlight": "wide", "matrices": {"m": "matrix"}}, InvalidParameterError, "A searchlight is a number"),
        ({"language": {"a": "images"}}, InvalidParameterError, "images, captions, features"),
        ({"embeddings": {"a": "nothing"}}, ModelNotFoundError, "no file"),
        ({"rois": ["PPA", "PPA"]}, InvalidParameterError, "given once"),
        ({"trials": "x.csv"}, InvalidParameterError, "give betas, too"),
    ],
)
def test_mistakes(
    options: dict[str, Any],
    kind: type[BERGError],
    said: str,
    given: dict[str, Path],
    complement: Golden,
    tmp_path: Path,
) -> None:
    paths = {
        name: {key: given.get(path, tmp_path / path) for key, path in value.items()}
        for name, value in options.items()
        if isinstance(value, dict)
    }
    options = {"rois": ["V3v", "PPA"], **options, **paths}
    with pytest.raises(kind, match=said):
        compare_representations(
            [berg_jax.Subject(complement.folder, 2)], tmp_path / "out", given["images"], **options
        )
    assert not (tmp_path / "out").exists()


def write_eeg(folder: Path, shape: np.ndarray, participants: int = 6, times: int = 20) -> list[Path]:
    """Noise, in which a region's own patterns are at samples 8 to 13."""
    random = np.random.default_rng(5)
    paths = []
    for index in range(participants):
        eeg = random.normal(size=(len(shape), 16, times))
        eeg[:, :, 8:14] += 4 * (shape @ random.normal(size=(shape.shape[1], 16)))[:, :, None] / shape.std()
        paths.append(folder / f"eeg{index}.npy")
        np.save(paths[-1], eeg.astype(np.float32))
    return paths


def test_fusion_finds_the_planted_time(given: dict[str, Path], complement: Golden, tmp_path: Path) -> None:
    paths = write_eeg(tmp_path, np.load(given["first"]))
    command = ["fuse", str(given["images"]), "--berg-dir", str(complement.folder), "--subject", "2", "--roi", "V3v"]
    command += ["--output", str(tmp_path / "out"), "--rate", "100", "--start", "-50"]
    result = CliRunner().invoke(app, [*command, *(word for path in paths for word in ("--eeg", str(path)))])
    assert result.exit_code == 0, result.output
    rows = table(tmp_path / "out" / "clusters.csv")
    best = max(rows, key=lambda row: float(row["mass"]))
    assert (float(best["first_ms"]), float(best["last_ms"])) == (30, 80)
    assert float(best["p"]) < 0.05
    assert float(best["p_of_all_rois"]) == float(best["p"])  # of one ROI
    (peak,) = table(tmp_path / "out" / "peaks.csv")
    assert 30 <= float(peak["peak_low"]) <= float(peak["peak_ms"]) <= float(peak["peak_high"]) <= 80
    assert (peak["participants"], "n = 6 participants, 12 images" in result.output) == ("6", True)
    with Image.open(tmp_path / "out" / "fusion.png") as picture:
        assert min(picture.size) > 250
    stacked = tmp_path / "all.npy"
    np.save(stacked, np.stack([np.load(path) for path in paths]))
    names = tmp_path / "names.txt"
    names.write_text("\n".join(map(str, range(IMAGES))))
    subject = berg_jax.Subject(complement.folder, 2)
    options: dict[str, Any] = {"rois": ["V3v"], "rate": 100.0, "start": -50.0, "eeg_names": names}
    execution = Execution(show_progress=False)
    fuse([subject], tmp_path / "again", given["images"], eeg=[stacked], execution=execution, **options)
    assert table(tmp_path / "again" / "clusters.csv") == rows
    with np.load(tmp_path / "again" / "fusion.npz") as found:
        assert found["V3v"].shape == (6, 20)
        assert found["times"][[0, -1]].tolist() == [-50, 140]


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ([(IMAGES, 4, 5)] * 4, {}, "at least 5 of them, got 4"),
        ([(IMAGES, 4, 5)] * 5 + [(IMAGES, 4, 6)], {}, "the same times"),
        ([(IMAGES - 1, 4, 5)] * 5, {}, "a row for each of the 12 images"),
        ([(IMAGES, 1, 5)] * 5, {}, "two channels at least"),
        ([(IMAGES, 4)] * 5, {}, "images, channels, times"),
        ([(3, IMAGES, 4, 5)] * 2, {}, "as the only file"),
        ([(IMAGES, 4, 5)] * 5, {"rate": 0.0}, "positive number of Hz"),
        ([(IMAGES, 4, 5)] * 5, {"threshold_p": 0.7}, "between 0 and 0.5"),
        ([], {}, "at least 5 of them, got 0"),
    ],
)
def test_patterns_that_do_not_fit(
    arrays: list[tuple[int, ...]],
    options: dict[str, Any],
    said: str,
    given: dict[str, Path],
    complement: Golden,
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{index}.npy" for index in range(len(arrays))]
    for path, shape in zip(paths, arrays, strict=True):
        np.save(path, np.random.default_rng(0).normal(size=shape))
    subjects = [berg_jax.Subject(complement.folder, 2)]
    with pytest.raises(InvalidParameterError, match=said):
        fuse(subjects, tmp_path / "out", given["images"], eeg=paths, rois=["V3v"], **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.nightly
def test_layers_and_geodesic_searchlights_on_the_demo(demo: Path, tmp_path: Path) -> None:
    """Regions' own responses as layers: each region has its own, and so have the searchlights inside of it."""
    subject = berg_jax.Subject("demo", 1)
    compare_representations([subject], tmp_path / "first", execution=Execution(show_progress=False))
    responses = berg_jax.open_responses(tmp_path / "first" / "subj01" / "responses.zarr").data
    layers = {}
    for name in ("V1", "PPA"):
        columns = np.isin(
            responses.vertex.values + subject.hemisphere_size * (responses.hemisphere.values == "rh"),
            subject.vertices(name).global_indices,
        )
        np.save(tmp_path / f"{name}.npy", responses.values[:, columns])
        layers[f"like {name}"] = tmp_path / f"{name}.npy"
    options: dict[str, Any] = {"layers": layers, "searchlight": "geodesic:8", "rois": ["V1", "PPA"]}
    said = compare_representations([subject], tmp_path / "out", execution=Execution(show_progress=False), **options)
    found = {row["roi"]: row["layer"] for row in table(tmp_path / "out" / "layers.csv")}
    assert found == {"V1": "like V1", "PPA": "like PPA"}
    vertices = said.vertices("subj01/best_layer")
    values = said.values["subj01/best_layer"]
    for number, name in enumerate(("V1", "PPA")):
        inside = np.isin(vertices.global_indices, subject.vertices(name).global_indices)
        assert (values[inside] == number).mean() > 0.8
        passes = ~np.isnan(said.values[f"subj01/like {name}_thresholded"])
        assert passes[inside].mean() > 0.8
        np.testing.assert_array_equal(passes, said.values[f"subj01/like {name}_p"] <= 0.05)
    folder = tmp_path / "out" / "subj01"
    rows = {row["target"]: row for row in table(folder / "searchlights.csv")}
    assert list(rows) == ["like V1", "like PPA", "best_layer"]
    for name in rows:
        values = said.values[f"subj01/{name}_thresholded"]
        assert int(rows[name]["passing"]) == (~np.isnan(values)).sum()
        assert rows[name]["correction"] == "max"
        for file in (name, f"{name}_thresholded"):
            check_figure(folder / f"{file}.png")
    assert "PPA" in rows["like PPA"]["rois"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "p ≤ 0.05 by maximum statistic" in report
    assert 'href="subj01/brain.html"' in report
    assert (folder / "brain.html").read_text().count('"method":"restyle"') == 4

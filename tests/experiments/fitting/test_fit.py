"""A whole fit: a person from images and trials whom every command takes, refusals, kills, and planted truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution, Selection, Subject
from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.experiments import ExperimentResult
from berg_jax.experiments.fitting import fit
from berg_jax.experiments.fitting.outputs.evaluation import evaluate, parse_sizes
from berg_jax.published.metadata import noise_ceiling

from ...conftest import Golden, changed

IMAGES, REPEATS, NCSNR = 60, 2, 1.0
ONE = Execution(batch_size=8, devices=1, show_progress=False)


class Data(NamedTuple):
    """Files of a simulated person, and the noiseless responses."""

    folder: Path
    donor: Subject
    signal: np.ndarray

    def fit(self, output: Path, **options: Any) -> ExperimentResult:
        given = {"subject_id": 9, "table": self.folder / "trials.csv", "execution": ONE, "validation": 0.0, **options}
        return fit(self.donor, output, self.folder / "shown.npy", self.folder / "betas.npy", **given)


def write_person(folder: Path, donor: Subject, pixels: np.ndarray, signal: np.ndarray, repeats: int) -> Data:
    """Trials of a person with this noiseless response, NaN where there is none, in two sessions."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    signal = (signal - signal.mean(0)) / signal.std(0)
    order = random.permutation(np.repeat(np.arange(len(pixels)), repeats))
    sessions = np.arange(len(order)) % 2
    betas = signal[order] + random.normal(size=(len(order), signal.shape[1])) / NCSNR
    np.save(folder / "shown.npy", pixels)
    np.save(folder / "betas.npy", (betas * (2 + sessions[:, None]) + sessions[:, None]).astype(np.float32))
    with (folder / "trials.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "session"), *zip(order.tolist(), sessions.tolist(), strict=True)])
    return Data(folder, donor, signal)


@pytest.fixture(scope="module")
def data(complement: Golden, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """A person on the golden subject's surface: other readouts of the donor's features, and two bad vertices."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (IMAGES, 3, 8, 8), np.uint8).repeat(7, axis=2).repeat(7, axis=3)
    donor = Subject(complement.folder, 2)
    responses = np.asarray(complement.model(pixels))
    signal = responses + 0.7 * np.roll(responses, 1, axis=1)
    made = write_person(tmp_path_factory.mktemp("person"), donor, pixels, signal, REPEATS)
    betas = np.load(made.folder / "betas.npy")
    betas[:, 3], betas[7, 100] = 5, np.nan
    np.save(made.folder / "betas.npy", betas)
    return made


@pytest.fixture(scope="module")
def fitted(data: Data, tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    return data.fit(tmp_path_factory.mktemp("fitted") / "out", learning_curve="20,all")


def test_the_person_is_a_subject(data: Data, fitted: ExperimentResult) -> None:
    subject = Subject(fitted.output, 9)
    size = data.donor.hemisphere_size
    expected = np.setdiff1d(np.arange(2 * size), [3, 100])
    np.testing.assert_array_equal(subject.all_vertices.global_indices, expected)
    np.testing.assert_array_equal(subject.vertices().global_indices, expected)
    assert subject.description.synthetic == data.donor.description.synthetic
    assert subject.description.rows["part1"] + subject.description.rows["part2"] == len(expected)
    assert subject.identity() != data.donor.identity(subject.all_vertices)

    pixels = np.load(data.folder / "shown.npy")
    model = berg_jax.load(fitted.output, 9)
    np.testing.assert_array_equal(model.vertices.global_indices, expected)
    test = subject.metadata.image_numbers("test")
    assert len(test) == 6
    predicted, measured = np.asarray(model(pixels[test])), fitted.values["r"]
    trials = np.load(data.folder / "betas.npy")[:, expected]
    rows = list(csv.reader((data.folder / "trials.csv").open()))[1:]
    order, sessions = np.array(rows, int).T
    means = []
    for session in (0, 1):
        used = (sessions == session) & ~np.isin(order, test)
        trials[sessions == session] -= trials[used].mean(0)
        trials[sessions == session] /= trials[used].std(0)
    means = np.stack([trials[order == image].mean(0) for image in test])
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, means.T, strict=True)]
    np.testing.assert_allclose(r, measured, atol=2e-3)  # the maps were kept in float16


def test_its_metadata_are_the_person_s(data: Data, fitted: ExperimentResult) -> None:
    metadata = Subject(fitted.output, 9).metadata
    size = metadata.hemisphere_size
    whole = np.concatenate([metadata.accuracy("correlation", h) for h in ("lh", "rh")])
    assert np.isnan(whole[[3, 100]]).all()
    np.testing.assert_allclose(np.delete(whole, [3, 100]), fitted.values["r"], rtol=1e-6)
    ncsnr = np.concatenate([metadata.ncsnr(h) for h in ("lh", "rh")])
    assert 0.6 < np.nanmedian(ncsnr) < 1.5
    assert metadata.raw["fit"]["rois"] == "the donor's"
    for hemisphere, first in (("lh", 0), ("rh", size)):
        for name, region in data.donor.metadata.rois[hemisphere].items():
            assert (
                metadata.rois[hemisphere][name].tolist() == sorted({*(region + first).tolist()} - {3, 100}) or first
            )
    left_out = (fitted.output / "left_out.csv").read_text().split()
    assert left_out == ["hemisphere,vertex,reason", "lh,3,constant", f"rh,{100 - size},missing"]


def test_its_results(fitted: ExperimentResult) -> None:
    values = fitted.values
    assert {"r", "r_donor", "explained_variance", "noise_ceiling", "q", "penalty", "ncsnr", "loo_r"} <= set(
        fitted.maps
    )
    assert values["medians"]["all vertices"]["r"] > values["medians"]["all vertices"]["r_donor"]
    assert [row["images"] for row in values["learning_curve"]] == [20, 54]
    assert values["shuffled"]["permutations"] == 20
    page = (fitted.output / "report.html").read_text()
    for words in (
        "For a Methods section",
        "Shuffled images",
        "Learning curve",
        "left_out.csv",
    ):
        assert words in page
    config = json.loads((fitted.output / "config.json").read_text())
    assert config["settings"]["donor"] == 2
    assert "--donor 2" in config["command"]
    assert "--subject-id 9" in config["command"]


def test_the_command_and_every_other_one_with_the_person(data: Data, tmp_path: Path) -> None:
    output, runner = tmp_path / "out", CliRunner()
    words = ["fit", str(data.folder / "shown.npy"), "--betas", str(data.folder / "betas.npy"), "--table"]
    words += [str(data.folder / "trials.csv"), "--berg-dir", data.donor.berg_dir, "--donor", "2", "--subject-id", "9"]
    words += [
        "--output",
        str(output),
        "--hemisphere",
        "lh",
        "--min-ncsnr",
        "0.3",
        "--batch-size",
        "8",
        "--devices",
        "1",
    ]
    result = runner.invoke(app, [*words, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "60: 49 train, 5 validation, 6 test" in result.output
    assert not output.exists()
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "shuffled images: mean r" in result.output
    subject = Subject(output, 9)
    assert len(subject.all_vertices.rh) == 0
    assert min(subject.metadata.ncsnr("lh")[subject.all_vertices.lh]) > 0.2  # by all trials; 0.3 by training's

    common = ["--berg-dir", str(output), "--subject", "9", "--batch-size", "8", "--devices", "1"]
    encoded = ["encode", str(data.folder / "shown.npy"), "--output", str(tmp_path / "responses"), *common]
    result = runner.invoke(app, encoded)
    assert result.exit_code == 0, result.output
    stored = berg_jax.open_responses(tmp_path / "responses").data
    assert stored.shape == (IMAGES, len(subject.all_vertices))
    accuracy = ["accuracy", *words[1:6], "--output", str(tmp_path / "accuracy"), *common]
    result = runner.invoke(app, accuracy)
    assert result.exit_code == 0, result.output
    result = runner.invoke(app, ["info", "--berg-dir", str(output), "--subject", "9"])
    assert result.exit_code == 0, result.output


def test_the_same_call_again_changes_nothing_and_another_person_is_refused(data: Data, tmp_path: Path) -> None:
    data.fit(tmp_path / "out", selection=Selection(hemisphere="lh"))
    before = changed(tmp_path / "out" / "subj09")
    data.fit(tmp_path / "out", selection=Selection(hemisphere="lh"))
    after = changed(tmp_path / "out" / "subj09")
    assert after["subject.json"] == before["subject.json"]
    with pytest.raises(ResourceError, match="another person's fit: it holds subj09"):
        data.fit(tmp_path / "out", subject_id=8)
    with pytest.raises(ResourceError, match="the vertices, the responses differ"):
        data.fit(tmp_path / "out")
    with pytest.raises(ResourceError, match="the split of the images, the responses differ"):
        data.fit(tmp_path / "out", selection=Selection(hemisphere="lh"), seed=1)


def test_bad_input(data: Data, tmp_path: Path) -> None:
    output = tmp_path / "out"
    np.save(tmp_path / "few.npy", np.load(data.folder / "shown.npy")[:50])
    np.save(tmp_path / "twice.npy", np.load(data.folder / "shown.npy")[[*range(59), 0]])
    np.save(tmp_path / "other.npy", np.zeros((IMAGES * REPEATS, 200), np.float32))
    (tmp_path / "test.txt").write_text("0\n1\n2\n3\n4\n")
    shown, betas = data.folder / "shown.npy", data.folder / "betas.npy"

    def refused(error: type[Exception], words: str, images: Path = shown, betas: Path = betas, **given: Any) -> None:
        options = {"subject_id": 9, "table": data.folder / "trials.csv", "execution": ONE, **given}
        with pytest.raises(error, match=words):
            fit(data.donor, output, images, betas, **options)
        assert not output.exists()

    refused(InvalidParameterError, "names 10 images that are not there", images=tmp_path / "few.npy")
    refused(InvalidParameterError, "are the same picture", images=tmp_path / "twice.npy", test=tmp_path / "test.txt")
    refused(InvalidParameterError, "200 vertices", betas=tmp_path / "other.npy")
    refused(InvalidParameterError, "stage", stage="all")
    refused(InvalidParameterError, "1 to 99", subject_id=100)
    refused(InvalidParameterError, "Use min_ncsnr", selection=Selection(min_explained_variance=1.0))
    refused(InvalidParameterError, "from 20 to 49", learning_curve="10,all")
    refused(InvalidParameterError, "needs validation images", stage="selectors", validation=0.0)
    refused(InvalidParameterError, "stage 'full'", stage="selectors", teacher=tmp_path)
    refused(InvalidParameterError, "needs a table", table=None)
    refused(ModelNotFoundError, "no file .*none.txt", test=tmp_path / "none.txt")


def test_export_needs_the_donor_s_files(demo: Path, data: Data, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="needs the donor's PyTorch files"):
        data.fit(tmp_path / "out", export_pth=tmp_path / "pth")
    assert not (tmp_path / "out").exists()


def test_a_noise_vertex_is_not_called_predictable() -> None:
    random = np.random.default_rng(0)
    signal, noise = random.normal(size=(60, 300)), random.normal(size=(60, 100))
    measured = np.concatenate([signal + random.normal(size=signal.shape), noise], axis=1)
    predicted = np.concatenate([signal, random.normal(size=noise.shape)], axis=1)
    counts, ncsnr = np.full(60, 2), np.full(400, 1.0)
    found = evaluate(predicted, measured, counts, ncsnr, {"noise": np.arange(400) >= 300})
    assert (found.maps["q"][:300] < 0.05).mean() > 0.95
    assert (found.maps["q"][300:] < 0.05).sum() <= 10  # 5% of those that are called so, of 300
    np.testing.assert_allclose(found.maps["noise_ceiling"], noise_ceiling(ncsnr, 2))
    assert found.intervals["all vertices"]["r"].low < found.medians["all vertices"]["r"]


@pytest.mark.parametrize("text", ["30,x", "10", "1000", "-5"])
def test_learning_curves_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidParameterError):
        parse_sizes(text, 100)

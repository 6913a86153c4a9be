"""Accuracy: NSD's files are read as they are, and estimates meet what is known of simulated data."""

from __future__ import annotations

import csv
import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution, Images
from berg_jax.cli.app import app
from berg_jax.convert.synthetic import make_synthetic_subject
from berg_jax.demo import images as drawings
from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError, ValidationError
from berg_jax.experiments.accuracy import experiment as accuracy
from berg_jax.experiments.accuracy.ceiling import agreement, choose_ceiling
from berg_jax.experiments.accuracy.experiment import measure_accuracy, vertex_accuracy
from berg_jax.experiments.accuracy.trials import DESIGN, Trials, read_array, read_nsd, shown_images, z_scored
from berg_jax.experiments.accuracy.uncertainty import Resampled
from berg_jax.stream.encode import encode_images
from berg_jax.vertices import Vertices

from ...conftest import Golden
from .nsd_folder import SESSIONS, SIZE, write_betas, write_design


@pytest.fixture(scope="module")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder in NSD's formats; each trial's image; betas (trials, 2 · 642) before per cent signal change."""
    root = tmp_path_factory.mktemp("nsd")
    shown = write_design(root)
    random = np.random.default_rng(1)
    signal = random.normal(size=(73_000, 4)).astype(np.float32)
    mixing = random.normal(size=(4, 2 * SIZE))
    trials = SESSIONS * 750
    betas = signal[shown[:trials]] @ mixing + random.normal(size=(trials, 2 * SIZE))
    changed = betas.reshape(SESSIONS, 750, -1).copy()
    changed[1] = 3 + 2 * changed[1]  # sessions differ in level and scale
    changed[:, :, 7] = np.nan  # a vertex without data
    changed[:, 5, 8] = np.nan  # and one that lacks a trial
    write_betas(root, 1, changed.reshape(trials, -1))
    return root, shown, betas


def test_nsd_s_files(nsd: tuple[Path, np.ndarray, np.ndarray]) -> None:
    root, shown, betas = nsd
    np.testing.assert_array_equal(shown_images(root / "nsddata/experiments/nsd/nsd_expdesign.mat", 1), shown)
    vertices = Vertices([7, 3, 8], [641, 0], SIZE)
    chosen = np.unique(shown[:1500])[[4, 100, 17]]
    found = read_nsd(root, 1, vertices, [str(image) for image in chosen])
    expected, images = [], []
    for session in range(SESSIONS):
        part = betas[session * 750 : (session + 1) * 750][:, [7, 3, 8, SIZE + 641, SIZE]]
        part[:, 0], part[5, 2] = np.nan, np.nan
        z = stats.zscore(part, axis=0, nan_policy="omit")
        for trial in range(750):
            if shown[session * 750 + trial] in chosen:
                expected.append(z[trial])
                images.append(list(chosen).index(shown[session * 750 + trial]))
    np.testing.assert_array_equal(found.images, images)
    assert len(images) >= 3
    np.testing.assert_allclose(found.responses, np.array(expected), atol=2e-5)
    assert np.isnan(found.responses[:, 0]).all()


def test_a_folder_of_nsd_s_images_is_matched_by_their_names(nsd: tuple[Path, np.ndarray, np.ndarray]) -> None:
    """NSD's betas and a folder of `nsd00012.png` → the trials of those images, counted from 0 or from 1."""
    root, shown, _ = nsd
    chosen = np.unique(shown[:1500])[[4, 100, 17]]
    vertices = Vertices([3], [], SIZE)
    expected = read_nsd(root, 1, vertices, [str(image) for image in chosen])
    for first in (0, 1):
        found = read_nsd(root, 1, vertices, [f"seen/nsd{image + first:05d}.png" for image in chosen])
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.responses, expected.responses)


def test_arrays_of_trials(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    betas = random.normal(5, 3, (12, 2 * SIZE)).astype(np.float32)
    names, sessions = list("abcabcabdabd"), ["1"] * 6 + ["2"] * 6
    np.save(tmp_path / "b.npy", betas)
    rows = [f"{image},{session}" for image, session in zip(names, sessions, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["image,session", *rows]))
    vertices = Vertices([5], [9, 2], SIZE)
    columns = [5, SIZE + 9, SIZE + 2]
    found = read_array(tmp_path / "b.npy", tmp_path / "t.csv", vertices, ["c", "a"])
    z = np.concatenate([stats.zscore(betas[half][:, columns], axis=0) for half in (slice(6), slice(6, 12))])
    np.testing.assert_allclose(found.responses, z[[0, 2, 3, 5, 6, 9]], atol=1e-5)
    np.testing.assert_array_equal(found.images, [1, 0, 1, 0, 1, 1])
    np.save(tmp_path / "few.npy", betas[:, columns])
    few = read_array(tmp_path / "few.npy", tmp_path / "t.csv", vertices, ["c", "a"])
    np.testing.assert_array_equal(few.responses, found.responses)
    with caplog.at_level(logging.WARNING):
        kept = read_array(tmp_path / "few.npy", tmp_path / "t.csv", vertices, ["a", "d"], zscored=True)
    np.testing.assert_array_equal(kept.responses, betas[[0, 3, 6, 8, 9, 11]][:, columns])
    assert "said to be z-scored, but the median standard deviation of vertices in session 1 is" in caplog.text
    with pytest.raises(InvalidParameterError, match=r"1 of the 2 images were never shown .* 'x'"):
        read_array(tmp_path / "b.npy", tmp_path / "t.csv", vertices, ["a", "x"])
    np.save(tmp_path / "other.npy", np.zeros((12, 64_984), np.float32))
    with pytest.raises(InvalidParameterError, match="64984 vertices, which looks like both hemispheres of fs_LR"):
        read_array(tmp_path / "other.npy", tmp_path / "t.csv", vertices, ["a"])
    np.save(tmp_path / "short.npy", betas[:3])
    with pytest.raises(InvalidParameterError, match=r"must be numbers of shape \(12, vertices\)"):
        read_array(tmp_path / "short.npy", tmp_path / "t.csv", vertices, ["a"])
    (tmp_path / "u.csv").write_text("image\na\n")
    with pytest.raises(InvalidParameterError, match="columns image and session"):
        read_array(tmp_path / "b.npy", tmp_path / "u.csv", vertices, ["a"])
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(ValidationError, match="cannot be read"):
        read_array(tmp_path / "bad.npy", tmp_path / "t.csv", vertices, ["a"])
    with pytest.raises(ModelNotFoundError, match="no file"):
        read_array(tmp_path / "none.npy", tmp_path / "t.csv", vertices, ["a"])


def test_z_scores() -> None:
    values = np.random.default_rng(0).normal(3, 2, (20, 4))
    values[:, 1], values[3, 2] = 7, np.nan
    found = z_scored(values)
    np.testing.assert_allclose(found[:, [0, 3]], stats.zscore(values[:, [0, 3]], axis=0), atol=1e-6)
    np.testing.assert_allclose(found[:, 2], stats.zscore(values[:, 2], nan_policy="omit"), atol=1e-6)
    assert np.isnan(found[:, 1]).all()


def simulated(ncsnr: float, share: float, images: int, vertices: int) -> tuple[np.ndarray, Trials]:
    """Predictions of a known share of the signal's variance, and three trials of a known ncsnr, of z units."""
    random = np.random.default_rng(2)
    signal, other = random.normal(size=(2, images, vertices))
    scale = ncsnr / np.sqrt(1 + ncsnr**2)
    noise = random.normal(size=(3, images, vertices)) / np.sqrt(1 + ncsnr**2)
    responses = (scale * signal + noise).reshape(3 * images, vertices).astype(np.float32)
    predicted = np.sqrt(share) * signal + np.sqrt(1 - share) * other
    return 0.3 + 2 * predicted, Trials(responses, np.tile(np.arange(images), 3))


@pytest.mark.parametrize(("ncsnr", "share"), [(0.5, 0.4), (1.2, 0.7)])
def test_estimates_meet_the_closed_form(ncsnr: float, share: float) -> None:
    predicted, trials = simulated(ncsnr, share, 515, 600)
    maps = vertex_accuracy(predicted, trials, np.full(600, ncsnr))
    s = ncsnr**2
    expected = {
        "r": np.sqrt(share * s / (s + 1 / 3)),
        "r_in_silico": np.sqrt(share * s / (s + 1)),
        "r_one_trial": s / (s + 1),
        "r_two_trials": s / np.sqrt((s + 1) * (s + 1 / 2)),
        "measured_ncsnr": ncsnr,
    }
    for name, value in expected.items():
        error = maps[name].std() / np.sqrt(600)
        assert abs(maps[name].mean() - value) < 3.3 * error + 1e-3, name
    np.testing.assert_allclose(maps["noise_ceiling"], s / (s + 1 / 3))
    chance = (1 - maps["r"].mean() ** 2) ** 2 / 515 / (s / (s + 1 / 3))  # by which a squared correlation is too large
    np.testing.assert_allclose(maps["explained_variance"].mean() / 100, share + chance, atol=0.01)
    one = stats.pearsonr(predicted[:, 5], trials.responses.reshape(3, 515, 600).mean(0)[:, 5]).statistic
    np.testing.assert_allclose(maps["r"][5], one, rtol=1e-6)


@pytest.mark.parametrize("ncsnr", [0.4, 1.0, 2.5])
def test_the_model_s_own_responses_with_noise_are_explained_to_100_per_cent(ncsnr: float) -> None:
    """Betas are the prediction and noise, of another ncsnr than the metadata's → 100% by the trials' ceiling."""
    predicted, trials = simulated(ncsnr, 1.0, 200, 400)
    maps = vertex_accuracy(predicted, trials)
    assert np.nanmedian(maps["explained_variance"]) > 97
    np.testing.assert_allclose(np.median(maps["noise_ceiling"]), ncsnr**2 / (ncsnr**2 + 1 / 3), atol=0.03)
    by_metadata = vertex_accuracy(predicted, trials, np.full(400, 2 * ncsnr))  # four times the signal's variance
    share = (4 * ncsnr**2 + 1 / 3) / (4 * (ncsnr**2 + 1 / 3))
    np.testing.assert_allclose(np.median(by_metadata["explained_variance"]), 100 * share, atol=2)
    np.testing.assert_array_equal(by_metadata["measured_ncsnr"], maps["measured_ncsnr"])


def test_trials_without_repetitions_leave_the_ceiling_to_the_user() -> None:
    """Each image was shown once → an error that names the choice; asked for, the metadata's ceiling is taken."""
    once, twice = np.array([1, 1, 1]), np.array([1, 2, 1])
    assert choose_ceiling(None, twice) == choose_ceiling("trials", twice) == "trials"
    assert choose_ceiling("metadata", once) == choose_ceiling("metadata", twice) == "metadata"
    for given in (None, "trials"):
        with pytest.raises(InvalidParameterError, match=r"3 images was shown once.*--noise-ceiling metadata"):
            choose_ceiling(given, once)
    with pytest.raises(InvalidParameterError, match=r"one of \['trials', 'metadata'\], got 'other'"):
        choose_ceiling("other", twice)


def test_a_metadata_ceiling_that_the_trials_contradict_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    metadata = np.array([0.5, 1, 1.5, np.nan])
    with caplog.at_level(logging.WARNING):
        found = agreement(np.array([0.55, 1.1, 1.6, 1]), metadata)
    assert not caplog.records
    assert (found["vertices"], found["trials"], found["metadata"], found["ratio of medians"]) == (3, 1.1, 1, 1.1)
    assert found["correlation"] > 0.99
    with caplog.at_level(logging.WARNING):
        assert agreement(metadata / 3, metadata)["ratio of medians"] == pytest.approx(1 / 3)
    assert "The trials' ncsnr, median 0.333, is not the metadata's, 1" in caplog.text
    assert agreement(np.full(4, np.nan), metadata) is None


@pytest.mark.parametrize("given", [True, False])
def test_a_resample_is_what_images_given_so_often_would_be(given: bool) -> None:
    """Images drawn 0 to 3 times, with all of their trials → as if they were copied so often."""
    random = np.random.default_rng(0)
    repeats = np.array([1, 2, 3, 4, 3, 3, 3, 3])
    images = random.permutation(np.repeat(np.arange(8), repeats))
    signal = random.normal(size=(8, 5))
    responses = (signal[images] + random.normal(size=(len(images), 5))).astype(np.float32)
    predicted, ncsnr = signal + random.normal(size=(8, 5)), np.ones(5) if given else None
    weights = np.array([[1.0] * 8, [2, 0, 1, 1, 0, 1, 3, 0], [0, 1, 1, 1, 1, 1, 1, 1]])
    found = Resampled(predicted, Trials(responses, images), ncsnr)(weights)
    assert set(found) == {
        "r",
        "r2",
        "noise_ceiling",
        "explained_variance",
        "r_in_silico",
        "r_one_trial",
        "r_two_trials",
    }
    for row, drawn in enumerate(weights.astype(int)):
        copies = np.repeat(np.arange(8), drawn)
        own = [(place, trial) for place, image in enumerate(copies) for trial in np.flatnonzero(images == image)]
        places, rows = np.array(own).T
        expected = vertex_accuracy(predicted[copies], Trials(responses[rows], places), ncsnr)
        for name, values in found.items():
            np.testing.assert_allclose(values[row], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.nightly
def test_the_demo_subject_meets_the_closed_form(demo: Path, tmp_path: Path) -> None:
    """Of trials whose signal is to a share the demo model's responses, the command finds that share."""
    share, images, random = 0.5, 300, np.random.default_rng(4)
    subject = berg_jax.Subject("demo", 1)
    vertices = subject.vertices("V1 + FFA-1 + PPA", min_ncsnr=0.3)
    pixels = np.concatenate([drawings(kind, images // 3, seed=1) for kind in ("faces", "places", "words")])
    np.save(tmp_path / "images.npy", pixels)
    model = subject.model(vertices)
    predicted = np.concatenate([np.asarray(model(pixels[i : i + 50])) for i in range(0, images, 50)])
    ncsnr = np.concatenate([subject.metadata.ncsnr(h)[getattr(vertices, h)] for h in ("lh", "rh")])
    unseen = random.normal(size=predicted.shape)
    unseen -= unseen.mean(0)
    ours = stats.zscore(predicted, axis=0)
    unseen -= ours * (ours * unseen).mean(0)  # what the model cannot know is uncorrelated with what it says
    signal = np.sqrt(share) * ours + np.sqrt(1 - share) * stats.zscore(unseen, axis=0)
    trials = np.concatenate([ncsnr * signal + random.normal(size=signal.shape) for _ in range(3)])
    np.save(tmp_path / "betas.npy", trials.astype(np.float32))
    rows = [f"{trial % images},{trial // images}" for trial in range(3 * images)]
    (tmp_path / "trials.csv").write_text("\n".join(["image,session", *rows]))
    command = ["accuracy", str(tmp_path / "images.npy"), "--berg-dir", "demo", "--subject", "1"]
    command += ["--roi", "V1 + FFA-1 + PPA", "--min-ncsnr", "0.3", "--table", str(tmp_path / "trials.csv")]
    command += ["--betas", str(tmp_path / "betas.npy"), "--output", str(tmp_path / "out")]
    command += ["--noise-ceiling", "metadata"]  # which is what was planted
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    maps = dict(np.load(tmp_path / "out" / "maps.npz"))
    s = ncsnr**2
    for name, expected in (
        ("r", np.sqrt(share * s / (s + 1 / 3))),
        ("r_in_silico", np.sqrt(share * s / (s + 1))),
        ("r_one_trial", s / (s + 1)),
        ("measured_ncsnr", ncsnr),
    ):
        errors = maps[name] - expected
        # Vertices' noise is independent, so their mean error has this standard error.
        assert abs(errors.mean()) < 3.3 * errors.std() / np.sqrt(len(errors)) + 3e-3, name
    found = np.mean(maps["explained_variance"]) / 100
    print(
        f"explained variance of {len(vertices)} vertices of the demo subject: {found:.3f} where {share} was planted"
    )
    assert abs(found - share) < 0.02


def test_what_is_capped_and_what_is_missing() -> None:
    predicted, trials = simulated(1.0, 1.0, 60, 5)
    predicted[:, 1] *= -1
    predicted[:, 2] = 4
    trials.responses[7, 3] = np.nan
    maps = vertex_accuracy(predicted, trials, np.array([0.05, 1, 1, 1, 0]))
    assert maps["explained_variance"][0] == 100
    assert maps["r"][1] < -0.5
    assert (maps["r2"][1], maps["explained_variance"][1]) == (0, 0)
    assert np.isnan(maps["r"][[2, 3]]).all()
    assert np.isnan(maps["explained_variance"][[2, 3, 4]]).all()


def test_images_that_were_shown_unequally_often() -> None:
    random = np.random.default_rng(0)
    images = np.repeat(np.arange(6), [1, 2, 3, 4, 3, 3])
    order = random.permutation(len(images))
    responses = random.normal(size=(16, 3)).astype(np.float32)
    maps = vertex_accuracy(random.normal(size=(6, 3)), Trials(responses[order], images[order]), np.ones(3))
    np.testing.assert_allclose(maps["noise_ceiling"], 1 / (1 + np.mean([1, 1 / 2, 1 / 3, 1 / 4, 1 / 3, 1 / 3])))
    assert {"r_in_silico", "r_one_trial", "r_two_trials"} < set(maps)
    twice = Trials(responses[:12], np.tile(np.arange(6), 2))
    assert "r_in_silico" not in vertex_accuracy(random.normal(size=(6, 3)), twice, np.ones(3))


class Study(NamedTuple):
    """A subject, images in NSD's format (few rows of them), those to take, and betas that are responses and noise."""

    subject: berg_jax.Subject
    stimuli: Path
    chosen: Path
    nsd: Path


def make_study(subject: berg_jax.Subject, folder: Path, design: Path) -> Study:
    number, size = subject.description.subject, subject.hemisphere_size
    random = np.random.default_rng(3)
    (folder / "nsd" / DESIGN).parent.mkdir(parents=True)
    (folder / "nsd" / DESIGN).write_bytes((design / DESIGN).read_bytes())
    shown = shown_images(folder / "nsd" / DESIGN, number)[:1500]
    images, counts = np.unique(shown, return_counts=True)
    chosen = images[counts >= 2][:30]
    coarse = random.normal(128, 60, (30, 1, 1, 1)) + random.normal(0, 50, (30, 4, 4, 3))
    pixels = np.clip(coarse, 0, 255).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    with h5py.File(folder / "nsd_stimuli.hdf5", "w") as file:
        bricks = file.create_dataset("imgBrick", (73_000, 32, 32, 3), np.uint8, chunks=(1, 32, 32, 3))
        for image, rows in zip(chosen, pixels, strict=True):
            bricks[image] = rows
    (folder / "chosen.txt").write_text("\n".join(map(str, chosen)))
    images = Images(folder / "nsd_stimuli.hdf5", rows=str(folder / "chosen.txt"))
    encode_images(subject, images, folder / "encoded.zarr", execution=Execution(show_progress=False))
    responses = berg_jax.open_responses(folder / "encoded.zarr").data.values
    responses = (responses - responses.mean(0)) / responses.std(0)
    place = {image: index for index, image in enumerate(chosen)}
    rows = np.array([place.get(image, -1) for image in shown])
    betas = np.where(rows[:, None] >= 0, responses[rows], 0) * 2 + random.normal(size=(1500, 2 * size))
    write_betas(folder / "nsd", number, betas)
    return Study(subject, folder / "nsd_stimuli.hdf5", folder / "chosen.txt", folder / "nsd")


def accuracy_of(study: Study, output: Path) -> tuple[dict[str, np.ndarray], str]:
    number, berg = study.subject.description.subject, study.subject.folder
    command = ["accuracy", str(study.stimuli), "--images", str(study.chosen), "--subject", str(number)]
    command += ["--berg-dir", str(berg), "--betas", str(study.nsd), "--output", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return dict(np.load(output / "maps.npz")), result.output


@pytest.fixture(scope="module")
def study(complement: Golden, tmp_path_factory: pytest.TempPathFactory, nsd: Any) -> Study:
    return make_study(berg_jax.Subject(complement.folder, 2), tmp_path_factory.mktemp("study"), nsd[0])


@pytest.fixture(scope="module")
def whole(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], str, Path]:
    """Maps, output and folder of the command."""
    output = tmp_path_factory.mktemp("whole") / "out"
    return *accuracy_of(study, output), output


def test_the_command(study: Study, whole: tuple[dict[str, np.ndarray], str, Path]) -> None:
    """The measured responses are the model's, so they agree: no images, trials, vertices or hemispheres are mixed."""
    maps, said, output = whole
    assert "medians" in said
    # Trials are 2 · signal + noise, two or three of an image.
    assert np.median(maps["r"]) > 0.9
    assert maps["r"].min() > 0.75
    np.testing.assert_allclose(np.median(maps["measured_ncsnr"]), 2, atol=0.25)
    facts = json.loads((output / "results.json").read_text())
    assert facts["settings"]["experiment"] == "accuracy"
    assert facts["medians"]["all vertices"]["vertices"] == 2 * study.subject.hemisphere_size
    # The ceiling is the trials', which the metadata's is not; and that is said where the numbers stand.
    assert facts["settings"]["noise_ceiling"] == facts["ncsnr"]["source"] == "trials"
    np.testing.assert_allclose(facts["ncsnr"]["agreement"]["trials"], np.median(maps["measured_ncsnr"]))
    assert not 0.8 < facts["ncsnr"]["agreement"]["ratio of medians"] < 1.25
    medians, clipped = facts["medians"]["all vertices"], int((maps["explained_variance"] == 100).sum())
    assert medians["explained_variance"] > 97
    assert medians["clipped"] == clipped > 0
    assert "Noise ceiling from the given trials' repetitions. ncsnr, median: trials" in said
    assert f"({clipped} of 160 vertices clipped at 100)" in said
    low, high = facts["intervals"]["all vertices"]["r"]
    assert low < medians["r"] < high < 1
    with (output / "rois.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["roi"], row["clipped"]) == ("all vertices", str(clipped))
    np.testing.assert_allclose([float(row["r_low"]), float(row["r_high"])], [low, high], atol=1e-6)  # as printed
    page = (output / "report.html").read_text()
    assert "noise ceiling from the given trials&#x27; repetitions" in page
    assert "95% bootstrap intervals over n = 30 images" in page
    assert "Signal-to-noise ratio (ncsnr) of the trials and of the metadata" in page
    assert page.count("<figure>") == 3  # of this size there are no brains
    assert "above ceiling (%)" in page
    for name in ("r2", "noise_ceiling"):
        low, high = facts["intervals"]["all vertices"][name]
        assert 0 <= low < medians[name] < high <= 1
        np.testing.assert_allclose([float(row[f"{name}_low"]), float(row[f"{name}_high"])], [low, high], atol=1e-6)
    assert json.loads((output / "config.json").read_text())["settings"]["betas"] == str(study.nsd)
    with Image.open(output / "correlations.png") as picture:
        assert min(picture.size) > 200


def test_parts_of_vertices_give_the_same(
    study: Study,
    whole: tuple[dict[str, np.ndarray], str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Across hemispheres and up to a last part that is short; of files as of arrays."""
    monkeypatch.setattr(accuracy, "_AT_ONCE", 37)
    parts, _ = accuracy_of(study, whole[2])
    assert whole[0].keys() == parts.keys()
    for name, values in whole[0].items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_part_takes_a_part_of_the_memory(nsd: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    root, shown, betas = nsd
    vertices, images = Vertices.all(SIZE), [str(image) for image in np.unique(shown[:1500])[:20]]
    np.save(tmp_path / "b.npy", betas.astype(np.float32))
    rows = [f"{image},{trial // 750}" for trial, image in enumerate(shown[:1500])]
    (tmp_path / "t.csv").write_text("\n".join(["image,session", *rows]))
    for read in (
        lambda part: read_nsd(root, 1, vertices, images, part),
        lambda part: read_array(tmp_path / "b.npy", tmp_path / "t.csv", vertices, images, part=part),
    ):
        whole, peaks, found = read(slice(None)), [], []
        for part in (slice(0, 60), slice(SIZE - 30, SIZE + 30), slice(2 * SIZE - 60, 2 * SIZE + 60)):
            tracemalloc.start()
            found.append(read(part))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            np.testing.assert_array_equal(found[-1].responses, whole.responses[:, part])
            np.testing.assert_array_equal(found[-1].images, whole.images)
        assert max(peaks) < 0.8 * 4 * 750 * 2 * SIZE  # bytes of one session's betas


@pytest.mark.nightly
def test_pictures_of_a_surface_that_has_some(nsd: Any, tmp_path: Path) -> None:
    make_synthetic_subject(tmp_path / "berg", size="tiny", seed=0, subject_id=1)
    study = make_study(berg_jax.Subject(tmp_path / "berg", 1), tmp_path, nsd[0])
    maps, said = accuracy_of(study, tmp_path / "out")
    assert "SYNTHETIC" in said
    assert np.median(maps["r"]) > 0.9
    for name in ("r", "explained_variance", "r2", "noise_ceiling"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.width == 1350


def test_what_cannot_be_compared(study: Study, tmp_path: Path) -> None:
    root = study.nsd
    options: dict[str, Any] = {"subject": study.subject, "output": tmp_path / "out"}
    (tmp_path / "x.npy").touch()
    first = Images(study.stimuli, "1,2,3")
    every = {"betas": root, "images": Images(study.stimuli, "0-72999")}
    wrong: list[tuple[dict[str, Any], type[BERGError], str]] = [
        (every, InvalidParameterError, "images were never shown in these sessions"),
        ({"betas": tmp_path / "x.npy", "images": first}, InvalidParameterError, "needs a table"),
        ({"betas": "nowhere", "images": first}, ModelNotFoundError, "There is no folder or file nowhere. Give NSD's"),
        ({"betas": tmp_path, "images": first}, ModelNotFoundError, "There is no file .*nsd_expdesign.mat"),
    ]
    np.save(tmp_path / "betas.npy", np.zeros((2, 2 * study.subject.hemisphere_size), np.float32))
    (tmp_path / "from_1.csv").write_text("image,session\n1,1\n73000,1\n")
    counted = {"betas": tmp_path / "betas.npy", "table": tmp_path / "from_1.csv", "images": first}
    wrong.append((counted, InvalidParameterError, "names 1 images that are not there, such as '73000'.*subtract 1"))
    np.save(tmp_path / "three.npy", np.eye(3, 2 * study.subject.hemisphere_size, dtype=np.float32))
    (tmp_path / "once.csv").write_text("image,session\n1,1\n2,1\n3,1\n")
    once = {"betas": tmp_path / "three.npy", "table": tmp_path / "once.csv", "images": Images(study.stimuli, "1,2,3")}
    wrong.append((once, InvalidParameterError, "Each of the 3 images was shown once.*--noise-ceiling metadata"))
    flat = {**once, "betas": tmp_path / "flat.npy", "noise_ceiling": "metadata"}
    np.save(tmp_path / "flat.npy", np.zeros((3, 2 * study.subject.hemisphere_size), np.float32))
    wrong.append((flat, InvalidParameterError, "No vertex has measured responses that vary"))
    two = {**once, "images": Images(study.stimuli, "1,2")}
    wrong.append((two, InvalidParameterError, "A correlation over images needs at least 3 images, got 2"))
    for more, kind, said in wrong:
        with pytest.raises(kind, match=said):
            measure_accuracy(**options, **more)
    vertices = Vertices([1], [2], 163_842)
    with pytest.raises(ValidationError, match="has 80 vertices, and 750 trials; expected 163842"):
        read_nsd(root, 2, vertices, ["1"])
    with pytest.raises(InvalidParameterError, match="has subjects 1 to 8, not 9"):
        read_nsd(root, 9, vertices, ["1"])
    (tmp_path / "nsddata/experiments/nsd").mkdir(parents=True)
    (tmp_path / "nsddata/experiments/nsd/nsd_expdesign.mat").write_bytes(b"no mat" * 50)
    with pytest.raises(ValidationError, match="cannot be read"):
        read_nsd(tmp_path, 1, vertices, ["1"])
    assert not (tmp_path / "out").exists()

"""Inputs of a fit: splits without leaks, z-scores of training trials alone, kept features, label files."""

from __future__ import annotations

import logging
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from berg_jax import Execution, Images, Selection, Subject
from berg_jax.errors import (
    IntegrityError,
    Interrupted,
    InvalidParameterError,
    ModelNotFoundError,
    ResourceError,
    ValidationError,
)
from berg_jax.experiments.accuracy.trials import Trials, read_array
from berg_jax.experiments.fitting.inputs.features import keep_features, read_features
from berg_jax.experiments.fitting.inputs.labels import read_rois
from berg_jax.experiments.fitting.inputs.measurements import measure
from berg_jax.experiments.fitting.inputs.person import read_person
from berg_jax.experiments.fitting.inputs.splits import Split, listed_images, require_no_copies, split_images
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.surface.freesurfer import save_annot, save_labels
from berg_jax.vertices import Vertices

from ...conftest import Golden, changed

SIZE = 642


def test_every_image_is_in_one_split() -> None:
    for count, share in ((30, 0.0), (101, 0.1), (1000, 0.3)):
        split = split_images(count, test_share=0.2, validation_share=share, seed=3)
        np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(count))
        assert split.counts["test"] == round(0.2 * count)
    np.testing.assert_array_equal(split.test, split_images(1000, test_share=0.2, seed=3).test)
    assert not np.array_equal(split.test, split_images(1000, test_share=0.2, seed=4).test)
    np.testing.assert_array_equal(split_images(60, test=[59, 3, 5, 7, 9]).test, [3, 5, 7, 9, 59])


def test_the_same_picture_in_two_splits_is_refused() -> None:
    split = Split(np.array([0, 1, 2, 3]), np.array([4]), np.array([5, 6]))
    digests = np.array([11, 12, 11, 0, 13, 14, 0], np.uint64)  # 0 is not known
    require_no_copies(digests, list("abcdefg"), split)
    digests[6] = 12
    with pytest.raises(InvalidParameterError, match=r"'b' \(train\) and 'g' \(test\) are the same picture"):
        require_no_copies(digests, list("abcdefg"), split)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 24}, "20 and 5 are needed"),
        ({"count": 50, "test": [1, 2]}, "2 for the test"),
        ({"count": 50, "test_share": 1.0}, "below 1"),
        ({"count": 50, "validation_share": -0.1}, "at least 0"),
        ({"count": 50, "test": range(48, 53)}, "from 0 to 49, got 52"),
    ],
)
def test_splits_that_make_no_sense(options: dict, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        split_images(**options)


def test_lists_of_test_images(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text("c\n\na \n")
    assert listed_images(path, ["a", "b", "c"]) == [2, 0]
    for text, words in (("a\nx\n", "names 1 images that are not given, such as 'x'"), ("a\na\n", "'a' twice")):
        path.write_text(text)
        with pytest.raises(InvalidParameterError, match=words):
            listed_images(path, ["a", "b", "c"])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValidationError):
        listed_images(path, ["a"])
    with pytest.raises(ModelNotFoundError, match="one a line"):
        listed_images(tmp_path / "none.txt", ["a"])


def trials_of(vertices: int = 6, images: int = 40, repeats: int = 3, seed: int = 0) -> Trials:
    """Trials in two sessions of other level and scale."""
    random = np.random.default_rng(seed)
    order = random.permutation(np.repeat(np.arange(images), repeats))
    sessions = np.repeat([0, 1], len(order) // 2)
    signal = random.normal(size=(images, vertices))
    betas = signal[order] + 0.8 * random.normal(size=(len(order), vertices))
    return Trials((betas * (1 + sessions[:, None]) + 5 * sessions[:, None]).astype(np.float32), order, sessions)


def test_sessions_are_scaled_by_their_training_trials() -> None:
    trials, split = trials_of(), split_images(40, test=range(0, 40, 5))
    found = measure(lambda part: trials._replace(responses=trials.responses[:, part]), 6, split, at_once=4)
    training = np.isin(trials.images, split.train)
    expected = np.zeros((40, 6))
    for image in range(40):
        rows = np.flatnonzero(trials.images == image)
        values = []
        for row in rows:
            used = training & (trials.sessions == trials.sessions[row])
            values.append(stats.zmap(trials.responses[row], trials.responses[used].astype(np.float64)))
        expected[image] = np.mean(values, axis=0)
    np.testing.assert_allclose(found.responses, expected, atol=1e-5)
    np.testing.assert_array_equal(found.columns, np.arange(6))
    assert found.trials == {"train": 87, "validation": 9, "test": 24}
    assert found.ncsnr.shape == (6,)
    assert 0.5 < np.median(found.ncsnr) < 2.5  # 1.25 was planted


def test_test_trials_change_nothing_of_the_rest() -> None:
    """No leak: whatever the test trials are, training and validation responses and the choice of vertices stay."""
    trials, split = trials_of(), split_images(40, test=range(0, 40, 5))
    found = measure(lambda part: trials, 6, split, min_ncsnr=0.1)
    betas = trials.responses.copy()
    betas[np.isin(trials.images, split.test)] *= 1000
    again = measure(lambda part: trials._replace(responses=betas), 6, split, min_ncsnr=0.1)
    rest = np.setdiff1d(np.arange(40), split.test)
    np.testing.assert_array_equal(again.responses[rest], found.responses[rest])
    np.testing.assert_array_equal(again.training_ncsnr, found.training_ncsnr)
    assert abs(again.responses[split.test]).max() > 100 * abs(found.responses[split.test]).max()


def test_vertices_that_cannot_be_fitted_are_left_out() -> None:
    trials, split = trials_of(vertices=8), split_images(40, test=range(0, 40, 5))
    betas = trials.responses.copy()
    betas[3, 1] = np.nan
    betas[:, 5] = 7.0
    betas[np.isin(trials.images, split.train) & (trials.sessions == 1), 6] = 2.0  # in one session alone
    found = measure(lambda part: trials._replace(responses=betas[:, part]), 8, split, at_once=3)
    np.testing.assert_array_equal(found.columns, [0, 2, 3, 4, 7])
    np.testing.assert_array_equal(found.missing, [1])
    np.testing.assert_array_equal(found.constant, [5, 6])
    assert np.isfinite(found.responses).all()
    with pytest.raises(InvalidParameterError, match="1 have betas that are NaN, 2 betas that do not vary"):
        measure(lambda part: trials._replace(responses=betas[:, [1, 5, 6]]), 3, split)


def test_sessions_with_too_few_trials_and_thresholds_without_repeats() -> None:
    split = split_images(40, test=range(0, 40, 5))
    trials = trials_of()
    few = trials.sessions.copy()
    few[:5] = 2
    with pytest.raises(InvalidParameterError, match="1 of 3 sessions have fewer than 10 trials"):
        measure(lambda part: trials._replace(sessions=few), 6, split)
    kept = measure(lambda part: trials._replace(sessions=few), 6, split, zscored=True)
    np.testing.assert_allclose(kept.responses[0], trials.responses[trials.images == 0].mean(0), rtol=1e-5)
    once = trials_of(repeats=1)
    assert np.isnan(measure(lambda part: once, 6, split).ncsnr).all()
    with pytest.raises(InvalidParameterError, match="needs training images that were shown at least twice"):
        measure(lambda part: once, 6, split, min_ncsnr=0.1)


def test_raw_trials_of_an_array_say_their_sessions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    betas = random.normal(5, 3, (6, 2 * SIZE)).astype(np.float32)
    np.save(tmp_path / "b.npy", betas)
    rows = ["a,late", "b,early", "x,late", "a,early", "b,late", "b,late"]
    (tmp_path / "t.csv").write_text("\n".join(["image,session", *rows]))
    with caplog.at_level(logging.ERROR):
        found = read_array(tmp_path / "b.npy", tmp_path / "t.csv", Vertices([5], [2], SIZE), ["b", "a"], raw=True)
    order = [0, 4, 5, 1, 3]
    np.testing.assert_array_equal(found.responses, betas[order][:, [5, SIZE + 2]])
    np.testing.assert_array_equal(found.images, [1, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.sessions, [0, 0, 0, 1, 1])


def test_nsd_s_images_are_tested_by_the_donor_s_test_images(complement: Golden, tmp_path: Path) -> None:
    """BERG's prepared data of images that are named by their NSD numbers; sessions are 750 trials each."""
    donor, random = Subject(complement.folder, 2), np.random.default_rng(0)
    shared = donor.metadata.image_numbers("test")[:7]
    numbers = np.unique([*shared, *random.choice(70_000, 40, replace=False)])
    (tmp_path / "shown").mkdir()
    for number in numbers:
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "shown" / f"nsd{number:05d}.png")
    order = random.permutation(np.repeat(numbers, 32))[:1500]
    np.save(tmp_path / "metadata_subject-3.npy", {"img_presentation_order": order}, allow_pickle=True)
    size = donor.hemisphere_size
    betas = random.normal(size=(2, 1500, size)).astype(np.float32)
    for hemisphere, half in zip(("lh", "rh"), betas, strict=True):
        with h5py.File(tmp_path / f"{hemisphere}_betas_subject-3.h5", "w") as file:
            file["betas"] = half
    person = read_person(
        *(donor, 3, Images(tmp_path / "shown"), tmp_path),
        output=tmp_path / "out",
        selection=Selection(hemisphere="rh"),
        validation=0.2,
    )
    expected = np.intersect1d(numbers, donor.metadata.image_numbers("test"))
    np.testing.assert_array_equal(person.numbers[person.split.test], expected)
    np.testing.assert_array_equal(person.numbers, numbers)
    assert person.measured.sessions == 2
    training = np.isin(order, numbers[person.split.train])
    first = np.arange(1500) < 750
    scaled = np.empty((1500, size))
    for session in (first, ~first):
        used = betas[1][session & training].astype(np.float64)
        scaled[session] = (betas[1][session] - used.mean(0)) / used.std(0)
    expected = [scaled[order == number].mean(0) for number in numbers]
    np.testing.assert_allclose(person.measured.responses, expected, atol=1e-5)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> ArraySource:
    path = tmp_path_factory.mktemp("shown") / "shown.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (70, 3, 56, 56), np.uint8))
    return ArraySource(path)


def test_features_go_on_to_the_same_bits(complement: Golden, shown: ArraySource, tmp_path: Path) -> None:
    donor = Subject(complement.folder, 2)
    vertices, execution = Vertices.all(complement.hemisphere_size), Execution(batch_size=8, devices=1)
    arguments = donor, vertices, shown
    assert keep_features(*arguments, tmp_path / "whole", execution=execution) == ["part1", "part2"]
    whole, digests = read_features(tmp_path / "whole", "part2", 70)
    assert whole.maps.dtype == np.float16
    assert len(np.unique(digests)) == 70

    with pytest.raises(Interrupted, match="64 of 140"):
        keep_features(*arguments, tmp_path / "cut", execution=Execution(batch_size=8, devices=1, time_limit=0.0))
    with pytest.raises(IntegrityError, match="features of 64 images, expected 70"):
        read_features(tmp_path / "cut", "part1", 70)
    keep_features(*arguments, tmp_path / "cut", execution=Execution(devices=1))  # as it was begun
    assert changed(tmp_path / "cut") == changed(tmp_path / "whole")

    with pytest.raises(ResourceError, match="--batch-size 8, not 4"):
        keep_features(*arguments, tmp_path / "cut", execution=Execution(batch_size=4))
    with pytest.raises(ResourceError, match="other kept"):
        keep_features(*arguments, tmp_path / "cut", kept="float32")


@pytest.mark.nightly
def test_devices_make_no_difference(complement: Golden, shown: ArraySource, tmp_path: Path) -> None:
    donor = Subject(complement.folder, 2)
    found = []
    for devices in (1, 8):
        execution, folder = Execution(batch_size=4, devices=devices), tmp_path / f"{devices}"
        keep_features(donor, donor.all_vertices, shown, folder, kept="float32", execution=execution)
        found.append(read_features(folder, "part2", 70)[0])
    scale = abs(found[0].maps).max()
    np.testing.assert_allclose(found[1].maps, found[0].maps, atol=1e-6 * scale)
    np.testing.assert_allclose(found[1].vectors, found[0].vectors, atol=1e-6 * abs(found[0].vectors).max())


@pytest.mark.nightly
def test_bfloat16_and_float32_are_kept_as_said(complement: Golden, shown: ArraySource, tmp_path: Path) -> None:
    donor = Subject(complement.folder, 2)
    vertices = donor.all_vertices
    found = {}
    for kept in ("float16", "bfloat16", "float32"):
        keep_features(
            donor, vertices, shown, tmp_path / kept, kept=kept, execution=Execution(batch_size=8, devices=1)
        )
        found[kept] = np.asarray(read_features(tmp_path / kept, "part1", 70)[0].maps, np.float32)
    scale = abs(found["float32"]).max()
    assert 0 < abs(found["float16"] - found["float32"]).max() < 1e-3 * scale
    assert 1e-4 * scale < abs(found["bfloat16"] - found["float32"]).max() < 4e-3 * scale
    with pytest.raises(InvalidParameterError, match="kept as one of"):
        keep_features(donor, vertices, shown, tmp_path / "none", kept="int8")


def test_rois_of_label_files(tmp_path: Path) -> None:
    regions = {
        "V1": Vertices(np.array([1, 5]), np.array([9]), SIZE),
        "FFA-1": Vertices(np.array([7]), np.array([], np.int64), SIZE),
    }
    save_labels(regions, tmp_path / "labels")
    save_annot(regions, tmp_path / "rois.annot")
    values = np.zeros(SIZE, np.float32)
    values[[2, 3]], values[4] = 1, 2
    nibabel.MGHImage(values.reshape(-1, 1, 1), np.eye(4)).to_filename(tmp_path / "lh.faces.mgz")
    table = nibabel.gifti.GiftiLabelTable()
    for key, name in ((0, "???"), (1, "PPA")):
        label = nibabel.gifti.GiftiLabel(key)
        label.label = name
        table.labels.append(label)
    array = nibabel.gifti.GiftiDataArray((values == 1).astype(np.int32), intent="NIFTI_INTENT_LABEL")
    image = nibabel.gifti.GiftiImage(darrays=[array], labeltable=table)
    nibabel.save(image, tmp_path / "sub-1_hemi-R_x.label.gii")

    for given in ([tmp_path / "labels"], [tmp_path / "lh.rois.annot", tmp_path / "rh.rois.annot"]):
        found = read_rois(given, SIZE)
        assert set(found["lh"]) == set(found["rh"]) == {"V1", "FFA-1"}
        assert found["lh"]["V1"].tolist() == [1, 5]
        assert found["rh"]["FFA-1"].tolist() == []
    found = read_rois([tmp_path / "lh.faces.mgz", tmp_path / "sub-1_hemi-R_x.label.gii"], SIZE)
    assert {name: rows.tolist() for name, rows in found["lh"].items()} == {
        "faces-1": [2, 3],
        "faces-2": [4],
        "PPA": [],
    }
    assert found["rh"]["PPA"].tolist() == [2, 3]

    (tmp_path / "nowhere").mkdir()
    for path, error, words in (
        (tmp_path / "nowhere", ModelNotFoundError, "no label files"),
        (tmp_path / "lh.none.label", ModelNotFoundError, "nothing at"),
        (tmp_path / "rois", ModelNotFoundError, "nothing at"),
    ):
        with pytest.raises(error, match=words):
            read_rois([path], SIZE)
    with pytest.raises(InvalidParameterError, match="'FFA-1' in lh"):
        read_rois([tmp_path / "labels", tmp_path / "labels"], SIZE)
    with pytest.raises(ValidationError, match="expected indices from 0 to 6"):
        read_rois([tmp_path / "labels" / "lh.FFA-1.label"], 7)
    with pytest.raises(ValidationError, match="has 642 vertices"):
        read_rois([tmp_path / "lh.faces.mgz"], 96)
    (tmp_path / "V1.label").write_text("#!ascii\n0\n")
    with pytest.raises(InvalidParameterError, match="does not say its hemisphere"):
        read_rois([tmp_path / "V1.label"], SIZE)

"""The demo subjects: what is planted in them is there to be found."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

import berg_jax
from berg_jax.convert.subject import convert_subject
from berg_jax.convert.synthetic import make_synthetic_subject
from berg_jax.demo import KINDS, images
from berg_jax.demo.geography import LEFT_ONLY, geography
from berg_jax.demo.stimuli import CATEGORIES, gaussian_window
from berg_jax.errors import InvalidParameterError, ModelNotFoundError
from berg_jax.model.images import FIELD
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.stream.encode import encode_images
from berg_jax.vertices import HEMISPHERES


@pytest.fixture(scope="module")
def subject(demo: None) -> berg_jax.Subject:
    return berg_jax.Subject("demo", 1)


def test_areas_lie_where_they_should() -> None:
    for hemisphere, toward in (("lh", 1), ("rh", -1)):
        side = geography(hemisphere)
        names = [name for name in side.rois if name not in LEFT_ONLY]
        assert all(len(side.rois[name]) >= 9 for name in names)
        assert (len(side.rois["mTL-words"]) == 0) == (hemisphere == "rh")
        assert all((np.diff(indices) > 0).all() for indices in side.rois.values())
        x, y = side.rf_center.T
        early = np.concatenate([side.rois["early"], side.rois["hV4"]])
        np.testing.assert_array_equal(np.sort(early), np.flatnonzero(~np.isnan(x)))
        assert (toward * x[early] > -0.01).all()  # the opposite half of the field
        for name, up in (("V1v", 1), ("V2v", 1), ("V3v", 1), ("V1d", -1), ("V2d", -1), ("V3d", -1)):
            assert (up * y[side.rois[name]] > -0.01).all(), name
        assert np.hypot(x[early], y[early]).max() < FIELD


@pytest.mark.nightly
def test_planted_preferences_are_found(subject: berg_jax.Subject) -> None:
    planted = subject.metadata.raw["planted"]
    vertices = subject.vertices(list(planted["preferences"]))
    model = subject.model(vertices)
    responses = {kind: np.asarray(model(images(kind, 12, seed=99))).mean(axis=0) for kind in CATEGORIES}
    for roi, category in planted["preferences"].items():
        inside = np.isin(vertices.global_indices, subject.vertices(roi).global_indices)
        means = {kind: float(values[inside].mean()) for kind, values in responses.items()}
        assert max(means, key=means.get) == category, roi
        degree = means.pop(category) - np.mean(list(means.values()))
        assert 0.7 < degree / planted["degrees"][roi] < 1.3, roi


@pytest.mark.nightly
def test_planted_receptive_fields_are_found(subject: berg_jax.Subject) -> None:
    """Windows of a natural image on grey: the strongest one lies where the early vertex looks."""
    vertices = subject.vertices("V1")
    planted = np.concatenate(
        [subject.metadata.raw["planted"][f"{h}_rf_center"][getattr(vertices, h)] for h in HEMISPHERES]
    )
    model = subject.model(vertices)
    natural = images("natural", 2, seed=50).astype(np.float32)
    place = np.linspace(-3.6, 3.6, 9)
    x, y = (grid.ravel() for grid in np.meshgrid(place, place))
    pixel = [(1 + np.stack([x, -y], axis=1) / FIELD) * 112]
    windows = np.stack([gaussian_window(*center, 14) for center in pixel[0]])
    probes = 128 + windows[:, None, None] * (natural - 128)[None]
    responses = sum(np.asarray(model(probes[:, image].astype(np.float32))) for image in range(2))
    best = responses.argmax(axis=0)
    for found, truth in ((x[best], planted[:, 0]), (y[best], planted[:, 1])):
        assert np.corrcoef(found, truth)[0, 1] > 0.9


def test_what_the_metadata_say(subject: berg_jax.Subject) -> None:
    assert subject.description.synthetic
    assert subject.hemisphere_size == 10_242
    visual, v1 = subject.vertices("nsdgeneral"), subject.vertices("V1")
    metadata = subject.metadata
    explained = {h: metadata.accuracy("explained_variance", h) for h in HEMISPHERES}
    assert all(np.median(explained[h][getattr(v1, h)]) > 50 for h in HEMISPHERES)
    outside = np.setdiff1d(np.arange(10_242), visual.lh)
    assert (explained["lh"][outside] == 0).all()
    assert np.median(metadata.ncsnr("lh")[visual.lh]) > 3 * np.median(metadata.ncsnr("lh")[outside])
    train, test = metadata.image_numbers("train"), metadata.image_numbers("test")
    assert not set(train) & set(test)
    kept = subject.vertices("nsdgeneral", min_ncsnr=0.5, min_explained_variance=20)
    assert 100 < len(kept) < len(visual)


@pytest.mark.nightly
def test_demo_stands_for_the_subjects(subject: berg_jax.Subject, tmp_path: Path) -> None:
    berg = berg_jax.BERG("demo")
    model = berg.get_encoding_model("fmri-nsd_fsaverage-huze", subject=1, selection={"roi": "FFA-1"})
    lh, rh = berg.encode(model, images("faces", 2), show_progress=False)
    assert (len(lh[0]), len(rh[0])) == (19, 19)
    folder = tmp_path / "faces.npy"
    np.save(folder, images("faces", 3))
    options = {"selection": berg_jax.Selection("FFA-1"), "execution": berg_jax.Execution(batch_size=2)}
    assert "SYNTHETIC" in encode_images(berg_jax.Subject("demo", 1), folder, tmp_path / "o.zarr", **options)
    with xarray.open_zarr(tmp_path / "o.zarr") as data:
        assert data.attrs["synthetic"] is True
        np.testing.assert_allclose(data.responses[:2], np.concatenate([lh, rh], axis=1), atol=1e-5)
    for wrong in (5, 9):
        with pytest.raises(ModelNotFoundError, match=rf"no demo subject {wrong}.*\[1, 2, 3, 4\]"):
            berg_jax.Subject("demo", wrong)
    with pytest.raises(ModelNotFoundError, match="converted form only"):
        convert_subject("demo", 1)
    with pytest.raises(InvalidParameterError, match="stands for the demo subjects"):
        make_synthetic_subject("demo")


def test_info_needs_no_jax_once_it_is_there(subject: berg_jax.Subject) -> None:
    program = (
        "import sys\nfrom berg_jax.cli.app import app\napp(['info', '--berg-dir', 'demo', '--subject', '1'], "
        "standalone_mode=False)\nprint('jax' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "FFA-1" in result.stdout
    assert result.stdout.strip().endswith("False")


def test_a_folder_named_demo_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert SubjectFiles("demo", 1).is_demo
    assert not SubjectFiles(tmp_path / "demo", 1).is_demo
    (tmp_path / "demo" / "encoding_models").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert SubjectFiles("demo", 1).berg_dir == Path("demo")
    assert "not the demo subjects" in caplog.text


def test_what_takes_long_is_said_where_nobody_set_up_logging() -> None:
    told = "from berg_jax.machine import tell; tell(logging.getLogger('berg_jax'), 'Making %d', 1)"
    for setting, said in (
        ("0", "Making 1\n"),
        ("logging.basicConfig(level=logging.INFO)", "INFO:berg_jax:Making 1\n"),
        ("logging.basicConfig()", ""),
        ("logging.getLogger('berg_jax').setLevel(logging.ERROR)", ""),
    ):
        command = [sys.executable, "-c", f"import logging; {setting}; {told}"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == said


@pytest.mark.nightly
def test_subjects_differ_and_are_built_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {}
    for cache in ("a", "b"):
        monkeypatch.setenv("BERG_JAX_CACHE", str(tmp_path / cache))
        for number in (1, 2):
            subject = berg_jax.Subject("demo", number)
            answers[cache, number] = np.asarray(subject.model(roi="FFA-1")(images("faces", 2)))
    np.testing.assert_array_equal(answers["a", 1], answers["b", 1])
    np.testing.assert_array_equal(answers["a", 2], answers["b", 2])
    assert np.abs(answers["a", 1] - answers["a", 2]).mean() > 0.05
    assert berg_jax.Subject("demo", 1).identity() != berg_jax.Subject("demo", 2).identity()


@pytest.mark.parametrize("kind", KINDS)
def test_images(kind: str) -> None:
    some = images(kind, 3, seed=1)
    assert (some.shape, some.dtype) == ((3, 3, 224, 224), np.uint8)
    np.testing.assert_array_equal(some, images(kind, 3, seed=1))
    assert (some != images(kind, 3, seed=2)).any()
    assert (some[0] != some[1]).any()
    with pytest.raises(InvalidParameterError, match="n must be at least 1"):
        images(kind, 0)


def test_kinds() -> None:
    with pytest.raises(InvalidParameterError, match="kind must be one of"):
        images("cats", 1)

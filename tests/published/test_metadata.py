"""Metadata of both generations, and what is wrong with others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ValidationError
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.published.metadata import ACCURACIES, Metadata, find_metadata, noise_ceiling

from ..conftest import DATA, Golden

PATHS = {subject: SubjectFiles(DATA / "golden", subject).metadata for subject in (1, 2)}


@pytest.mark.parametrize("subject", [1, 2])
def test_both_generations_read_the_same(subject: int) -> None:
    metadata = Metadata(PATHS[subject])
    raw = np.load(PATHS[subject], allow_pickle=True).item()
    size = {1: 96, 2: 80}[subject]
    assert metadata.hemisphere_size == size
    assert metadata.datasets == {1: ["nsdcore", "nsdsynthetic"], 2: ["nsdcore"]}[subject]
    for hemisphere in ("lh", "rh"):
        np.testing.assert_array_equal(metadata.ncsnr(hemisphere), raw["fmri"][f"{hemisphere}_ncsnr"])
        for name in ACCURACIES:
            key = f"{hemisphere}_{name}" + ("_nsdcore" if subject == 1 else "")
            np.testing.assert_array_equal(metadata.accuracy(name, hemisphere), raw["encoding_models"][key])
    assert [len(metadata.image_numbers(split)) for split in ("train", "val", "test")] == [9000, 485, 515]
    assert metadata.roi_names[:3] == ["V1v", "V1d", "V2v"]
    for name in (*metadata.roi_names, "of neither"):
        for hemisphere, vertices in zip(("lh", "rh"), metadata.roi(name), strict=True):
            np.testing.assert_array_equal(vertices, raw["fmri"][f"{hemisphere}_fsaverage_rois"].get(name, []))
            assert vertices.dtype == np.int64
    for call in (
        lambda: metadata.ncsnr("left"),
        lambda: metadata.accuracy("beauty", "lh"),
        lambda: metadata.accuracy("r2", "lh", "imagery"),
        lambda: metadata.image_numbers("holdout"),
    ):
        with pytest.raises(InvalidParameterError):
            call()


def test_noise_ceiling() -> None:
    np.testing.assert_allclose(noise_ceiling(np.array([0, 1, 2]), 2), [0, 2 / 3, 8 / 9])


def test_subjects_have_their_metadata(golden: Golden) -> None:
    subject = berg_jax.Subject(golden.folder, golden.subject)
    assert subject.metadata.hemisphere_size == golden.hemisphere_size
    assert "nsdgeneral" in subject.rois
    model = subject.model(roi="early - V1", hemisphere="rh")
    vertices = subject.vertices("early - V1", hemisphere="rh")
    np.testing.assert_array_equal(model.vertices, vertices.global_indices)
    short = berg_jax.load(golden.folder, golden.subject, roi=["V1v", "V1d"])
    np.testing.assert_array_equal(short.vertices, subject.vertices("V1").global_indices)
    with pytest.raises(InvalidParameterError, match="not both"):
        subject.model(vertices, roi="V1")


def test_missing_metadata(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no metadata: looked for.*fetch --metadata-only"):
        find_metadata(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.pop("fmri"), "lacks the section 'fmri'"),
        (lambda raw: raw["fmri"].pop("lh_ncsnr"), "lacks 'lh_ncsnr'"),
        (lambda raw: raw["fmri"].update(lh_ncsnr=np.ones(5)), "different sizes"),
        (lambda raw: raw["fmri"].update(lh_ncsnr=["a"]), "expected numbers"),
        (lambda raw: raw["fmri"].pop("rh_fsaverage_rois"), "lacks 'rh_fsaverage_rois'"),
        (lambda raw: raw["fmri"]["rh_fsaverage_rois"].update(V1v=[96]), "V1v must hold vertex indices from 0 to 95"),
        (lambda raw: raw["fmri"]["rh_fsaverage_rois"].update(V1v=[0.5]), "V1v must hold"),
    ],
)
def test_contradictions(change: Callable[[dict], object], said: str, tmp_path: Path) -> None:
    raw = np.load(PATHS[1], allow_pickle=True).item()
    change(raw)
    np.save(tmp_path / "m.npy", raw, allow_pickle=True)
    with pytest.raises(ValidationError, match=said):
        Metadata(tmp_path / "m.npy")


def test_no_jax_is_needed() -> None:
    program = f"""
import sys
from berg_jax.published.metadata import Metadata
from berg_jax.rois import resolve
resolve("V1", Metadata({str(PATHS[1])!r}))
assert "jax" not in sys.modules and "flax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

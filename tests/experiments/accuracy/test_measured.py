"""Measured trials of other data sets: BERG's prepared files, NSD-synthetic, arrays of any kind, a table of files."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import zarr
from scipy import stats
from scipy.io import savemat

import berg_jax
from berg_jax import Execution, Selection
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ValidationError
from berg_jax.experiments.accuracy import (
    measure_accuracy,
    read_array,
    read_nsd_synthetic,
    read_prepared,
    read_sessions,
    trial_reader,
)
from berg_jax.experiments.accuracy.nsd_synthetic import SYNTHETIC_BETAS, SYNTHETIC_DESIGN
from berg_jax.experiments.accuracy.prepared import PREPARED
from berg_jax.vertices import Vertices

SIZE = 642
VERTICES = Vertices([7, 3], [641, 0], SIZE)
COLUMNS = [7, 3, SIZE + 641, SIZE]


def betas(trials: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 2, (trials, 2 * SIZE)).astype(np.float32)


def save_mgh(path: Path, half: np.ndarray) -> None:
    """One hemisphere's (trials, vertices) in FreeSurfer's order of axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.MGHImage(half.T[:, None, None].astype(np.float32), np.eye(4)).to_filename(path)


def test_berg_s_prepared_betas_are_taken_as_they_are(tmp_path: Path) -> None:
    folder, shown = tmp_path / PREPARED, np.array([5, 9, 5, 72_999, 9, 5])
    folder.mkdir(parents=True)
    values = betas(6)
    for hemisphere, half in zip(("lh", "rh"), np.split(values, 2, axis=1), strict=True):
        with h5py.File(folder / f"{hemisphere}_betas_subject-1.h5", "w") as file:
            file["betas"] = half
    np.save(folder / "metadata_subject-1.npy", {"img_presentation_order": shown, "test_img_num": np.array([5])})
    for place in (tmp_path, folder, folder.parent):
        found = trial_reader(place, 1, VERTICES, ["9", "5"])(slice(None))
        np.testing.assert_array_equal(found.images, [1, 0, 1, 0, 1])
        np.testing.assert_array_equal(found.responses, values[[0, 1, 2, 4, 5]][:, COLUMNS])
    part = read_prepared(folder, 1, VERTICES, ["9", "5"], slice(1, 3))
    np.testing.assert_array_equal(part.responses, found.responses[:, 1:3])
    with pytest.raises(InvalidParameterError, match="were never shown"):
        read_prepared(folder, 1, VERTICES, ["9", "6"])
    np.save(folder / "metadata_subject-1.npy", {"img_presentation_order": shown[:5]})
    with pytest.raises(ValidationError, match=r"expected floats of shape \(5, 642\)"):
        read_prepared(folder, 1, VERTICES, ["9"])
    np.save(folder / "metadata_subject-1.npy", {})
    with pytest.raises(ValidationError, match="lacks img_presentation_order"):
        read_prepared(folder, 1, VERTICES, ["9"])


def test_nsd_synthetic_is_z_scored_within_its_session(tmp_path: Path) -> None:
    (tmp_path / SYNTHETIC_DESIGN).parent.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(1, 11), 2))
    savemat(tmp_path / SYNTHETIC_DESIGN, {"masterordering": order[None]})
    values = betas(20)
    for hemisphere, half in zip(("lh", "rh"), np.split(values, 2, axis=1), strict=True):
        save_mgh(tmp_path / SYNTHETIC_BETAS.format(1) / f"{hemisphere}.betas_nsdsynthetic.mgh", half)
    found = trial_reader(tmp_path, 1, VERTICES, ["000.png", "7.png"], dataset="nsdsynthetic")(slice(None))
    wanted = np.flatnonzero(np.isin(order, [1, 8]))
    np.testing.assert_array_equal(found.images, (order[wanted] == 8).astype(int))
    np.testing.assert_allclose(found.responses, stats.zscore(values[:, COLUMNS], axis=0)[wanted], atol=2e-5)
    with pytest.raises(ModelNotFoundError, match=r"NSD-synthetic's betas"):
        read_nsd_synthetic(tmp_path, 2, VERTICES, ["0"])
    with pytest.raises(InvalidParameterError, match="dataset must be one of"):
        trial_reader(tmp_path, 1, VERTICES, ["0"], dataset="nsdimagery")


@pytest.mark.parametrize("name", ["b.h5", "b.h5::more/betas", "b.zarr", "b.npy"])
def test_arrays_of_every_kind_are_read_alike(name: str, tmp_path: Path) -> None:
    values = betas(6)
    path = tmp_path / name.split("::")[0]
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".zarr":
        zarr.create_array(path, data=values, chunks=(2, 100))
    else:
        with h5py.File(path, "w") as file:
            file["more/betas"] = values
            file["vector"] = np.arange(3)
            if "::" in name:
                file["other"] = values[:2]
    (tmp_path / "t.csv").write_text("image,session\na,1\nb,1\na,1\nb,2\na,2\nb,2\n")
    found = read_array(tmp_path / name, tmp_path / "t.csv", VERTICES, ["b", "a"])
    z = np.concatenate([stats.zscore(values[half][:, COLUMNS], axis=0) for half in (slice(3), slice(3, 6))])
    np.testing.assert_allclose(found.responses, z, atol=1e-5)
    np.testing.assert_array_equal(found.images, [1, 0, 1, 0, 1, 0])


def test_an_unclear_data_set_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["a"], file["b"] = betas(2), betas(2)
    (tmp_path / "t.csv").write_text("image,session\na,1\nb,1\n")
    with pytest.raises(ValidationError, match="2 data sets with two axes"):
        read_array(tmp_path / "b.h5", tmp_path / "t.csv", VERTICES, ["a"])
    with pytest.raises(ValidationError, match="no data set 'c'"):
        read_array(f"{tmp_path / 'b.h5'}::c", tmp_path / "t.csv", VERTICES, ["a"])


def save_as(kind: str, folder: Path, stem: str, values: np.ndarray) -> None:
    """A session's betas in files of a kind, at the places that the table names."""
    for hemi, half in zip(("lh", "rh") if kind != "gii" else ("L", "R"), np.split(values, 2, axis=1), strict=True):
        path = folder / f"{stem}_hemi-{hemi}.{kind}"
        if kind == "mgz":
            save_mgh(path, half)
        elif kind == "gii":
            arrays = [nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_ESTIMATE") for row in half]
            nibabel.GiftiImage(darrays=arrays).to_filename(path)
        elif kind == "npy":
            np.save(path, half)


@pytest.mark.parametrize("kind", ["mgz", "gii", "npy", "h5"])
def test_a_table_names_each_session_s_files(kind: str, tmp_path: Path) -> None:
    """A folder in which every session, or run, is a file → the same trials, whatever their kind."""
    values = betas(9)
    files = [("ses-01", "run-1", slice(0, 3)), ("ses-01", "run-2", slice(3, 6)), ("ses-02", "run-1", slice(6, 9))]
    lines = ["run,image,session,file"]
    for session, run, rows in files:
        stem = f"{session}_{run}"
        if kind == "h5":
            with h5py.File(tmp_path / f"{stem}.h5", "w") as file:
                file["betas"] = values[rows]
        else:
            save_as(kind, tmp_path, stem, values[rows])
        name = f"{stem}.h5" if kind == "h5" else f"{stem}_hemi-{{hemi}}.{kind}"
        lines += [f"{run},{image},{session},{name}" for image in ("x.png", "y.png", "z.png")]
    table = tmp_path / "trials.csv"
    table.write_text("\n".join(lines))
    found = trial_reader(tmp_path, 1, VERTICES, ["z.png", "x.png"], table=table)(slice(None))
    z = np.concatenate([stats.zscore(values[half][:, COLUMNS], axis=0) for half in (slice(6), slice(6, 9))])
    np.testing.assert_array_equal(found.images, [1, 0] * 3)
    np.testing.assert_allclose(found.responses, z[[0, 2, 3, 5, 6, 8]], atol=2e-5)


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "lh.npy", betas(2)[:, :SIZE])
    for line, kind, said in (
        ("a,1,lh.npy", ValidationError, r"has the shape \(2, 642\).*expected \(1, 1284\)"),
        ("a,1,{hemi}.npy", ValidationError, r"expected \(1, 642\)"),
        ("a,1,{hemi}.mgz", ModelNotFoundError, "There is neither"),
        ("a,1,lh.nii", InvalidParameterError, "one file for both hemispheres"),
    ):
        (tmp_path / "t.csv").write_text(f"image,session,file\n{line}\n")
        with pytest.raises(kind, match=said):
            read_sessions(tmp_path, tmp_path / "t.csv", VERTICES, ["a"])
    (tmp_path / "t.csv").write_text("image,session\na,1\n")
    with pytest.raises(InvalidParameterError, match="columns image and session and file"):
        read_sessions(tmp_path, tmp_path / "t.csv", VERTICES, ["a"])


@pytest.mark.nightly
def test_in_and_out_of_distribution_side_by_side(demo: Path, tmp_path: Path) -> None:
    """Trials with a known share of noise for two sets of images → one report with both, each number its own run's."""
    subject = berg_jax.Subject("demo", 1)
    vertices = subject.vertices("FFA-1 + hV4")
    random = np.random.default_rng(0)
    folders = {}
    for name, noise in (("core", 0.3), ("synthetic", 2.0)):
        pixels = random.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
        predicted = np.asarray(subject.model(vertices)(pixels))
        signal = (predicted - predicted.mean(0)) / predicted.std(0)
        trials = np.tile(signal, (3, 1)) + noise * random.standard_normal((72, len(vertices)))
        np.save(tmp_path / f"{name}.npy", pixels)
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["betas"] = trials.astype(np.float32)
        rows = [f"{image},{session}" for session in range(3) for image in range(24)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["image,session", *rows]))
        folders[name] = tmp_path / f"accuracy_{name}"
        measure_accuracy(
            subject,
            folders[name],
            tmp_path / f"{name}.npy",
            tmp_path / f"{name}.h5",
            table=tmp_path / f"{name}.csv",
            selection=Selection(roi="FFA-1 + hV4"),
            beside=[folders["core"]] if name == "synthetic" else [],
            execution=Execution(show_progress=False),
        )
    page = (folders["synthetic"] / "report.html").read_text()
    assert "Side by side" in page
    assert "Side by side" not in (folders["core"] / "report.html").read_text()
    medians = [json.loads((f / "results.json").read_text())["medians"]["all vertices"]["r"] for f in folders.values()]
    assert medians[0] > medians[1] + 0.2
    for median in medians:
        assert f"{median:.3g} " in page
    with pytest.raises(ModelNotFoundError, match="finished berg-jax accuracy"):
        measure_accuracy(subject, tmp_path / "x", tmp_path / "core.npy", tmp_path / "core.h5", beside=[tmp_path])

"""Maps in files: read back by nibabel, nilearn and NumPy; hemispheres are never swapped; other spaces are named."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn.surface import load_surf_data

from berg_jax import surface
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ValidationError
from berg_jax.surface.spaces import looks_like
from berg_jax.vertices import Vertices

SIZE = 642


@pytest.fixture
def left_only() -> np.ndarray:
    """Values in the left hemisphere alone, all different."""
    values = np.full(2 * SIZE, np.nan)
    values[:SIZE] = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    return values


def by_nibabel(path: Path) -> np.ndarray:
    image = nibabel.load(path)
    return image.darrays[0].data if path.suffix == ".gii" else image.get_fdata().ravel()


@pytest.mark.parametrize("ending", [".func.gii", ".mgz", ".npz"])
def test_each_hemisphere_has_its_own(ending: str, left_only: np.ndarray, tmp_path: Path) -> None:
    paths = surface.save(left_only, tmp_path / f"x{ending}")
    if ending == ".npz":
        halves = [np.load(paths[0])[hemisphere] for hemisphere in ("lh", "rh")]
    else:
        assert [path.name for path in paths] == [f"x.lh{ending}", f"x.rh{ending}"]
        halves = [by_nibabel(path) for path in paths]
        for path, half in zip(paths, halves, strict=True):
            np.testing.assert_array_equal(load_surf_data(path), half)  # as nilearn has it, too
    np.testing.assert_array_equal(halves[0], left_only[:SIZE])
    assert halves[1].shape == (SIZE,)
    assert np.isnan(halves[1]).all()
    found = surface.read(tmp_path / f"x{ending}", SIZE)
    np.testing.assert_array_equal(found, left_only)
    mirrored = surface.save(np.roll(left_only, SIZE), tmp_path / f"y{ending}")
    np.testing.assert_array_equal(surface.read(tmp_path / f"y{ending}")[SIZE:], found[:SIZE])
    if ending == ".func.gii":
        names = [nibabel.load(path).meta["AnatomicalStructurePrimary"] for path in mirrored]
        assert names == ["CortexLeft", "CortexRight"]


def test_chosen_vertices_and_tables(tmp_path: Path) -> None:
    vertices = Vertices([5, 2], [600], SIZE)
    (path,) = surface.save([0.5, np.nan, -1e-9], tmp_path / "x.csv", vertices)
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["hemisphere", "vertex", "value"],
            ["lh", "5", "0.5"],
            ["rh", "600", "-1e-09"],
        ]
    surface.save([1, 2, 3], tmp_path / "x.mgz", vertices)
    whole = surface.read(tmp_path / "x.mgz")
    assert (whole[5], whole[2], whole[SIZE + 600]) == (1, 2, 3)
    assert np.isnan(whole).sum() == 2 * SIZE - 3


def test_freesurfer_s_names_and_plain_arrays(tmp_path: Path) -> None:
    for hemisphere, value in (("lh", 1), ("rh", 2)):
        image = nibabel.MGHImage(np.full((SIZE, 1, 1), value, np.float32), np.eye(4))
        image.to_filename(tmp_path / f"{hemisphere}.prfR2.mgz")
    np.testing.assert_array_equal(surface.read(tmp_path / "prfR2.mgz"), np.repeat([1, 2], SIZE))
    np.save(tmp_path / "x.npy", np.arange(2 * SIZE))
    np.testing.assert_array_equal(surface.read(tmp_path / "x.npy"), np.arange(2 * SIZE))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (10_242, "a hemisphere of fsaverage5"),
        (20_484, "both hemispheres of fsaverage5"),
        (163_842, "a hemisphere of fsaverage7"),
        (327_684, "both hemispheres of fsaverage7"),
        (32_492, "fs_LR 32k"),
        (64_984, "both hemispheres of fs_LR 32k"),
        (91_282, "CIFTI 91k"),
        (7, ""),
    ],
)
def test_what_a_length_looks_like(number: int, said: str) -> None:
    assert said in looks_like(number)
    assert bool(said) == bool(looks_like(number))


def test_other_spaces_are_named(tmp_path: Path) -> None:
    surface.save(np.zeros(64_984), tmp_path / "x.npz")
    with pytest.raises(InvalidParameterError, match="32492 values for lh, which looks like a hemisphere of fs_LR"):
        surface.read(tmp_path / "x.npz", 163_842)
    np.save(tmp_path / "x.npy", np.zeros(59_412))  # which says so only as a whole
    with pytest.raises(InvalidParameterError, match=r"29706 values for lh, and both look like the cortical gray"):
        surface.read(tmp_path / "x.npy", 10_242)
    with pytest.raises(InvalidParameterError, match=r"got 32492, which looks like a hemisphere of fs_LR 32k"):
        surface.plot(np.zeros(64_984))
    with pytest.raises(InvalidParameterError, match=r"163842 values for 1 vertices, which looks like .*fsaverage7"):
        surface.save(np.zeros(163_842), tmp_path / "y.npz", Vertices([1], [], SIZE))


def test_what_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match=r"must end in \.func\.gii, \.mgz, \.npz, \.csv"):
        surface.save(np.zeros(4), tmp_path / "x.nii")
    with pytest.raises(InvalidParameterError, match="must end in"):
        surface.read(tmp_path / "x.nii")
    with pytest.raises(ModelNotFoundError, match=r"neither .*x\.lh\.mgz nor .*lh\.x\.mgz"):
        surface.read(tmp_path / "x.mgz")
    with pytest.raises(ModelNotFoundError, match="no file"):
        surface.read(tmp_path / "x.npz")
    (tmp_path / "x.lh.mgz").write_bytes(b"no image")
    with pytest.raises(ValidationError, match="cannot be read"):
        surface.read(tmp_path / "x.mgz")
    np.savez(tmp_path / "x.npz", left=np.zeros(3))
    with pytest.raises(ValidationError, match="Expected arrays 'lh' and 'rh'"):
        surface.read(tmp_path / "x.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.lh.mgz", "x.npz"]

"""Arrays of images in NumPy's and HDF5's files: read by row, and refused where they hold none."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

import berg_jax
from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.stream.sources.subset import Subset, parse_numbers

from ...conftest import Golden
from ..calls import encode_images


def test_nsd_s_own_file(berg_dir: Path, tmp_path: Path) -> None:
    """A file of NSD's layout, and a split of the subject's metadata, counted from 0."""
    metadata = SubjectFiles(berg_dir, 2).metadata
    raw = np.load(metadata, allow_pickle=True).item()
    numbers = raw["encoding_models"]["test_img_num"] = raw["encoding_models"]["test_img_num"][[4, 0, 7]]
    np.save(metadata, raw, allow_pickle=True)
    shown = np.random.default_rng(2).integers(0, 256, (3, 30, 30, 3), dtype=np.uint8)
    path = tmp_path / "nsd_stimuli.hdf5"
    with h5py.File(path, "w") as file:
        bricks = file.create_dataset("imgBrick", (73_000, 30, 30, 3), np.uint8, chunks=(1, 30, 30, 3))
        for number, image in zip(numbers, shown, strict=True):
            bricks[number] = image
    subject = berg_jax.Subject(berg_dir, 2, num_heads=3)
    encode_images(path, berg_dir, 2, tmp_path / "o.zarr", images="test", roi="V3v", batch_size=3)
    model = subject.model(roi="V3v")
    with xarray.open_zarr(tmp_path / "o.zarr") as data:
        assert data.image.values.tolist() == [str(number) for number in numbers]
        np.testing.assert_allclose(data.responses, model(shown.transpose(0, 3, 1, 2)), atol=1e-5)
    with pytest.raises(InvalidParameterError, match="images 0 to 72999, but image 73000"):
        encode_images(path, berg_dir, 2, tmp_path / "x.zarr", images="73000")


def test_arrays_are_read_by_row_in_any_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)
    np.save(tmp_path / "first.npy", images)
    np.save(tmp_path / "last.npy", images.transpose(0, 2, 3, 1))
    with h5py.File(tmp_path / "any.h5", "w") as file:
        file["group/pictures"] = images
        file["labels"] = np.arange(6)
    fingerprints = set()
    for name in ("first.npy", "last.npy", "any.h5"):
        source = ArraySource(tmp_path / name)
        np.testing.assert_array_equal(source.read([4, 1, 1]), images[[4, 1, 1]])
        assert source.ids == list("012345")
        fingerprints.add(source.fingerprint)
        part = Subset(source, np.array([5, 2]))
        np.testing.assert_array_equal(part.read([1, 0]), images[[2, 5]])
        assert part.ids == ["5", "2"]
        fingerprints.add(part.fingerprint)
    assert len(fingerprints) == 4  # of NCHW and NHWC, whole and in part


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_arrays_that_are_not_square(fit: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 20, 30), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    got = ArraySource(tmp_path / "a.npy", fit).read([0, 1])
    if fit == "crop":
        np.testing.assert_array_equal(got, images[..., 5:25])
    elif fit == "pad":
        np.testing.assert_array_equal(got[:, :, 5:25], images)
        assert (got[:, :, [0, 4, 25, 29]] == 128).all()
    else:
        assert got.shape == (2, 3, 224, 224)


@pytest.mark.parametrize(
    ("images", "options", "error", "said"),
    [
        (np.zeros((2, 3, 4, 3), np.uint8), {}, StimulusError, "may be NCHW or NHWC"),
        (np.zeros((2, 4, 4, 1), np.uint8), {}, StimulusError, "no axis of 3 channels"),
        (np.zeros((2, 3, 4, 4), np.uint8), {"layout": "NHWC"}, StimulusError, "not NHWC of 3 channels"),
        (np.zeros((2, 3, 4, 4), np.uint8), {"layout": "CHW"}, InvalidParameterError, "layout must be one of"),
        (np.zeros((2, 3, 4, 5), np.uint8), {}, StimulusError, "5 × 4 pixels.*--fit-images crop"),
        (np.zeros((2, 3, 4, 5), np.float32), {"fit": "crop"}, StimulusError, "only 8-bit images"),
        (np.zeros((3, 4, 4), np.uint8), {}, StimulusError, r"shape \(3, 4, 4\), expected"),
        (np.zeros((0, 3, 4, 4), np.uint8), {}, StimulusError, "expected"),
        (np.array([{}]), {}, StimulusError, "cannot be read"),
    ],
)
def test_arrays_that_are_no_images(images: np.ndarray, options: dict, error: type, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images, allow_pickle=True)
    with pytest.raises(error, match=said):
        ArraySource(tmp_path / "a.npy", **options)


def test_values_out_of_range_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(0, 1, (4, 3, 4, 4)))
    with pytest.raises(StimulusError, match=r"a\.npy, images 2 to 3: .*look like 0–1"):
        ArraySource(tmp_path / "a.npy").read([2, 3])


def test_hdf5_files_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(StimulusError, match="cannot be read"):
        ArraySource(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 4, 4))
    with pytest.raises(StimulusError, match=r"2 datasets of four axes \['a', 'b'\]"):
        ArraySource(tmp_path / "two.h5")


def test_numbers(tmp_path: Path) -> None:
    assert parse_numbers("3, 5,10-12").tolist() == [3, 5, 10, 11, 12]
    (tmp_path / "list.txt").write_text("7\n9\n1-2\n")
    assert parse_numbers(str(tmp_path / "list.txt")).tolist() == [7, 9, 1, 2]
    for text in ("", "5-3", "-4", "3.5", "tset", str(tmp_path), "9" * 30):
        with pytest.raises(InvalidParameterError, match=r"no image number|must be train"):
            parse_numbers(text)
    source = type("Five", (), {"__len__": lambda self: 5})()
    for numbers, said in (
        ([5], "images 0 to 4, but image 5"),
        ([-1], "image -1"),
        ([1, 1], "twice"),
        ([], "no image"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            Subset(source, np.array(numbers, np.int64))


def test_options_for_other_sources(complement: Golden, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    for arguments, said in (
        ({"path": tmp_path, "images": "test"}, "these are image files"),
        ({"path": tmp_path, "layout": "NCHW"}, "layout is for arrays"),
        ({"path": tmp_path / "a.mp4"}, "no source of images"),
    ):
        (tmp_path / "a.ppm").write_bytes(b"P6 1 1 255 abc")
        with pytest.raises(InvalidParameterError, match=said):
            encode_images(berg_dir=complement.folder, subject_id=2, output=tmp_path / "o.zarr", **arguments)

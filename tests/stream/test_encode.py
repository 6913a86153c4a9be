"""Encoding a folder: the store's schema, the images' order and fit, and what goes wrong."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr
from PIL import Image
from scipy.ndimage import map_coordinates

import berg_jax
from berg_jax.demo import photographs
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ResourceError, StimulusError, Unfinished
from berg_jax.stream.execution import Process
from berg_jax.stream.sources import image_files
from berg_jax.stream.sources.folders import FolderSource
from berg_jax.stream.sources.image_files import resize

from ..conftest import Golden
from .calls import encode_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five square images in natural order, in two formats, of two sizes, one of them grey."""
    random = np.random.default_rng(0)
    images = tmp_path / "Bilder für alle"
    (images / "sub").mkdir(parents=True)
    for name, shape in (
        ("10.png", (64, 64, 3)),
        ("2.png", (96, 96, 3)),
        ("sub/a.bmp", (64, 64, 3)),
        ("1.png", (80, 80)),
    ):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(images / name)
    Image.fromarray(random.integers(0, 256, (64, 64), dtype=np.uint8)).convert("P").save(images / "palette.png")
    (images / "notes.txt").write_text("not an image")
    return images


def test_the_store(complement: Golden, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    summary = encode_images(folder, complement.folder, complement.subject, output)
    assert "5 images" in summary
    with xarray.open_zarr(output) as data:
        data.load()
    names = ["1.png", "2.png", "10.png", "palette.png", "sub/a.bmp"]
    assert data.image.values.tolist() == names
    size = complement.hemisphere_size
    assert data.vertex.dtype == np.int32
    np.testing.assert_array_equal(data.vertex, np.tile(np.arange(size), 2))
    assert data.hemisphere.values.tolist() == ["lh"] * size + ["rh"] * size
    assert data.responses.dims == ("image", "vertex")
    assert data.responses.dtype == np.float32
    assert data.responses.attrs["units"] == "z"
    assert data.attrs["subject"] == complement.subject
    assert data.attrs["identity"] == berg_jax.Subject(complement.folder, complement.subject).identity()
    assert data.attrs["synthetic"] is False
    assert data.attrs["complete"] is True
    assert set(data.attrs["versions"]) == {"berg_jax", "jax", "flax"}
    for index, name in enumerate(names):
        pixels = np.asarray(Image.open(folder / name).convert("RGB")).transpose(2, 0, 1)[None]
        np.testing.assert_allclose(data.responses[index], complement.model(pixels)[0], atol=1e-4)
    plain = zarr.open_group(output, mode="r")
    np.testing.assert_array_equal(plain["responses"][:], data.responses)


def test_half_the_room(complement: Golden, folder: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        encode_images(folder, complement.folder, 2, tmp_path / dtype, roi="V3v", dtype=dtype)
    whole, half = (berg_jax.open_responses(tmp_path / dtype) for dtype in ("float32", "float16"))
    assert half.data.dtype == np.float16
    assert half.attributes["dtype"] == "float16"
    np.testing.assert_array_equal(half.data, whole.data.values.astype(np.float16))


def test_a_region(complement: Golden, folder: Path, tmp_path: Path) -> None:
    subject = berg_jax.Subject(complement.folder, 2)
    vertices = subject.vertices("ventral - hV4", "rh", min_ncsnr=0.1)
    options = {"roi": "ventral - hV4", "hemisphere": "rh", "min_ncsnr": 0.1}
    encode_images(folder, complement.folder, 2, tmp_path / "o.zarr", **options)
    with xarray.open_zarr(tmp_path / "o.zarr") as data:
        data.load()
    np.testing.assert_array_equal(data.vertex, vertices.rh)
    assert set(data.hemisphere.values) == {"rh"}
    assert data.attrs["identity"] == subject.identity(vertices)
    assert data.attrs["selection"] == options | {"min_explained_variance": None}
    assert data.roi.values.tolist() == subject.rois
    assert data.membership.dtype == bool
    assert data.membership.sel(roi="ventral").all()
    assert not data.membership.sel(roi="hV4").any()
    expected = np.isin(vertices.rh, subject.metadata.rois["rh"]["V3v"])
    np.testing.assert_array_equal(data.membership.sel(roi="V3v"), expected)
    with pytest.raises(InvalidParameterError, match="Invalid ROI"):
        encode_images(folder, complement.folder, 2, tmp_path / "x.zarr", roi="FFB")
    with pytest.raises(InvalidParameterError, match=r"image files\. Leave it out, or name some of them"):
        encode_images(folder, complement.folder, 2, tmp_path / "x.zarr", images="0-1")
    (folder / "damaged.png").write_bytes(b"damaged")  # which is found after what takes less time
    with pytest.raises(InvalidParameterError, match="Invalid ROI"):
        encode_images(folder, complement.folder, 2, tmp_path / "x.zarr", roi="FFB")
    with pytest.raises(StimulusError, match=r"damaged\.png cannot be read"):
        encode_images(folder, complement.folder, 2, tmp_path / "x.zarr")
    assert not (tmp_path / "x.zarr").exists()


@pytest.mark.nightly
def test_devices_and_processes_change_no_bit(complement: Golden, tmp_path: Path) -> None:
    """Of a real network: with two images a device at a time; another number of them changes the rounding alone."""
    images = np.random.default_rng(0).integers(0, 256, (21, 3, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)

    def encoded(name: str, batch_size: int = 2, processes: int = 1, **options: Any) -> np.ndarray:
        arguments = (tmp_path / "images.npy", complement.folder, complement.subject, tmp_path / name)
        for index in range(processes):
            last = index == processes - 1
            with contextlib.nullcontext() if last else pytest.raises(Unfinished, match="done its share"):
                encode_images(*arguments, batch_size=batch_size, process=Process(index, processes), **options)
        responses = berg_jax.open_responses(tmp_path / name)
        assert responses.attributes["complete"] is True
        return responses.data.values

    one = encoded("one")
    for devices in (3, 8):
        np.testing.assert_array_equal(encoded(f"{devices} devices", devices=devices), one)
    np.testing.assert_array_equal(encoded("two processes", processes=2), one)
    np.testing.assert_array_equal(encoded("two processes of 4 devices", processes=2, devices=4), one)
    for batch_size in (1, 3, 8):
        off = np.abs(encoded(f"batches of {batch_size}", batch_size) - one).max()
        print(f"batches of {batch_size} instead of 2: off by {off:.1e}")
        assert off <= 1e-5


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_fits(fit: str, tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 200
    pixels[10:] += 20
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "z.png")  # of another size, so that images are resized on the host
    image = FolderSource(tmp_path, fit).read([0])[0]
    assert image.shape == (3, 224, 224)
    assert image.dtype == np.float32
    if fit == "crop":
        assert image.min() > 199.99
        np.testing.assert_allclose(image[0, [0, -1], 100], [200, 220], rtol=1e-6)
    elif fit == "pad":
        np.testing.assert_allclose(image[0, [0, 80, 140, -1], 112], [128, 200, 220, 128], rtol=1e-6)
    else:
        np.testing.assert_allclose(image[0, [0, -1], 112], [200, 220], rtol=1e-6)
        np.testing.assert_allclose(image[0, [0, -1], 0], [0, 20], atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 64), (427, 427), (300, 500), (1, 1)])
def test_resize_equals_scipy(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    y, x = np.meshgrid(*[(np.arange(224) + 0.5) * n / 224 - 0.5 for n in shape], indexing="ij")
    expected = np.stack(
        [map_coordinates(pixels[..., c].astype(float), [y, x], order=1, mode="nearest") for c in range(3)], axis=-1
    )
    np.testing.assert_allclose(resize(pixels), expected, atol=1e-3)


def test_photographs_are_there() -> None:
    assert sorted(photographs()) == ["china.jpg", "flower.jpg", "grace_hopper.jpg"]
    assert all(path.stat().st_size > 10_000 for path in photographs().values())


def transparent(path: Path) -> None:
    Image.new("RGBA", (8, 8), (1, 2, 3, 100)).save(path)


def png_16(color: int) -> bytes:
    """A PNG of 16 bits a channel, RGB (color type 2) or RGBA (6), as libraries other than Pillow write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes([3, 232] * 8 * {2: 3, 6: 4}[color])
    header = struct.pack(">IIBBBBB", 8, 8, 16, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row * 8)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def cut(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(png_16(2)), "more than 8 bits a channel"),
        (lambda path: path.write_bytes(png_16(6)), "more than 8 bits a channel"),
        (lambda path: path.write_bytes(b"P6 8 8 65535\n" + bytes(384)), "more than 8 bits a channel"),
        (lambda path: Image.new("RGB", (8, 9)).save(path), "8 × 9 pixels.*--fit-images crop"),
        (lambda path: path.write_text("no image"), "cannot be read as an image"),
        (lambda path: path.write_bytes(b""), "cannot be read as an image"),
        (lambda path: Image.new("I", (8, 8)).save(path, "tiff"), "mode I"),
        (transparent, "transparent"),
        (cut, "cannot be read as an image"),
    ],
    ids=[
        "16 bits",
        "16 bits with alpha",
        "16 bits PPM",
        "not square",
        "text",
        "empty",
        "32 bit",
        "transparent",
        "cut",
    ],
)
def test_bad_image_files_are_named(write: object, said: str, tmp_path: Path) -> None:
    write(tmp_path / "bad.png")
    with pytest.raises(StimulusError, match=rf"bad\.png.*{said}"):
        FolderSource(tmp_path)


def test_pixels_of_many_files_are_looked_at_when_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder has more files than are decoded before work, some of them damaged → errors when their turn comes."""
    monkeypatch.setattr(image_files, "_TRIED", 1)
    for name, write in (("1.png", transparent), ("2.png", cut)):
        write(tmp_path / name)
    source = FolderSource(tmp_path, on_error="skip")
    assert not source.account.skipped
    for row, said in enumerate(("transparent", "cannot be read as an image")):
        with pytest.raises(StimulusError, match=rf"{row + 1}\.png.*{said}"):
            source.read([row])


def test_all_unusable_files_are_listed_before_work_starts(tmp_path: Path) -> None:
    """Files are cut off, or partly transparent → an error that lists all of them, before any image is encoded."""
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    for name, write in (("1.png", transparent), ("2.png", cut)):
        write(tmp_path / name)
    with pytest.raises(StimulusError, match=r"2 of 3 images cannot be used.*\n.*1\.png.*\n.*2\.png"):
        FolderSource(tmp_path)
    assert list(FolderSource(tmp_path, on_error="skip").account.skipped) == ["1.png", "2.png"]


def test_an_opaque_alpha_channel_is_no_trouble(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(tmp_path / "a.png")
    np.testing.assert_allclose(FolderSource(tmp_path).read([0])[0, :, 0, 0], [1, 2, 3], rtol=1e-6)


def test_bad_folders_and_outputs(golden: Golden, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no folder"):
        FolderSource(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StimulusError, match="no image files"):
        FolderSource(tmp_path / "empty")
    with pytest.raises(InvalidParameterError, match="fit must be one of"):
        FolderSource(folder, "zoom")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ResourceError, match="exists"):
        encode_images(folder, golden.folder, golden.subject, tmp_path / "mine")
    with pytest.raises(ResourceError, match="Cannot write"):
        encode_images(folder, golden.folder, golden.subject, tmp_path / "mine" / "below.zarr")
    with pytest.raises(InvalidParameterError, match="batch_size"):
        encode_images(folder, golden.folder, golden.subject, tmp_path / "x.zarr", batch_size=0)
    assert not (tmp_path / "x.zarr").exists()
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(golden: Golden, folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disks can be mounted here")
    try:
        with pytest.raises(ResourceError, match="Make room"):
            encode_images(folder, golden.folder, golden.subject, disk / "out.zarr")
    finally:
        subprocess.run(["umount", disk], check=True)

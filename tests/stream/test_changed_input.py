"""Images that change between two runs: noticed by their contents, named, and never mixed with old responses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from PIL import Image

import berg_jax
from berg_jax.errors import ResourceError, StimulusError
from berg_jax.stream.sources import arrays, contents, image_files
from berg_jax.stream.sources.open import open_source
from berg_jax.stream.sources.subset import Subset
from berg_jax.stream.store.show import show_text
from berg_jax.stream.store.status import account_of, status_text

from ..conftest import Golden
from .calls import encode_images


def images(seed: int, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def write(path: Path, values: np.ndarray) -> Path:
    """An array of images, or a folder of files, at a path of this suffix."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["images"] = values
    elif path.suffix == ".zarr":
        shutil.rmtree(path, ignore_errors=True)
        zarr.create_array(path, data=values, chunks=(2, 16, 16, 3))
    else:
        path.mkdir(exist_ok=True)
        for number, image in enumerate(values):
            Image.fromarray(image).save(path / f"{number}.bmp")  # whose size does not depend on contents
    return path


@pytest.mark.parametrize("name", ["x.npy", "x.h5", "x.zarr", "folder"])
def test_changed_images_are_refused(name: str, complement: Golden, tmp_path: Path) -> None:
    """Images are made anew with the same names and shape → the same command refuses, and names those that changed."""
    path, output = tmp_path / name, tmp_path / "out.zarr"
    before = images(0)
    write(path, before)
    encode_images(path, complement.folder, 2, output, roi="V3v")
    stored = berg_jax.open_responses(output).data.values
    for file in [path, *(path.rglob("*") if path.is_dir() else [])]:
        os.utime(file, (0, 0))  # a time alone changes nothing
    assert "complete already" in encode_images(path, complement.folder, 2, output, roi="V3v")
    now = before.copy()
    now[4, 3, 3] ^= 1
    write(path, now)
    changed = "'4.bmp'" if name == "folder" else "'4'"
    with pytest.raises(ResourceError, match=rf"belongs to another run: 1 images have changed since: {changed}\."):
        encode_images(path, complement.folder, 2, output, roi="V3v")
    np.testing.assert_array_equal(berg_jax.open_responses(output).data.values, stored)
    write(path, before)
    assert "complete already" in encode_images(path, complement.folder, 2, output, roi="V3v")


def test_changed_names_and_numbers_are_named(complement: Golden, tmp_path: Path) -> None:
    """An image is renamed or added → refused, saying so."""
    path, output = write(tmp_path / "images", images(0)), tmp_path / "out.zarr"
    encode_images(path, complement.folder, 2, output, roi="V3v")
    (path / "5.bmp").rename(path / "6.bmp")
    with pytest.raises(ResourceError, match=r"1 images have other names, such as '6\.bmp' in place of '5\.bmp'"):
        encode_images(path, complement.folder, 2, output, roi="V3v")
    shutil.copy(path / "6.bmp", path / "5.bmp")
    with pytest.raises(ResourceError, match=r"it has 6 images, and there are 7 now .*--append"):
        encode_images(path, complement.folder, 2, output, roi="V3v")


@pytest.mark.parametrize("name", ["x.npy", "x.h5", "x.zarr"])
def test_large_arrays_are_sampled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array is too large to be read for its digest → rows spread over all of it are."""
    monkeypatch.setattr(contents, "WHOLE", 40 * 16 * 16 * 3)
    monkeypatch.setattr(contents, "_SAMPLE", 40 * 16 * 16 * 3)
    before = images(0, 500)
    path = write(tmp_path / name, before)
    first, read = open_source(path).fingerprint, len(open_source(path).digests(np.arange(500)))
    assert 8 <= read <= 40
    now = before.copy()
    now[0] ^= 1
    assert open_source(write(path, now)).fingerprint != first
    now = before.copy()
    now[499] ^= 1
    assert open_source(write(path, now)).fingerprint != first
    # A few rows of it are few enough to be read whole.
    part = Subset(open_source(write(path, before)), np.arange(200, 230)).fingerprint
    now = before.copy()
    now[217] ^= 1
    assert Subset(open_source(write(path, now)), np.arange(200, 230)).fingerprint != part
    now = before.copy()
    now[100] ^= 1
    assert Subset(open_source(write(path, now)), np.arange(200, 230)).fingerprint == part


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are too many to be read for their digests → the beginning, middle and end of each are."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    path = write(tmp_path / "images", noise[None])
    monkeypatch.setattr("berg_jax.stream.sources.image_files.WHOLE", 1000)
    fingerprints = {open_source(path).fingerprint}
    for row in (0, 50, 99):
        changed = noise.copy()
        changed[row] ^= 1
        fingerprints.add(open_source(write(path, changed[None])).fingerprint)
    assert len(fingerprints) == 4
    assert open_source(write(path, noise[None])).fingerprint in fingerprints


def test_outputs_without_contents_are_upgraded(
    complement: Golden, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A store was written before contents were recorded → it goes on with a warning, and knows them from then on."""
    path, output = write(tmp_path / "x.npy", images(0)), tmp_path / "out.zarr"
    encode_images(path, complement.folder, 2, output, roi="V3v")
    group = zarr.open_group(output, mode="r+", use_consolidated=True)
    group.attrs["run"] = {**group.attrs["run"], "images": arrays.ArraySource(path).earlier_fingerprint}
    shutil.rmtree(output / "digest")
    encode_images(path, complement.folder, 2, output, roi="V3v")
    assert "did not record the contents of images" in caplog.text
    caplog.clear()
    encode_images(path, complement.folder, 2, output, roi="V3v")
    assert "did not record" not in caplog.text
    write(path, images(1))
    with pytest.raises(ResourceError, match="the images have changed: they have the same names"):
        encode_images(path, complement.folder, 2, output, roi="V3v")


def test_skipping_covers_every_stage_and_is_accounted_for(complement: Golden, tmp_path: Path) -> None:
    """Files cannot be opened, are no pictures, or turn out damaged → skipped, with the reason stored."""
    path, output = write(tmp_path / "images", images(0)), tmp_path / "out.zarr"
    (path / "1.bmp").write_bytes(b"<html>")
    (path / "3.bmp").unlink()
    (path / "3.bmp").symlink_to("gone")
    Image.fromarray(images(0)[0]).save(path / "9.png")
    whole = (path / "9.png").read_bytes()
    (path / "9.png").write_bytes(whole[:-40])  # whose header is right
    (path / ".hidden.png").write_bytes(whole)
    said = encode_images(path, complement.folder, 2, output, roi="V3v", on_error="skip")
    assert "8 found = 4 encoded + 3 skipped + 1 passed over (1 hidden)" in said
    for name, why in (("1.bmp", "HTML"), ("3.bmp", "broken link to gone"), ("9.png", "truncated")):
        assert any(name in line and why in line for line in said.splitlines())
    account = account_of(output)
    assert account is not None
    assert list(account["skipped"]) == ["1.bmp", "3.bmp", "9.png"]
    assert account["encoded"] == 4
    assert "8 found = 4 encoded" in status_text(output)
    assert "3 images were skipped: 1.bmp, 3.bmp, 9.png" in show_text(output)
    responses = berg_jax.open_responses(output).data
    lost = np.isnan(responses.values).all(axis=1)
    assert responses.image.values[lost].tolist() == ["1.bmp", "3.bmp", "9.png"]
    assert not np.isnan(responses.values[~lost]).any()
    assert json.dumps(account)


def test_an_image_that_was_not_encoded_may_be_replaced(
    complement: Golden, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stopped at a damaged image, and the file is replaced → it goes on; one encoded before may not change."""
    monkeypatch.setattr(image_files, "_TRIED", 1)  # else the damage is found before the run starts
    path, output, every = write(tmp_path / "images", images(0, 20)), tmp_path / "out.zarr", []
    Image.fromarray(images(3)[0]).save(path / "12.bmp", "PNG")
    whole = (path / "12.bmp").read_bytes()
    (path / "12.bmp").write_bytes(whole[:-40])
    with pytest.raises(StimulusError, match=r"12\.bmp.* What was finished is kept.* --on-error skip"):
        encode_images(path, complement.folder, 2, output, roi="V3v", batch_size=4)
    shutil.copytree(output, tmp_path / "skipped.zarr")
    encode_images(path, complement.folder, 2, tmp_path / "skipped.zarr", roi="V3v", batch_size=4, on_error="skip")
    lost = np.isnan(berg_jax.open_responses(tmp_path / "skipped.zarr").data.values).all(axis=1)
    assert np.flatnonzero(lost).tolist() == [12]
    (path / "12.bmp").write_bytes(whole)
    encode_images(path, complement.folder, 2, output, roi="V3v", batch_size=4)
    assert "1 images have changed since: '12.bmp'. None of them had been encoded" in caplog.text
    encode_images(path, complement.folder, 2, tmp_path / "new.zarr", roi="V3v", batch_size=4)
    every = [berg_jax.open_responses(place).data.values for place in (output, tmp_path / "new.zarr")]
    np.testing.assert_array_equal(*every)
    (path / "12.bmp").write_bytes(whole[:-40])
    with pytest.raises(ResourceError, match=r"1 images have changed since: '12\.bmp'\. Choose"):
        encode_images(path, complement.folder, 2, output, roi="V3v", batch_size=4)

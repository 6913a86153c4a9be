"""Zarr arrays of images: read in every form, and refused where they hold none or would run code."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from berg_jax.errors import ModelNotFoundError, StimulusError
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.stream.sources.open import open_source


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(version: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 5), dtype=np.uint8)
    options = {"zarr_format": version, "chunks": (2, 3, 5, 5)}
    zarr.create_array(tmp_path / "array.zarr", data=images, **options)
    group = zarr.create_group(tmp_path / "group.zarr", zarr_format=version)
    group.create_array("labels", data=np.arange(7))
    group.create_group("deep").create_array("er", data=images.transpose(0, 2, 3, 1), chunks=(3, 5, 5, 3))
    indices = [6, 0, 0, 3]
    fingerprints = set()
    for name in ("array.zarr", "group.zarr"):
        source = open_source(tmp_path / name)
        assert len(source) == 7
        assert source.ids == list("0123456")
        np.testing.assert_array_equal(source.read(indices), images[indices])
        with ThreadPoolExecutor(4) as pool:
            for read in pool.map(source.read, [indices] * 20):
                np.testing.assert_array_equal(read, images[indices])
        fingerprints.add(source.fingerprint)
    assert len(fingerprints) == 2
    np.save(tmp_path / "same.npy", images)
    assert ArraySource(tmp_path / "same.npy").fingerprint in fingerprints
    zarr.open(tmp_path / "group.zarr")["deep"].create_array("second", data=images)
    with pytest.raises(
        StimulusError, match=r"2 arrays of four axes \['deep/er', 'deep/second'\], expected exactly one"
    ):
        ArraySource(tmp_path / "group.zarr")


def test_sharded_zarr_of_floats(tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (8, 3, 4, 4)).astype(np.float32)
    images[5, 0, 0, 0] = 300
    zarr.create_array(tmp_path / "a.zarr", data=images, chunks=(1, 3, 4, 4), shards=(4, 3, 4, 4))
    source = ArraySource(tmp_path / "a.zarr")
    np.testing.assert_array_equal(source.read([7, 2]), images[[7, 2]])
    with pytest.raises(StimulusError, match=r"a\.zarr, images 4 to 5: .*0–255"):
        source.read([4, 5])
    next(path for path in tmp_path.rglob("c/1/*/*/*") if path.is_file()).write_bytes(b"damaged")
    with pytest.raises(StimulusError, match=r"a\.zarr cannot be read"):
        source.read([7])


def test_zarr_that_holds_no_images(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no folder"):
        ArraySource(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(StimulusError, match=r"a\.zarr cannot be read"):
        ArraySource(tmp_path / "a.zarr")
    for text in ("{", "[]", "null", '{"zarr_format": 3, "node_type": "array"}'):
        (tmp_path / "a.zarr" / "zarr.json").write_text(text)
        with pytest.raises(StimulusError, match=r"a\.zarr cannot be read"):
            ArraySource(tmp_path / "a.zarr")
    zarr.create_group(tmp_path / "b.zarr").create_array("responses", data=np.zeros((3, 4)))
    with pytest.raises(StimulusError, match=r"0 arrays of four axes"):
        ArraySource(tmp_path / "b.zarr")
    (tmp_path / "b.zarr" / "ledger").mkdir()
    with pytest.raises(StimulusError, match=r"b\.zarr is what a run has written, responses and no images"):
        ArraySource(tmp_path / "b.zarr")
    zarr.create_array(tmp_path / "c.zarr", data=np.zeros((3, 4), np.uint8))
    with pytest.raises(StimulusError, match=r"0 arrays of four axes"):
        ArraySource(tmp_path / "c.zarr")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_zarr_never_unpickles(dtype: str, tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    array = {"zarr_format": 2, "shape": [1, 3, 2, 2], "chunks": [1, 3, 2, 2], "dtype": dtype, "order": "C"}
    array |= {"compressor": None, "fill_value": 0, "filters": [{"id": "pickle", "protocol": 5}]}
    (folder / ".zarray").write_text(json.dumps(array))
    (folder / "0.0.0.0").write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    with pytest.raises(StimulusError, match="cannot be read"):
        ArraySource(folder).read([0])
    assert not (tmp_path / "evil").exists()

"""Zarr shards of packed chunks: read in every form that zarr writes; refused where a chunk becomes too large."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

from berg_jax.errors import StimulusError
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.stream.sources.hdf5_chunks import LARGEST_CHUNK

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 3, 8, 8), dtype=np.uint8)
IMAGES[5] = 0  # a chunk of the fill value alone is not written


def write(path: Path, codec: Any, images: np.ndarray = IMAGES, **sharding: Any) -> Path:
    chunks = sharding.pop("chunk_shape", (1, 3, 8, 8))
    shards = ShardingCodec(chunk_shape=chunks, codecs=[BytesCodec(), codec], **sharding)
    options = {"chunks": sharding.pop("shards", (4, 3, 8, 8)), "serializer": shards, "compressors": None}
    array = zarr.create_array(path, shape=images.shape, dtype=images.dtype, fill_value=0, **options)
    array[:] = images
    return path


@pytest.mark.parametrize(
    "codec", [BloscCodec(cname="zstd"), ZstdCodec(), GzipCodec()], ids=lambda c: type(c).__name__
)
@pytest.mark.parametrize(
    "sharding",
    [
        {},
        {"index_location": "start"},
        {"index_codecs": [BytesCodec()]},
        {"index_codecs": [BytesCodec(endian="big"), Crc32cCodec()]},
        {"chunk_shape": (2, 1, 4, 8)},
    ],
    ids=["end", "start", "no checksum", "big-endian", "parts of images"],
)
def test_packed_chunks_in_shards_are_read(codec: Any, sharding: dict[str, Any], tmp_path: Path) -> None:
    """A sharded zarr array, its chunks packed by Blosc, Zstandard or gzip → read."""
    source = ArraySource(write(tmp_path / "a.zarr", codec, **sharding))
    np.testing.assert_array_equal(source.read([9, 0, 5, 3, 4]), IMAGES[[9, 0, 5, 3, 4]])


def test_a_large_shard_of_small_chunks_is_read(tmp_path: Path) -> None:
    """A zarr array whose shards are larger than 1 GB, of small chunks → read, chunk by chunk."""
    path, shape = tmp_path / "a.zarr", (20_000, 3, 256, 256)
    options = {"chunks": (1, 3, 256, 256), "shards": shape, "compressors": BloscCodec()}
    assert np.prod(shape) > LARGEST_CHUNK
    metadata = zarr.create_array(path, shape=shape, dtype=np.uint8, fill_value=7, **options)
    assert (ArraySource(path).read([0, 19_999]) == 7).all()  # nothing is written
    image = np.random.default_rng(0).integers(0, 256, shape[1:], dtype=np.uint8)
    packed = Blosc(cname="lz4").encode(image)
    index = np.full((20_000, 2), (1 << 64) - 1, "<u8")
    index[12_345] = 0, len(packed)
    codecs = metadata.metadata.to_dict()["codecs"]
    assert codecs[0]["name"] == "sharding_indexed"
    facts = json.loads((path / "zarr.json").read_text())
    facts["codecs"][0]["configuration"]["index_codecs"] = [facts["codecs"][0]["configuration"]["index_codecs"][0]]
    (path / "zarr.json").write_text(json.dumps(facts))
    shard = path / "c" / "0" / "0" / "0" / "0"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(packed + index.tobytes())
    found = ArraySource(path).read([12_345, 1])
    np.testing.assert_array_equal(found[0], image)
    assert (found[1] == 7).all()


@pytest.mark.parametrize("location", ["end", "start"])
def test_a_chunk_in_a_shard_that_becomes_too_large_is_refused(location: str, tmp_path: Path) -> None:
    """A shard with a Blosc chunk that declares 2 GB → refused before it is unpacked; the others are read."""
    path = write(tmp_path / "a.zarr", BloscCodec(), index_location=location, index_codecs=[BytesCodec()])
    shard = path / "c" / "1" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    index = data[-64:] if location == "end" else data[:64]
    place = struct.unpack_from("<Q", index, 2 * 16)[0]  # of image 6
    data[place + 4 : place + 8] = struct.pack("<I", 2_000_000_000)
    shard.write_bytes(data)
    source = ArraySource(path)
    np.testing.assert_array_equal(source.read([4, 7]), IMAGES[[4, 7]])
    with pytest.raises(StimulusError, match=r"a chunk becomes 2,000,000,000 bytes, more than the 192"):
        source.read([6])


def change(path: Path, **changes: Any) -> None:
    facts = json.loads((path / "zarr.json").read_text())
    facts["codecs"][0]["configuration"] |= changes
    (path / "zarr.json").write_text(json.dumps(facts))


def test_shards_that_could_hide_something_are_refused(tmp_path: Path) -> None:
    """Blosc in shards in shards, packed indices, billions of chunks in a shard, a cut shard → refused."""
    path = write(tmp_path / "cut.zarr", BloscCodec())
    (path / "c" / "0" / "0" / "0" / "0").write_bytes(b"cut")
    with pytest.raises(StimulusError, match="shorter than its index"):
        ArraySource(path).read([1])
    path = write(tmp_path / "index.zarr", BloscCodec())
    blosc = json.loads((path / "zarr.json").read_text())["codecs"][0]["configuration"]["codecs"][-1]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}]
    change(path, index_codecs=[*index, blosc])
    with pytest.raises(StimulusError, match="index of its shards is packed"):
        ArraySource(path)
    path = write(tmp_path / "twice.zarr", BloscCodec())
    inner = {"chunk_shape": [1, 1, 8, 8], "codecs": [*index, blosc], "index_codecs": index}
    change(path, codecs=[{"name": "sharding_indexed", "configuration": inner}])
    with pytest.raises(StimulusError, match="packed by blosc, and then once more"):
        ArraySource(path)
    path = write(tmp_path / "many.zarr", BloscCodec())
    facts = json.loads((path / "zarr.json").read_text())
    facts["shape"][0] = facts["chunk_grid"]["configuration"]["chunk_shape"][0] = 5_000_000
    (path / "zarr.json").write_text(json.dumps(facts))
    with pytest.raises(StimulusError, match=r"shards have 5,000,000 chunks each. Make the chunks larger"):
        ArraySource(path)


def test_a_large_chunk_is_refused_in_a_shard_as_it_is_alone(tmp_path: Path) -> None:
    shape = (2, 3, 20_000, 20_000)
    zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype=np.uint8, chunks=(1, *shape[1:]), shards=shape)
    with pytest.raises(StimulusError, match=r"chunks of 1,200,000,000 values. Make them smaller"):
        ArraySource(tmp_path / "a.zarr")

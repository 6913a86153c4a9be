"""Zarr arrays of images, and checks of their chunks, which must not expand to more than a chunk's size.

Chunks lie in files of their own, or, in zarr version 3, many together in a shard, which has an index of their places.
TensorStore allocates whatever size a blosc chunk declares at its beginning, up to 2 GB. With the other codecs it
unpacks no more than a chunk.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int, Num

from ...errors import StimulusError
from ...files.disk import Unsuitable, read_small
from .hdf5_chunks import LARGEST_CHUNK, choose

_HEADER = 16  # bytes; the second four are the unpacked size
_ENTRY = 16  # bytes of a shard's index for each chunk: its place and its size
_LARGEST_INDEX = 1 << 26  # bytes
_INDEX_CODECS = (["bytes"], ["bytes", "crc32c"])
_CHECKSUM = 4  # bytes


class ZarrArray:
    """A zarr array, read by TensorStore, which is fast and, unlike pickle codecs of zarr, never runs Python code."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        import tensorstore

        found = dict(_arrays(path))
        name = choose(found, name, path, "arrays")
        driver, facts, self.attrs = found[name]
        self._stored = _stored_chunks(facts)
        if math.prod(self._stored.chunk) > LARGEST_CHUNK:
            raise Unsuitable(f"it has chunks of {math.prod(self._stored.chunk):,} values. Make them smaller.")
        kvstore = {"driver": "file", "path": str((path / name).resolve())}  # tensorstore does not accept ".."
        self._rows = tensorstore.open({"driver": driver, "kvstore": kvstore}, open=True, read=True).result()
        self.shape, self.dtype = self._rows.shape, self._rows.dtype.numpy_dtype
        self.chunks = self._rows.chunk_layout.read_chunk.shape
        self._folder = path / name

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int[np.ndarray, " n"]) -> Num[np.ndarray, "n a b c"]:
        if self._stored.blosc:
            self._check(rows)
        return self._rows[rows].read().result()

    def _check(self, rows: Int[np.ndarray, " n"]) -> None:
        """Raise StimulusError if a blosc chunk that holds some of the rows becomes larger than it should."""
        stored, limit = self._stored, math.prod(self._stored.chunk) * self.dtype.itemsize
        first, *rest = stored.file
        ranges = [range(-(-n // step)) for n, step in zip(self.shape[1:], rest, strict=True)]
        for number in np.unique(rows // first).tolist():
            wanted = np.unique(rows[rows // first == number] % first // stored.chunk[0])
            for position in itertools.product([number], *ranges):
                path = self._folder / stored.key(position)
                if path.is_file():  # a missing chunk has the fill value
                    with path.open("rb") as file:
                        for place in _places(file, stored, wanted):
                            _check_blosc(file, place, limit)


class _Stored(NamedTuple):
    """How chunks lie in files: the shapes of a file and of a chunk, the index of a shard, and the names of files."""

    file: list[int]
    chunk: list[int]
    index: Mapping[str, Any] | None
    blosc: bool
    key: Callable[[Sequence[int]], str]


def _stored_chunks(facts: Mapping[str, Any]) -> _Stored:
    """Return how an array's chunks are stored, from its metadata of zarr version 2 or 3.

    Raises
    ------
    Unsuitable
        Blosc is not the last codec, so the unpacked size cannot be read, or a shard's index is packed or too large.
    """
    if "chunks" in facts:
        separator = facts.get("dimension_separator", ".")
        blosc = "blosc" in str(facts.get("compressor"))
        return _Stored(facts["chunks"], facts["chunks"], None, blosc, lambda at: separator.join(map(str, at)))
    file, codecs, index = facts["chunk_grid"]["configuration"]["chunk_shape"], facts["codecs"], None
    chunk = file
    if len(codecs) == 1 and codecs[0].get("name") == "sharding_indexed":
        index = codecs[0]["configuration"]
        chunk, codecs = index["chunk_shape"], index["codecs"]
        if _ENTRY * math.prod(_grid(file, chunk)) > _LARGEST_INDEX:
            raise Unsuitable(
                f"its shards have {math.prod(_grid(file, chunk)):,} chunks each. Make the chunks larger."
            )
    blosc = "blosc" in str(codecs)
    if blosc:
        *inner, last = codecs
        if last.get("name") != "blosc" or "blosc" in str(inner) or inner[-1].get("name") != "bytes":
            raise Unsuitable("its chunks are packed by blosc, and then once more. Pack them once.")
        if index and [codec["name"] for codec in index["index_codecs"]] not in _INDEX_CODECS:
            raise Unsuitable("the index of its shards is packed. Write the shards again without that.")
    naming = facts["chunk_key_encoding"]
    old = naming["name"] == "v2"
    separator = naming.get("configuration", {}).get("separator", "." if old else "/")
    return _Stored(file, chunk, index, blosc, lambda at: separator.join(map(str, at if old else ("c", *at))))


def _grid(file: Sequence[int], chunk: Sequence[int]) -> list[int]:
    """Return the number of chunks in a shard along each axis."""
    return [n // step for n, step in zip(file, chunk, strict=True)]


def _places(file: BinaryIO, stored: _Stored, first: Int[np.ndarray, " n"]) -> list[int]:
    """Return where a file's chunks begin, in bytes: of a shard, those at these positions along the first axis."""
    if stored.index is None:
        return [0]
    grid = _grid(stored.file, stored.chunk)
    codecs = stored.index["index_codecs"]
    order = ">" if codecs[0].get("configuration", {}).get("endian") == "big" else "<"
    length = _ENTRY * math.prod(grid)
    at_end = stored.index.get("index_location", "end") == "end"
    size = file.seek(0, os.SEEK_END)
    start = size - length - _CHECKSUM * (len(codecs) - 1) if at_end else 0
    if start < 0 or start + length > size:
        raise StimulusError("a shard is shorter than its index")
    file.seek(start)
    places = np.frombuffer(file.read(length), f"{order}u8").reshape(*grid, 2)[first, ..., 0].ravel()
    return places[places < size].tolist()  # those that are missing have the largest number


def _check_blosc(file: BinaryIO, place: int, limit: int) -> None:
    """Raise StimulusError if the chunk at this place declares an unpacked size of more than ``limit`` bytes."""
    file.seek(place)
    size = int.from_bytes(file.read(_HEADER)[4:8], "little")
    if size > limit:
        raise StimulusError(f"a chunk becomes {size:,} bytes, more than the {limit:,} that it has")


def _arrays(path: Path) -> Iterator[tuple[str, tuple[str, dict[str, Any], Mapping[str, Any]]]]:
    """Yield each array with four axes below a folder: its name, TensorStore's driver, its metadata, its attributes.

    Links to folders are not followed, because they may be circular. Pipes and devices are refused, because reading
    them may never end.
    """
    for folder, _, names in os.walk(path):
        for name in names:
            if not (Path(folder) / name).is_file():
                raise StimulusError(f"{(Path(folder) / name).relative_to(path)} is no file")
        metadata = next((name for name in ("zarr.json", ".zarray") if name in names), None)
        if metadata is None:
            continue
        facts = json.loads(read_small(Path(folder) / metadata))
        if metadata == "zarr.json" and facts["node_type"] != "array":
            continue
        if len(facts["shape"]) == 4:
            attributes = facts.get("attributes", {})
            if ".zattrs" in names:
                attributes = json.loads(read_small(Path(folder) / ".zattrs"))
            name = Path(folder).relative_to(path).as_posix()
            yield "" if name == "." else name, ("zarr" if metadata == ".zarray" else "zarr3", facts, attributes)

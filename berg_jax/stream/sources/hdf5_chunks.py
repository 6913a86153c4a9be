"""Checks of an HDF5 data set's packed chunks, which must not expand to more than a chunk's size.

HDF5 would unpack them however large they become, and however long it takes.
"""

from __future__ import annotations

import itertools
import math
import zlib
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from ...errors import StimulusError

LARGEST_CHUNK = 1 << 30  # bytes; a chunk is always read as a whole
# Sizes in bytes up to which packed chunks need no check, because they cannot become too large. Deflated data expand
# at most 1032 times, LZF's 88 times, but HDF5 tries larger and larger buffers for LZF.
HARMLESS = {"gzip": LARGEST_CHUNK // 1032, "lzf": 1 << 17}


class PackedDataset:
    """An HDF5 data set with packed chunks, whose unpacked sizes are checked before HDF5 unpacks them."""

    def __init__(self, dataset: Any) -> None:
        self._dataset, self.shape, self.dtype, self.chunks = dataset, dataset.shape, dataset.dtype, dataset.chunks

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int[np.ndarray, " n"]) -> Num[np.ndarray, "n a b c"]:
        rest = [range(0, n, step) for n, step in zip(self.shape[1:], self.chunks[1:], strict=True)]
        first = np.unique(rows // self.chunks[0] * self.chunks[0]).tolist()
        for corner in itertools.product(first, *rest):
            self._check(corner)
        return self._dataset[rows]

    def _check(self, corner: tuple[int, ...]) -> None:
        limit = math.prod(self.chunks) * self.dtype.itemsize
        size = self._dataset.id.get_chunk_info_by_coord(corner).size or 0
        kind = self._dataset.compression
        if kind not in HARMLESS or size <= HARMLESS[kind]:
            return
        skipped, packed = self._dataset.id.read_direct_chunk(corner)
        if not skipped and _is_larger(packed, kind, limit):
            raise StimulusError(f"a chunk becomes more than the {limit:,} bytes that it has")


def _is_larger(packed: bytes, kind: str, limit: int) -> bool:
    """Return whether a packed chunk unpacks to more than ``limit`` bytes."""
    if kind == "lzf":
        return _unpacked_by_lzf(packed, limit) > limit
    unpacker = zlib.decompressobj()
    unpacker.decompress(packed, limit)
    return bool(unpacker.unconsumed_tail and unpacker.decompress(unpacker.unconsumed_tail, 1))


def _unpacked_by_lzf(packed: bytes, limit: int) -> int:
    """Return the unpacked size of LZF's runs and references in bytes, counted until it exceeds ``limit``."""
    position = size = 0
    while position < len(packed) - 1 and size <= limit:
        first = packed[position]
        if first < 32:  # a run of ``first`` + 1 bytes
            size, position = size + first + 1, position + first + 2
        elif first < 224:  # a short reference
            size, position = size + (first >> 5) + 2, position + 2
        else:  # a long reference
            size, position = size + 9 + packed[position + 1], position + 3
    return size

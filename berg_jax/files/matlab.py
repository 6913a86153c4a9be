"""Numeric matrices in MATLAB files of version 5 (up to 7.2), the format of NSD's experimental design.

SciPy reads many more kinds of data, but a damaged file can crash the process there. The format is described in
MathWorks' "MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from .disk import read_small

_LARGEST = 1 << 26  # bytes of all compressed matrices together
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_CLASSES = range(6, 16)  # classes of numeric matrices: double, single, int8 to uint64
_COMPLEX = 0x0800


def read_matrices(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return the matrices of real numbers that have the given names.

    Raises
    ------
    ValueError, KeyError
        The file is not such a MATLAB file, lacks a matrix, or is damaged. A damaged file may also raise other
        exceptions, so call this function inside :func:`~berg_jax.files.disk.readable`.
    """
    contents = memoryview(read_small(path))
    if len(contents) < 128 or bytes(contents[126:128]) not in (b"IM", b"MI"):
        raise ValueError("it is no MATLAB file of version 5")
    order = "<" if bytes(contents[126:128]) == b"IM" else ">"
    found, left = {}, _LARGEST
    for kind, data in _elements(contents[128:], order):
        if kind == _COMPRESSED:
            whole = _unpacked(data, left)
            left -= len(whole)
            kind, data = next(_elements(whole, order))
        if kind == _MATRIX:
            name, matrix = _matrix(data, order, names)
            if matrix is not None:
                found[name] = matrix
    if missing := [name for name in names if name not in found]:
        raise KeyError(f"it lacks the numbers {missing[0]}")
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the data of each element. Elements are padded with zeros to a multiple of eight bytes."""
    position = 0
    while position < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        start, padded = position + 8, -(-size // 8) * 8
        if kind >> 16:  # a small element: its size and data share these eight bytes
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, position + 4, 4
        if size > len(data) - start or (start == position + 4 and size > 4):
            raise ValueError(f"an element of {size:,} bytes where {len(data) - start:,} are left")
        yield kind, data[start : start + size]
        position = start + (size if kind == _COMPRESSED else padded)


def _unpacked(data: memoryview, limit: int) -> memoryview:
    unpacker = zlib.decompressobj()
    whole = unpacker.decompress(data, limit + 1)  # 0 would mean no limit
    if len(whole) > limit or not unpacker.eof:
        raise ValueError(f"a matrix that is cut short, or matrices of more than {_LARGEST:,} bytes")
    return memoryview(whole)


def _matrix(data: memoryview, order: str, names: Collection[str]) -> tuple[str, np.ndarray | None]:
    """Return the name of a matrix, and its values if it is one of ``names``."""
    parts = _elements(data, order)
    (_, flags), (_, shape), (_, name) = next(parts), next(parts), next(parts)
    decoded_name = bytes(name).decode("ascii", "replace")
    if decoded_name not in names:
        return decoded_name, None
    (facts,) = struct.unpack_from(f"{order}I", flags)
    if facts & 0xFF not in _CLASSES or facts & _COMPLEX:
        raise ValueError(f"{decoded_name} is no matrix of real numbers")
    sizes = [int(n) for n in np.frombuffer(shape, f"{order}i4")]
    kind, values = next(parts)
    array = np.frombuffer(values, f"{order}{_NUMBERS[kind]}")
    if min(sizes, default=-1) < 0 or math.prod(sizes) != len(array):
        raise ValueError(f"{decoded_name} has {len(array)} values for the shape {sizes}")
    return decoded_name, array.reshape(sizes, order="F")

"""Matrices of numbers in MATLAB's files, of version 5 (to 7.2), in which NSD's design is.

SciPy reads far more, but a damaged file can end the process there. The format is MathWorks' "MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from .disk import read_small

_LARGEST = 1 << 26  # bytes of all matrices that are compressed
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_CLASSES = range(6, 16)  # of matrices of numbers: double, single, int8 to uint64
_COMPLEX = 0x0800


def read_matrices(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """The matrices of real numbers of these names.

    Raises
    ------
    ValueError, KeyError
        The file is none of these, or damaged, which may also raise others: call it inside
        :func:`~berg_jax.files.disk.readable`.
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
    """Type and data of one element after the other; after each come zeros up to a multiple of eight bytes."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start, padded = place + 8, -(-size // 8) * 8
        if kind >> 16:  # a small element: its size and data share these eight bytes
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, place + 4, 4
        if size > len(data) - start or (start == place + 4 and size > 4):
            raise ValueError(f"an element of {size:,} bytes where {len(data) - start:,} are left")
        yield kind, data[start : start + size]
        place = start + (size if kind == _COMPRESSED else padded)


def _unpacked(data: memoryview, most: int) -> memoryview:
    unpacker = zlib.decompressobj()
    whole = unpacker.decompress(data, most + 1)  # 0 would mean no limit
    if len(whole) > most or not unpacker.eof:
        raise ValueError(f"a matrix that is cut short, or matrices of more than {_LARGEST:,} bytes")
    return memoryview(whole)


def _matrix(data: memoryview, order: str, names: Collection[str]) -> tuple[str, np.ndarray | None]:
    """A matrix' name, and what it holds if it is asked for."""
    parts = _elements(data, order)
    (_, flags), (_, shape), (_, name) = next(parts), next(parts), next(parts)
    text = bytes(name).decode("ascii", "replace")
    if text not in names:
        return text, None
    (facts,) = struct.unpack_from(f"{order}I", flags)
    if facts & 0xFF not in _CLASSES or facts & _COMPLEX:
        raise ValueError(f"{text} is no matrix of real numbers")
    sizes = [int(n) for n in np.frombuffer(shape, f"{order}i4")]
    kind, values = next(parts)
    array = np.frombuffer(values, f"{order}{_NUMBERS[kind]}")
    if min(sizes, default=-1) < 0 or math.prod(sizes) != len(array):
        raise ValueError(f"{text} has {len(array)} values for the shape {sizes}")
    return text, array.reshape(sizes, order="F")

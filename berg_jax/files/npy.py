"""Safe readers of NumPy's ``.npy`` and ``.npz`` files: no pickles, and no more memory than the file's size warrants.

A damaged file can raise any exception here, so call these functions inside :func:`~berg_jax.files.disk.readable`.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import ModelLoadError
from .pickle_objects import from_bytes

_LONGEST_HEADER = 10_000  # bytes, as in NumPy
_LARGEST_UNPACKED = 1 << 27  # bytes of a compressed array: a small file must not become a huge one
_MOST_AXES, _LONGEST_AXIS = 32, 1 << 48


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return the shape, whether the order is Fortran's, and the dtype that an ``.npy`` file declares."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ModelLoadError(f"it is in version {version} of NumPy's format, which is not known")
    length = file.read(2 if version == (1, 0) else 4)
    if int.from_bytes(length, "little") > _LONGEST_HEADER:
        raise ModelLoadError(f"its header is longer than {_LONGEST_HEADER:,} bytes")
    header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(header)
    if len(shape) > _MOST_AXES or not all(0 <= n < _LONGEST_AXIS for n in shape):
        raise ModelLoadError("its shape is not of plain numbers")
    return shape, fortran, dtype


def read_npy(path: Path) -> np.ndarray:
    """Return the array of numbers or text in an ``.npy`` file, read-only and memory-mapped.

    Raises
    ------
    ModelLoadError
        The file holds other data, or fewer than its header declares. Other damage may raise any exception.

    See Also
    --------
    read_npz : Arrays of an ``.npz`` file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "array.npy"), np.arange(3))
    ...     read_npy(Path(folder, "array.npy")).tolist()
    [0, 1, 2]
    """
    with path.open("rb") as file:
        shape, fortran, dtype, size = _declared(file)
        start, end = file.tell(), os.fstat(file.fileno()).st_size
        if start + size > end:
            raise ModelLoadError(f"it has {end - start:,} bytes of an array of {dtype} and shape {shape}")
        if size == 0:  # an empty array cannot be mapped
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", start, shape, "F" if fortran else "C")


def read_npz(
    source: Path | io.BytesIO, names: Iterable[str] | None = None, compressed: bool = False
) -> dict[str, np.ndarray]:
    """Return arrays of an ``.npz`` file by name.

    Parameters
    ----------
    source
        The file's path, or its contents.
    names
        Arrays to read. The default is all.
    compressed
        Whether the file may be compressed. An array may then have at most 128 MB.

    Raises
    ------
    ModelLoadError
        An array is missing, is not of numbers or text, or is larger than the file's size warrants. Other damage may
        raise any exception.

    See Also
    --------
    read_npy : The array of an ``.npy`` file.
    """
    with zipfile.ZipFile(source) as archive:
        end = archive.fp.seek(0, io.SEEK_END)
        members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            if members.setdefault(info.filename.removesuffix(".npy"), info) is not info:
                raise ModelLoadError(f"it holds two arrays {info.filename!r:.80}")
        names = list(members) if names is None else list(names)
        if missing := [name for name in names if name not in members]:
            raise ModelLoadError(f"it lacks the array {missing[0]!r}")
        for name in names:
            _check(members[name], compressed, end)
        if not compressed and sum(members[name].file_size for name in names) > end:
            raise ModelLoadError("its arrays lie one in the other")
        return {name: _array(archive.read(members[name])) for name in names}


def _declared(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return the header, which must declare numbers or text, and the number of bytes of the array."""
    shape, fortran, dtype = read_header(file)
    if dtype.kind not in "biufcSU" or dtype.itemsize == 0:
        raise ModelLoadError(f"it holds {dtype}, expected numbers")
    return shape, fortran, dtype, math.prod(shape) * dtype.itemsize


def _check(info: zipfile.ZipInfo, compressed: bool, end: int) -> None:
    """Raise ModelLoadError if reading a member takes much more memory than its size in the file."""
    stored = info.compress_type == zipfile.ZIP_STORED
    if not stored and not (compressed and info.compress_type == zipfile.ZIP_DEFLATED):
        raise ModelLoadError(f"{info.filename!r:.80} is compressed, expected what numpy.savez writes")
    if info.compress_size > end or info.file_size > (end if stored else _LARGEST_UNPACKED):
        raise ModelLoadError(f"{info.filename!r:.80} says that it takes {info.file_size:,} bytes, which it must not")


def _array(contents: bytes) -> np.ndarray:
    file = io.BytesIO(contents)
    shape, fortran, dtype, size = _declared(file)
    if file.tell() + size != len(contents):
        raise ModelLoadError(f"the data of an array of {dtype} and shape {shape} do not fit")
    return from_bytes(contents[file.tell() :], dtype).reshape(shape, order="F" if fortran else "C").copy()

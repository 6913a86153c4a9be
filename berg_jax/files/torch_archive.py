"""Safe readers of ``.pth``, ``.pt`` and pickled ``.npy`` files: no torch, no JAX, no code from the file.

A PyTorch file is a zip archive of a pickle and of raw storages; BERG's metadata are a pickled dict in a ``.npy``
file. A pickle is a program, so it runs on the machine of :mod:`berg_jax.files.pickle_machine`, which knows only
tensors, arrays and plain containers, and refuses every other object by its name. Tensors are returned as read-only
NumPy views of the memory-mapped file; nothing is copied until it is used.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelLoadError, ModelNotFoundError, UnsafeFileError
from .disk import readable
from .npy import read_header
from .pickle_machine import no_storage, unpickle
from .pickle_objects import abbreviated
from .trouble import machine_trouble

_LARGEST_PICKLE = 1 << 28  # bytes, each of which may take a hundred when unpickled


def read_torch(path: str | Path) -> Any:
    """Read a file that was written by ``torch.save`` (PyTorch ≥ 1.6), without PyTorch.

    Parameters
    ----------
    path
        A ``.pth`` or ``.pt`` file.

    Returns
    -------
    The saved object. Tensors and Parameters are read-only NumPy arrays (bfloat16 by ``ml_dtypes``) that map the file;
    an ``OrderedDict`` is a plain dict in the same order.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    UnsafeFileError
        The file holds an object outside the allowed list; the message names it.
    ModelLoadError
        The file is truncated, or is not in this format.

    See Also
    --------
    torch_record : One record of the file's archive.
    read_pickled_npy : The object in a pickled ``.npy`` file.
    """
    path = _existing(path)
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
    except Exception as error:  # zipfile raises many kinds of exceptions at damaged archives
        if trouble := machine_trouble(error):
            raise ModelLoadError(f"{path} cannot be read: {trouble}") from error
        raise ModelLoadError(
            f"{path} is not a PyTorch file: expected the zip archive that torch.save writes, got {error}. "
            "It may be truncated (compare its size with the original's) or saved by PyTorch before 1.6 "
            "(save it again with a newer one)."
        ) from error
    records = {info.filename: info for info in entries}
    if len(records) < len(entries):
        raise ModelLoadError(f"{path} holds several records of one name, so it was not written by torch.save.")
    pickles = [name for name in records if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ModelLoadError(f"{path} is not a PyTorch file: expected one data.pkl, got {len(pickles)}.")
    with _explained(path):
        archive = _Archive(mapped, records, pickles[0].removesuffix("data.pkl"))
        pickled = archive.record("data.pkl")
        _check_length(len(pickled))
        return unpickle(io.BytesIO(pickled), archive.persistent_load)


def torch_record(path: str | Path, name: str) -> bytes | None:
    """Return the record ``name`` of a PyTorch file's archive as bytes, or None if it has no such record."""
    with _explained(Path(path)), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            stored = info.compress_type == zipfile.ZIP_STORED  # a compressed record could expand to a huge size
            small = max(info.file_size, info.compress_size) < 2**20
            if info.filename.partition("/")[2] == name and small and stored:
                return archive.read(info)
    return None


def read_pickled_npy(path: str | Path) -> Any:
    """Read the single object that ``np.save(..., allow_pickle=True)`` has pickled into a ``.npy`` file.

    Parameters
    ----------
    path
        A ``.npy`` file with an object array of shape ().

    Returns
    -------
    The object, which consists of dicts, lists, tuples, strings, numbers, NumPy arrays and scalars.

    Raises
    ------
    ModelNotFoundError, UnsafeFileError, ModelLoadError
        The same conditions as for :func:`read_torch`.
    """
    path = _existing(path)
    with _explained(path), path.open("rb") as file:
        shape, _, dtype = read_header(file)
        if dtype.kind != "O" or shape != ():
            raise ModelLoadError(f"it holds an array of {dtype} and shape {shape}, expected one pickled object")
        _check_length(path.stat().st_size)
        value = unpickle(io.BytesIO(file.read()), no_storage)
        if not (isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.shape == ()):
            raise ModelLoadError("it does not hold what its header says")
    return value[()]


def _check_length(length: int) -> None:
    if length > _LARGEST_PICKLE:
        raise ModelLoadError(f"its pickle has {length:,} bytes, expected at most {_LARGEST_PICKLE:,}")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}.")
    return path


class _Archive:
    """The records of a PyTorch file, and the storages in them."""

    def __init__(self, mapped: mmap.mmap, records: dict[str, zipfile.ZipInfo], root: str):
        self.mapped, self.records, self.root = mapped, records, root
        self.storages: dict[tuple[str, str], np.ndarray] = {}
        byteorder = bytes(self.record("byteorder")) if f"{root}byteorder" in records else b"little"
        if byteorder not in (b"little", b"big"):
            raise ModelLoadError(f"unknown byte order {byteorder[:20]!r}.")
        self.order = "<" if byteorder == b"little" else ">"

    def record(self, name: str) -> memoryview:
        info = self.records.get(self.root + name)
        if info is None:
            raise ModelLoadError(f"it lacks the record {name!r}, so it may be damaged")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ModelLoadError(f"the record {name!r} is compressed; torch.save only stores")
        # The name and the extra field are repeated before the data, with their own lengths.
        header = self.mapped[info.header_offset : info.header_offset + 30]
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise ModelLoadError(f"the record {name!r} is not in its place, so it is damaged")
        lengths = struct.unpack("<HH", header[26:30])
        start = info.header_offset + 30 + sum(lengths)
        encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"  # as zipfile decodes the names in the directory
        if self.mapped[info.header_offset + 30 : start - lengths[1]] != info.orig_filename.encode(encoding):
            raise ModelLoadError(f"the record {name!r} has another name in the archive's directory")
        if start + info.file_size > len(self.mapped):
            raise ModelLoadError(f"it ends inside the record {name!r}, so it is truncated")
        return memoryview(self.mapped)[start : start + info.file_size]

    def persistent_load(self, persistent_id: Any) -> np.ndarray:
        """Return the storage of an ID: ("storage", class, key, device, number of elements)."""
        match persistent_id:
            case ("storage", np.dtype() as dtype, str(key), str(), int(count)) if count >= 0:
                pass
            case _:
                raise UnsafeFileError(f"a reference to {abbreviated(persistent_id)}")
        if (key, dtype.str) not in self.storages:
            record = self.record(f"data/{key}")
            size = count * dtype.itemsize
            if size > len(record):
                raise ModelLoadError(f"storage {key} holds {len(record)} bytes, expected {size}, so it is damaged")
            stored = dtype if self.order == "<" else dtype.newbyteorder(self.order)
            self.storages[key, dtype.str] = np.frombuffer(record[:size], stored)
        return self.storages[key, dtype.str]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn any exception that is raised while a file is read into an error that names the file."""
    refused: UnsafeFileError | None = None
    with readable(path):
        try:
            yield
        except UnsafeFileError as error:
            refused = error
    if refused is not None:
        raise UnsafeFileError(
            f"{path} asks for {refused}. Only tensors, NumPy arrays and plain containers are read; nothing of "
            "the file was run. If you trust it, load it with PyTorch and save its tensors again."
        ) from refused

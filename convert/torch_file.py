"""Writer of files in the format of ``torch.save``, without PyTorch.

A file is a zip archive of stored records: the pickle of the object, in which a tensor is a call of
``torch._utils._rebuild_tensor_v2`` on a storage, and the storages themselves, each of which starts at a multiple of
64 bytes so that it can be memory-mapped.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_ALIGNMENT = 64


def write_state_dict(
    path: Path, tensors: Mapping[str, np.ndarray], records: Mapping[str, bytes] | None = None
) -> None:
    """Write float32 arrays as a state dict, which ``torch.load`` reads back unchanged.

    Parameters
    ----------
    path
        The file to write. Its stem is the name of the archive's folder, as in PyTorch.
    tensors
        Arrays by key.
    records
        Further records of the archive, which PyTorch ignores.

    See Also
    --------
    berg_jax.files.torch_archive.read_torch : Read such a file.
    """
    arrays = {key: np.ascontiguousarray(array, "<f4") for key, array in tensors.items()}
    storages = {str(index): array for index, array in enumerate(arrays.values())}
    _write_archive(path, _pickled_state(arrays), storages, records or {})


def write_object(path: Path, value: Any) -> None:
    """Write plain containers and NumPy arrays as ``torch.save`` does."""
    _write_archive(path, pickle.dumps(value, protocol=2), {}, {})


def _pickled_state(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the pickle of {key: tensor}, assembled from opcodes, because its classes are torch's."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage_class = b"ctorch\nFloatStorage\n"
    no_hooks = b"ccollections\nOrderedDict\n)R"
    out = [pickle.PROTO, b"\x02", pickle.EMPTY_DICT, pickle.MARK]
    for index, (key, array) in enumerate(arrays.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        storage = [
            pickle.MARK,
            _plain("storage"),
            storage_class,
            _plain(str(index)),
            _plain("cpu"),
            _plain(array.size),
        ]
        out += [_plain(key), rebuild, pickle.MARK, *storage, pickle.TUPLE, pickle.BINPERSID]
        out += [
            _plain(0),
            _plain(array.shape),
            _plain(strides),
            pickle.NEWFALSE,
            no_hooks,
            pickle.TUPLE,
            pickle.REDUCE,
        ]
    out += [pickle.SETITEMS, pickle.STOP]
    return b"".join(out)


def _plain(value: Any) -> bytes:
    """Return the opcodes of a plain value, which are its pickle without the frame."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _write_archive(
    path: Path, pickled: bytes, storages: Mapping[str, np.ndarray], records: Mapping[str, bytes]
) -> None:
    contents = {
        "data.pkl": pickled,
        "byteorder": b"little",
        **{f"data/{key}": array.reshape(-1).view("u1") for key, array in storages.items()},
        "version": b"3\n",
        **records,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(f"{path.stem}/{name}")
            info.file_size = len(content)
            start = archive.fp.tell() + 30 + len(info.filename.encode()) + 4
            padding = -start % _ALIGNMENT
            info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            with archive.open(info, "w") as record:
                record.write(content)

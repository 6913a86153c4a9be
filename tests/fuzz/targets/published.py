"""Files as BERG publishes them: PyTorch's, and metadata with their ROI expressions."""

from __future__ import annotations

import functools
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from berg_jax.convert.torch_file import write_state_dict
from berg_jax.files.torch_archive import read_torch, torch_record
from berg_jax.published.metadata import Metadata, roi_table
from berg_jax.rois import resolve

from ..by_chance import Target
from .common import DATA, SIZE, written


def _torch_seeds(folder: Path) -> list[bytes]:
    write_state_dict(folder / "own.pth", {"a": np.ones((2, 3), np.float32)}, {"note": b"synthetic"})
    return [written(folder, "own.pth"), *(written(DATA / "reading", f"protocol{p}.pth") for p in (2, 3, 4, 5))]


def _read_torch(path: Path) -> Any:
    torch_record(path, "note")
    return _walked(read_torch(path))


def _walked(value: Any, depth: int = 0) -> Any:
    """Touch the first and last element of every array, which shows whether its memory is there."""
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind != "O":
        return value[(0,) * value.ndim], value[(-1,) * value.ndim]
    if isinstance(value, dict) and depth < 5:
        return [_walked(item, depth + 1) for item in value.values()]
    return value


def _pickle_seeds(folder: Path) -> list[bytes]:
    found = []
    for contents in _torch_seeds(folder):
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            found.append(archive.read(name))
    return found


def _rearchived(pickled: bytes) -> bytes:
    memory = io.BytesIO()
    memory.write(_storages())
    with zipfile.ZipFile(memory, "a") as archive:
        archive.writestr("x/data.pkl", pickled)
    return memory.getvalue()


@functools.cache
def _storages() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for key in range(24):
            archive.writestr(f"x/data/{key}", bytes(range(256)))
    return memory.getvalue()


def _read_pickle(path: Path) -> Any:
    path.write_bytes(_rearchived(path.read_bytes()))
    return _read_torch(path)


_OPCODES = (
    *(pickle.BINGET + b"\0", pickle.DUP, pickle.REDUCE, pickle.BUILD, pickle.EMPTY_TUPLE, pickle.NEWOBJ),
    *(pickle.MARK, pickle.TUPLE, pickle.TUPLE2, pickle.SETITEMS, pickle.APPENDS, pickle.POP, pickle.MEMOIZE),
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nSize\n", b"cbuiltins\nset\n", b"cnumpy\nndarray\n"),
    *(pickle.LONG4 + struct.pack("<i", 2**31 - 1), pickle.BINBYTES8 + struct.pack("<Q", 2**40)),
    *(pickle.BINUNICODE8 + struct.pack("<Q", 2**40), pickle.FRAME + struct.pack("<Q", 2**40)),
)


def _object_header() -> bytes:
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(memory, {"descr": "|O", "fortran_order": False, "shape": ()})
    return memory.getvalue()


METADATA_START = _object_header()


def _metadata_seeds(folder: Path) -> list[bytes]:
    found = []
    for protocol in (2, 3, 4, 5):
        fmri: dict[str, Any] = {}
        models: dict[str, Any] = {f"{split}_img_num": np.arange(4) for split in ("train", "val", "test")}
        for h in ("lh", "rh"):
            fmri[f"{h}_ncsnr"] = np.linspace(0, 1, SIZE)
            fmri[f"{h}_fsaverage_rois"] = {"V1v": np.arange(2), "FFA-1": [2, 3], "V1d": np.array([], np.int64)}
            for name in ("correlation", "explained_variance"):
                models[f"{h}_{name}"] = np.linspace(0, 50, SIZE)
        holder = np.empty((), object)
        holder[()] = {"fmri": fmri, "encoding_models": models}
        found.append(METADATA_START + pickle.dumps(holder, protocol=protocol))
    return found


def _read_metadata(path: Path) -> Any:
    metadata = Metadata(path)
    roi_table(metadata).encode()
    return [metadata.image_numbers(split) for split in ("train", "val", "test")]


def _roi_seeds(folder: Path) -> list[bytes]:
    (folder / "metadata.npy").write_bytes(_metadata_seeds(folder)[0])
    texts = ("V1v + FFA-1", "(V1 - V1d) & V1v", "FFA", "V1v - (V1d + FFA-1) & V1", " ( ( V1v ) ) ")
    return [text.encode() for text in texts]


def _read_roi(path: Path) -> Any:
    expression = path.read_bytes().decode("utf-8", "surrogateescape")
    return resolve(expression, _known(path.with_name("metadata.npy")))


_known = functools.lru_cache(Metadata)


TARGETS = [
    Target("torch", "x.pth", _torch_seeds, _read_torch),
    Target("pickle", "x.pth", _pickle_seeds, _read_pickle, words=_OPCODES),
    Target("metadata", "metadata.npy", _metadata_seeds, _read_metadata, words=_OPCODES),
    Target("roi", "roi.txt", _roi_seeds, _read_roi, words=(b" - ", b"(", b")", b"&", b"V1", b"+ " * 200)),
]

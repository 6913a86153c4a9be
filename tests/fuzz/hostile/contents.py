"""How the hostile files of :mod:`tests.fuzz.hostile` are made; none is kept, and all are small."""

from __future__ import annotations

import base64
import io
import os
import pickle
import socket
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from ..targets.common import SIZE
from ..targets.published import METADATA_START
from ..targets.subjects import backbone as backbone_tensors
from ..targets.subjects import safetensors

# Pickles.


def plain(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(size: bytes, stride: bytes, storage: bytes | None = None) -> bytes:
    stored = b"(" + plain("storage") + b"ctorch\nByteStorage\n" + plain("0") + plain("cpu") + plain(64) + b"tQ"
    rest = plain(0) + size + stride + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (storage or stored) + rest + b"tR"


EXPANDED = tensor(plain((2**33,)), plain((0,)))  # one byte that says it is eight billion
MEGABYTES = pickle.LONG4 + struct.pack("<i", 1 << 22) + b"\x7f" * (1 << 22)


def metadata_of(value: Any) -> bytes:
    holder = np.empty((), object)
    holder[()] = {"fmri": {"lh_ncsnr": value, "rh_ncsnr": value}, "encoding_models": {}}
    return METADATA_START + pickle.dumps(holder, protocol=4)


def shared(levels: int) -> list:
    value: list = [0.5]
    for _ in range(levels):
        value = [value, value]
    return value


def circular() -> list:
    value: list = []
    value += [value, value]
    return value


def renamed_roi(path: Path, valid: bytes) -> bytes:
    return valid.replace(b"FFA-1", b"FF\xed\xa0\x80", 1)


# NumPy's files.


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def declared(shape: str, descr: str = "'|u1'") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", bytes(96))


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as archive:
        for name, contents in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of two members of one name
                archive.writestr(name, contents)
    return memory.getvalue()


def huge_member(path: Path, valid: bytes) -> bytes:
    data = bytearray(zipped(("lh.npy", bytes(5000)), ("rh.npy", b""), method=zipfile.ZIP_DEFLATED))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 2**31)
    return bytes(data)


def huge_record(path: Path, valid: bytes) -> bytes:
    data = bytearray(zipped(("x/data.pkl", b"N."), ("x/note", b"synthetic")))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 20 : entry + 24] = struct.pack("<I", 2**31)
    return bytes(data)


def huge_stored(path: Path, valid: bytes) -> bytes:
    data = bytearray(zipped(("lh.npy", b""), ("rh.npy", b"")))
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 24] = struct.pack("<I", 2**31)
    return bytes(data)


# Images and tar files.


def png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, contents: bytes) -> bytes:
        return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return start + chunk(b"IDAT", data or zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def many_scans(path: Path, valid: bytes) -> bytes:
    memory = io.BytesIO()
    Image.new("RGB", (64, 64)).save(memory, "JPEG", progressive=True)
    data = memory.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 500 + data[-2:]


def tarred(*members: tarfile.TarInfo) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(member)
    return memory.getvalue()


def member(name: str, **facts: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def long_header(path: Path, valid: bytes) -> bytes:
    block = bytearray(member("x", type=tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[148:156] = b"77777777777\0", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + valid


def beside(make: Callable[[Path], Any]) -> Callable[[Path, bytes], bytes]:
    """Something hostile in the folder of an image that is good."""

    def build(path: Path, valid: bytes) -> bytes:
        make(path.parent)
        return valid

    return build


def bound(path: Path) -> None:
    """A socket in the file system; its name must be short."""
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def looping(folder: Path) -> None:
    for name in ("a", "b", "c.png"):
        (folder / name).symlink_to(folder if name != "c.png" else folder / name)


# HDF5 and zarr.


def hdf5(make: Callable[[h5py.File, Path], Any]) -> Callable[[Path, bytes], None]:
    def build(path: Path, valid: bytes) -> None:
        with h5py.File(path, "w") as file:
            make(file, path)

    return build


def swelling(file: h5py.File, path: Path) -> None:
    dataset = file.create_dataset("x", (2, 4, 4, 3), np.uint8, chunks=(1, 4, 4, 3), compression="gzip")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    dataset.id.write_direct_chunk((0, 0, 0, 0), b"\x78\x9c" + 80 * piece)


def other_file(file: h5py.File, path: Path) -> Path:
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as there:
        there["x"] = np.ones((2, 4, 4, 3), np.uint8)
    return other


def virtual(file: h5py.File, path: Path) -> None:
    layout = h5py.VirtualLayout((2, 4, 4, 3), np.uint8)
    layout[:] = h5py.VirtualSource(other_file(file, path), "x", (2, 4, 4, 3))
    file.create_virtual_dataset("x", layout)


def lazily(shape: tuple[int, ...], **options: Any) -> Callable[[Path, bytes], None]:
    """A dataset of which nothing is written."""
    return hdf5(lambda file, path: file.create_dataset("x", shape, np.uint8, **options))


def replaced(old: bytes, new: bytes) -> Callable[[Path, bytes], bytes]:
    def build(path: Path, valid: bytes) -> bytes:
        assert old in valid
        return valid.replace(old, new)

    return build


def zarr_with(make: Callable[[Path], Any]) -> Callable[[Path, bytes], bytes]:
    return beside(make)


def pipe_as_chunk(folder: Path) -> None:
    chunk = next(path for path in folder.rglob("*") if path.is_file())
    chunk.unlink()
    os.mkfifo(chunk)


# Maps and backbones.


def gifti(inside: str, encoding: str = "GZipBase64Binary", doctype: str = "", more: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{doctype}<GIFTI Version="1.0" NumberOfDataArrays="1">'
        '<DataArray Intent="NIFTI_INTENT_NONE" '
        f'DataType="NIFTI_TYPE_UINT8" ArrayIndexingOrder="RowMajorOrder" Dimensionality="1" Dim0="{SIZE}" '
        f'Encoding="{encoding}" Endian="LittleEndian" {more}><Data>{inside}</Data></DataArray></GIFTI>'
    ).encode()


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "1 "}">' for n in range(12))
BOMB = base64.b64encode(zlib.compress(bytes(80 << 20), 1)).decode()


def huge_mgh(path: Path, valid: bytes) -> bytes:
    return valid[:4] + struct.pack(">iiii", 2**30, 1, 1, 2) + valid[20:]


def with_tensor(name: str, array: np.ndarray) -> bytes:
    return safetensors(backbone_tensors() | {name: array})


YAML_LAUGHS = b"a0: &a0 [1, 1]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60))
YAML = b"MODEL: {BACKBONE: {LORA: {SCALE: %s}, LAYERS: %s}, RETINA_MAPPER: {CONSTANT_SIGMA: 0.01}}\n"


def elsewhere(path: Path, valid: bytes) -> bytes:
    root = path.parents[2] / "zarr.json"
    text = root.read_bytes()
    assert b'"moments"' in text
    root.write_bytes(text.replace(b'"moments"', b'"../../../x"'))
    return valid


def design(first: float) -> bytes:
    memory = io.BytesIO()
    savemat(memory, {"masterordering": np.array([[first, 1.0]]), "subjectim": np.ones((8, 10))})
    return memory.getvalue()


def saved(array: np.ndarray) -> bytes:
    memory = io.BytesIO()
    np.save(memory, array)
    return memory.getvalue()

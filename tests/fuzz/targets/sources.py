"""Sources of images: arrays, shards, pictures, lists."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from PIL import Image

from berg_jax.stream.sources.open import open_source
from berg_jax.stream.sources.subset import parse_numbers

from ..by_chance import Target
from .common import pixels, written

Image.init()  # which imports every decoder, as Pillow does when it knows no format


def _read_source(path: Path) -> Any:
    source = open_source(path, fit="pad")
    images = source.read([0, len(source) - 1])
    return source.ids, source.fingerprint, np.asarray(images).sum()


def _read_folder(path: Path) -> Any:
    return _read_source(path.parent)


def _npy_seeds(folder: Path) -> list[bytes]:
    found = []
    for version, array in (
        ((1, 0), np.zeros((2, 3, 8, 8), np.uint8)),
        ((2, 0), np.full((2, 8, 8, 3), 99, np.float32)),
        ((3, 0), np.ones((2, 3, 4, 4), np.int64, order="F")),
    ):
        memory = io.BytesIO()
        np.lib.format.write_array(memory, array, version)
        found.append(memory.getvalue())
    return found


def _tar_seeds(folder: Path) -> list[bytes]:
    found = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        memory, image = io.BytesIO(), io.BytesIO()
        Image.fromarray(pixels(4)).save(image, "PNG")
        with tarfile.open(fileobj=memory, mode="w", format=kind) as archive:
            for name in ("a.png", "b.json", "f/" + "ä" * (20 if kind == tarfile.USTAR_FORMAT else 90) + ".png"):
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(image.getvalue()), 0.5 if kind == tarfile.PAX_FORMAT else 0
                archive.addfile(info, io.BytesIO(image.getvalue()))
        found.append(memory.getvalue()[: len(memory.getvalue().rstrip(b"\0")) // 512 * 512 + 1536])
    return found


def _tar_repaired(contents: bytes) -> bytes:
    """With the checksum of every block that looks like a header set right."""
    data = bytearray(contents)
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return bytes(data)


def _image_seeds(folder: Path) -> list[bytes]:
    found = []
    image = Image.fromarray(pixels())
    for form, options in (
        *(("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True})),
        *(
            ("BMP", {}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_deflate"}),
        ),
        ("PPM", {}),
    ):
        memory = io.BytesIO()
        image.save(memory, form, **options)
        found.append(memory.getvalue())
    for mode in ("L", "P", "CMYK", "1"):
        memory = io.BytesIO()
        image.convert(mode).save(memory, "TIFF" if mode == "CMYK" else "PNG")
        found.append(memory.getvalue())
    return found


def _image_repaired(contents: bytes) -> bytes:
    """With PNG's checksums set right."""
    if contents[:4] != b"\x89PNG":
        return contents
    data, place = bytearray(contents), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if place + 12 + length > len(data):
            break
        checksum = zlib.crc32(data[place + 4 : place + 8 + length])
        data[place + 8 + length : place + 12 + length] = struct.pack(">I", checksum)
        place += 12 + length
    return bytes(data)


def _list_seeds(folder: Path) -> list[bytes]:
    for name in ("a.png", "b.png", "f/c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels(4)).save(folder / name)
    return [b"a.png\nb.png\n", b"# first\n./f/c.png\r\na.png", f"{folder}/a.png\n{folder}/f/c.png\n".encode()]


def _hdf5_seeds(folder: Path) -> list[bytes]:
    found = []
    for index, options in enumerate(({}, {"chunks": (1, 4, 4, 3), "compression": "gzip", "shuffle": True})):
        with h5py.File(folder / f"{index}.h5", "w", libver=("earliest", "latest")[index]) as file:
            file.create_dataset("imgBrick" if index else "x", data=np.ones((2, 4, 4, 3), np.uint8), **options)
        found.append(written(folder, f"{index}.h5"))
    return found


def _zarr_seeds(version: int) -> Any:
    def seeds(folder: Path) -> list[bytes]:
        array = zarr.create_array(
            folder / "x.zarr", data=np.ones((2, 4, 4, 3), np.uint8), chunks=(1, 4, 4, 3), zarr_format=version
        )
        assert array.shape[0] == 2
        return [written(folder, "x.zarr/zarr.json" if version == 3 else "x.zarr/.zarray")]

    return seeds


def _numbers_seeds(folder: Path) -> list[bytes]:
    return [b"3,5,10-19", b"0-4\n7\n9,11", b"12"]


TARGETS = [
    Target("npy", "x.npy", _npy_seeds, _read_source),
    Target("tar", "x.tar", _tar_seeds, _read_source, _tar_repaired, (b"20 size=99999999999\n",)),
    Target("image", "images/x.png", _image_seeds, _read_folder, _image_repaired),
    Target("list", "x.txt", _list_seeds, _read_source, words=(b"\n/", b"//", b"a.png\n" * 3, b"../", b"\r\n")),
    Target("hdf5", "x.h5", _hdf5_seeds, _read_source),
    Target("zarr2", "x.zarr/.zarray", _zarr_seeds(2), _read_folder),
    Target("zarr3", "x.zarr/zarr.json", _zarr_seeds(3), _read_folder),
    Target("numbers", "x.txt", _numbers_seeds, lambda path: parse_numbers(str(path))),
]

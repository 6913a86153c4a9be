"""What several targets share."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent.parent / "data"
SIZE = 6  # vertices of a hemisphere, in most of these files


def written(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def pixels(side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def npz_repaired(contents: bytes) -> bytes:
    """As an archive whose members' checksums are right, whatever was changed in them."""
    with zipfile.ZipFile(io.BytesIO(contents)) as damaged:
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w") as archive:
            for info in damaged.infolist():
                lengths = struct.unpack("<HH", contents[info.header_offset + 26 : info.header_offset + 30])
                start = info.header_offset + 30 + sum(lengths)
                archive.writestr(info.filename, contents[start : start + info.file_size])
    return memory.getvalue()


def mutated_npz(contents: bytes, name: str, array: np.ndarray) -> bytes:
    """With another array under a name."""
    with np.load(io.BytesIO(contents)) as found:
        arrays = {**found, name: array}
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    return memory.getvalue()

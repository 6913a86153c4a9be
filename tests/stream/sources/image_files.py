"""Image files and tar shards of known pixels, for the tests of sources."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, height: int = 16, width: int | None = None) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width or height, 3), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(contents: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(contents)).convert("RGB")).transpose(2, 0, 1)


def member(name: str, contents: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    item = tarfile.TarInfo(name)
    item.size = len(contents)
    for field, value in fields.items():
        setattr(item, field, value)
    return item, contents


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for item, contents in members:
            archive.addfile(item, io.BytesIO(contents))
    return path


def png(name: str, seed: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, encoded(pixels(seed)))

"""Checks of a zarr array's chunks, which must not expand to more than a chunk's size.

TensorStore allocates whatever size a blosc chunk declares at its beginning, up to 2 GB. With the other codecs it
unpacks no more than a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import StimulusError

_HEADER = 16  # bytes; the second four are the unpacked size


def chunk_shape(facts: dict[str, Any]) -> list[int]:
    """Return the shape of a stored chunk, from an array's metadata of zarr version 2 or 3."""
    return facts["chunks"] if "chunks" in facts else facts["chunk_grid"]["configuration"]["chunk_shape"]


def blosc_key(facts: dict[str, Any]) -> Callable[[Sequence[int]], str] | None:
    """Return a function from a chunk's position in the grid to its key, or None if chunks are not packed by blosc.

    Raises
    ------
    StimulusError
        Blosc is not the last codec, so the unpacked size cannot be read.
    """
    if "blosc" not in str(facts.get("compressor")) + str(facts.get("codecs")):
        return None
    if "chunks" in facts:
        separator = facts.get("dimension_separator", ".")
        return lambda position: separator.join(map(str, position))
    *inner, last = facts["codecs"]
    if last.get("name") != "blosc" or "blosc" in str(inner) or inner[-1].get("name") != "bytes":
        raise StimulusError("its chunks are packed by blosc, and then once more. Pack them once")
    naming = facts["chunk_key_encoding"]
    old = naming["name"] == "v2"
    separator = naming.get("configuration", {}).get("separator", "." if old else "/")
    return lambda position: separator.join(map(str, position if old else ("c", *position)))


def check_blosc(path: Path, limit: int) -> None:
    """Raise StimulusError if a chunk declares an unpacked size of more than ``limit`` bytes. It need not exist."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        size = int.from_bytes(file.read(_HEADER)[4:8], "little")
    if size > limit:
        raise StimulusError(f"a chunk becomes {size:,} bytes, more than the {limit:,} that it has")

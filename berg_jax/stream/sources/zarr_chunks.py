"""Where a zarr array's chunks lie, and what those that blosc packed may not do: become larger than a chunk is.

TensorStore makes room for whatever size a blosc chunk begins with, up to 2 GB; of the other codecs it unpacks no more
than a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import StimulusError

_HEADER = 16  # bytes, of which the second four are the unpacked size


def chunk_shape(facts: dict[str, Any]) -> list[int]:
    """The shape of a stored chunk, from an array's metadata of either version."""
    return facts["chunks"] if "chunks" in facts else facts["chunk_grid"]["configuration"]["chunk_shape"]


def blosc_key(facts: dict[str, Any]) -> Callable[[Sequence[int]], str] | None:
    """How a chunk's file is named by its place in the grid, where blosc packed it; else None.

    Raises
    ------
    StimulusError
        Blosc is not what was done last, so that the unpacked size cannot be seen.
    """
    if "blosc" not in str(facts.get("compressor")) + str(facts.get("codecs")):
        return None
    if "chunks" in facts:
        separator = facts.get("dimension_separator", ".")
        return lambda place: separator.join(map(str, place))
    *inner, last = facts["codecs"]
    if last.get("name") != "blosc" or "blosc" in str(inner) or inner[-1].get("name") != "bytes":
        raise StimulusError("its chunks are packed by blosc, and then once more. Pack them once")
    naming = facts["chunk_key_encoding"]
    old = naming["name"] == "v2"
    separator = naming.get("configuration", {}).get("separator", "." if old else "/")
    return lambda place: separator.join(map(str, place if old else ("c", *place)))


def check_blosc(path: Path, most: int) -> None:
    """Raise StimulusError if a chunk says that it becomes more than so many bytes. It need not be there."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        size = int.from_bytes(file.read(_HEADER)[4:8], "little")
    if size > most:
        raise StimulusError(f"a chunk becomes {size:,} bytes, more than the {most:,} that it has")

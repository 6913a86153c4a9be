"""Checks of GIFTI files, which must not refer to other files or expand to a much larger size."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any
from xml.parsers import expat

from .disk import read_small

_LARGEST = 1 << 26  # bytes of all arrays together


def check_gifti(path: Path) -> None:
    """Raise ValueError if a GIFTI file names another file, defines entities, or holds arrays of more than 64 MB.

    A file that is not XML at all raises an error of expat.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    state: dict[str, Any] = {"encoding": "", "text": None, "left": _LARGEST}

    def start(name: str, attributes: dict[str, str]) -> None:
        if state["text"] is not None:  # nibabel would unpack the text before it
            raise ValueError(f"an element {name!r:.40} lies among its data")
        if name == "DataArray":
            state["encoding"] = attributes.get("Encoding", "")
            if state["encoding"] not in ("ASCII", "Base64Binary", "GZipBase64Binary"):
                raise ValueError(f"its data are {state['encoding']!r:.40}, which is not read")
            axes = attributes.get("Dimensionality", "")
            if axes not in tuple("123456"):  # nibabel loops over this number
                raise ValueError(f"an array has {axes!r:.40} axes, expected 1 to 6")
        elif name == "Data":
            state["text"] = []

    def end(name: str) -> None:
        if name == "Data" and state["text"] is not None:
            packed, state["text"] = "".join(state["text"]), None
            if state["encoding"] == "GZipBase64Binary":
                unpacker = zlib.decompressobj()
                state["left"] -= len(unpacker.decompress(base64.b64decode(packed), state["left"]))
                if unpacker.unconsumed_tail or state["left"] <= 0:  # a limit of 0 would mean no limit
                    raise ValueError(f"unpacked, it takes more than {_LARGEST:,} bytes")

    def text(part: str) -> None:
        if state["text"] is not None:
            state["text"].append(part)

    def entity(*definition: Any) -> None:
        raise ValueError("it defines entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = text, entity
    parser.Parse(read_small(path), True)

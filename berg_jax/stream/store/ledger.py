"""Ledger of an output's finished blocks: one small file for each block of images, written after the block's data.

A file appears complete or not at all, and only after the block's data are on the disk. Whatever a crash leaves
behind, the data of every block in the ledger are there. In an object store, an entry is an object written by one put.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from ...errors import IntegrityError
from .places import Place, read_all, write

_NAME = re.compile(r"(\d{9})\.json", re.ASCII)
_NEVER = 1 << 53  # a limit of seconds, and of images, that is never reached


class Ledger:
    """Ledger of the blocks of an output.

    Parameters
    ----------
    folder
        Folder of the ledger.
    images
        Number of images of the output.
    block
        Number of images in a block. The last block may be shorter.
    """

    def __init__(self, folder: Place, images: int, block: int) -> None:
        self.folder, self.images, self.block = folder, images, block

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.images // self.block)

    def range(self, block: int) -> tuple[int, int]:
        """Return the first image of a block, and the image after its last."""
        return block * self.block, min((block + 1) * self.block, self.images)

    def entries(self) -> dict[int, dict[str, Any]]:
        """Return the entry of each recorded block: ``done``, and the facts given to :meth:`record`.

        Raises
        ------
        IntegrityError
            An entry is invalid.
        """
        found = {}
        for path, text in read_all(self.folder, ".json"):
            match = _NAME.fullmatch(path.name)
            try:
                block, entry = int(match[1]), json.loads(text)
                start, stop = self.range(block)
                count = entry["done"]
                if type(count) is not int or not 0 < count <= stop - start:
                    raise ValueError(f"{count!r:.20} images done, of {stop - start}")
                _check_facts(entry)
            except (TypeError, ValueError, KeyError, RecursionError) as error:
                raise IntegrityError(
                    f"{path} is no entry of this ledger: {error}. Remove it, and its images are encoded again."
                ) from error
            found[block] = entry
        return found

    def done(self) -> dict[int, int]:
        """Return the number of images done in each recorded block, counted from its first image."""
        return {block: entry["done"] for block, entry in self.entries().items()}

    def record(self, block: int, done: int, **facts: Any) -> None:
        """Record that the first ``done`` images of a block are done. Their data must be on the disk already."""
        entry = {"start": self.range(block)[0], "done": done, "time": time.time(), **facts}
        write(self.folder / f"{block:09d}.json", json.dumps(entry).encode())


def _check_facts(entry: dict[str, Any]) -> None:
    """Raise ValueError unless the facts that the loop records have the expected types."""
    if type(entry["time"]) not in (int, float) or not 0 <= entry["time"] < _NEVER:
        raise ValueError(f"the time {entry['time']!r:.20}")
    host = entry.get("host", "")
    if type(entry.get("process", 0)) is not int or not isinstance(host, str) or not host.isprintable():
        raise ValueError("its process is no number, or its host no name")
    skipped = entry.get("skipped", [])
    if not isinstance(skipped, list) or not all(type(image) is int and 0 <= image < _NEVER for image in skipped):
        raise ValueError("what was skipped is no list of images")

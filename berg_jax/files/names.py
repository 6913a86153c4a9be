"""Names in tables and lists, matched with those of files whatever the form of their accents."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path


class NameIndex:
    """Positions of names, found also by the same letters in another form of Unicode.

    An é is one character in most texts (NFC), but an e and an accent in file names from macOS (NFD). A name that is
    there exactly is found exactly; another form of it is found if it could mean only one.

    Parameters
    ----------
    names
        The names, which differ.

    Examples
    --------
    >>> index = NameIndex(["a.png", "cafe\\u0301.png"])
    >>> index.find("caf\\u00e9.png"), index.find("b.png")
    (1, None)
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = {name: position for position, name in enumerate(names)}
        self._normal: dict[str, list[int]] = {}
        for name, position in self._exact.items():
            self._normal.setdefault(normal(name), []).append(position)

    def find(self, name: str) -> int | None:
        """Return the position of a name, or None if it is not there, or could be one of several."""
        if name in self._exact:
            return self._exact[name]
        positions = self._normal.get(normal(name), [])
        return positions[0] if len(positions) == 1 else None


def normal(name: str) -> str:
    """Return the form of a name in which letters with accents are one character each, NFC."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def on_disk(path: Path) -> Path:
    """Return a path as the disk has it, where its folders or its name have accents in another form; else the path.

    Examples
    --------
    >>> on_disk(Path("nowhere/caf\\u00e9.png")).name
    'café.png'
    """
    if str(path).isascii() or path.exists():
        return path
    folder = on_disk(path.parent) if path.parent != path else path
    if not folder.is_dir():
        return path
    alike = _entries(folder, folder.stat().st_mtime_ns).get(normal(path.name), [])
    return folder / alike[0] if len(alike) == 1 else path


@functools.lru_cache(maxsize=16)
def _entries(folder: Path, changed: int) -> dict[str, list[str]]:
    """Return the names in a folder by their normal form; the time of its last change distinguishes calls."""
    entries: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        entries.setdefault(normal(name), []).append(name)
    return entries

"""A hostile file: what it tries, in a line, how it is made, and what the reader says to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PIPE = "pipe"  # in place of contents
DEEP = b"[" * 100_000


class Hostile(NamedTuple):
    """``contents`` are the file's; or a function of its path and valid contents, which may write the file itself.

    ``said`` is in the error; None where the right answer is asked for.
    """

    target: str
    attack: str
    contents: bytes | str | Callable[[Path, bytes], bytes | None]
    said: str | None

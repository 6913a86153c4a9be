"""Checkpoint of a chunk between two of its steps, so that a chunk may take longer than a job of Slurm may."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ...errors import IntegrityError
from ..synthesis.checkpoints import Saved, restore, save

_SAVE_SECONDS = 120  # between two writes
_log = logging.getLogger(__name__)


class Checkpoint:
    """Checkpoint of a chunk, which is written now and then.

    Parameters
    ----------
    path
        The file; None for no checkpoint.
    identity
        Hash of all that the chunk's steps depend on.
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        self.path, self.identity = path, identity
        self.time = time.monotonic()
        self.steps = 0  # steps of the state that is in the file

    def restore(self, fresh: Saved) -> Saved:
        """Return the state in the file, or ``fresh`` if there is none, or that of other steps."""
        try:
            saved = restore(self.path, fresh, self.identity)
        except IntegrityError as error:
            _log.warning("A chunk begins anew. %s", error)
            return fresh
        self.steps = len(saved.history)
        return saved

    def save(self, saved: Saved, at_once: bool = False) -> None:
        """Save a state if there is a file for it, and the last one is older than two minutes."""
        due = at_once or time.monotonic() - self.time > _SAVE_SECONDS
        if self.path is None or not due or len(saved.history) == self.steps:
            return
        save(self.path, saved, self.identity)
        self.time, self.steps = time.monotonic(), len(saved.history)

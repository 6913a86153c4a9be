"""Trials that one program computes together, and which of them are left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Sequence
from typing import NamedTuple

from .trial import Settings, Trial

# What a program is compiled for. All else (ROIs, seeds, learning rates, …) are numbers that it is given.
_SHAPE = (
    *("berg_dir", "subject", "hemisphere", "min_ncsnr", "precision"),
    *("images", "objective", "k", "optimizer", "steps", "draws"),
)


class Chunk(NamedTuple):
    """Trials of one shape. The program has ``size`` places, of which the last may be left over."""

    trials: list[Trial]
    size: int

    @property
    def name(self) -> str:
        """A name that only a chunk of the same trials has."""
        ids = " ".join(trial.id for trial in self.trials)
        return f"{self.trials[0].id}-{hashlib.sha256(ids.encode()).hexdigest()[:8]}"


def shape(settings: Settings) -> str:
    """What trials must have in common to be in one program."""
    regions = len(settings["drive"]) + len(settings["suppress"])  # which of them are suppressed is a number, too
    return json.dumps([*(settings[name] for name in _SHAPE), regions, settings["radius"] is not None])


def chunked(trials: Sequence[Trial], most: int, microbatch: int | None) -> list[Chunk]:
    """Trials in chunks of one shape, in order of the shapes' first trials.

    A shape's chunks all have the same number of places, so that one program serves them: the least that needs no more
    chunks, as a multiple of the microbatch.
    """
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        shapes.setdefault(shape(trial.settings), []).append(trial)
    step = microbatch or 1
    chunks = []
    for alike in shapes.values():
        count = -(-len(alike) // max(most // step * step, 1))
        size = -(-len(alike) // (count * step)) * step
        chunks += [Chunk(alike[at : at + size], size) for at in range(0, len(alike), size)]
    return chunks


def left(chunks: Sequence[Chunk], done: Container[str], most: int, microbatch: int | None) -> list[Chunk]:
    """What is left of chunks, given the ids of what is done: untouched ones as they are, the others' rests together.

    An untouched chunk is the same program of the same trials again, and so gives the same numbers.
    """
    untouched = [chunk for chunk in chunks if not any(trial.id in done for trial in chunk.trials)]
    begun = [chunk for chunk in chunks if chunk not in untouched]
    rest = [trial for chunk in begun for trial in chunk.trials if trial.id not in done]
    return untouched + chunked(rest, most, microbatch)

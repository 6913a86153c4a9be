"""Chunks of a sweep: trials that one compiled program computes together, and the trials that remain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Sequence
from typing import NamedTuple

from .trial import Settings, Trial, kind_of

# The settings that a program is compiled for. All others (ROIs, seeds, learning rates, …) are its arguments.
_SHAPE = (
    *("berg_dir", "subject", "hemisphere", "min_ncsnr", "precision"),
    *("images", "objective", "k", "optimizer", "steps", "draws"),
    *("experiment", "prior"),
)


class Chunk(NamedTuple):
    """Trials of one shape, which one program computes.

    Attributes
    ----------
    trials
        The trials.
    size
        Number of places in the program; there may be more than trials.
    """

    trials: list[Trial]
    size: int

    @property
    def name(self) -> str:
        """Name of the chunk, which depends on its trials alone and is unique to them."""
        ids = " ".join(trial.id for trial in self.trials)
        return f"{self.trials[0].id}-{hashlib.sha256(ids.encode()).hexdigest()[:8]}"


def shape(settings: Settings) -> str:
    """Return the settings that trials must have in common to be computed by one program, as text."""
    regions = len(settings["drive"]) + len(settings["suppress"])  # which of them are suppressed is a number, too
    return json.dumps(
        [*(settings[name] for name in _SHAPE), regions, settings["radius"] is not None, kind_of(settings)]
    )


def make_chunks(trials: Sequence[Trial], most: int, microbatch: int | None) -> list[Chunk]:
    """Divide trials into chunks of one shape, in the order of the shapes' first trials.

    All chunks of a shape have the same number of places, so that one program serves them. It is the smallest multiple
    of the microbatch that does not need more chunks. Trials other than syntheses by gradient ascent are chunks of
    their own.

    Parameters
    ----------
    trials
        The trials.
    most
        Largest number of trials in a chunk.
    microbatch
        Number of trials that a device computes at a time; None for all.
    """
    trials_by_shape: dict[str, list[Trial]] = {}
    for trial in trials:
        trials_by_shape.setdefault(shape(trial.settings), []).append(trial)
    step = microbatch or 1
    largest = max(most // step * step, 1)
    chunks = []
    for alike in trials_by_shape.values():
        if kind_of(alike[0].settings) != "synthesize":
            chunks += [Chunk([trial], 1) for trial in alike]
            continue
        n_chunks = -(-len(alike) // largest)
        size = -(-len(alike) // (n_chunks * step)) * step
        chunks += [Chunk(alike[start : start + size], size) for start in range(0, len(alike), size)]
    return chunks


def remaining_chunks(chunks: Sequence[Chunk], done: Container[str], most: int, microbatch: int | None) -> list[Chunk]:
    """Return chunks of the trials that are not done.

    A chunk without a trial that is done stays as it is: the same program of the same trials gives the same numbers.
    The remaining trials of the other chunks are put into new chunks.

    Parameters
    ----------
    chunks
        All chunks.
    done
        Ids of the trials that are done.
    most, microbatch
        See :func:`make_chunks`.
    """
    untouched = [chunk for chunk in chunks if not any(trial.id in done for trial in chunk.trials)]
    begun = [chunk for chunk in chunks if chunk not in untouched]
    remaining = [trial for chunk in begun for trial in chunk.trials if trial.id not in done]
    return untouched + make_chunks(remaining, most, microbatch)

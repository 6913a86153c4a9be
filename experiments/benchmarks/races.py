"""Races between variants of one piece of the network: who agrees with the default, and who is fastest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

AHEAD = 0.97  # a variant replaces the default if it takes less than this share of its time
_HOPELESS = 2  # a variant whose first time is this many times the best one's is not timed again
TOLERANCES = {"float32": 1e-5, "tensorfloat32": 3e-3, "bfloat16": 3e-2}  # of the norm of the difference


class Entrant(NamedTuple):
    """A variant in a race.

    Attributes
    ----------
    name
        Its name in the table.
    fields
        What wins if it wins, such as fields of a compute plan.
    computations
        Functions without arguments whose results are compared with the default's and whose times are added.
    """

    name: str
    fields: dict[str, Any]
    computations: Sequence[Callable[[], Any]]


class Outcome(NamedTuple):
    """How a variant came in.

    Attributes
    ----------
    name, fields
        Those of the entrant.
    seconds
        Median time; None if it was not timed.
    difference
        Norm of the difference from the default's results, relative to their norm; None if it failed.
    note
        Why it was not timed, or not to the end.
    """

    name: str
    fields: dict[str, Any]
    seconds: float | None
    difference: float | None
    note: str = ""


def race(entrants: Sequence[Entrant], tolerance: float, repeats: int = 3) -> list[Outcome]:
    """Let variants race, the default first: each is compared with it, and timed if it agrees.

    Parameters
    ----------
    entrants
        The variants, of which the first one is the default.
    tolerance
        Largest relative difference of results that are equal.
    repeats
        Number of times that each is timed.

    Raises
    ------
    Exception
        The default itself fails.
    """
    outcomes: list[Outcome] = []
    expected: list[np.ndarray] = []
    for index, entrant in enumerate(entrants):
        try:
            found = [_values(compute()) for compute in entrant.computations]  # compiles, too
        except Exception as error:
            if index == 0:
                raise
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:120]
            outcomes.append(Outcome(entrant.name, entrant.fields, None, None, reason))
            continue
        expected = expected or found
        difference = max(map(relative_difference, found, expected))
        agrees = difference <= tolerance
        note = "" if agrees else f"disagrees: {difference:.0e} is more than {tolerance:.0e}"
        outcomes.append(Outcome(entrant.name, entrant.fields, None, difference, note))
    times: dict[int, list[float]] = {index: [] for index, outcome in enumerate(outcomes) if not outcome.note}
    for repeat in range(repeats):  # in turn, so that a machine that is busy for a while slows all of them
        best = min((found[0] for found in times.values() if found), default=0)
        for index, found in times.items():
            if repeat == 0 or found[0] <= _HOPELESS * best:
                found.append(_seconds(entrants[index].computations))
    for index, found in times.items():
        note = "timed once" if len(found) < repeats else ""
        outcomes[index] = outcomes[index]._replace(seconds=statistics.median(found), note=note)
    return outcomes


def winner(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the fastest variant, or the default, which is the first one, unless another is clearly faster."""
    default = outcomes[0]
    best = min((outcome for outcome in outcomes if outcome.seconds is not None), key=lambda outcome: outcome.seconds)
    return best if best.seconds < AHEAD * default.seconds else default


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of the difference relative to the norm of what is expected; NaN where a value is NaN."""
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))


def _values(result: Any) -> np.ndarray:
    return np.asarray(result, np.float64).ravel()


def _seconds(computations: Sequence[Callable[[], Any]]) -> float:
    start = time.perf_counter()
    for compute in computations:
        jax.block_until_ready(compute())
    return time.perf_counter() - start

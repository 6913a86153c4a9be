"""Loop of a gradient-free search: generation by generation, resumable, and stopped when it is asked to."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from ....errors import Interrupted, InvalidParameterError, ValidationError
from ....stream.progress import stop_requests
from ..checkpoints import Saved, restore, save
from ..optimize import Result
from .algorithms import Algorithm, Individuals, Values

_PROBED = 8  # individuals that are evaluated before the search starts
_LOG_SECONDS = 30
_log = logging.getLogger(__name__)


class _Run(NamedTuple):
    """State of one run: the algorithm's state, and the best individual so far.

    The names of the class and of its fields are written into checkpoints.

    Attributes
    ----------
    state
        The algorithm's state.
    best, value, generation
        The best individual so far, its value, and the number of generations after which it was found.
    skipped
        Number of individuals without a finite value.
    """

    state: Any
    best: Individuals
    value: Float[np.ndarray, ""]
    generation: Int[np.ndarray, ""]
    skipped: Int[np.ndarray, ""]


def run_generations(
    algorithm: Algorithm,
    starts: list[Individuals],
    values: Callable[[Individuals], Values],
    probe: Callable[[Individuals], Values],
    *,
    generations: int,
    seed: int,
    patience: int | None,
    checkpoint: str | Path | None,
    time_limit: float | None,
    show_progress: bool,
) -> tuple[list[_Run], Float[np.ndarray, "generations n"], Float[np.ndarray, "generations n"]]:
    """Run a search generation by generation.

    Parameters
    ----------
    algorithm
        Algorithm of every run.
    starts
        Individuals that each run starts from.
    values
        Function that returns individuals' values.
    probe
        The same, with checks; it is called once for some individuals before the search starts.
    generations, seed, patience, checkpoint, time_limit, show_progress
        See :func:`~berg_jax.experiments.synthesis.search.evolution.evolve`.

    Returns
    -------
    runs
        The runs after the last generation.
    history, looks
        Mean and largest value of each generation.
    """
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), len(starts))
    runs = [
        _Run(
            state=algorithm.init(individuals),
            best=individuals[0],
            value=np.array(-np.inf, np.float32),
            generation=np.array(0),
            skipped=np.array(0),
        )
        for individuals in starts
    ]
    first, _ = algorithm.ask(jax.random.fold_in(keys[0], 0), runs[0].state)
    probed = np.asarray(probe(first[:_PROBED]))
    identity_bytes = (algorithm.settings.encode(), first.tobytes(), probed.tobytes())
    identity = hashlib.sha256(b"".join(identity_bytes)).hexdigest()
    empty = np.zeros((0, len(starts)), np.float32)
    fresh = Saved(states=runs, history=empty, gradient_lengths=empty, looks=empty)
    runs, history, _, looks = restore(checkpoint, fresh, identity)
    with (
        stop_requests(time_limit) as stopped,
        tqdm(
            total=generations, initial=len(history), unit="generation", disable=None if show_progress else True
        ) as bar,
    ):
        last_log = last_save = time.monotonic()
        while len(history) < generations and not _settled(runs, len(history), patience):
            stop = stopped()
            if not stop:
                generation = len(history)
                steps = [_next(algorithm, run, key, generation, values) for run, key in zip(runs, keys, strict=True)]
                runs = [run for run, _ in steps]
                run_values = [new for _, new in steps]
                _require_values(run_values, generation)
                history = np.concatenate([history, _summary(np.mean, run_values)])
                looks = np.concatenate([looks, _summary(np.max, run_values)])
            now = time.monotonic()
            if checkpoint is not None and (stop or len(history) == generations or now - last_save > 1):
                last_save = now
                current = Saved(states=runs, history=history, gradient_lengths=empty, looks=looks)
                save(checkpoint, current, identity)
            if stop:
                remedy = "The same call goes on." if checkpoint else "Give checkpoint=…, and the same call goes on."
                raise Interrupted(f"Stopped after {len(history)} of {generations} generations. {remedy}")
            best = max(float(run.value) for run in runs)
            bar.update()
            bar.set_postfix(best=f"{best:.3f}", mean=f"{history[-1].mean():.3f}")
            if show_progress and bar.disable and now - last_log > _LOG_SECONDS:
                last_log = now
                _log.info("%d of %d generations, best %.3f", len(history), generations, best)
    return runs, history, looks


def _next(
    algorithm: Algorithm, run: _Run, key: Array, generation: int, values: Callable[[Individuals], Values]
) -> tuple[_Run, Values]:
    """Make one generation of a run, and return the run with the generation's values, NaN where one is not finite."""
    key = jax.random.fold_in(key, generation)
    individuals, state = algorithm.ask(key, run.state)
    new = values(individuals)
    new = np.where(np.isfinite(new), new, np.nan)
    skipped = run.skipped + np.isnan(new).sum()
    if np.isnan(new).all():
        return run._replace(skipped=skipped), new
    best = int(np.nanargmax(new))
    run = run._replace(state=algorithm.tell(key, state, individuals, new), skipped=skipped)
    if new[best] > run.value:
        run = run._replace(best=individuals[best], value=new[best], generation=np.array(generation + 1))
    return run, new


def require_positive(numbers: dict[str, int], patience: int | None) -> None:
    """Raise unless all numbers, and the patience if there is one, are at least 1."""
    for name, number in {**numbers, **({} if patience is None else {"patience": patience})}.items():
        if number < 1:
            raise InvalidParameterError(f"{name} must be at least 1, got {number}.")


def _settled(runs: list[_Run], generation: int, patience: int | None) -> bool:
    """Say whether no run has found a better individual for ``patience`` generations."""
    return patience is not None and generation - max(int(run.generation) for run in runs) >= patience


def _require_values(run_values: list[Values], generation: int) -> None:
    """Raise if a generation has no finite value, or if the first generation's values are all the same."""
    every = np.concatenate(run_values)
    if np.isnan(every).all():
        raise ValidationError(
            f"No individual of generation {generation + 1} has a value that is finite: a smaller spread may help."
        )
    if generation == 0 and len(every) > 1 and np.nanmin(every) == np.nanmax(every):
        raise InvalidParameterError(
            f"All {len(every)} individuals of the first generation have the value {np.nanmax(every):g}. Does the "
            "objective depend on the responses, and are the images not all the same? Is its margin met?"
        )


def _summary(reduce: Callable[[Values], Any], run_values: list[Values]) -> Float[np.ndarray, "1 n"]:
    """Reduce each run's finite values to one number, NaN where there are none."""
    finite = [values[~np.isnan(values)] for values in run_values]
    return np.array([[reduce(values) if len(values) else np.nan for values in finite]], np.float32)


def make_result(runs: list[_Run], images: np.ndarray, latents: Any, history: np.ndarray, looks: np.ndarray) -> Result:
    """Return the result of a search, and warn of individuals without a finite value."""
    skipped = np.array([run.skipped for run in runs])
    if skipped.any():
        _log.warning("%d individuals had no finite value.", skipped.sum())
    return Result(
        images=images,
        values=np.array([run.value for run in runs]),
        latents=latents,
        history=history,
        gradient_lengths=np.zeros((0, len(runs)), np.float32),
        looks=looks,
        best_steps=np.array([run.generation for run in runs]),
        skipped=skipped,
    )

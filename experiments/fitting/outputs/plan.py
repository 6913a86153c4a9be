"""Plan of a fit, which a dry run prints: trials, images, splits, vertices, disk, memory and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ....model.nn.config import GRID
from ....stream.execution import Execution, with_batch_size
from ....vertices import Vertices
from ...reporting.results import origin
from ..inputs.features import Features, Kept, compute_features, feature_bytes
from ..inputs.person import Person
from ..ridge import fit_readout
from ..tables import VertexTables
from .evaluation import CONTROL_VERTICES, CURVE_VERTICES

_TRIED = 64  # vertices whose readouts are timed


class Cost(NamedTuple):
    """Estimated cost of a readout stage.

    Attributes
    ----------
    disk, memory
        Bytes of the kept features, and of what is in memory together.
    features, readout
        Seconds, from a batch of images and a few vertices that were timed here.
    """

    disk: int
    memory: int
    features: float
    readout: float


def plan_text(
    person: Person,
    output: Path,
    sizes: Sequence[int],
    penalties: tuple[float, ...],
    kept: Kept,
    precision: str,
    execution: Execution,
) -> str:
    """Return what a fit would do, in a few lines; a batch of images and a few readouts are timed for it.

    Parameters
    ----------
    person
        The person's data.
    output
        Folder of the fit.
    sizes
        Numbers of training images of the learning curve.
    penalties, kept, precision, execution
        See :func:`~berg_jax.experiments.fitting.experiment.fit`.
    """
    cost = estimate(person, penalties, kept, precision, execution, sizes)
    measured, donor = person.measured, person.donor.description
    counts = ", ".join(f"{count} {name}" for name, count in person.split.counts.items())
    trials = ", ".join(f"{count} {name}" for name, count in measured.trials.items())
    left_out = {name: len(vertices) for name, vertices in person.left_out.items()}
    parts = ", ".join(f"{len(rows.places)} with the network of {name}" for name, rows in person.rows.items())
    ncsnr = np.nanmedian(measured.ncsnr) if not np.isnan(measured.ncsnr).all() else np.nan
    return "\n".join(
        [
            f"Subject {person.subject_id}, with donor {donor.subject}{origin(person.donor)}; nothing is written yet.",
            f"  images     {len(person.source)}: {counts}",
            f"  trials     {sum(measured.trials.values())} in {measured.sessions} sessions: {trials}",
            f"  vertices   {len(person.vertices)} of {len(person.chosen)} that were chosen: {parts}",
            f"  left out   {left_out['constant']} whose betas do not vary, {left_out['missing']} with betas that are "
            "NaN",
            f"  ncsnr      median {ncsnr:.3f}, from repeated images"
            if np.isfinite(ncsnr)
            else "  ncsnr      none: no image was shown twice, so there is no noise ceiling",
            f"  disk       {cost.disk / 1e9:.2f} GB of features in {output}",
            f"  memory     about {cost.memory / 1e9:.1f} GB",
            f"  time       about {_words(cost.features)} for features and {_words(cost.readout)} for readouts, on "
            f"{jax.local_devices()[0].device_kind}",
        ]
    )


def estimate(
    person: Person,
    penalties: tuple[float, ...],
    kept: Kept = "float16",
    precision: str = "float32",
    execution: Execution = Execution(),
    sizes: Sequence[int] = (),
) -> Cost:
    """Return the estimated cost of the readout stage, by timing a batch of images and a few readouts.

    Parameters
    ----------
    person, penalties, kept, precision, execution, sizes
        See :func:`plan_text`.
    """
    donor, images = person.donor, len(person.source)
    execution = with_batch_size(execution, precision=precision)
    step = execution.batch_size * len(execution.local_devices())
    seconds = 0.0
    for rows in person.rows.values():
        first = Vertices.from_global(person.vertices.global_indices[rows.places[:1]], donor.hemisphere_size)
        model = donor.model(first, precision=precision)
        span = [(0, min(step, images))]
        list(compute_features(model, person.source, span, execution))  # which compiles
        start = time.perf_counter()
        list(compute_features(model, person.source, span, execution))
        seconds += (time.perf_counter() - start) * -(-images // step)
    configs = {name: donor.description.parts[name] for name in person.rows}
    config = next(iter(configs.values()))
    each = time_readout(len(person.split.train), len(config.layers), config.width, penalties)
    extra = sum(min(CONTROL_VERTICES, len(rows.places)) * 2 for rows in person.rows.values())
    extra += len(sizes) * sum(min(CURVE_VERTICES, len(rows.places)) for rows in person.rows.values())
    disk = sum(feature_bytes(donor, name, images, kept) for name in configs)
    largest = max(feature_bytes(donor, name, images, kept) for name in configs)
    responses = 4 * images * len(person.vertices)
    memory = 2 * 10**9 + largest + 2 * responses
    return Cost(disk, memory, seconds, each * (len(person.vertices) + extra))


def time_readout(
    images: int, layers: int, width: int, penalties: tuple[float, ...], vertices: int = _TRIED, seed: int = 0
) -> float:
    """Return the seconds that a vertex's readout takes here, of random features of so many training images.

    Parameters
    ----------
    images, layers, width
        Number of training images, of layers and of features.
    penalties
        Penalties to choose from.
    vertices, seed
        Number of vertices that look at one grid cell and are timed together, and the seed of the features.

    Examples
    --------
    >>> time_readout(40, 1, 4, (1.0,), vertices=2) > 0
    True
    """
    random = np.random.default_rng(seed)
    one = random.normal(size=(layers, images, 1, 1, width)).astype(np.float16)
    maps = np.broadcast_to(one, (layers, images, GRID, GRID, width))
    features = Features(maps, random.normal(size=(layers, images, width)).astype(np.float32))
    mixed, center = np.full((vertices, layers), 1 / layers), np.zeros((vertices, 2))
    tables = VertexTables(np.zeros((vertices, width)), np.zeros(vertices), mixed, center)
    responses = random.normal(size=(images, vertices))
    taken = []
    for _ in range(2):  # the first time compiles
        start = time.perf_counter()
        fit_readout(features, responses, tables, penalties=penalties)
        taken.append(time.perf_counter() - start)
    return taken[-1] / vertices


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"

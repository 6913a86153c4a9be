"""Cost of a fit's readout stage at any size, with made-up features: seconds and memory."""

from __future__ import annotations

import os
import resource
import time
from typing import Any

import jax
import numpy as np

from ...errors import InvalidParameterError
from ...model.nn.config import GRID
from ..fitting.inputs.donor import take_rows
from ..fitting.inputs.features import Features
from ..fitting.ridge import PENALTIES, fit_readout
from ..fitting.stages import CHUNK
from ..fitting.tables import VertexTables

_SPREAD = 0.35  # standard deviation of receptive-field centers, in halves of the image


def measure_readout(
    vertices: int = 52_948,
    images: int = 9_000,
    *,
    layers: int = 4,
    width: int = 192,
    penalties: tuple[float, ...] = PENALTIES,
    sample: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Time the readouts of so many vertices and images, by default those of one published subject's first part.

    Features are random numbers in float16, centers are spread around the middle of the image.

    Parameters
    ----------
    vertices, images, layers, width
        Sizes.
    penalties
        Penalties to choose from.
    sample
        Number of the vertices that are fitted, from the middle of their order by grid cells; the time of all is then
        extrapolated. Give hundreds, as the vertices of a cell share its features. The default is all.
    seed
        Seed of the random numbers.

    Returns
    -------
    ``seconds`` (of all vertices), ``fitted`` (number of vertices that were), ``features`` and ``peak`` (bytes in
    memory), ``device`` and ``cores``.

    Raises
    ------
    InvalidParameterError
        The sample is not from 1 to the number of vertices.

    Examples
    --------
    >>> measured = measure_readout(8, 30, layers=1, width=4, sample=4)
    >>> measured["fitted"], measured["seconds"] > 0
    (4, True)
    """
    sample = vertices if sample is None else sample
    if not 1 <= sample <= vertices:
        raise InvalidParameterError(f"sample must be from 1 to the {vertices} vertices, got {sample}.")
    random = np.random.default_rng(seed)
    maps = np.empty((layers, images, GRID, GRID, width), np.float16)
    for layer in range(layers):
        for start in range(0, images, 100):  # so that no second array of this size is made
            block = maps[layer, start : start + 100]
            block[...] = random.standard_normal(block.shape, np.float32)
    features = Features(maps, random.standard_normal((layers, images, width), np.float32))
    center = np.clip(random.normal(0, _SPREAD, (vertices, 2)), -0.98, 0.98)
    cells = np.lexsort(np.floor((center + 1) * GRID / 2).T)
    left_out = (vertices - sample) // 2  # on either side
    center = center[cells[left_out : left_out + sample]]
    mix = random.dirichlet(np.ones(layers), sample)
    tables = VertexTables(np.zeros((sample, width)), np.zeros(sample), mix, center)
    responses = random.standard_normal((images, sample), np.float32)
    start = time.perf_counter()
    for first in range(0, sample, CHUNK):  # as a fit does
        rows = slice(first, first + CHUNK)
        fit_readout(features, responses[:, rows], take_rows(tables, rows), penalties=penalties)
    seconds = (time.perf_counter() - start) * vertices / sample
    device = jax.local_devices()[0]
    return {
        "seconds": seconds,
        "fitted": sample,
        "features": maps.nbytes,
        "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "device": f"{device.platform} {device.device_kind}",
        "cores": os.cpu_count(),
    }

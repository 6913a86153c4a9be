"""Which device computes which images, and which process owns which blocks. No device waits for another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import InvalidParameterError

# Where schedulers tell a process its number, how many there are, and the number of the first one if it is not 0.
_SCHEDULERS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"),  # Kubernetes; the second one is set by the user's manifest
)


class Process(NamedTuple):
    """The ``index``-th of ``count`` independent processes; it owns the blocks whose number modulo count is index."""

    index: int = 0
    count: int = 1


def find_process(
    index: int | None = None, count: int | None = None, environment: Mapping[str, str] = os.environ
) -> Process:
    """This process among its fellows: as given, else as the scheduler says, else alone.

    Slurm (``srun`` with several tasks, or an array), Open MPI and Kubernetes' indexed jobs (with
    ``JOB_COMPLETION_COUNT`` set to the number of completions) are known.

    Raises
    ------
    InvalidParameterError
        Only one of the two is given, or they make no sense.
    """
    if index is None and count is None:
        index, count = _scheduled(environment)
    if index is None or count is None or not 0 <= index < count:
        raise InvalidParameterError(
            f"Process {index} of {count} makes no sense: give an index from 0 to count − 1, and a count."
        )
    return Process(index, count)


def _scheduled(environment: Mapping[str, str]) -> tuple[int, int]:
    for names in _SCHEDULERS:
        values = [environment.get(name, "") for name in names]
        if all(value.isdecimal() for value in values) and int(values[1]) > 1:
            index, count, *first = map(int, values)
            return index - sum(first), count
    return 0, 1


class Devices:
    """The devices that share a step's images, each its own."""

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.count = len(devices)
        mesh = Mesh(np.array(list(devices)), ("data",))
        self._split, self._whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    def replicate(self, model: Any) -> Any:
        """The model on every device. What is no pytree of arrays is passed on as it is."""
        leaves = jax.tree.leaves(model)
        return jax.device_put(model, self._whole) if all(isinstance(leaf, jax.Array) for leaf in leaves) else model

    def split(self, values: Any) -> Any:
        """Arrays whose first axis is shared out evenly."""
        return jax.device_put(values, self._split)

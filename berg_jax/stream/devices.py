"""Assignment of images to devices and of blocks to processes. No device waits for another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import InvalidParameterError

# Variables in which schedulers give a process its index, the count of processes, and the first index if it is not 0.
_SCHEDULERS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"),  # Kubernetes; the second one is set by the user's manifest
)


class Process(NamedTuple):
    """One of several independent processes that share an output.

    Attributes
    ----------
    index, count
        Index of the process, from 0, and number of processes. The process owns the blocks whose number modulo
        ``count`` is ``index``.
    """

    index: int = 0
    count: int = 1


def find_process(
    index: int | None = None, count: int | None = None, environment: Mapping[str, str] = os.environ
) -> Process:
    """Return this process's index and the number of processes: as given, or from the scheduler, or 0 of 1.

    The known schedulers are Slurm (``srun`` with several tasks, or an array), Open MPI and indexed jobs of Kubernetes
    (with ``JOB_COMPLETION_COUNT`` set to the number of completions).

    Parameters
    ----------
    index, count
        Index of this process, from 0, and number of processes.
    environment
        Environment variables in which the scheduler's values are looked up.

    Raises
    ------
    InvalidParameterError
        Only one of ``index`` and ``count`` is given, or they are invalid.

    Examples
    --------
    >>> find_process(environment={"SLURM_PROCID": "3", "SLURM_NTASKS": "8"})
    Process(index=3, count=8)
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
    """Devices among which the images of a step are divided."""

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.count = len(devices)
        mesh = Mesh(np.array(list(devices)), ("data",))
        self._split, self._whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    def replicate(self, model: Any) -> Any:
        """Return the model copied to every device. A model that is not a pytree of arrays is returned unchanged."""
        leaves = jax.tree.leaves(model)
        return jax.device_put(model, self._whole) if all(isinstance(leaf, jax.Array) for leaf in leaves) else model

    def split(self, values: Any) -> Any:
        """Return arrays whose first axis is divided evenly among the devices."""
        return jax.device_put(values, self._split)

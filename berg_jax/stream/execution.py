"""Execution of a run: batch size, devices, time limit, and this process among those that share the output.

Nothing here changes a result but for the last bits, which depend on the batch size.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InvalidParameterError
from . import schedulers

if TYPE_CHECKING:
    import jax

    from .store.places import Place

_SHOWN = 10  # processes that a message lists
_log = logging.getLogger(__name__)


class Process(NamedTuple):
    """The ``index``-th of ``count`` independent processes; it owns the blocks whose number modulo count is index."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True)
class Execution:
    """Execution of a run: how many images at a time, on which devices, for how long, and shared with whom.

    Parameters
    ----------
    batch_size
        Images that a device computes at a time (default: by device, 8 on a CPU). A run that goes on keeps the number
        with which its output was begun.
    devices
        Number of local devices to compute on (default: all). In Python also the devices themselves. Each computes
        images of its own; no device waits for another.
    process
        This process among those that share the output (by default it is alone): see :func:`find_process`.
    time_limit
        Seconds after which to stop as if Ctrl-C had come; the same call goes on later.
    show_progress
        Show a progress bar where there is a terminal, else log progress now and then.

    Raises
    ------
    InvalidParameterError
        The batch size or the number of devices is not a positive integer.

    Examples
    --------
    >>> Execution(batch_size=64, time_limit=3600.0).batch_size
    64
    """

    batch_size: int | None = field(default=None, metadata={"min": 1})
    devices: int | Sequence[Any] | None = field(default=None, metadata={"min": 1})
    process: Process | None = None
    time_limit: float | None = None
    show_progress: bool = True

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise InvalidParameterError(f"batch_size must be at least 1, got {self.batch_size}.")
        if isinstance(self.devices, int) and self.devices < 1:
            raise InvalidParameterError(f"devices must be at least 1, got {self.devices}.")

    def local_devices(self) -> list[jax.Device]:
        """Return the devices to compute on.

        Raises
        ------
        InvalidParameterError
            There are not so many devices here.
        """
        from ..model.replicas import local_devices

        return local_devices(self.devices)


def variant_for(output: str | Place, precision: str) -> dict[str, Any]:
    """Return how a model is to be computed for an output: as its run was begun, or else as ``berg-jax tune`` found.

    Parameters
    ----------
    output
        Output of a stream, whether or not it is there.
    precision
        Precision of the model.

    Returns
    -------
    Fields of :class:`~berg_jax.model.nn.config.ComputePlan` that are not as by default, which an output that says
    nothing was begun with.

    Raises
    ------
    ResourceError
        An object store cannot be reached.
    """
    from ..model.nn.config import plan_of
    from ..model.tuned import tuned_variant
    from .store.output import recorded_run
    from .store.places import find_place

    run = recorded_run(find_place(output))
    if run is None:
        return tuned_variant(precision)
    try:
        variant = dict(run.get("variant", {}))
        plan_of(variant, winograd=False)
    except (TypeError, ValueError):  # damaged; the stream refuses the output
        return {}
    return variant


def with_batch_size(execution: Execution, *outputs: str | Place, precision: str = "float32") -> Execution:
    """Return the execution with its batch size: as given, as an output was begun with, or the device's default.

    A line is logged that says which, unless it was given.

    Parameters
    ----------
    execution
        Execution of a run, whose ``batch_size`` may be None.
    outputs
        Outputs of the run's streams. The first one that is there and says its batch size counts.
    precision
        Precision of the model.

    Raises
    ------
    InvalidParameterError
        There are not so many devices here.
    ResourceError
        An object store cannot be reached.

    See Also
    --------
    berg_jax.model.defaults.default_batch_size : The default of a device.
    """
    if execution.batch_size is not None:
        return execution
    from ..model.defaults import default_batch_size
    from .store.output import recorded_batch_size
    from .store.places import find_place

    for output in map(find_place, outputs):
        if (recorded := recorded_batch_size(output)) is not None:
            _log.info("%d images at a time, with which %s was begun.", recorded, output)
            return replace(execution, batch_size=recorded)
    device = execution.local_devices()[0]
    chosen = default_batch_size(device, precision)
    _log.info("%d images at a time, the default for %s (%s).", chosen, device.platform.upper(), device.device_kind)
    return replace(execution, batch_size=chosen)


def find_process(
    index: int | None = None,
    count: int | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    share: bool = False,
) -> Process:
    """Return this process among those that share an output: as given, or as the scheduler says if asked, else alone.

    With ``share``, Slurm (``srun`` with several tasks, an array, or both), Open MPI, MPICH and its relatives, and
    Kubernetes' indexed jobs (with ``JOB_COMPLETION_COUNT`` set to the number of completions) are known. Without it, a
    scheduler's variables divide nothing; if they tell of other processes, a line is logged that says so.

    Parameters
    ----------
    index, count
        Number of this process, from 0, and number of processes.
    environment
        Environment variables, in which schedulers leave these numbers.
    share
        Whether to divide the work as the scheduler's variables say.

    Raises
    ------
    InvalidParameterError
        Only one of the two is given, or they make no sense; ``share`` is given, too, or the scheduler does not tell
        the numbers; the message says what was found.

    Examples
    --------
    >>> find_process(1, 4)
    Process(index=1, count=4)
    >>> array = {f"SLURM_ARRAY_TASK_{name}": value for name, value in (("ID", "7"), ("MIN", "3"), ("MAX", "7"))}
    >>> find_process(environment={**array, "SLURM_ARRAY_TASK_COUNT": "2"}, share=True)
    Process(index=1, count=2)
    """
    given = index is not None or count is not None
    if share and given:
        raise InvalidParameterError("Give --share, or --process-index and --process-count, not both.")
    if share:
        return Process(*schedulers.shared(environment))
    if not given:
        if line := schedulers.notice(environment):
            _log.warning("%s", line)
        return Process()
    if index is None or count is None or not 0 <= index < count:
        raise InvalidParameterError(
            f"Process {index} of {count} makes no sense: give an index from 0 to count − 1, and a count."
        )
    return Process(index, count)


def waiting_for(owed: Mapping[int, int], count: int, things: str) -> str:
    """Return in words which processes of ``count`` owe how many things."""
    indices = sorted(owed)
    more = ", …" if len(indices) > _SHOWN else ""
    shown = ", ".join(f"{index}" for index in indices[:_SHOWN]) + more
    each = f" ({', '.join(f'{owed[index]:,}' for index in indices[:_SHOWN])}{more})" if len(indices) > 1 else ""
    processes = "processes" if len(indices) > 1 else "process"
    return f"waiting for {processes} {shown} of {count}, counted from 0: {sum(owed.values()):,} {things}{each}"

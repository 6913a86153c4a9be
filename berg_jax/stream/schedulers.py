"""Index and number of processes, as Slurm, MPI launchers and Kubernetes tell them in environment variables.

The variables are there whether or not the processes share their work: four tasks of an array may just as well encode
four subjects. They are read only if they are asked for (``--share``), and nothing is guessed: an index without a
count, or one of a scheduler that is not read, is an error that names it.

An array's tasks may each start several processes; a process's index is then ``array rank × tasks + task``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import InvalidParameterError

# Launchers of processes that know each other: index and count. They come before Slurm's own variables, because mpirun
# starts its daemons through srun, so that SLURM_PROCID is then the number of a daemon.
_MPI = (
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MVAPICH", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("MPI", "PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, Cray
)
_PMIX = "PMIX_RANK"  # an index whose count no variable tells
# From here on Slurm's numbers of steps are its own: of the batch script, of salloc's shell, of what ssh starts.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX")
_STEP = "SLURM_ARRAY_TASK_STEP"
_INDEX, _COUNT = "JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"
# Indices of schedulers that are not read, and the least value that an array's task has.
_UNREAD = (
    ("PBS", "PBS_ARRAY_INDEX", 0),
    ("PBS (Torque)", "PBS_ARRAYID", 0),
    ("SGE", "SGE_TASK_ID", 0),  # "undefined" outside of arrays
    ("LSF", "LSB_JOBINDEX", 1),  # 0 outside of arrays
    ("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", 0),
    ("Google Batch", "BATCH_TASK_INDEX", 0),
    ("Cloud Run", "CLOUD_RUN_TASK_INDEX", 0),
)
_JOBS = (("Slurm", "SLURM_JOB_ID"), ("PBS", "PBS_JOBID"), ("SGE", "SGE_ROOT"), ("LSF", "LSB_JOBID"))
_BY_HAND = "Give --process-index (from 0) and --process-count"


class Level(NamedTuple):
    """Place of a process among those that one scheduler or launcher has started."""

    name: str
    index: int
    count: int


def scheduled(environment: Mapping[str, str]) -> list[Level]:
    """Return the places of this process that the environment tells, from the outermost: array, then task.

    Raises
    ------
    InvalidParameterError
        There is more than one process, and the environment does not tell which of how many this one is.

    Examples
    --------
    >>> scheduled({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"})
    [Level(name='Open MPI', index=2, count=4)]
    """
    levels = [level for level in (_slurm_array(environment), _kubernetes(environment)) if level]
    for name, variable, least in _UNREAD:
        value = environment.get(variable, "")
        if value.isdecimal() and int(value) >= least:
            raise InvalidParameterError(
                f"{variable}={value} is an index of {name}, whose variables are not read. {_BY_HAND}."
            )
    task = _mpi(environment) or _slurm_step(environment)
    if task:
        return [*levels, task]
    _refuse_lone_index(environment)
    if not levels:
        _require_one_task(environment)
    return levels


def shared(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return index and number of the processes that share a run, as the scheduler tells them.

    Raises
    ------
    InvalidParameterError
        The environment does not tell them; the message says what was found.
    """
    levels = scheduled(environment)
    if not levels:
        jobs = [f"a job of {name} ({variable})" for name, variable in _JOBS if variable in environment]
        raise InvalidParameterError(
            f"--share needs a scheduler that tells which process this is: a Slurm array, srun, mpirun, or an indexed "
            f"job of Kubernetes. Found: {', '.join(jobs) or 'none of their variables'}. {_BY_HAND}."
        )
    index, count = 0, 1
    for level in levels:
        index, count = index * level.count + level.index, count * level.count
    return index, count


def notice(environment: Mapping[str, str]) -> str | None:
    """Return a line about other processes that a scheduler has started, for a process that works alone."""
    try:
        levels = scheduled(environment)
        index, count = shared(environment) if levels else (0, 1)
    except InvalidParameterError as error:
        return f"This process works alone, and on everything. (To share the work: {error})"
    if count == 1:
        return None
    names = " and ".join(level.name for level in levels)
    return (
        f"{names} started process {index} of {count} here, counted from 0, but it works alone, and on everything. "
        "To divide the work among these processes give --share."
    )


def ends_together(environment: Mapping[str, str]) -> bool:
    """Return whether a launcher stops this process's siblings, or fails as a whole, when one ends with an error.

    mpirun does, and srun on many clusters. What the launcher returns at the end is then the code of all.
    """
    task = _mpi(environment) or _slurm_step(environment)
    return task is not None and task.count > 1


def _mpi(environment: Mapping[str, str]) -> Level | None:
    for name, index, count in _MPI:
        if index in environment and count in environment:
            return _level(name, environment, index, count)
    return None


def _slurm_step(environment: Mapping[str, str]) -> Level | None:
    """Return the place among srun's tasks. Outside of srun, SLURM_PROCID is 0 whatever the number of tasks."""
    step = environment.get("SLURM_STEP_ID", "")
    if "SLURM_PROCID" not in environment or not step.isdecimal() or int(step) >= _FIRST_SPECIAL_STEP:
        return None
    count = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    return _level("srun", environment, "SLURM_PROCID", count)


def _slurm_array(environment: Mapping[str, str]) -> Level | None:
    """Return the rank of a task among those of its array, whose ids are evenly spaced."""
    if _ARRAY[0] not in environment:
        return None
    number, count, least, most = (_number(environment, name) for name in _ARRAY)
    spacing = (most - least) // (count - 1) if count > 1 else 1
    # Slurm's own step is 1, or the first gap, if the ids are listed: of two ids it need not be right.
    told = _number(environment, _STEP) if count > 2 and _STEP in environment else spacing
    even = spacing > 0 and most - least == spacing * (count - 1) and spacing == told
    if not even or not least <= number <= most or (number - least) % spacing:
        raise InvalidParameterError(
            f"The ids of this Slurm array have gaps ({count} ids from {least} to {most}), so that the rank of task "
            f"{number} cannot be known. Use ids without gaps (such as --array=0-{count - 1}), or give "
            f"--process-index and --process-count={count}."
        )
    return Level("a Slurm array", (number - least) // spacing, count)


def _kubernetes(environment: Mapping[str, str]) -> Level | None:
    if _INDEX not in environment:
        return None
    if _COUNT not in environment:
        raise InvalidParameterError(
            f"Kubernetes tells an index, {_INDEX}={environment[_INDEX]}, and not how many there are. Set {_COUNT} to "
            f"the job's completions in its manifest, or give --process-index and --process-count."
        )
    return _level("Kubernetes", environment, _INDEX, _COUNT)


def _refuse_lone_index(environment: Mapping[str, str]) -> None:
    for name in (_PMIX, *(index for _, index, _ in _MPI)):
        if name in environment:
            raise InvalidParameterError(
                f"{name}={environment[name]} is an index, and no variable tells how many there are. {_BY_HAND}."
            )


def _require_one_task(environment: Mapping[str, str]) -> None:
    tasks = environment.get("SLURM_NTASKS", "")
    if "SLURM_JOB_ID" in environment and tasks.isdecimal() and int(tasks) > 1:
        raise InvalidParameterError(
            f"Slurm has {tasks} tasks for this job (SLURM_NTASKS), and only srun or mpirun starts them: write "
            f"'srun berg-jax … --share'. Or give --process-index (from 0) and --process-count."
        )


def _level(name: str, environment: Mapping[str, str], index: str, count: str) -> Level:
    level = Level(name, _number(environment, index), _number(environment, count))
    if not level.index < level.count:
        raise InvalidParameterError(
            f"{index}={level.index} and {count}={level.count} make no sense: the index counts from 0. {_BY_HAND}."
        )
    return level


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name)
    if value is None or not value.isdecimal():
        raise InvalidParameterError(f"{name} is {value!r}, expected a number. {_BY_HAND}.")
    return int(value)

"""Processes that a scheduler starts: they share work only if asked to, and what no variable tells is not guessed."""

from __future__ import annotations

import logging

import pytest

from berg_jax.errors import InvalidParameterError
from berg_jax.stream import schedulers
from berg_jax.stream.execution import find_process


def array(task: int, ids: list[int], step: int) -> dict[str, str]:
    """The variables of an array's task as Slurm 22.05 sets them; ``step`` is that of the ids, or their first gap."""
    numbers = {"ID": task, "MIN": min(ids), "MAX": max(ids), "COUNT": len(ids), "STEP": step}
    return {
        "SLURM_JOB_ID": str(100 + task),
        "SLURM_ARRAY_JOB_ID": "100",
        **{f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()},
    }


def batch(tasks: int) -> dict[str, str]:
    """The variables of a batch script, which is process 0 whatever the number of tasks."""
    return {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": str(tasks)}


def srun(task: int, tasks: int, of_job: int | None = None, step: str = "0") -> dict[str, str]:
    """The variables of one of srun's tasks, in a job of ``of_job`` tasks."""
    return {
        **batch(of_job or tasks),
        "SLURM_PROCID": str(task),
        "SLURM_STEP_ID": step,
        "SLURM_STEP_NUM_TASKS": str(tasks),
    }


def openmpi(rank: int, size: int) -> dict[str, str]:
    own = {"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_SIZE": size, "OMPI_COMM_WORLD_LOCAL_RANK": 0}
    return {"PMIX_RANK": str(rank), **{name: str(value) for name, value in own.items()}}


def mpich(rank: int, size: int) -> dict[str, str]:
    return {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "PMI_FD": "9", "MPI_LOCALRANKID": "0"}


def kubernetes(index: int, count: int | None) -> dict[str, str]:
    known = {} if count is None else {"JOB_COMPLETION_COUNT": str(count)}
    return {"JOB_COMPLETION_INDEX": str(index), "KUBERNETES_SERVICE_HOST": "10.0.0.1", **known}


LISTED = [0, 1, 2, 3]
KNOWN = {
    "an array": (array(2, LISTED, 1), (2, 4)),
    "an array from 1, in a batch script of one task": ({**array(4, [1, 2, 3, 4], 1), **batch(1)}, (3, 4)),
    "an array whose task runs under srun": ({**array(5, [5, 6], 1), **srun(0, 1)}, (0, 2)),
    "an array with a step": (array(28, list(range(0, 31, 2)), 2), (14, 16)),
    "an array of two ids": (array(7, [3, 7], 4), (1, 2)),
    "an array of two ids, of which Slurm says that their step is 1": (array(7, [3, 7], 1), (1, 2)),
    "an array of one id": (array(9, [9], 1), (0, 1)),
    "an array of several tasks each": ({**array(2, LISTED, 1), **srun(1, 3)}, (7, 12)),
    "an array whose script starts no task": ({**array(2, LISTED, 1), **batch(4)}, (2, 4)),
    "an array with a step, of several tasks each": ({**array(4, [0, 2, 4], 2), **srun(0, 2)}, (4, 6)),
    "an array whose tasks use mpirun": ({**array(1, LISTED, 1), **openmpi(1, 2)}, (3, 8)),
    "srun": (srun(3, 8), (3, 8)),
    "srun of fewer tasks than the job's": (srun(1, 2, of_job=8), (1, 2)),
    "srun without the step's number of tasks": ({**batch(4), "SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}, (1, 4)),
    "srun with an MPI of its own": ({**srun(3, 4), **mpich(3, 4)}, (3, 4)),
    "srun with PMIx": ({**srun(3, 4), "PMIX_RANK": "3"}, (3, 4)),
    "Open MPI": (openmpi(1, 2), (1, 2)),
    "Open MPI within a Slurm job": ({**batch(2), **openmpi(1, 2)}, (1, 2)),
    "Open MPI whose daemons srun starts": ({**srun(1, 2), **openmpi(6, 8)}, (6, 8)),
    "MPICH": (mpich(1, 2), (1, 2)),
    "MPICH within a Slurm job": ({**srun(0, 1, of_job=4), **mpich(3, 4)}, (3, 4)),
    "MPICH within a job of PBS": ({"PBS_JOBID": "3.pbs", "PBS_NP": "4", **mpich(2, 4)}, (2, 4)),
    "Kubernetes with a count": (kubernetes(4, 5), (4, 5)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_processes_that_share_know_their_number(name: str) -> None:
    environment, expected = KNOWN[name]
    assert find_process(environment=environment, share=True) == expected


@pytest.mark.parametrize("ids", [LISTED, [3, 7], list(range(0, 31, 2)), [5], [2, 5, 8]])
@pytest.mark.parametrize("tasks", [1, 3])
def test_an_array_s_processes_have_each_number_once(ids: list[int], tasks: int) -> None:
    step = ids[1] - ids[0] if len(ids) > 1 else 1
    found = [
        find_process(environment={**array(number, ids, step), **srun(task, tasks)}, share=True)
        for number in ids
        for task in range(tasks)
    ]
    assert found == [(index, len(ids) * tasks) for index in range(len(ids) * tasks)]


UNKNOWN = {
    "nothing": ({}, "Found: none of their variables"),
    "a job of one task": (batch(1), r"Found: a job of Slurm \(SLURM_JOB_ID\)"),
    "a job of several tasks without srun": (batch(4), r"Slurm has 4 tasks for this job .* write 'srun berg-jax"),
    "salloc's shell": (srun(0, 1, of_job=4, step="4294967290") | {"SLURM_NTASKS": "4"}, "Slurm has 4 tasks"),
    "what ssh starts": (srun(0, 2, step="4294967292"), "Slurm has 2 tasks"),
    "an array with gaps": (array(7, [1, 2, 7], 1), r"have gaps \(3 ids from 1 to 7\), .*such as --array=0-2"),
    "its first task": (array(1, [1, 2, 7], 1), "have gaps"),
    "an array of which only the span is even": (array(1, [0, 1, 5, 6], 1), "have gaps"),
    "an array without a count": ({"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_COUNT is None"),
    "Kubernetes without a count": (kubernetes(4, None), "JOB_COMPLETION_INDEX=4, .*Set JOB_COMPLETION_COUNT"),
    "Kubernetes with a wrong count": (kubernetes(5, 5), "JOB_COMPLETION_COUNT=5 make no sense"),
    "PMIx alone": ({"PMIX_RANK": "1"}, "PMIX_RANK=1 is an index, and no variable tells how many"),
    "MPICH without a size": ({"PMI_RANK": "1"}, "PMI_RANK=1 is an index"),
    "PBS Pro's array": ({"PBS_JOBID": "3[2].pbs", "PBS_ARRAY_INDEX": "2"}, "PBS_ARRAY_INDEX=2 is an index of PBS"),
    "Torque's array": ({"PBS_JOBID": "3[2].pbs", "PBS_ARRAYID": "2"}, "PBS_ARRAYID=2 is an index of PBS"),
    "SGE's array": ({"SGE_ROOT": "/sge", "JOB_ID": "3", "SGE_TASK_ID": "2"}, "SGE_TASK_ID=2 is an index of SGE"),
    "LSF's array": ({"LSB_JOBID": "3", "LSB_JOBINDEX": "2"}, "LSB_JOBINDEX=2 is an index of LSF"),
    "PBS's array with mpirun": ({"PBS_ARRAY_INDEX": "2", **openmpi(0, 2)}, "PBS_ARRAY_INDEX=2 is an index of PBS"),
    "SGE's job": (
        {"SGE_ROOT": "/sge", "JOB_ID": "3", "SGE_TASK_ID": "undefined"},
        r"Found: a job of SGE \(SGE_ROOT\)",
    ),
    "LSF's job": ({"LSB_JOBID": "3", "LSB_JOBINDEX": "0"}, r"Found: a job of LSF \(LSB_JOBID\)"),
    "a rank that is no number": ({"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "2"}, "RANK is 'x'"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_variable_tells_is_said_and_not_guessed(name: str) -> None:
    environment, said = UNKNOWN[name]
    with pytest.raises(InvalidParameterError, match=said) as error:
        find_process(environment=environment, share=True)
    assert "ive --process-index" in str(error.value)
    assert "--process-count" in str(error.value)


@pytest.mark.parametrize("name", KNOWN)
def test_without_share_a_scheduler_divides_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    environment, (index, count) = KNOWN[name]
    with caplog.at_level(logging.WARNING):
        assert find_process(environment=environment) == (0, 1)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (count > 1)
    assert all(f"process {index} of {count}" in line and "give --share" in line for line in said)


@pytest.mark.parametrize("name", UNKNOWN)
def test_without_share_unread_schedulers_stop_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    environment, _ = UNKNOWN[name]
    with caplog.at_level(logging.WARNING):
        assert find_process(environment=environment) == (0, 1)
    alone = name == "nothing" or "Found" in UNKNOWN[name][1]
    assert [record.getMessage().startswith("This process works alone") for record in caplog.records] == [True] * (
        not alone
    )


def test_numbers_that_are_given_count_wherever_the_process_runs(caplog: pytest.LogCaptureFixture) -> None:
    for environment, _ in (*KNOWN.values(), *UNKNOWN.values()):
        assert find_process(1, 3, environment) == (1, 3)
        with pytest.raises(InvalidParameterError, match="not both"):
            find_process(1, 3, environment, share=True)
        for wrong in ((1, None), (None, 2), (3, 3), (-1, 2)):
            with pytest.raises(InvalidParameterError, match="makes no sense"):
                find_process(*wrong, environment)
    assert not caplog.records


def test_launchers_that_stop_the_others_are_known() -> None:
    """mpirun stops all processes when one ends with an error, and a done share is none."""
    together = [openmpi(0, 2), mpich(1, 2), srun(0, 2), {**array(0, LISTED, 1), **srun(0, 2)}]
    apart = [{}, batch(4), srun(0, 1), openmpi(0, 1), array(0, LISTED, 1), kubernetes(0, 4)]
    assert [schedulers.ends_together(environment) for environment in together + apart] == [True] * 4 + [False] * 6

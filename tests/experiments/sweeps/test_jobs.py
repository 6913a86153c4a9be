"""A sweep's jobs: submitted once, refused if they cannot work, queued again only if they came further."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from berg_jax.errors import InvalidParameterError, Unfinished
from berg_jax.experiments.sweeps import jobs, records
from berg_jax.experiments.sweeps import submit as launching
from berg_jax.experiments.sweeps import worker as running
from berg_jax.experiments.sweeps.chunks import Chunk
from berg_jax.experiments.sweeps.launcher import check_submission, read_launcher
from berg_jax.experiments.sweeps.program import Regions
from berg_jax.experiments.sweeps.records import Outcome
from berg_jax.experiments.sweeps.spec import read_spec
from berg_jax.files import disk
from berg_jax.stream.execution import Process

from ...conftest import DATA
from .made import Fake, begun, invoke, written

SPEC = f"""
[base]
berg_dir = "{DATA / "golden"}"
subject = 2
drive = "V3v"
[grid]
seed = [0, 1, 2, 3, 4, 5]
[launcher]
kind = "slurm"
chunk = 2
"""


def submissions(slurm: Path) -> int:
    return len((slurm / "submissions").read_text().splitlines()) if (slurm / "submissions").exists() else 0


def test_jobs_that_are_in_the_queue_are_not_submitted_again(slurm: Path, tmp_path: Path) -> None:
    """A second `berg-jax sweep` while jobs run → nothing is submitted; when they have ended, the rest is."""
    path, out = written(tmp_path, SPEC), tmp_path / "out"
    assert "3 jobs for 3 chunks submitted" in invoke(path, "--output", out)[1]
    (slurm / "42.queue").write_text("42_0|RUNNING|None\n42_1|PENDING|Resources\n7_1|RUNNING|None\n")
    before = (out / "sweep.json").read_text()
    grown = written(tmp_path, SPEC.replace("4, 5]", "4, 5, 6]"))
    code, said = invoke(grown, "--output", out)
    assert (code, "Nothing was submitted, because jobs of this sweep are in Slurm's queue" in said) == (0, True)
    assert submissions(slurm) == 1
    assert (out / "sweep.json").read_text() == before
    (slurm / "broken").touch()
    code, said = invoke(path, "--output", out)
    assert (code, "Slurm does not say which jobs" in said, "Unable to contact" in said) == (2, True, True)
    assert submissions(slurm) == 1
    (slurm / "broken").unlink()
    (slurm / "42.queue").unlink()
    assert "4 jobs for 4 chunks submitted" in invoke(path, "--output", out)[1]
    assert submissions(slurm) == 2


def test_status_tells_dead_jobs_from_waiting_ones(slurm: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, SPEC), tmp_path / "out"
    assert "jobs:" not in invoke(path, "--output", out, "--status")[1]
    invoke(path, "--output", out)
    (slurm / "42.queue").write_text("42_0|RUNNING|None\n42_1|PENDING|DependencyNeverSatisfied\n")
    said = invoke(path, "--output", out, "--status")[1]
    assert "jobs: 1 running (42_0 RUNNING), 1 waiting (42_1 PENDING: DependencyNeverSatisfied)" in said
    assert "1 ended before the trials of their share were done (42_2 2 left)" in said
    (slurm / "42.queue").unlink()
    said = invoke(path, "--output", out, "--status")[1]
    assert "jobs: 0 running, 0 waiting" in said
    assert "No job of this sweep is in the queue: the same command without --status submits the rest." in said
    (slurm / "broken").touch()
    code, said = invoke(path, "--output", out, "--status")
    assert (code, "0 of 6 trials done" in said, "Slurm does not say" in said) == (0, True, True)


REFUSED = {
    "time": ({"time": 4}, r"launcher\.time must be at least 5 minutes, got 4"),
    "array": ({"extra": {"array": "0-999"}}, "launcher.extra has 'array', which the sweep itself sets"),
    "the beginning of array": ({"extra": {"arr": "0-999"}}, "has 'arr'"),
    "number of tasks": ({"extra": {"ntasks_per_node": 4}}, "has 'ntasks_per_node'"),
    "nodes": ({"extra": {"nodes": 2}}, "has 'nodes'"),
    "signal": ({"extra": {"signal": "TERM@10"}}, "has 'signal'"),
    "no requeue": ({"extra": {"no-requeue": True}}, "has 'no-requeue'"),
    "memory": ({"extra": {"mem": "1GB"}}, r"has 'mem': give launcher\.mem instead"),
    "processors": ({"extra": {"cpus-per-task": 8}}, r"give launcher\.cpus_per_task instead"),
    "two options": ({"extra": {"account=x --array": "0-9"}}, "is no name of an option"),
    "lines": ({"extra": {"comment": "x\n#SBATCH --array=0-9"}}, "launcher.extra must be a table"),
    "setup": ({"setup": ["#SBATCH --array=0-9"]}, "launcher.setup has '#SBATCH --array=0-9'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_break_the_jobs_is_refused(name: str) -> None:
    table, said = REFUSED[name]
    with pytest.raises(InvalidParameterError, match=said):
        check_submission(read_launcher({"kind": "slurm", **table}))


def test_other_options_of_sbatch_are_passed_on(slurm: Path, tmp_path: Path) -> None:
    extra = '{account = "vision", qos = "long", nodelist = "n1", mem-per-cpu = "4GB", comment = "a b"}'
    invoke(written(tmp_path, f"{SPEC}extra = {extra}\n"), "--output", tmp_path / "out")
    script = (slurm / "script.sh").read_text()
    for line in ("account=vision", "qos=long", "nodelist=n1", "mem-per-cpu=4GB", "comment='a b'", "array=0-2%3"):
        assert f"#SBATCH --{line}\n" in script


def test_refusals_come_before_anything_is_written(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = invoke(written(tmp_path, f"{SPEC}time = 2\n"), "--output", tmp_path / "out")
    assert (code, "launcher.time must be" in said) == (2, True)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("SBATCH_ARRAY_INX", "0-9")
    assert "SBATCH_ARRAY_INX is set" in invoke(written(tmp_path, SPEC), "--output", tmp_path / "out")[1]
    assert submissions(slurm) == 0


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None) -> launching.Job:
    """The first of two jobs, which have two chunks of two trials each, and 60 minutes."""
    begun(tmp_path / "out", 8, chunk=2)
    monkeypatch.setattr(running, "run_chunk", Fake())
    return launching.Job(str(tmp_path / "out"), 2)


def test_a_life_without_progress_is_the_last(job: launching.Job, slurm: Path, tmp_path: Path) -> None:
    """A chunk that its job's time cannot hold → the job is not queued again, and no job of that time is submitted."""
    out = tmp_path / "out"
    assert job.checkpoint(0) is not None  # before its life began
    job.began = job._progress(0), time.monotonic()
    assert job.checkpoint(0) is not None  # a life that was cut short
    job.began = job._progress(0), time.monotonic() - 3600
    assert job.checkpoint(0) is None
    said = "Job 0 was not queued again: in its 60 minutes it recorded no trial and came to no checkpoint."
    assert said in launching.status_text(out, records.read_begun(out))
    (note,) = (out / "jobs").glob("stalled-0.json")
    launcher = records.read_begun(out).launcher
    for shorter in (launcher, launcher._replace(time=30, jobs=9)):
        with pytest.raises(InvalidParameterError, match=r"Job 0 was not queued again.*or remove"):
            jobs.forget_stalls(out, shorter)
    kept = note.read_bytes()
    for other in (launcher._replace(time=61), launcher._replace(chunk=1), launcher._replace(partition="gpu")):
        note.write_bytes(kept)
        jobs.forget_stalls(out, other)
        assert not note.exists()


def test_a_life_that_came_further_goes_on(job: launching.Job, tmp_path: Path) -> None:
    """A trial that was recorded, or a checkpoint within a chunk, is progress; another job's is not."""
    spec = records.read_begun(tmp_path / "out")
    for name in ("records/{}-1.json", "checkpoints/{}-1.npz"):
        job.began = job._progress(0), time.monotonic() - 3600
        for seed, goes_on in ((2, False), (4, True)):  # of the second job, and of the first one
            path = tmp_path / "out" / name.format(spec.trials[seed].id)
            path.parent.mkdir(exist_ok=True)
            path.write_text('{"time": 0, "trials": []}')
            assert (job.checkpoint(0) is not None) == goes_on


def test_slurm_s_signal_lets_the_steps_at_hand_be_kept(
    job: launching.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes within a chunk → it is finished or kept, and only then is the job queued again."""
    out, fake, seen = tmp_path / "out", Fake(), []

    def signaled(*arguments: Any) -> list[Outcome]:
        os.kill(os.getpid(), signal.SIGUSR2)
        return fake(*arguments)

    def submit_again(*_: object) -> None:
        seen.append(len(records.entries(out)))
        raise SystemExit(-1)  # as submitit's handler does

    monkeypatch.setattr(running, "run_chunk", signaled)
    before = signal.signal(signal.SIGUSR2, submit_again)
    try:
        with pytest.raises(SystemExit):
            job(0)
        assert signal.getsignal(signal.SIGUSR2) is submit_again
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert fake.seen == [[0, 1]]
    assert seen == [2]
    assert job._progress(0) > job.began[0]


def test_what_others_record_meanwhile_is_not_computed_again(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second array computes the same trials → each is computed once, but for the chunk at hand."""
    spec, fake = begun(tmp_path, 8, chunk=4), Fake()

    def others(regions: Regions, chunk: Chunk, *_: Any) -> list[Outcome]:
        outcomes = fake(regions, chunk)
        if len(fake.seen) == 1:
            more = Fake()(regions, Chunk(spec.trials[5:7], 2))
            records.write_images(tmp_path, {outcome.entry["id"]: b"" for outcome in more})
            facts = {"host": "other", "process": 1, "versions": "", "weights": "synthetic", "identity": "tiny"}
            records.record(tmp_path, "theirs", [outcome.entry for outcome in more], time=time.time(), **facts)
        return outcomes

    monkeypatch.setattr(running, "run_chunk", others)
    monkeypatch.setattr(running, "write_results", lambda *_: [])
    assert "8 of 8 trials done" in running.work(tmp_path, show_progress=False)
    assert fake.seen == [[0, 1, 2, 3], [4, 7]]


def test_partial_files_of_living_workers_stay(tmp_path: Path) -> None:
    """A worker starts while another writes → only what the dead have left is removed."""
    begun(tmp_path)
    here = disk._place()
    names = {
        f"a.png.{here}{os.getpid()}.partial": True,
        f"b.png.{here}999999999.partial": False,
        "c.png.another-host-4026531836-999999999.partial": True,
        "d.png.999999999.partial": True,  # as earlier versions named them
        "e.png.another-host-4026531836-1.partial": False,  # of the day before
    }
    for name in names:
        (tmp_path / "images" / name).touch()
    yesterday = time.time() - 25 * 3600
    os.utime(tmp_path / "images" / list(names)[-1], (yesterday, yesterday))
    records.remove_leftovers(tmp_path)
    assert {name: (tmp_path / "images" / name).exists() for name in names} == names


def test_a_share_that_others_keep_waiting_says_so(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "run_chunk", Fake())
    path = written(tmp_path, SPEC.replace('kind = "slurm"', ""))
    code, said = invoke(path, "--output", tmp_path / "out", "--process-index", 0, "--process-count", 2)
    assert (code, "waiting for process 1 of 2, counted from 0: 2 trials" in said) == (76, True)
    with pytest.raises(Unfinished, match="4 of 6 trials done"):
        launching.sweep(read_spec(path), tmp_path / "out", process=Process(0, 2), show_progress=False)
    assert "6 of 6 trials done" in launching.sweep(
        read_spec(path), tmp_path / "out", process=Process(1, 2), show_progress=False
    )

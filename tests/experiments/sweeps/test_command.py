"""The command ``sweep`` and Slurm, which is asked for what the launcher says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pyarrow.parquet
import pytest
import submitit
from submitit.core.utils import DelayedSubmission

from berg_jax.experiments.sweeps import records
from berg_jax.experiments.sweeps import submit as launching
from berg_jax.experiments.sweeps import worker as running
from berg_jax.experiments.sweeps.spec import read_spec

from ...conftest import DATA
from .conftest import SBATCH
from .made import BASE, ONE_DEVICE, Fake, invoke, ran, written


def test_dry_run_and_status_need_no_jax(tmp_path: Path) -> None:
    path = written(tmp_path, f"{BASE}grid = {{seed = [0, 1, 2], learning_rate = [0.1, 0.2]}}")
    records.begin(tmp_path / "out", read_spec(path))
    code = (
        "import sys; from berg_jax.cli.app import app\n"
        "for more in (['--dry-run'], ['--status', '--output', sys.argv[2]]):\n"
        "    app(['sweep', sys.argv[1], *more], standalone_mode=False)\n"
        "print({'jax', 'pyarrow', 'submitit'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "6 trials ([grid] seed, learning_rate) in 1 chunk of up to 6"
    assert [line.split("  ")[1:] for line in said[1:3]] == [
        ["seed 0", "learning_rate 0.1"],
        ["seed 0", "learning_rate 0.2"],
    ]
    assert all(re.match("[0-9a-f]{16}  ", line) for line in said[1:7])
    assert said[7:] == [f"{tmp_path / 'out'}: 0 of 6 trials done, 0 failed, 6 left", "set()"]


def test_a_dry_run_refuses_what_a_run_would(tmp_path: Path) -> None:
    """A ROI is misspelled in the specification → the dry run says so, as the run would."""
    base = f'[base]\nberg_dir = "{DATA / "golden"}"\nsubject = 2\ndrive = ["V3v", "FFA9"]\n'
    code, said = invoke(written(tmp_path, base), "--dry-run")
    assert (code, "Invalid ROI: 'FFA9'" in said) == (2, True)


def test_the_command(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    base = f'[base]\nberg_dir = "{DATA / "golden"}"\nsubject = 2\ndrive = ["V3v", "PPA"]\n'
    path, out = written(tmp_path, f"{base}[grid]\nseed = [0, 1, 2]\n"), tmp_path / "out"
    code, said = invoke(path, "--output", out, "--time-limit", "-1")
    assert (code, "The same command goes on" in said) == (75, True)
    code, said = invoke(path, "--output", out)
    assert (code, fake.seen) == (0, [[0, 1, 2]])
    assert "3 trials ([grid] seed) in 1 chunk of up to 3" in said
    assert "3 of 3 trials done, 0 failed, 0 left" in said
    assert {path.name for path in out.iterdir()} == {
        "sweep.json",
        "sweep.parquet",
        *(f"contact_sheet{suffix}" for suffix in (".png", ".pdf", ".csv")),
        *(f"scores{suffix}" for suffix in (".png", ".pdf", ".csv")),
        "report.html",
        "config.json",
        "images",
        "records",
    }
    page, config = (out / "report.html").read_text(), json.loads((out / "config.json").read_text())
    assert "3 of 3 trials are done, 0 failed, 0 are left" in page
    assert "SYNTHETIC" in page
    best = re.findall(r"<tr><td>[0-9a-f]{16}</td><td class=number>([0-9.]+)</td>", page)
    assert best == ["2.000", "1.000", "0"]
    assert config["settings"] == tomllib.loads(path.read_text())
    assert config["command"] == f"berg-jax sweep {out / 'sweep.json'} --output {out}"
    (out / "report.html").unlink()  # as after a crash
    assert invoke(out / "sweep.json", "--output", out)[0] == 0
    assert (out / "report.html").read_text() == page
    assert len(fake.seen) == 1
    table = pyarrow.parquet.read_table(out / "sweep.parquet")
    assert json.loads(table.schema.metadata[b"berg_jax.sweep"]) == tomllib.loads(path.read_text())
    row = table.to_pylist()[1]
    assert (row["drive"], row["suppress"], row["seed"], row["value"]) == ("V3v; PPA", "", 1, 1.0)
    assert (out / row["image"]).is_file()
    assert invoke(path) == (2, "Error: Give --output, the folder to write; --dry-run needs none.\n")
    assert invoke(path, "--output", out, "--process-index", 2, "--process-count", 2)[0] == 2
    assert "Invalid ROI" in invoke(written(tmp_path, base.replace("PPA", "PPQ")), "--output", tmp_path / "new")[1]
    assert not (tmp_path / "new").exists()


SLURM = """
[launcher]
kind = "slurm"
chunk = 2
partition = "gpu"
gres = "gpu:1"
mem = "32GB"
cpus_per_task = 4
time = 120
setup = ["module load cuda", "export BERG_JAX_TEST='a b'"]
max_parallel = 2
jobs = 3
extra = {account = "vision"}
"""


def test_slurm_is_asked_for_what_the_launcher_says(
    slurm: Path, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    base = f'[base]\nberg_dir = "{DATA / "golden"}"\nsubject = 2\ndrive = "V3v"\n[grid]\nseed = {list(range(10))}\n'
    out = tmp_path / "out"
    path = written(tmp_path, base + SLURM)
    code, said = invoke(path, "--output", out)
    assert code == 0, said
    assert "3 jobs for 5 chunks submitted, at most 2 at a time: 42_0, 42_1, 42_2" in said
    script = (slurm / "script.sh").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))
    expected = {"array": "0-2%2", "partition": "gpu", "gres": "gpu:1", "time": "120", "account": "vision"}
    expected |= {"mem": "32GB", "cpus-per-task": "4"}
    assert expected.items() <= options.items()
    assert re.search(
        r"\nmodule load cuda\nexport BERG_JAX_TEST='a b'\n(.|\n)*\nsrun .* -u -m submitit.core._submit ", script
    )
    jobs = [DelayedSubmission.load(out / "jobs" / f"42_{index}_submitted.pkl") for index in range(3)]
    jobs[0].result()
    assert fake.seen == [[0, 1], [6, 7]]
    jobs[1]._checkpoint_function().result()  # what goes on when its time was up
    assert fake.seen[2:] == [[2, 3], [8, 9]]
    assert "2 left" in invoke(path, "--output", out, "--status")[1]
    changed = tmp_path / "changed.toml"
    changed.write_text(path.read_text().replace('"V3v"', '"OFA"'))
    code, said = invoke(changed, "--output", out, "--status")
    assert (code, "holds another sweep" in said) == (2, True)
    assert "10 of 10 trials done" in jobs[2].result()
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'Invalid partition' >&2; exit 1\n")
    assert "10 of 10 trials done" in invoke(path, "--output", out)[1]  # nothing is left to submit
    code, said = invoke(path, "--output", tmp_path / "other")
    assert (code, "Slurm refuses the jobs" in said, "Invalid partition" in said) == (2, True, True)


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    base = f'[base]\nberg_dir = "{DATA / "golden"}"\nsubject = 2\ndrive = "V3v"\n'
    code, said = invoke(written(tmp_path, base + SLURM), "--output", tmp_path / "out")
    assert (code, "There is no Slurm here" in said) == (2, True)


DEMO = '[base]\nberg_dir = "demo"\nsubject = 1\ndrive = "FFA-1"\nsteps = 2\n[grid]\nseed = [0, 1, 2, 3]\n'
# Each task of the array as Slurm would run it, after sbatch has returned.
RUNNING = (
    SBATCH
    + """
for task in 0 1; do
  SLURM_JOB_ID=4$task SLURM_ARRAY_JOB_ID=42 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 \\
    SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=here setsid bash "$1" >>"$SLURM_FAKE/log" 2>&1 &
done
"""
)


@pytest.mark.nightly
def test_jobs_of_an_array_share_the_sweep(
    demo: Path, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", ONE_DEVICE["XLA_FLAGS"])
    (slurm / "sbatch").write_text(RUNNING)
    launcher = (
        '[launcher]\nkind = "slurm"\nchunk = 2\nsetup = ["export SWEEP_SETUP=1", "test -n \\"$SWEEP_SETUP\\""]\n'
    )
    path, out = written(tmp_path, DEMO + launcher), tmp_path / "out"
    assert "2 jobs for 2 chunks submitted" in invoke(path, "--output", out)[1]
    end = time.monotonic() + 300
    while "4 of 4 trials done" not in invoke(path, "--output", out, "--status")[1] and time.monotonic() < end:
        time.sleep(1)
    assert sorted(ran(out)) == sorted(one.id for one in read_spec(path).trials), (slurm / "log").read_text()
    found = records.entries(out)
    assert {entry["process"] for entry in found.values()} == {0, 1}
    while not (out / "sweep.parquet").exists() and time.monotonic() < end:
        time.sleep(0.5)


@pytest.mark.nightly
def test_submitit_s_local_executor_runs_the_same_job(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", ONE_DEVICE["XLA_FLAGS"])
    path, out = written(tmp_path, f"{DEMO}[launcher]\nchunk = 2\n"), tmp_path / "out"
    records.begin(out, read_spec(path))
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=10)
    jobs = executor.map_array(launching.Job(str(out), 2), [0, 1])
    said = [job.result() for job in jobs]
    assert any("4 of 4 trials done, 0 failed, 0 left" in text for text in said)

"""A thousand trials on demo subjects, killed and stopped on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from berg_jax.experiments.sweeps.spec import read_spec

from .made import environment, ran, written

THOUSAND = """
[base]
berg_dir = "demo"
drive = "FFA-1"
steps = 2
[grid]
subject = [1, 2]
images = ["fourier", "pixels"]
seed = [0, 1, 2, 3, 4]
[random]
trials = 50
[random.axes]
learning_rate = {loguniform = [1e-3, 1e-1]}
jitter = {choice = [0, 4, 8]}
[launcher]
chunk = 25
"""
MAIN = "from berg_jax.cli.app import main; main()"


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_1000_trials_survive_kill_9(demo: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, THOUSAND), tmp_path / "out"
    command = [sys.executable, "-c", MAIN, "sweep", str(path), "--output", str(out)]
    quiet = {"env": environment(tmp_path), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    random = np.random.default_rng(int(os.environ.get("SWEEP_SEED", "0")))
    kept: dict[str, bytes] = {}
    kills, began = [], time.monotonic()
    while len(kills) < 6:
        process = subprocess.Popen(command, **quiet)
        target = len(kept) + random.integers(1, 6)  # a chunk or a few, then at any moment of the next
        while process.poll() is None and len(list((out / "records").glob("*.json"))) < target:
            time.sleep(0.05)
        time.sleep(random.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = {path.name: path.read_bytes() for path in (out / "records").glob("*.json")}
        assert kept.items() <= there.items()
        kept = there
        kills.append(len(ran(out)))
    assert kills[-1] < 1000
    assert subprocess.run(command, **quiet, check=False).returncode == 0
    print(f"\ntrials done at each kill: {kills}; {time.monotonic() - began:.0f} s in all")
    there = {path.name: path.read_bytes() for path in (out / "records").glob("*.json")}
    assert kept.items() <= there.items()
    spec = read_spec(path)
    assert Counter(ran(out)) == Counter({one.id: 1 for one in spec.trials})
    table = pyarrow.parquet.read_table(out / "sweep.parquet").to_pylist()
    assert [row["id"] for row in table] == [one.id for one in spec.trials]
    assert {row["error"] for row in table} == {None}
    assert len(list((out / "images").iterdir())) == 1000
    # What was computed after a kill is what would have been computed without.
    whole = tmp_path / "whole"
    few = written(tmp_path, THOUSAND.replace("[1, 2]", "[2]").replace('["fourier", "pixels"]', '["pixels"]'))
    assert subprocess.run([*command[:4], str(few), "--output", str(whole)], **quiet, check=False).returncode == 0
    values = {row["id"]: row["value"] for row in table}
    again = pyarrow.parquet.read_table(whole / "sweep.parquet").to_pylist()
    assert len(again) == 250
    np.testing.assert_allclose([values[row["id"]] for row in again], [row["value"] for row in again], atol=1e-4)


@pytest.mark.nightly
def test_ctrl_c_and_sigterm_stop_cleanly(demo: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, THOUSAND), tmp_path / "out"
    command = [sys.executable, "-c", MAIN, "sweep", str(path), "--output", str(out)]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
        before = len(list((out / "records").glob("*.json")))
        while process.poll() is None and len(list((out / "records").glob("*.json"))) == before:
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate()[1]
        assert process.returncode == 75, said
        assert "The same command goes on" in said
        assert len(set(ran(out))) == len(ran(out)) > 25 * before
        assert (out / "sweep.parquet").exists()

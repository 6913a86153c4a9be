"""A thousand trials on demo subjects, killed and stopped on the way."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from berg_jax.experiments.sweeps.spec import read_spec

from ...kills import Program
from .made import ONE_DEVICE, ran, written

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


def has_records(output: Path, count: int) -> bool:
    return len(list((output / "records").glob("*.json"))) >= count


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_1000_trials_survive_kill_9(demo: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, THOUSAND), tmp_path / "out"
    sweep = partial(Program, "-c", MAIN, "sweep", environment=ONE_DEVICE, patience=1200)
    random = np.random.default_rng(int(os.environ.get("SWEEP_SEED", "0")))
    kept: dict[str, bytes] = {}
    kills, began = [], time.monotonic()
    while len(kills) < 6:
        target = len(kept) + random.integers(1, 6)  # a chunk or a few, then at any moment of the next
        with sweep(path, "--output", out) as process:
            process.until(partial(has_records, out, target))
            time.sleep(random.uniform(0, 2))
            process.end(signal.SIGKILL)
        there = {path.name: path.read_bytes() for path in (out / "records").glob("*.json")}
        assert kept.items() <= there.items()
        kept = there
        kills.append(len(ran(out)))
    assert kills[-1] < 1000

    with sweep(path, "--output", out) as process:
        assert process.end() == 0, process.said
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
    with sweep(few, "--output", whole) as process:
        assert process.end() == 0, process.said
    values = {row["id"]: row["value"] for row in table}
    again = pyarrow.parquet.read_table(whole / "sweep.parquet").to_pylist()
    assert len(again) == 250
    np.testing.assert_allclose([values[row["id"]] for row in again], [row["value"] for row in again], atol=1e-4)


@pytest.mark.nightly
def test_ctrl_c_and_sigterm_stop_cleanly(demo: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, THOUSAND), tmp_path / "out"
    for number in (signal.SIGINT, signal.SIGTERM):
        before = len(list((out / "records").glob("*.json")))
        with Program("-c", MAIN, "sweep", path, "--output", out, environment=ONE_DEVICE) as process:
            process.until(partial(has_records, out, before + 1))
            process.send(number)
            assert process.end() == 75, process.said
            assert "The same command goes on" in process.said
        assert len(set(ran(out))) == len(ran(out)) > 25 * before
        assert (out / "sweep.parquet").exists()

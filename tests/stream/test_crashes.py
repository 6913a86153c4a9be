"""A run that dies, at any moment, or whose disk fills up: what is recorded is there, and nothing counts twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr

import berg_jax
from berg_jax.errors import (
    ResourceError,
)
from berg_jax.stream import blocks, loop
from berg_jax.stream.execution import Process
from berg_jax.stream.loop import stream
from berg_jax.stream.reducers import (
    Moments,
    states,
)
from berg_jax.stream.store.layout import Columns
from berg_jax.stream.store.output import Output
from berg_jax.vertices import Vertices

from ..kills import HELD, Program
from .alone import MOMENTS, SINKS
from .calls import executed
from .numbered import COLUMNS, EXPECTED, Source, Sum, assert_each_once, responses, run

ALONE = ("-m", "tests.stream.alone")


def test_a_crash_between_two_records_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The states are saved, and the process dies before the ledger says so; and the other way round."""
    output = tmp_path / "o.zarr"
    monkeypatch.setattr(blocks, "_SAVE_SECONDS", -1)
    options = {"output": output, "devices": jax.devices()[:2]}
    real, calls = loop.Output, []

    def die(self: object, *arguments: object, **facts: object) -> None:
        calls.append(arguments)
        if len(calls) == 5:
            raise OSError("killed")
        recorded(self, *arguments, **facts)

    recorded = berg_jax.stream.store.ledger.Ledger.record
    with monkeypatch.context() as patch:
        patch.setattr(berg_jax.stream.store.ledger.Ledger, "record", die)
        with pytest.raises(OSError, match="killed"):
            run(Source(), [COLUMNS, Sum()], output=output, devices=jax.devices()[:2])
    assert real is loop.Output
    left = next((output / "ledger").glob("*.json"))
    left.unlink()  # as if this one had not been written
    assert_each_once(run(Source(), [COLUMNS, Sum()], **options))
    np.testing.assert_array_equal(responses(output), EXPECTED)


def assert_recorded_is_there(output: Path) -> set[int]:
    """Every block that the ledger names holds its responses; the blocks."""
    there, ledger = zarr.open_group(output, mode="r")["responses"], Output(output).ledger
    done = set(ledger.done())
    for start, stop in map(ledger.range, done):
        np.testing.assert_array_equal(there[start:stop], EXPECTED[start:stop])
    return done


def test_two_processes_one_of_them_killed(tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    options = {"output": output, "devices": jax.devices()[:2]}
    arguments = (output, "columns", "sum", "--devices", 2, "--process", 0, 2, "--hold", "record")

    with Program(*ALONE, *arguments) as other:
        other.until("begun")
        assert run(Source(), [COLUMNS, Sum()], process=Process(1, 2), **options) == {}
        other.until(HELD)
        other.end(signal.SIGKILL)

    assert 0 < len(assert_recorded_is_there(output)) < 75
    assert_each_once(run(Source(), [COLUMNS, Sum()], **options))
    np.testing.assert_array_equal(responses(output), EXPECTED)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(25))
def test_two_processes_one_of_them_killed_at_any_moment(seed: int, tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    arguments = (output, "columns", "sum", "--devices", 2, "--pause", 0.01)

    with (
        Program(*ALONE, *arguments, "--process", 0, 2) as first,
        Program(*ALONE, *arguments, "--process", 1, 2) as second,
    ):
        first.until("begun")
        second.until("begun")
        time.sleep(np.random.default_rng(seed).uniform(0, 1.2))
        first.end(signal.SIGKILL)
        assert second.end() == 0, second.said

    assert_each_once(run(Source(), [COLUMNS, Sum()], output=output, devices=jax.devices()[:2]))
    np.testing.assert_array_equal(responses(output), EXPECTED)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_at_any_moment(seed: int, tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"

    for delay in np.random.default_rng(seed).uniform(0, 1.5, 2):
        with Program(*ALONE, output, "columns", "--pause", 0.02) as process:
            process.until("begun")
            time.sleep(delay)
            process.end(signal.SIGKILL)
        if output.exists():  # else it was killed before it was made
            assert_recorded_is_there(output)

    run(Source(), [COLUMNS], output=output, devices=jax.devices()[:1])
    np.testing.assert_array_equal(responses(output), EXPECTED)


@pytest.mark.parametrize(
    ("moment", "when", "sinks"),
    [
        ("name", "before", ["columns", "sum"]),
        *(
            pytest.param(moment, when, sinks, marks=pytest.mark.nightly)
            for moment in MOMENTS
            for when in ("before", "after")
            for sinks in (["columns"], ["columns", "sum"])
            if (moment, when, sinks) != ("name", "before", ["columns", "sum"])
            and (moment, sinks) != ("save", ["columns"])
        ),
    ],
)
def test_kill_9_at_each_moment(moment: str, when: str, sinks: list[str], tmp_path: Path) -> None:
    """It dies at the 20th of its kind. Such moments are short, and a kill from outside rarely meets them."""
    output = tmp_path / "o.zarr"
    after = ["--after"] if when == "after" else []

    with Program(*ALONE, output, *sinks, "--devices", 2, "--die", moment, *after) as process:
        status = process.end()
        said = process.said

    assert status == -signal.SIGKILL, said
    done = assert_recorded_is_there(output)
    assert 0 < len(done) < 75
    assert zarr.open_group(output, mode="r").attrs["complete"] is False
    if "sum" in sinks:
        assert done <= states.reduced_blocks(output / "reducers")
    if (moment, when) == ("name", "before"):
        assert len(list(output.rglob("*.partial"))) == 1

    results = run(Source(), [SINKS[name] for name in sinks], output=output, devices=jax.devices()[:2])
    np.testing.assert_array_equal(responses(output), EXPECTED)
    if "sum" in sinks:
        assert_each_once(results)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disks can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("reducers", [[], [Moments(5000)]], ids=["stored", "reduced too"])
def test_a_disk_that_fills_up_and_is_freed(
    reducers: list, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others fill the disk while a run writes; nothing partial is trusted, and freed, the run ends with its bits."""
    monkeypatch.setattr(blocks, "_SAVE_SECONDS", 0.01)
    columns = Columns(Vertices(np.arange(2500), np.arange(2500), 2500))
    wide = jax.jit(lambda images: jnp.sin(images[:, 0, 0, :1] * (1 + jnp.arange(5000.0))[None]))
    share = executed(stream, wide, identity="wide", batch_size=4, show_progress=False, devices=1)
    whole = share(Source(), [columns, *reducers], output=tmp_path / "whole.zarr")
    expected = responses(tmp_path / "whole.zarr")
    source, output, filler = Source(), small_disk / "o.zarr", small_disk / "filler"
    read = source.read

    def fill(indices: np.ndarray) -> np.ndarray:
        if 100 in indices:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        return read(indices)

    source.read = fill
    with pytest.raises(ResourceError, match=r"No space left on device\. Make room there"):
        share(source, [columns, *reducers], output=output)
    left = filler.stat().st_size
    assert left > 2**20
    done = loop.Output(output).ledger.done()
    assert 10 < len(done) < 40
    there = zarr.open_group(output, mode="r")["responses"]
    for block, count in done.items():
        np.testing.assert_array_equal(there[4 * block : 4 * block + count], expected[4 * block : 4 * block + count])
    with pytest.raises(ResourceError, match="Make room there"):  # still full
        share(Source(), [columns, *reducers], output=output)
    filler.unlink()
    results = share(Source(), [columns, *reducers], output=output)
    np.testing.assert_array_equal(responses(output), expected)
    for name, arrays in results.items():
        assert arrays["count"] == 300
        np.testing.assert_allclose(arrays["mean"], whole[name]["mean"], atol=1e-6)

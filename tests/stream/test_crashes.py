"""A run that dies, at any moment, or whose disk fills up: what is recorded is there, and nothing counts twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
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
from berg_jax.stream.loop import stream
from berg_jax.stream.reducers import (
    Moments,
    states,
)
from berg_jax.stream.store.output import Columns
from berg_jax.vertices import Vertices

from ..conftest import ROOT
from .calls import executed
from .numbered import COLUMNS, EXPECTED, Source, Sum, assert_each_once, responses, run


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


PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.stream.test_crashes import *
from berg_jax.stream.execution import Process
slow = Source()
read = slow.read
slow.read = lambda indices: (time.sleep(0.01), read(indices))[1]
blocks._SAVE_SECONDS = 0.05
print("begun", flush=True)
run(slow, [COLUMNS, Sum()], output=sys.argv[2], devices=jax.devices()[:2], process=Process(*map(int, sys.argv[3:])))
"""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 25))])
def test_two_processes_one_of_them_killed(seed: int, tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    root = ROOT
    random = np.random.default_rng(seed)

    def start(index: int) -> subprocess.Popen:
        command = [sys.executable, "-c", PROGRAM, str(root), str(output), str(index), "2"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        assert process.stdout.readline() == "begun\n"
        return process

    first, second = start(0), start(1)
    time.sleep(random.uniform(0, 1.2))
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second.communicate()
    assert second.returncode == 0
    assert_each_once(run(Source(), [COLUMNS, Sum()], output=output, devices=jax.devices()[:2]))
    np.testing.assert_array_equal(responses(output), EXPECTED)


MOMENTS = {
    "decode": "Source.read",
    "compute": "Model.__call__",
    "write": "Output.write",
    "save": "states.save",
    "name": "Path.replace",  # before it, an entry of the ledger is on the disk, and has not its name yet
    "record": "Ledger.record",
}
# It dies before the 20th call, or after it. Not at a time: these moments are short, and a time rarely meets them.
DYING = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.stream.test_crashes import *
from tests.stream.numbered import model
from berg_jax.stream.store.ledger import Ledger
from berg_jax.stream.store.output import Output

class Model:
    def __call__(self, images):
        return model(images)

owner, name = sys.argv[3].split(".")
owner = globals()[owner]
real, calls = getattr(owner, name), []

def dying(*arguments, **options):
    if name != "replace" or Path(arguments[1]).parent.name == "ledger":
        calls.append(1)
    if len(calls) == 20 and sys.argv[4] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **options)
    if len(calls) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, dying)
blocks._SAVE_SECONDS = -1
sinks = [COLUMNS, Sum()][: int(sys.argv[5])]
from berg_jax.stream.execution import Execution
execution = Execution(batch_size=4, devices=2, show_progress=False)
stream(Model(), Source(), sinks, output=sys.argv[2], identity="sines", execution=execution)
"""


@pytest.mark.parametrize(
    ("moment", "when", "sinks"),
    [
        ("name", "before", 2),
        *(
            pytest.param(moment, when, sinks, marks=pytest.mark.nightly)
            for moment in MOMENTS
            for when in ("before", "after")
            for sinks in (1, 2)
            if (moment, when, sinks) != ("name", "before", 2) and (moment, sinks) != ("save", 1)
        ),
    ],
)
def test_kill_9_at_each_moment(moment: str, when: str, sinks: int, tmp_path: Path) -> None:
    output, root = tmp_path / "o.zarr", ROOT
    command = [sys.executable, "-c", DYING, str(root), str(output), MOMENTS[moment], when, str(sinks)]
    died = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=root, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = loop.Output(output)
    done, there = left.ledger.done(), zarr.open_group(output, mode="r")
    assert 0 < len(done) < left.ledger.blocks
    assert there.attrs["complete"] is False
    for start, stop in map(left.ledger.range, done):
        np.testing.assert_array_equal(there["responses"][start:stop], EXPECTED[start:stop])
    if sinks == 2:
        assert set(done) <= states.reduced_blocks(output / "reducers")
    if (moment, when) == ("name", "before"):
        assert len(list(output.rglob("*.partial"))) == 1
    results = run(Source(), [COLUMNS, Sum()][:sinks], output=output, devices=jax.devices()[:2])
    np.testing.assert_array_equal(responses(output), EXPECTED)
    if sinks == 2:
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

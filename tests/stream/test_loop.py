"""The loop with many devices, processes and reducers: nothing is lost, nothing counted twice."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
import zarr

import berg_jax
from berg_jax.errors import (
    IntegrityError,
    Interrupted,
    InvalidParameterError,
    ModelNotFoundError,
    ResourceError,
    StimulusError,
    ValidationError,
)
from berg_jax.stream import blocks, loop
from berg_jax.stream.devices import Process, find_process
from berg_jax.stream.loop import stream
from berg_jax.stream.merge import merge_output
from berg_jax.stream.reducers import (
    GLM,
    ArgmaxOverProbes,
    Covariance,
    GroupMeans,
    Moments,
    RoiMeans,
    TopK,
    WeightedSums,
    states,
)
from berg_jax.stream.reducers import saved as settings
from berg_jax.stream.store.output import Columns
from berg_jax.stream.store.status import status_text
from berg_jax.vertices import Vertices

from ..conftest import ROOT, Golden

VERTICES = Vertices(np.arange(3), np.arange(2), 4)
COLUMNS = Columns(VERTICES, {"V1v": np.array([True, False, False, True, False]), "V1d": np.arange(5) == 1})


class Source:
    """300 tiny images whose pixels are their number; some may be unreadable."""

    fingerprint: ClassVar = "numbers"

    def __init__(self, count: int = 300, bad: tuple[int, ...] = ()) -> None:
        self.count, self.bad = count, bad
        self.ids = [f"image-{index}" for index in range(count)]

    def __len__(self) -> int:
        return self.count

    def read(self, indices: np.ndarray) -> np.ndarray:
        if wrong := set(self.bad) & {int(index) for index in indices}:
            raise StimulusError(f"image {min(wrong)} is broken")
        return np.broadcast_to(np.asarray(indices, np.float32)[:, None, None, None], (len(indices), 3, 2, 2))


@jax.jit
def model(images: jax.Array) -> jax.Array:
    return jnp.sin(images[:, 0, 0, :1] * (1 + jnp.arange(5.0))[None])


EXPECTED = np.asarray(model(Source().read(np.arange(300))))


@dataclass(frozen=True)
class Sum:
    """Sum and count of responses, a reducer of one's own; exact for the counts."""

    name: str = "sum"
    fingerprint: str = "1"
    vertices: int = 5
    images: int | None = None
    whole: int = 1

    def init(self) -> dict[str, jax.Array]:
        return {"sum": jnp.zeros(5), "count": jnp.zeros((), jnp.int32), "seen": jnp.zeros(300, jnp.int32)}

    def update(self, state: dict, responses: jax.Array, indices: jax.Array, valid: jax.Array) -> dict:
        kept = jnp.where(valid[:, None], responses, 0)
        return {
            "sum": state["sum"] + kept.sum(0),
            "count": state["count"] + valid.sum(),
            "seen": state["seen"].at[indices].add(valid.astype(jnp.int32)),
        }

    def merge(self, a: dict, b: dict) -> dict:
        return {name: a[name] + b[name] for name in a}

    def finalize(self, state: dict) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in state.items()}


run = partial(stream, model, identity="sines", batch_size=4, show_progress=False)


def responses(path: Path) -> np.ndarray:
    with xarray.open_zarr(path) as data:
        assert data.attrs["complete"] is True
        return data.responses.values


def assert_each_once(results: dict, count: int = 300) -> None:
    assert (results["sum"]["seen"] == 1).sum() == count
    assert results["sum"]["count"] == count
    np.testing.assert_allclose(results["sum"]["sum"], EXPECTED.astype(np.float64).sum(0), atol=1e-3)


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_devices_share_the_work(devices: int, tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    results = run(Source(), [COLUMNS, Sum()], output=output, devices=jax.devices()[:devices])
    np.testing.assert_array_equal(responses(output), EXPECTED)
    assert_each_once(results)
    again = run(Source(), [COLUMNS, Sum()], output=output)
    np.testing.assert_array_equal(again["sum"]["sum"], results["sum"]["sum"])


def test_processes_share_the_work(tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    share = partial(run, Source(), [COLUMNS, Sum()], output=output, devices=jax.devices()[:2])
    assert share(process=Process(0, 3)) == {}
    assert "100 of 300 images done" in status_text(output)
    assert share(process=Process(2, 3)) == {}
    assert share(process=Process(0, 3)) == {}  # again, with nothing to do
    assert zarr.open_group(output, mode="r").attrs["complete"] is False
    assert_each_once(share(process=Process(1, 3)))
    np.testing.assert_array_equal(responses(output), EXPECTED)
    said = status_text(output)
    assert "300 of 300 images done" in said
    assert said.count("\n  process ") == 3
    assert "complete" in said


def test_the_ledger_names_the_sinks(tmp_path: Path) -> None:
    for name, sinks, expected in (
        ("both", [COLUMNS, Sum()], ["responses", "sum"]),
        ("stored", [COLUMNS], ["responses"]),
        ("reduced", [Sum()], ["sum"]),
    ):
        run(Source(), sinks, output=tmp_path / name, devices=jax.devices()[:1])
        entries = loop.Output(tmp_path / name).ledger.entries()
        assert len(entries) == 75
        assert all(entry["sinks"] == expected for entry in entries.values())


def test_float16(tmp_path: Path) -> None:
    """Rounded to nearest; half the bytes; part of the run's key; what does not fit is an error and not infinity."""
    output = tmp_path / "o.zarr"
    half = Columns(VERTICES, dtype="float16")
    run(Source(bad=(5,)), [half], output=output, devices=jax.devices()[:2], on_error="skip")
    expected = EXPECTED.astype(np.float16)
    expected[5] = np.nan
    stored = responses(output)
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, expected)
    assert zarr.open_group(output, mode="r").attrs["run"]["dtype"] == "float16"
    assert sum(path.stat().st_size for path in (output / "responses" / "c").rglob("*") if path.is_file()) == 300 * 10
    with pytest.raises(ResourceError, match="dtype is 'float16' there and 'float32' now"):
        run(Source(), [COLUMNS], output=output)
    with pytest.raises(InvalidParameterError, match=r"dtype must be one of \['float32', 'float16'\], got 'int8'"):
        Columns(VERTICES, dtype="int8")

    def large(images: jax.Array) -> jax.Array:
        number = images[:, 0, 0, :1]
        return jnp.where(number == 41, 65520.0, jnp.where(number == 40, jnp.inf, 65504.0)) + jnp.zeros((1, 5))

    options = {"output": tmp_path / "large.zarr", "identity": "large", "batch_size": 4, "show_progress": False}
    with pytest.raises(InvalidParameterError, match=r"65520 to image 41, column 0, .*float16 .*\(65504\).*float32"):
        stream(large, Source(), [half], devices=jax.devices()[:1], **options)
    done = loop.Output(tmp_path / "large.zarr").ledger.done()
    assert sum(done.values()) == 40
    there = zarr.open_group(tmp_path / "large.zarr", mode="r")["responses"]
    assert (there[:40] == 65504).all()
    assert np.isnan(there[40:]).all()


def test_only_reduced(tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    assert_each_once(run(Source(), [Sum()], output=output, devices=jax.devices()[:1]))
    assert "responses" not in zarr.open_group(output, mode="r")
    with np.load(output / "reducers" / "sum.npz") as stored:
        assert stored["count"] == 300


@pytest.mark.parametrize("reducers", [[], [Sum()]], ids=["stored", "reduced too"])
def test_a_time_limit_stops_and_a_later_run_goes_on(reducers: list, tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    slow = Source()
    read = slow.read
    slow.read = lambda indices: (time.sleep(0.06), read(indices))[1]
    options = {"output": output, "devices": jax.devices()[:2]}
    stops = 0
    while True:
        try:
            results = run(slow, [COLUMNS, *reducers], time_limit=0.5, **options)
            break
        except Interrupted:
            stops += 1
    assert 1 < stops < 60
    np.testing.assert_array_equal(responses(output), EXPECTED)
    if reducers:
        assert_each_once(results)
        assert len(list((output / "reducers").glob("*.state.npz"))) > 2


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


def test_real_reducers_in_the_loop(tmp_path: Path) -> None:
    """Against NumPy, with devices and processes that share the work, and blocks that hold whole probes."""
    reducers = [Moments(5), ArgmaxOverProbes(10, 30, 5), TopK(3, np.eye(5, dtype=np.float32))]
    share = partial(run, Source(), reducers, output=tmp_path / "o.zarr", devices=jax.devices()[:2])
    assert share(process=Process(1, 2)) == {}
    results = share(process=Process(0, 2))
    exact = EXPECTED.astype(np.float64)
    np.testing.assert_allclose(results["moments"]["mean"], exact.mean(0), atol=1e-6)
    np.testing.assert_allclose(results["moments"]["std"], exact.std(0, ddof=1), atol=1e-6)
    best = exact.reshape(10, 30, 5).mean(axis=1).argmax(axis=0)
    np.testing.assert_array_equal(results["argmax_over_probes"]["probe"], best)
    top = np.argsort(-exact, axis=0)[:3].T
    assert any(np.array_equal(value, top) for value in results["top_k"].values())


def of_all_kinds() -> list:
    random = np.random.default_rng(0)
    rois = np.eye(5, dtype=np.float32)[:2]
    groups = np.arange(300) % 7 - 1
    design = np.eye(3)[np.arange(300) % 3]
    return [
        ArgmaxOverProbes(10, 30, 5),
        Covariance(5),
        GLM(design, [[1, -1, 0]], 5, names=["a > b"]),
        GroupMeans(groups, 5),
        Moments(5),
        RoiMeans(rois, 300),
        TopK(3, rois),
        WeightedSums(random.normal(size=(300, 2)).astype(np.float32), 5),
    ]


@pytest.mark.nightly
def test_a_run_that_no_process_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last block and the end, it is merged without the model to the bits of a whole run."""
    options = {"devices": jax.devices()[:2]}
    whole = run(Source(), [COLUMNS, *of_all_kinds()], output=tmp_path / "whole.zarr", **options)
    output = tmp_path / "o.zarr"

    def die(*_: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "finish", die)
        with pytest.raises(OSError, match="killed"):
            run(Source(), [COLUMNS, *of_all_kinds()], output=output, **options)
    assert "300 of 300 images done" in status_text(output)
    assert "to be finished (berg-jax merge)" in status_text(output)
    assert "is complete now: 300 images" in merge_output(output)
    for name, arrays in whole.items():
        with np.load(output / "reducers" / f"{name}.npz") as stored:
            assert set(stored.files) == set(arrays)
            for key, value in arrays.items():
                np.testing.assert_array_equal(stored[key], value, err_msg=f"{name} {key}")
    np.testing.assert_array_equal(responses(output), EXPECTED)
    assert "complete already" in merge_output(output)
    assert set(run(Source(), [COLUMNS, *of_all_kinds()], output=output)) == set(whole)


def test_merging_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "o.zarr"
    with pytest.raises(ModelNotFoundError, match="Give the output of a run"):
        merge_output(output)
    share = partial(run, Source(), [Moments(5), Sum()], output=output, devices=jax.devices()[:1])
    assert share(process=Process(0, 2)) == {}
    with pytest.raises(ResourceError, match=r"37 of 75 blocks are missing, of images 4–7, 12–15, .*, …\. Run the"):
        merge_output(output)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "finish", lambda *_: None)
        with pytest.raises(FileNotFoundError):  # nothing was finished, so there are no results to load
            share(process=Process(1, 2))
    with pytest.raises(ResourceError, match="'sum' is none of this package"):
        merge_output(output)
    stored = output / "reducers" / "settings" / "moments.npz"
    for damage in (stored.read_bytes()[:100], b""):
        stored.write_bytes(damage)
        with pytest.raises(IntegrityError, match=r"moments\.npz is damaged"):
            merge_output(output)
    results = share()  # which needs no settings
    assert_each_once(results)
    np.testing.assert_allclose(results["moments"]["mean"], EXPECTED.astype(np.float64).mean(0), atol=1e-6)


def test_settings_of_another_run(tmp_path: Path) -> None:
    """The settings that are on the disk are the run's, or refused."""
    settings.save(tmp_path, [Moments(5)])
    (made,) = settings.load(tmp_path, {"moments": Moments(5).fingerprint})
    assert made.vertices == 5
    with pytest.raises(IntegrityError, match="not the run's"):
        settings.load(tmp_path, {"moments": Moments(6).fingerprint})


def test_two_processes_that_did_the_same_work_are_noticed(tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    assert run(Source(), [Sum()], output=output, devices=jax.devices()[:1], process=Process(0, 2)) == {}
    (state,) = (output / "reducers").glob("*.state.npz")
    state.with_name("copy.state.npz").write_bytes(state.read_bytes())
    with pytest.raises(ValidationError, match="both hold block 0"):
        run(Source(), [Sum()], output=output)
    state.with_name("copy.state.npz").write_bytes(b"PK")
    with pytest.raises(IntegrityError, match=r"copy\.state\.npz is damaged"):
        states.reduced_blocks(output / "reducers")


@pytest.mark.parametrize("devices", [1, 2])
def test_unreadable_images(devices: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = (0, 17, 160, 161, 162, 163, 299)
    source = Source(bad=bad)
    options = {"output": tmp_path / "o.zarr", "devices": jax.devices()[:devices]}
    with pytest.raises(StimulusError, match="image 0 is broken"):
        run(source, [COLUMNS, Sum()], **options)
    with caplog.at_level(logging.WARNING):
        results = run(source, [COLUMNS, Sum()], on_error="skip", **options)
    assert "Skipped: image 17 is broken" in caplog.text
    stored = responses(tmp_path / "o.zarr")
    assert np.flatnonzero(np.isnan(stored).any(axis=1)).tolist() == list(bad)
    good = np.setdiff1d(np.arange(300), bad)
    np.testing.assert_array_equal(stored[good], EXPECTED[good])
    assert np.flatnonzero(results["sum"]["seen"] == 0).tolist() == list(bad)
    assert "7 images could not be read and were skipped: 0, 17, 160" in status_text(tmp_path / "o.zarr")


PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.stream.test_loop import *
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
from tests.stream.test_loop import *
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
stream(Model(), Source(), sinks, output=sys.argv[2], devices=jax.devices()[:2], **run.keywords)
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
    share = partial(stream, wide, identity="wide", batch_size=4, show_progress=False, devices=jax.devices()[:1])
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


def test_another_run_is_refused(tmp_path: Path) -> None:
    options = {"output": tmp_path / "o.zarr", "devices": jax.devices()[:1]}
    run(Source(), [COLUMNS], **options)
    for change, said in (
        ({"identity": "cosines"}, "identity is 'sines' there and 'cosines' now"),
        ({"batch_size": 8}, "batch_size is 4 there and 8 now"),
        ({"run": {"fit": "crop"}}, "fit is None there"),
    ):
        with pytest.raises(ResourceError, match=said):
            run(Source(), [COLUMNS], **{**options, **change})
    with pytest.raises(ResourceError, match=r"reducers is \{\} there"):
        run(Source(), [COLUMNS, Sum()], **options)
    options["output"] = tmp_path / "chosen.zarr"
    run(Source(), [COLUMNS], **options, run={"selection": {"roi": "V1", "hemisphere": "lh"}})
    with pytest.raises(ResourceError, match=r"another run: selection's roi is 'V1' there and 'V2' now\. Choose"):
        run(Source(), [COLUMNS], **options, run={"selection": {"roi": "V2", "hemisphere": "lh"}})


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    options = {"output": tmp_path / "o.zarr"}
    for sinks in ([], [COLUMNS, COLUMNS]):
        with pytest.raises(InvalidParameterError, match="at most one Columns and any number of reducers"):
            run(Source(), sinks, **options)
    for names, said in (
        (("sum", "Sum"), "needs its own name"),
        (("vm-12.state",), "keeps something else under that name"),  # its results would pass for a state
        (("A.STATE",), "keeps something else"),
        (("responses",), "keeps something else"),  # in the ledger, the stored responses
        (("../sum",), "name must be of"),
        (("s" * 101,), "at most 100"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            run(Source(), [COLUMNS, *map(Sum, names)], **options)
    with pytest.raises(InvalidParameterError, match=r"is for any number of images and 6 vertices"):
        run(Source(), [COLUMNS, Sum(vertices=6)], **options)
    with pytest.raises(InvalidParameterError, match="on_error must be"):
        run(Source(), [COLUMNS], on_error="ignore", **options)
    with pytest.raises(InvalidParameterError, match="batch_size must be"):
        run(Source(), [COLUMNS], **{**options, "batch_size": 0})
    assert not (tmp_path / "o.zarr").exists()
    with pytest.raises(ModelNotFoundError, match="Give the output of a run"):
        status_text(tmp_path / "o.zarr")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, (3, 8)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (0, 1)),
        (
            {
                **{"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_ARRAY_TASK_ID": "6"},
                **{"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "5"},
            },
            (1, 4),
        ),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
        ({"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETION_COUNT": "5"}, (4, 5)),
    ],
)
def test_schedulers(environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert find_process(environment=environment) == expected
    assert find_process(1, 3, environment) == (1, 3)
    for wrong in ((1, None), (None, 2), (3, 3), (-1, 2)):
        with pytest.raises(InvalidParameterError, match="makes no sense"):
            find_process(*wrong, environment)


def test_responses_by_name(tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    run(Source(), [COLUMNS], output=output, devices=jax.devices()[:1])
    stored = berg_jax.open_responses(output)
    assert stored.data.dims == ("image", "vertex")
    assert stored.attributes["complete"] is True
    np.testing.assert_array_equal(stored.sel(roi="V1v"), EXPECTED[:, [0, 3]])
    np.testing.assert_array_equal(stored.sel(roi="V1", hemisphere="lh"), EXPECTED[:, [0, 1]])
    np.testing.assert_array_equal(stored.sel(image=["image-7", "image-2"], hemisphere="rh"), EXPECTED[[7, 2], 3:])
    for wrong, said in (
        ({"roi": "FFA-1"}, "no ROI 'FFA-1'"),
        ({"hemisphere": "left"}, "must be 'lh' or 'rh'"),
        ({"image": "x"}, "no image 'x'; there are .*'image-4'. and [0-9]+ more"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            stored.sel(**wrong)
    with pytest.raises(ModelNotFoundError, match="no stored responses"):
        berg_jax.open_responses(tmp_path / "nothing")


@pytest.mark.nightly
def test_the_benchmark_runs(complement: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from berg_jax.experiments.benchmarks import stream as stream_benchmark

    monkeypatch.setattr(stream_benchmark, "_FILES_PER_RUN", 20)
    monkeypatch.setattr(stream_benchmark, "_JPEGS", 3)
    options = {"berg_dir": complement.folder, "subject_id": 2, "repeats": 2, "seconds": 1e-3}
    said = stream_benchmark.bench_stream(100, 8, output=tmp_path / "bench.json", **options).splitlines()
    assert said[0].startswith("100 images of 64 pixels, 200 responses each, stored: ")
    assert [line.rpartition("  ")[0].strip() for line in said[2:4]] == [
        "the same streamed into a store",
        "streamed over bare",
    ]
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["model"]["images"] == 32
    rates = figures["model"]["images_per_second"]
    np.testing.assert_allclose(np.divide(rates["streamed"], rates["bare"]), figures["model"]["streamed_over_bare"])
    assert len(rates["bare"]) == len(figures["jpeg"]["images_per_second"]) == 2
    assert figures["cores"] >= 1
    assert any(line.startswith("jax ") for line in figures["environment"])
    for wrong in ({"repeats": -1}, {"seconds": 0}, {"n_images": 0}, {"batch_size": 0}):
        with pytest.raises(InvalidParameterError, match="must be"):
            stream_benchmark.bench_stream(**wrong)


@pytest.mark.nightly
def test_memory_is_flat() -> None:
    """Ten times the images, at most a tenth more anonymous memory, at its peak and at the end."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory cannot be seen here")
    peaks, ends = [], []
    for images in ("10000", "100000"):
        command = [
            sys.executable,
            "-c",
            "from berg_jax.cli.app import main; main()",
            "bench-stream",
            "--repeats",
            "0",
        ]
        command += ["--images", images]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            seen = [0]
            while process.poll() is None:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                seen.extend(int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon"))
                time.sleep(0.02)
            said = process.stdout.read()
        assert process.returncode == 0
        peaks.append(max(seen))
        ends.append(int(said.rpartition("memory ")[2].split()[0]))
    print(f"anonymous memory for 10,000 and 100,000 images: at most {peaks} MB, at the end {ends} MB")
    assert peaks[1] < 1.1 * peaks[0]
    assert ends[1] < 1.1 * ends[0]


def test_no_collective_in_the_compiled_step(complement: object) -> None:
    """Each device answers for its own images: nothing waits for another device."""
    from berg_jax.stream.devices import Devices

    devices = Devices(jax.devices()[:2])
    replicated = devices.replicate(complement.model)
    images = devices.split(np.zeros((4, 3, 224, 224), np.uint8))
    compiled = jax.jit(lambda model, images: model(images)).lower(replicated, images).compile().as_text()
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in compiled
    assert jax.tree.leaves(replicated)[0].sharding.is_fully_replicated

"""The loop with many devices, processes and reducers: nothing is lost, nothing counted twice."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr

import berg_jax
from berg_jax.errors import (
    Interrupted,
    InvalidParameterError,
    ModelNotFoundError,
    ResourceError,
    StimulusError,
)
from berg_jax.stream import loop
from berg_jax.stream.execution import Execution, Process
from berg_jax.stream.loop import stream
from berg_jax.stream.reducers import (
    ArgmaxOverProbes,
    Moments,
    TopK,
)
from berg_jax.stream.store.output import Columns
from berg_jax.stream.store.status import status_text

from .numbered import COLUMNS, EXPECTED, VERTICES, Source, Sum, assert_each_once, responses, run


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

    options = {"output": tmp_path / "large.zarr", "identity": "large"}
    with pytest.raises(InvalidParameterError, match=r"65520 to image 41, column 0, .*float16 .*\(65504\).*float32"):
        stream(large, Source(), [half], execution=Execution(batch_size=4, devices=1), **options)
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
    assert "7 images were skipped: image-0, image-17, image-160" in status_text(tmp_path / "o.zarr")


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
    with pytest.raises(ResourceError, match=r"another run: the ROI is 'V1' there and 'V2' now\. Choose"):
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

"""Outputs in object stores, on a real S3 server on loopback: the same bits as on a disk, whatever breaks."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

import berg_jax
from berg_jax.errors import ResourceError
from berg_jax.stream import loop
from berg_jax.stream.execution import Process
from berg_jax.stream.loop import stream
from berg_jax.stream.reducers import Moments
from berg_jax.stream.store import places as storage
from berg_jax.stream.store.output import Output, is_complete
from berg_jax.stream.store.places import find_place, list_folder, write
from berg_jax.stream.store.remote_zarr import zarr_store
from berg_jax.stream.store.status import status_text

from ...cli.test_app import run as command
from ...conftest import Golden
from ...kills import HELD, Program
from ..calls import encode_images, executed
from ..numbered import COLUMNS, EXPECTED, Source, model
from .buckets import keys

run = executed(stream, model, identity="sines", batch_size=4, show_progress=False, devices=1)
SINKS = [COLUMNS, Moments(5)]
_NIGHTLY = [pytest.param(["--pause", str(pause)], marks=pytest.mark.nightly) for pause in np.linspace(0.01, 0.1, 9)]


def assert_equal(results: dict, expected: dict) -> None:
    assert set(results) == set(expected)
    for name, arrays in expected.items():
        assert set(results[name]) == set(arrays)
        for key, value in arrays.items():
            np.testing.assert_array_equal(results[name][key], value, err_msg=f"{name} {key}")


def test_the_same_bits_as_on_a_disk(url: str, tmp_path: Path) -> None:
    expected = run(Source(), SINKS, output=tmp_path / "o.zarr")
    assert_equal(run(Source(), SINKS, output=url), expected)
    there = keys(url)
    folder = tmp_path / "o.zarr"
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {key for key in there if "state" not in key} == {name for name in files if "state" not in name}
    for name, data in files.items():
        if name == "zarr.json":  # indented otherwise
            assert json.loads(there[name]) == json.loads(data)
        elif "state" not in name and not name.startswith("ledger"):  # names of their own; and the time
            assert there[name] == data, name
    stored = berg_jax.open_responses(url)
    np.testing.assert_array_equal(stored.data, EXPECTED)
    assert stored.attributes["complete"] is True
    np.testing.assert_array_equal(stored.sel(roi="V1", hemisphere="lh", image="image-7"), EXPECTED[[7], :2])
    with xarray.open_zarr(tmp_path / "o.zarr") as local:
        xarray.testing.assert_identical(stored.data.load(), local.responses.load())
    assert_equal(run(Source(), SINKS, output=url), expected)  # all is there
    assert keys(url) == there
    with pytest.raises(ResourceError, match=r"belongs to another run: identity is 'sines' there and 'x' now"):
        run(Source(), SINKS, output=url, identity="x")


def test_skipped_images_are_nan(url: str) -> None:
    """A whole block of NaN, zarr's fill value, is stored as any other."""
    run(Source(bad=(8, 9, 10, 11, 20)), [COLUMNS], output=url, on_error="skip")
    expected = EXPECTED.copy()
    expected[[8, 9, 10, 11, 20]] = np.nan
    np.testing.assert_array_equal(berg_jax.open_responses(url).data, expected)
    assert "responses/c/2/0" in keys(url)
    assert "5 images were skipped: image-8, image-9, image-10, image-11, image-20" in status_text(url)


def test_two_workers_and_the_command_line(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(Source(), SINKS, output=tmp_path / "whole.zarr")
    assert command("status", url) == (2, f"Error: There is no output {url}. Give the output of a run.\n")
    assert run(Source(), SINKS, output=url, process=Process(1, 2)) == {}
    code, said = command("status", url)
    assert code == 0
    assert "148 of 300 images done, in blocks of 4: under way" in said
    assert command("merge", url)[0] == 2
    with monkeypatch.context() as patch:
        patch.setattr(loop, "finish", lambda *_: None)
        with pytest.raises(ResourceError, match="are not there"):  # the last one dies before it finishes
            run(Source(), SINKS, output=url, process=Process(0, 2))
    assert "to be finished (berg-jax merge)" in command("status", url)[1]
    assert not is_complete(find_place(url))
    code, said = command("merge", url)
    assert (code, said) == (0, f"{url} is complete now: 300 images, {url}/reducers/moments.npz\n")
    results = run(Source(), SINKS, output=url)
    assert results["moments"]["count"] == 300
    np.testing.assert_allclose(results["moments"]["mean"], expected["moments"]["mean"], atol=1e-7)
    np.testing.assert_array_equal(berg_jax.open_responses(url).data, EXPECTED)


@pytest.mark.nightly
@pytest.mark.parametrize("hold", [["--hold", "record"], *_NIGHTLY])
def test_kill_9(hold: list[str], url: str) -> None:
    """What is recorded is there and is not done again; the resumed run ends with the same bits."""
    with Program("-m", "tests.stream.alone", url, "columns", "moments", *hold) as process:
        if "--hold" in hold:
            process.until(HELD)
        else:
            process.until("begun")
            process.until(lambda: list_folder(find_place(url) / "ledger", ".json"))
        process.end(signal.SIGKILL)

    output = Output(url)
    entries = {key: data for key, data in keys(url).items() if key.startswith("ledger")}
    assert 0 < len(entries) < output.ledger.blocks
    stored = zarr.open_group(zarr_store(find_place(url)), mode="r")["responses"]
    for block in output.ledger.done():
        rows = slice(*output.ledger.range(block))
        np.testing.assert_array_equal(stored[rows], EXPECTED[rows])

    moments = run(Source(), SINKS, output=url)["moments"]
    there = keys(url)
    assert {key: there[key] for key in entries} == entries
    responses = berg_jax.open_responses(url)
    assert responses.attributes["complete"] is True
    np.testing.assert_array_equal(responses.data, EXPECTED)
    assert moments["count"] == 300
    np.testing.assert_allclose(moments["mean"], EXPECTED.astype(np.float64).mean(0), atol=1e-6)


def test_the_network_is_gone_in_mid_run(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded before is kept, and the run goes on when the network is back."""
    source, real = Source(), storage.Remote.store
    whole = run(Source(), [COLUMNS], output=f"{url}-whole")
    assert whole == {}
    read_images = source.read

    def cut(indices: np.ndarray) -> np.ndarray:
        if 100 in indices:
            nowhere = {"endpoint": "http://127.0.0.1:9"}  # the port of the discard protocol: nobody is there
            monkeypatch.setattr(
                storage.Remote, "store", lambda self, tries=None: real(type(self)(self.url, self.spec | nowhere), 1)
            )
        return read_images(indices)

    source.read = cut
    with pytest.raises(ResourceError, match=r"Cannot write s3.*does not answer.*is kept.*goes on with the rest"):
        run(source, [COLUMNS], output=url)
    monkeypatch.setattr(storage.Remote, "store", real)
    before = {key: data for key, data in keys(url).items() if key.startswith("ledger")}
    assert 10 < len(before) < 40
    run(Source(), [COLUMNS], output=url)
    there = keys(url)
    assert {key: there[key] for key in before} == before
    np.testing.assert_array_equal(berg_jax.open_responses(url).data, EXPECTED)


def test_something_else_is_there(url: str) -> None:
    write(find_place(url) / "zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(ResourceError, match="is no output of berg_jax"):
        run(Source(), [COLUMNS], output=url)


def test_a_run_that_died_as_it_began(url: str) -> None:
    """Its remains are used by the same run, and keep another one out."""
    run(Source(count=8), [COLUMNS], output=url)
    store = find_place(url).store()
    for key in keys(url):
        if key == "zarr.json" or key.startswith(("ledger", "responses")):
            store.write(key, None).result()  # deleted
    with pytest.raises(ResourceError, match=r"holds image/.* of another run\. Choose another output, or remove"):
        run(Source(count=9), [COLUMNS], output=url)
    run(Source(count=8), [COLUMNS], output=url)
    np.testing.assert_array_equal(berg_jax.open_responses(url).data, EXPECTED[:8])


def test_an_encoding(complement: Golden, url: str, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(1).integers(0, 256, (3, 3, 32, 32), np.uint8))
    encode = partial(
        encode_images,
        tmp_path / "images.npy",
        complement.folder,
        2,
        roi="V3v",
        batch_size=2,
        devices=1,
        show_progress=False,
    )
    encode(output=tmp_path / "o.zarr")
    assert f"compilation included): {url}" in encode(output=url)
    with xarray.open_zarr(tmp_path / "o.zarr") as local:
        np.testing.assert_array_equal(berg_jax.open_responses(url).data, local.responses)

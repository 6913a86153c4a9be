"""Runs that are stopped, killed or meet a damaged image: they resume to what a whole run gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import xarray
import zarr

from berg_jax.errors import ResourceError, StimulusError
from berg_jax.stream.execution import Execution
from berg_jax.stream.loop import stream
from berg_jax.stream.store.ledger import Ledger
from berg_jax.stream.store.output import Columns
from berg_jax.vertices import Vertices

from ..conftest import Golden
from .calls import encode_images

VERTICES = Vertices(np.arange(3), np.arange(2), 4)
# A pure function of the images in place of the network: any callable can be encoded.
PROGRAM = """
import sys, time
import numpy as np
from berg_jax.errors import Interrupted
from berg_jax.rois import Vertices
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.stream.execution import Execution, Process
from berg_jax.stream.loop import stream
from berg_jax.stream.store.output import Columns

def model(images):
    time.sleep(0.02)
    return images.reshape(len(images), -1)[:, :5].astype(np.float32)

source = ArraySource(sys.argv[1])
process = Process(*map(int, sys.argv[3:5])) if len(sys.argv) > 3 else None
print("begun", flush=True)
try:
    stream(model, source, [Columns(Vertices(np.arange(3), np.arange(2), 4))], output=sys.argv[2], identity="test",
           execution=Execution(process=process))
except Interrupted as stopped:
    print(stopped)
    sys.exit(75)
"""


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """700 small images in a file, and the responses that PROGRAM's model gives."""
    images = np.random.default_rng(0).integers(0, 256, (700, 3, 4, 4), dtype=np.uint8)
    path = tmp_path_factory.mktemp("array") / "images.npy"
    np.save(path, images)
    return path, images.reshape(700, -1)[:, :5].astype(np.float32)


def start(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n", process.stderr.read()
    return process


def recorded(store: Path) -> int:
    return sum(json.loads(path.read_text())["done"] for path in (store / "ledger").glob("*.json"))


def responses(store: Path) -> np.ndarray:
    with xarray.open_zarr(store) as data:
        assert data.attrs["complete"] is True
        return data.responses.values


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_finishes_the_batch_and_is_resumed(number: int, array: tuple, tmp_path: Path) -> None:
    path, expected = array
    store = tmp_path / "out.zarr"
    process = start(path, store)
    time.sleep(0.3)
    process.send_signal(number)
    said, _ = process.communicate()
    assert process.returncode == 75
    done = recorded(store)
    assert f"Interrupted: {done} of 700 images are done. Run the same command again" in said
    assert 0 < done < 700
    assert done % 8 == 0
    there = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(there["responses"][:done], expected[:done])
    assert there.attrs["complete"] is False
    process = start(path, store)
    process.communicate()
    assert process.returncode == 0
    np.testing.assert_array_equal(responses(store), expected)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 20))])
def test_kill_9_loses_nothing_that_is_recorded(seed: int, array: tuple, tmp_path: Path) -> None:
    path, expected = array
    store = tmp_path / "out.zarr"
    delays = np.random.default_rng(seed).uniform(0, 1.5, 2)
    for delay in delays:
        process = start(path, store)
        time.sleep(delay)
        process.kill()
        process.communicate()
        if not store.exists():  # killed before it was made
            continue
        there = zarr.open_group(store, mode="r")
        block = there.attrs["block"]
        for index, count in Ledger(store / "ledger", 700, block).done().items():
            rows = slice(index * block, index * block + count)
            np.testing.assert_array_equal(there["responses"][rows], expected[rows])
    process = start(path, store)
    process.communicate()
    assert process.returncode == 0
    np.testing.assert_array_equal(responses(store), expected)


def test_a_damaged_image_ends_the_run_and_costs_only_itself(complement: Golden, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    good = random.integers(0, 256, (9, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "images.npy", good)
    whole, resumed = tmp_path / "whole.zarr", tmp_path / "resumed.zarr"
    options = {"batch_size": 2, "roi": "V3v"}
    encode_images(tmp_path / "images.npy", complement.folder, 2, whole, **options)
    bad = good.copy()
    bad[7, 0, 0, 0] = np.nan
    np.save(tmp_path / "images.npy", bad)
    with pytest.raises(StimulusError, match=r"images\.npy, images 6 to 7: .*NaN"):
        encode_images(tmp_path / "images.npy", complement.folder, 2, resumed, **options)
    assert 0 < recorded(resumed) < 7
    np.save(tmp_path / "images.npy", good)
    encode_images(tmp_path / "images.npy", complement.folder, 2, resumed, **options)
    np.testing.assert_array_equal(responses(resumed), responses(whole))
    before = {path: path.stat().st_mtime_ns for path in resumed.rglob("*")}
    assert "9 images" in encode_images(tmp_path / "images.npy", complement.folder, 2, resumed, **options)
    assert {path: path.stat().st_mtime_ns for path in resumed.rglob("*")} == before
    for change, said in (
        ({"roi": "hV4"}, "selection's roi is 'V3v' there and 'hV4' now"),
        ({"batch_size": 3}, "batch_size is 2 there and 3 now"),
        ({"images": "0-3"}, "images is '[0-9a-f]{64}' there"),
    ):
        with pytest.raises(ResourceError, match=f"belongs to another run: .*{said}"):
            encode_images(tmp_path / "images.npy", complement.folder, 2, resumed, **{**options, **change})
    np.testing.assert_array_equal(responses(resumed), responses(whole))


def test_images_are_read_while_others_are_computed(tmp_path: Path) -> None:
    """At most three batches ahead; the last batch is filled up."""
    read: list[int] = []
    seen: list[int] = []

    class Source:
        ids: ClassVar = [str(i) for i in range(38)]
        fingerprint = "x"

        def __len__(self) -> int:
            return 38

        def read(self, indices: np.ndarray) -> np.ndarray:
            read.append(int(indices[-1]))
            return np.repeat(indices.astype(np.float32), 3).reshape(-1, 3, 1, 1)

    def model(images: np.ndarray) -> np.ndarray:
        assert images.shape == (4, 3, 1, 1)
        seen.append(int(images[0, 0, 0, 0]))
        assert max(read) <= seen[-1] + 3 + 4 * 3
        return np.repeat(images[:, 0, 0], 5, axis=1)

    stream(
        model,
        Source(),
        [Columns(VERTICES)],
        output=tmp_path / "o.zarr",
        identity="x",
        execution=Execution(batch_size=4, devices=1, show_progress=False),
    )
    assert seen == list(range(0, 38, 4))
    np.testing.assert_array_equal(responses(tmp_path / "o.zarr")[:, 0], np.arange(38))


def test_a_second_stop_acts_at_once(array: tuple, tmp_path: Path) -> None:
    path, _ = array
    code = PROGRAM.replace("time.sleep(0.02)", "time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(tmp_path / "o.zarr")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    time.sleep(0.3)
    for _ in range(2):
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.3)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM

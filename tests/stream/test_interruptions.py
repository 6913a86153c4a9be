"""The stream: arrays as sources, the ledger, and what a stop or a crash leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import ClassVar

import h5py
import jax
import numpy as np
import pytest
import xarray
import zarr

import berg_jax
from berg_jax.errors import IntegrityError, InvalidParameterError, ResourceError, StimulusError
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.stream import encode as encoding
from berg_jax.stream.loop import stream
from berg_jax.stream.sources.arrays import ArraySource, Subset, parse_numbers
from berg_jax.stream.store.ledger import Ledger
from berg_jax.stream.store.output import Columns, Output
from berg_jax.stream.store.places import find_place
from berg_jax.vertices import Vertices

from ..conftest import Golden

encode_images = partial(encoding.encode_images, devices=1, show_progress=False)
VERTICES = Vertices(np.arange(3), np.arange(2), 4)
# A pure function of the images in place of the network: any callable can be encoded.
PROGRAM = """
import sys, time
import numpy as np
from berg_jax.errors import Interrupted
from berg_jax.rois import Vertices
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.stream.devices import Process
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
           process=process)
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


def test_nsd_s_own_file(berg_dir: Path, tmp_path: Path) -> None:
    """A file of NSD's layout, and a split of the subject's metadata, counted from 0."""
    metadata = SubjectFiles(berg_dir, 2).metadata
    raw = np.load(metadata, allow_pickle=True).item()
    numbers = raw["encoding_models"]["test_img_num"] = raw["encoding_models"]["test_img_num"][[4, 0, 7]]
    np.save(metadata, raw, allow_pickle=True)
    shown = np.random.default_rng(2).integers(0, 256, (3, 30, 30, 3), dtype=np.uint8)
    path = tmp_path / "nsd_stimuli.hdf5"
    with h5py.File(path, "w") as file:
        bricks = file.create_dataset("imgBrick", (73_000, 30, 30, 3), np.uint8, chunks=(1, 30, 30, 3))
        for number, image in zip(numbers, shown, strict=True):
            bricks[number] = image
    subject = berg_jax.Subject(berg_dir, 2, num_heads=3)
    encode_images(path, berg_dir, 2, tmp_path / "o.zarr", images="test", roi="V3v")
    model = subject.model(roi="V3v")
    with xarray.open_zarr(tmp_path / "o.zarr") as data:
        assert data.image.values.tolist() == [str(number) for number in numbers]
        np.testing.assert_allclose(data.responses, model(shown.transpose(0, 3, 1, 2)), atol=1e-5)
    with pytest.raises(InvalidParameterError, match="images 0 to 72999, but image 73000"):
        encode_images(path, berg_dir, 2, tmp_path / "x.zarr", images="73000")


def test_arrays_are_read_by_row_in_any_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)
    np.save(tmp_path / "first.npy", images)
    np.save(tmp_path / "last.npy", images.transpose(0, 2, 3, 1))
    with h5py.File(tmp_path / "any.h5", "w") as file:
        file["group/pictures"] = images
        file["labels"] = np.arange(6)
    fingerprints = set()
    for name in ("first.npy", "last.npy", "any.h5"):
        source = ArraySource(tmp_path / name)
        np.testing.assert_array_equal(source.read([4, 1, 1]), images[[4, 1, 1]])
        assert source.ids == list("012345")
        fingerprints.add(source.fingerprint)
        part = Subset(source, np.array([5, 2]))
        np.testing.assert_array_equal(part.read([1, 0]), images[[2, 5]])
        assert part.ids == ["5", "2"]
        fingerprints.add(part.fingerprint)
    assert len(fingerprints) == 4  # of NCHW and NHWC, whole and in part


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_arrays_that_are_not_square(fit: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 20, 30), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    got = ArraySource(tmp_path / "a.npy", fit).read([0, 1])
    if fit == "crop":
        np.testing.assert_array_equal(got, images[..., 5:25])
    elif fit == "pad":
        np.testing.assert_array_equal(got[:, :, 5:25], images)
        assert (got[:, :, [0, 4, 25, 29]] == 128).all()
    else:
        assert got.shape == (2, 3, 224, 224)


@pytest.mark.parametrize(
    ("images", "options", "error", "said"),
    [
        (np.zeros((2, 3, 4, 3), np.uint8), {}, StimulusError, "may be NCHW or NHWC"),
        (np.zeros((2, 4, 4, 1), np.uint8), {}, StimulusError, "no axis of 3 channels"),
        (np.zeros((2, 3, 4, 4), np.uint8), {"layout": "NHWC"}, StimulusError, "not NHWC of 3 channels"),
        (np.zeros((2, 3, 4, 4), np.uint8), {"layout": "CHW"}, InvalidParameterError, "layout must be one of"),
        (np.zeros((2, 3, 4, 5), np.uint8), {}, StimulusError, "5 × 4 pixels.*--fit-images crop"),
        (np.zeros((2, 3, 4, 5), np.float32), {"fit": "crop"}, StimulusError, "only 8-bit images"),
        (np.zeros((3, 4, 4), np.uint8), {}, StimulusError, r"shape \(3, 4, 4\), expected"),
        (np.zeros((0, 3, 4, 4), np.uint8), {}, StimulusError, "expected"),
        (np.array([{}]), {}, StimulusError, "cannot be read"),
    ],
)
def test_arrays_that_are_no_images(images: np.ndarray, options: dict, error: type, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images, allow_pickle=True)
    with pytest.raises(error, match=said):
        ArraySource(tmp_path / "a.npy", **options)


def test_values_out_of_range_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(0, 1, (4, 3, 4, 4)))
    with pytest.raises(StimulusError, match=r"a\.npy, images 2 to 3: .*look like 0–1"):
        ArraySource(tmp_path / "a.npy").read([2, 3])


def test_hdf5_files_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(StimulusError, match="cannot be read"):
        ArraySource(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 4, 4))
    with pytest.raises(StimulusError, match=r"2 datasets of four axes \['a', 'b'\]"):
        ArraySource(tmp_path / "two.h5")


def test_numbers(tmp_path: Path) -> None:
    assert parse_numbers("3, 5,10-12").tolist() == [3, 5, 10, 11, 12]
    (tmp_path / "list.txt").write_text("7\n9\n1-2\n")
    assert parse_numbers(str(tmp_path / "list.txt")).tolist() == [7, 9, 1, 2]
    for text in ("", "5-3", "-4", "3.5", "tset", str(tmp_path), "9" * 30):
        with pytest.raises(InvalidParameterError, match=r"no image number|must be train"):
            parse_numbers(text)
    source = type("Five", (), {"__len__": lambda self: 5})()
    for numbers, said in (
        ([5], "images 0 to 4, but image 5"),
        ([-1], "image -1"),
        ([1, 1], "twice"),
        ([], "no image"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            Subset(source, np.array(numbers, np.int64))


def test_options_for_other_sources(complement: Golden, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    for arguments, said in (
        ({"path": tmp_path, "images": "test"}, "these are image files"),
        ({"path": tmp_path, "layout": "NCHW"}, "layout is for arrays"),
        ({"path": tmp_path / "a.mp4"}, "no source of images"),
    ):
        (tmp_path / "a.ppm").write_bytes(b"P6 1 1 255 abc")
        with pytest.raises(InvalidParameterError, match=said):
            encode_images(berg_dir=complement.folder, subject=2, output=tmp_path / "o.zarr", **arguments)


def test_a_ledger_that_makes_no_sense(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 10, 4)
    assert ledger.done() == {}
    ledger.record(2, 2, seconds=1.5)
    assert ledger.done() == {2: 2}
    (tmp_path / "ledger" / "000000001.123.partial").write_text("{")
    assert ledger.done() == {2: 2}
    for name, text in (
        ("000000000.json", "{"),
        ("000000000.json", '{"done": 5}'),
        ("000000000.json", '{"done": true}'),
        ("000000003.json", '{"done": 1}'),
        ("notes.json", '{"done": 1}'),
    ):
        path = tmp_path / "ledger" / name
        path.write_text(text)
        with pytest.raises(IntegrityError, match=r"no entry of this ledger.*Remove it"):
            ledger.done()
        path.unlink()


def test_an_output_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    zarr.create_group(tmp_path / "other.zarr")
    for name, said in (("folder", r"\(it lacks zarr\.json\)"), ("file", ""), ("other.zarr", "")):
        with pytest.raises(ResourceError, match=f"no output of berg_jax {said}"):
            Output.reopen(tmp_path / name, {}, {})


def test_paths_may_go_up_and_urls_keep_their_slashes(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    up = tmp_path / "below" / ".."
    zarr.create_array(tmp_path / "images.zarr", data=np.full((3, 3, 4, 4), 7, np.uint8))
    source, columns = ArraySource(up / "images.zarr"), Columns(Vertices.all(1))
    stream(
        lambda images: images[:, 0, 0, :2].astype(float), source, [columns], output=up / "o.zarr", identity="corner"
    )
    assert (berg_jax.open_responses(tmp_path / "o.zarr").data == 7).all()
    for url in ("s3:/bucket/o", Path("gs://bucket/o")):
        with pytest.raises(InvalidParameterError, match=r"a URL has two slashes.*Give it as text"):
            find_place(url)


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
        batch_size=4,
        devices=jax.devices()[:1],
        show_progress=False,
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

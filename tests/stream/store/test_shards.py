"""Shards of the stored responses: one file a block, as before, from which a vertex is read without the others."""

from __future__ import annotations

import signal
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorstore
import xarray
import zarr

import berg_jax
from berg_jax.errors import StimulusError
from berg_jax.stream.store.layout import RESPONSES, Columns
from berg_jax.stream.store.output import Output
from berg_jax.stream.store.places import find_place
from berg_jax.stream.store.remote_zarr import zarr_store
from berg_jax.vertices import Vertices

from ...kills import HELD, Program
from ..numbered import COLUMNS, EXPECTED, SHARDS, Source, responses, run

COUNT = 22  # images, of which the last block has two
BLOCKS = 6
RESULT = EXPECTED[:COUNT]
CHUNK = 2  # vertices, of five
ONE_DEVICE = jax.devices()[:1]


def files(store: Path) -> dict[str, bytes]:
    folder = store / RESPONSES / "c"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bytes_read() -> int:
    metric = "/tensorstore/kvstore/file/bytes_read"
    (found,) = tensorstore.experimental_collect_matching_metrics(metric)
    return found["values"][0]["value"]


def chunk_and_shard(path: Path) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    array = zarr.open_group(path, mode="r")[RESPONSES]
    return array.chunks, array.shards


@pytest.mark.parametrize(
    ("vertices", "dtype", "expected"),
    [
        (Vertices.all(163_842), "float32", ((8, 16_385), (8, 327_700))),
        (Vertices.all(163_842), "float16", ((8, 32_769), (8, 327_690))),
        (Vertices(np.arange(1000), np.arange(0), 163_842), "float32", ((8, 1000), None)),
    ],
    ids=["whole brain", "halved", "small"],
)
def test_a_block_is_one_shard_of_chunks_of_half_a_megabyte(
    vertices: Vertices, dtype: str, expected: tuple, tmp_path: Path
) -> None:
    ids = [str(index) for index in range(1000)]
    Output.create(tmp_path / "o.zarr", ids, {}, 8, Columns(vertices, dtype=dtype), {})

    assert chunk_and_shard(tmp_path / "o.zarr") == expected


def test_a_vertex_is_read_without_the_others(tmp_path: Path) -> None:
    run(Source(COUNT), [SHARDS], output=tmp_path / "o.zarr", devices=ONE_DEVICE)
    before = bytes_read()
    column = Output.existing(tmp_path / "o.zarr")._responses[:, 3].read().result()
    index = BLOCKS * (3 * 16 + 4)  # where each of a shard's three chunks lies, and a checksum

    np.testing.assert_array_equal(column, RESULT[:, 3])
    metadata = (tmp_path / "o.zarr" / RESPONSES / "zarr.json").stat().st_size
    assert bytes_read() - before <= 4 * BLOCKS * 4 * CHUNK + index + metadata
    assert len(files(tmp_path / "o.zarr")) == BLOCKS


def test_xarray_and_zarr_read_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "o.zarr"
    run(Source(COUNT), [SHARDS], output=path, devices=ONE_DEVICE)

    assert chunk_and_shard(path) == ((4, 2), (4, 6))
    np.testing.assert_array_equal(responses(path), RESULT)
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")[RESPONSES][:, 4], RESULT[:, 4])
    with xarray.open_zarr(path, chunks=None) as data:
        np.testing.assert_array_equal(data.responses[7], RESULT[7])
        np.testing.assert_array_equal(data.responses[:, [0, 3, 4]], RESULT[:, [0, 3, 4]])
    np.testing.assert_array_equal(berg_jax.open_responses(path).sel(roi="V1v"), RESULT[:, [0, 3]])


def test_a_block_whose_beginning_was_written_is_completed(tmp_path: Path) -> None:
    """An unreadable image interrupts a block of 8 images after its first 4 → the rest is added to the same bits."""
    path = tmp_path / "o.zarr"
    output = Output.create(path, Source(COUNT).ids, {}, 8, SHARDS, {})

    output.write(0, RESULT[:3])
    first = Output.existing(path)._responses[:8].read().result()
    np.testing.assert_array_equal(first[:3], RESULT[:3])
    assert np.isnan(first[3:]).all()
    Output.existing(path).write(3, RESULT[3:8])
    Output.existing(path).write(21, RESULT[21:])  # the last block is shorter
    np.testing.assert_array_equal(Output.existing(path)._responses[:8].read().result(), RESULT[:8])
    np.testing.assert_array_equal(Output.existing(path)._responses[21].read().result(), RESULT[21])
    assert sorted(files(path)) == ["0/0", "2/0"]

    with pytest.raises(StimulusError, match="image 14 is broken"):
        run(Source(COUNT, bad=(14,)), [SHARDS], output=tmp_path / "run.zarr", devices=ONE_DEVICE)
    assert 0 < len(files(tmp_path / "run.zarr")) < BLOCKS
    run(Source(COUNT), [SHARDS], output=tmp_path / "run.zarr", devices=ONE_DEVICE)
    np.testing.assert_array_equal(responses(tmp_path / "run.zarr"), RESULT)


def test_a_store_of_whole_blocks_is_resumed_as_it_began(tmp_path: Path) -> None:
    """A store written before there were shards → it goes on with one chunk a block, to the same bytes."""
    run(Source(COUNT), [COLUMNS], output=tmp_path / "whole.zarr", devices=ONE_DEVICE)
    with pytest.raises(StimulusError):
        run(Source(COUNT, bad=(14,)), [COLUMNS], output=tmp_path / "o.zarr", devices=ONE_DEVICE)

    run(Source(COUNT), [SHARDS], output=tmp_path / "o.zarr", devices=ONE_DEVICE)

    assert chunk_and_shard(tmp_path / "o.zarr") == ((4, 5), None)
    assert files(tmp_path / "o.zarr") == files(tmp_path / "whole.zarr")


def test_a_block_of_nan_is_an_object_like_any_other() -> None:
    """All images of a block skipped, in an object store → its shard is written, and later completed."""
    place = find_place("memory://shards/")
    output = Output.create(place, Source(COUNT).ids[:12], {}, 4, SHARDS, {})
    output.write(0, EXPECTED[:4])
    output.write(4, np.full((4, 5), np.nan, np.float32))
    output.write(0, np.full((4, 5), np.nan, np.float32))
    keys = [key.decode() for key in place.store().list().result()]

    assert {"responses/c/0/0", "responses/c/1/0"} <= set(keys)
    assert np.isnan(zarr.open_group(zarr_store(place), mode="r")[RESPONSES][:]).all()
    output.write(0, EXPECTED[:4])
    np.testing.assert_array_equal(zarr.open_group(zarr_store(place), mode="r")[RESPONSES][:4], EXPECTED[:4])


@pytest.mark.nightly
@pytest.mark.parametrize("moment", ["compute", "write", "record", "name"])
def test_a_killed_run_of_shards_resumes_to_the_same_bits(moment: str, tmp_path: Path) -> None:
    """Killed with signal 9 → the data of every block in the ledger are there, and the same command ends with all."""
    path = tmp_path / "o.zarr"
    with Program("-m", "tests.stream.alone", path, "shards", "--hold", moment) as process:
        process.until(HELD)
        process.end(signal.SIGKILL)

    output = Output(path)
    done = output.ledger.done()
    assert 0 < len(done) < output.ledger.blocks
    stored = zarr.open_group(path, mode="r")[RESPONSES]
    for block in done:
        rows = slice(*output.ledger.range(block))
        np.testing.assert_array_equal(stored[rows], EXPECTED[rows])
    run(Source(), [SHARDS], output=path, devices=ONE_DEVICE)
    np.testing.assert_array_equal(responses(path), EXPECTED)

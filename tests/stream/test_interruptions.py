"""Runs that are stopped, killed or meet a damaged image: they resume to what a whole run gives."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import zarr

from berg_jax.errors import ResourceError, StimulusError
from berg_jax.stream.execution import Execution
from berg_jax.stream.loop import stream
from berg_jax.stream.store.output import Columns

from ..conftest import Golden
from ..kills import HELD, Program
from .calls import encode_images
from .numbered import COLUMNS, EXPECTED, VERTICES, Source, responses, run

ALONE = ("-m", "tests.stream.alone")


def recorded(store: Path) -> int:
    return sum(json.loads(path.read_text())["done"] for path in (store / "ledger").glob("*.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)])
def test_a_stop_finishes_the_batch_and_is_resumed(number: signal.Signals, tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"

    with Program(*ALONE, output, "columns", "--hold", "compute") as process:
        process.until(HELD)
        process.send(number)
        process.until("Stopping after the batch at hand. Once more to stop at once.")
        process.go_on()
        status = process.end()
        said = process.said

    assert status == 75
    done = recorded(output)
    assert 0 < done < 300
    assert done % 4 == 0
    assert f"Interrupted: {done} of 300 images are done. Run the same command again" in said
    there = zarr.open_group(output, mode="r")
    np.testing.assert_array_equal(there["responses"][:done], EXPECTED[:done])
    assert there.attrs["complete"] is False

    run(Source(), [COLUMNS], output=output, devices=1)
    np.testing.assert_array_equal(responses(output), EXPECTED)


def test_a_second_stop_acts_at_once(tmp_path: Path) -> None:
    with Program(*ALONE, tmp_path / "out.zarr", "columns", "--hold", "compute") as process:
        process.until(HELD)
        process.send(signal.SIGTERM)
        process.until("Stopping after the batch at hand.")
        assert process.end(signal.SIGTERM) == -signal.SIGTERM  # and it still holds


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
        ({"roi": "hV4"}, "the ROI is 'V3v' there and 'hV4' now"),
        ({"batch_size": 3}, "batch_size is 2 there and 3 now"),
        ({"images": "0-3"}, "it has 9 images, and there are 4 now"),
    ):
        with pytest.raises(ResourceError, match=f"belongs to another run: .*{said}") as refused:
            encode_images(tmp_path / "images.npy", complement.folder, 2, resumed, **{**options, **change})
        assert "identity" not in str(refused.value)  # a hash, which says nothing
        assert "found" not in str(refused.value)
    np.testing.assert_array_equal(responses(resumed), responses(whole))


def test_images_are_read_while_others_are_computed(tmp_path: Path) -> None:
    """At most three batches ahead; the last batch is filled up."""
    read: list[int] = []
    seen: list[int] = []

    class Numbers:
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
        Numbers(),
        [Columns(VERTICES)],
        output=tmp_path / "o.zarr",
        identity="x",
        execution=Execution(batch_size=4, devices=1, show_progress=False),
    )
    assert seen == list(range(0, 38, 4))
    np.testing.assert_array_equal(responses(tmp_path / "o.zarr")[:, 0], np.arange(38))

"""Benchmark of a store of responses: how fast it is written, and read by vertex, by region and by image.

::

    berg-jax bench-store                          # 1,000 images of the whole brain: a minute, 1.4 GB of disk
    berg-jax bench-store --images 10000           # 13 GB
    berg-jax bench-store --chunk-bytes 100000000  # a block of images in one chunk, as before there were shards

Times are of reads after the operating system was told to forget the files, where it can be (Linux), and again. With
dask installed, xarray's own chunks and chunks of whole blocks are measured, too.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from ...errors import InvalidParameterError
from ...files.disk import explained, write_whole
from ...machine import environment
from ...stream.store.output import RESPONSES, Columns, Output
from ...stream.store.responses import open_responses
from ...vertices import Vertices

_HEMISPHERE_SIZE = 163_842
_BATCH = 8
_SCATTERED = 500  # vertices of a region, which has neighbors on the cortex far apart in fsaverage's order
_DASK_IMAGES = 64  # images in a chunk of dask's that holds whole blocks


def bench_store(
    n_images: int = 1000,
    *,
    hemisphere_size: int = _HEMISPHERE_SIZE,
    chunk_bytes: int = Columns.chunk_bytes,
    repeats: int = 3,
    folder: str | Path | None = None,
    output: str | Path | None = None,
) -> str:
    """Measure how fast a store of made-up responses is written and read.

    Parameters
    ----------
    n_images
        Number of images; one of the whole brain takes 1.3 MB of disk.
    hemisphere_size
        Vertices of a hemisphere, all of which are stored.
    chunk_bytes
        Size of a chunk: see :class:`~berg_jax.stream.store.layout.Columns`.
    repeats
        Number of times that each read is timed.
    folder
        Where the store is written, and removed again (by default the system's folder for temporary files).
    output
        A JSON file for all figures, and a description of the machine.

    Returns
    -------
    A table of median seconds.

    Raises
    ------
    BERGError
        A number makes no sense; the disk is too full; the file cannot be written.

    See Also
    --------
    berg_jax.experiments.benchmarks.stream.bench_stream : Measure the loop that fills a store.
    """
    for name, value in (("n_images", n_images), ("hemisphere_size", hemisphere_size), ("repeats", repeats)):
        if value < 1:
            raise InvalidParameterError(f"{name} must be at least 1, got {value}.")
    columns = Columns(Vertices.all(hemisphere_size), chunk_bytes=chunk_bytes)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "responses.zarr"
        figures: dict[str, Any] = {"images": n_images, "vertices": len(columns.vertices)}
        figures |= _write(path, columns, n_images)
        figures["reads"] = {way: _read(path, open_it(path), repeats) for way, open_it in _ways().items()}
    if output is not None:
        figures["environment"] = environment().splitlines()
        with explained("write", Path(output)):
            write_whole(Path(output), json.dumps(figures, indent=1).encode())
    return _table(figures)


def _write(path: Path, columns: Columns, n_images: int) -> dict[str, Any]:
    """Write the store block by block, as a stream does, and count its files."""
    store = Output.create(path, [str(index) for index in range(n_images)], {}, _BATCH, columns, {})
    random = np.random.default_rng(0)
    rows = random.standard_normal((store.ledger.block, len(columns.vertices)), dtype=np.float32)
    seconds = 0.0
    for block in range(store.ledger.blocks):
        first, stop = store.ledger.range(block)
        seconds += _seconds(lambda: store.write(first, rows[: stop - first]))  # noqa: B023
    store.finish()
    files = _files(path)
    size = sum(file.stat().st_size for file in files)
    return {"write_seconds": seconds, "files": len(files), "bytes": size, "images_per_block": store.ledger.block}


def _ways() -> dict[str, Callable[[Path], xarray.DataArray]]:
    ways = {"open_responses": lambda path: open_responses(path).data}
    if importlib.util.find_spec("dask") is not None:
        ways["xarray with dask, chunks as stored"] = lambda path: xarray.open_zarr(path, chunks={})[RESPONSES]
        chunks = {"image": _DASK_IMAGES, "vertex": -1}
        ways["xarray with dask, chunks of whole blocks"] = lambda path: xarray.open_zarr(path, chunks=chunks)[
            RESPONSES
        ]
    return ways


def _read(path: Path, data: xarray.DataArray, repeats: int) -> dict[str, list[float]]:
    """Return the median seconds of each kind of read, first from the disk and then from memory."""
    images, vertices = data.shape
    random = np.random.default_rng(1)
    scattered = np.sort(random.choice(vertices, min(_SCATTERED, vertices), replace=False))
    reads: dict[str, Callable[[int], object]] = {
        "one vertex": lambda turn: data[:, (turn + 1) * vertices // (repeats + 2)].values,
        f"{len(scattered)} scattered vertices": lambda _: data[:, scattered].values,
        "one image": lambda turn: data[(turn + 1) * images // (repeats + 2)].values,
        "the mean image": lambda _: data.mean("image").values,
    }
    found = {}
    for name, read in reads.items():
        times = []
        for turn in range(repeats):
            _forget(path)
            times.append([_seconds(lambda: read(turn)) for _ in range(2)])  # noqa: B023
        found[name] = np.median(times, axis=0).tolist()
    return found


def _forget(path: Path) -> None:
    """Tell the operating system that the files need not be kept in memory."""
    if hasattr(os, "posix_fadvise"):
        for file in _files(path):
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _files(path: Path) -> list[Path]:
    return [file for file in (path / RESPONSES).rglob("*") if file.is_file()]


def _table(figures: dict[str, Any]) -> str:
    lines = [
        f"{figures['images']} images × {figures['vertices']} vertices, {figures['bytes'] / 1e9:.3g} GB in "
        f"{figures['files']} files: written in {figures['write_seconds']:.3g} s",
        f"{'seconds from the disk, and from memory':<44}" + "".join(f"{name:>26}" for name in _kinds(figures)),
    ]
    for way, reads in figures["reads"].items():
        lines.append(f"{way:<44}" + "".join(f"{f'{cold:.3g}, {warm:.3g}':>26}" for cold, warm in reads.values()))
    return "\n".join(lines)


def _kinds(figures: dict[str, Any]) -> list[str]:
    return list(next(iter(figures["reads"].values())))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

"""Benchmark of the stream: its loop alone, next to the bare model, and decoding JPEG files.

::

    berg-jax bench-stream                               # minutes
    berg-jax bench-stream --berg-dir DIR --subject 1    # the same with another model
    berg-jax bench-stream --images 100000 --repeats 0   # the loop only

On 2 cores the loop carries at least 4,000 images/s, the stream at least 95% of the bare model's rate, and JPEG files
are decoded at 1,500 images/s or more. Memory is flat: that of 100,000 images is within 10% of that of 10,000.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8
from PIL import Image

from ...errors import InvalidParameterError
from ...files.disk import explained, write_whole
from ...machine import environment
from ...stream.execution import Execution
from ...stream.loop import stream
from ...stream.sources.arrays import ArraySource
from ...stream.sources.folders import FolderSource
from ...stream.sources.image_files import Source
from ...stream.store.output import Columns
from ...subject import Subject
from ...vertices import Vertices

_VERTICES = 200  # vertices of the model that computes nothing
_FEW = Vertices(np.arange(_VERTICES // 2), np.arange(_VERTICES // 2), _VERTICES)
_SIDE = 64  # side in pixels of the images for that model
_JPEG_SIDE, _JPEGS, _QUALITY = 256, 64, 90
_FILES_PER_RUN = 3000
_MODEL_SIDE = 224


def bench_stream(
    n_images: int = 20_000,
    batch_size: int = 32,
    *,
    berg_dir: str | Path = "demo",
    subject_id: int = 1,
    repeats: int = 5,
    seconds: float = 5.0,
    output: str | Path | None = None,
) -> str:
    """Measure the loop with a model that computes nothing, a model bare and streamed, and JPEG decoding.

    All run on one device.

    Parameters
    ----------
    n_images
        Number of images, of 64 × 64 pixels, for the model that computes nothing; each takes 12 kB of disk.
    batch_size
        Images in a step.
    berg_dir, subject_id
        The model that is streamed, with all its vertices: see :func:`berg_jax.load`.
    repeats
        Number of times that the model runs bare and streamed in turn, and that the files are decoded. With 0 only
        the loop is measured.
    seconds
        Approximate time that the bare model runs in each repeat.
    output
        A JSON file for all figures of every repeat, and a description of the machine.

    Returns
    -------
    A table of median images a second, with the least and the most.

    Raises
    ------
    BERGError
        A number makes no sense, there is no such subject, or the file cannot be written.

    See Also
    --------
    berg_jax.experiments.benchmarks.speed.benchmark : Measure the model itself.
    """
    least_values = (("n_images", n_images, 1), ("batch_size", batch_size, 1), ("repeats", repeats, 0))
    for name, value, least in least_values:
        if value < least:
            raise InvalidParameterError(f"{name} must be at least {least}, got {value}.")
    if not seconds > 0:
        raise InvalidParameterError(f"seconds must be more than 0, got {seconds}.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.local_devices()[0]
    figures: dict[str, Any] = {"batch_size": batch_size, "cores": cores, "device": device.device_kind}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["loop"] = {"images": n_images, "images_per_second": [_loop(folder, n_images, batch_size)]}
        lines = [
            f"{n_images} images of {_SIDE} pixels, {_VERTICES} responses each, stored: "
            f"{_range(figures['loop']['images_per_second'])} images/s ({device.device_kind}); anonymous memory "
            f"{_anonymous_memory()}"
        ]
        if repeats:
            figures["model"] = _model(folder, Subject(berg_dir, subject_id), batch_size, repeats, seconds)
            figures["jpeg"] = _jpeg(folder, batch_size, repeats)
            lines += _table(figures, f"{berg_dir}, subject {subject_id}")
    if output is not None:
        figures["environment"] = environment().splitlines()
        with explained("write", Path(output)):
            write_whole(Path(output), json.dumps(figures, indent=1).encode())
    return "\n".join(lines)


def _loop(folder: Path, n_images: int, batch_size: int) -> float:
    """Return images a second from a memory map, through a model that computes nothing, into a store."""
    path = folder / "images.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (n_images, 3, _SIDE, _SIDE))
    array[:] = np.random.default_rng(0).integers(0, 256, array.shape[1:], dtype=np.uint8)
    del array
    return n_images / _stream_seconds(folder / "loop.zarr", _nothing, ArraySource(path), batch_size, _FEW)


def _model(folder: Path, subject: Subject, batch_size: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Measure a model bare and streamed into a store, in turn, on the same batches in memory."""
    vertices, model = Vertices.all(subject.hemisphere_size), subject.model()
    batch = np.random.default_rng(1).integers(0, 256, (batch_size, 3, _MODEL_SIDE, _MODEL_SIDE), dtype=np.uint8)
    jax.block_until_ready(model(batch))  # compiled
    step_seconds = min(_seconds(lambda: jax.block_until_ready(model(batch))) for _ in range(3))
    steps = max(int(seconds / step_seconds), 4)
    source, rates = _Repeated(batch, steps), {"bare": [], "streamed": []}

    def bare() -> None:
        previous = None
        for start in range(0, len(source), batch_size):
            responses = model(source.read(range(start, start + batch_size)))
            if previous is not None:
                jax.block_until_ready(previous)  # one step ahead, as the stream is
            previous = responses
        jax.block_until_ready(previous)

    for repeat in range(repeats + 1):  # the first warms up and does not count
        path = folder / f"model-{repeat}.zarr"
        timers = {
            "bare": lambda: _seconds(bare),
            "streamed": lambda path=path: _stream_seconds(path, model, source, batch_size, vertices),
        }
        for name in sorted(timers, reverse=repeat % 2 == 1):
            rates[name].append(len(source) / timers[name]())
    rates = {name: values[1:] for name, values in rates.items()}
    ratios = [streamed / bare for bare, streamed in zip(rates["bare"], rates["streamed"], strict=True)]
    facts = {"images": len(source), "vertices": len(vertices)}
    return {**facts, "images_per_second": rates, "streamed_over_bare": ratios}


def _jpeg(folder: Path, batch_size: int, repeats: int) -> dict[str, Any]:
    """Measure how fast a folder of JPEG files is decoded and queued for a model that computes nothing."""
    contents = [_photograph(seed) for seed in range(_JPEGS)]
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(_FILES_PER_RUN):
        (pictures / f"{index}.jpg").write_bytes(contents[index % _JPEGS])
    source = FolderSource(pictures)
    rates = [
        _FILES_PER_RUN / _stream_seconds(folder / f"jpeg-{repeat}.zarr", _nothing, source, batch_size, _FEW)
        for repeat in range(repeats + 1)
    ]
    size = float(np.mean([len(data) for data in contents]))
    return {"images": _FILES_PER_RUN, "side": _JPEG_SIDE, "bytes": size, "images_per_second": rates[1:]}


def _stream_seconds(path: Path, model: Callable, source: Source, batch_size: int, vertices: Vertices) -> float:
    """Return the seconds that a stream takes from its call to its return, with its start and its end."""
    execution = Execution(batch_size=batch_size, devices=1, show_progress=False)
    options = {"identity": "benchmark", "execution": execution}
    return _seconds(lambda: stream(model, source, [Columns(vertices)], output=path, **options))


class _Repeated:
    """A source that repeats one batch from memory."""

    fingerprint = "repeated"

    def __init__(self, batch: UInt8[np.ndarray, "b 3 h w"], times: int) -> None:
        self._batch, self._length = batch, times * len(batch)
        self.ids = [str(index) for index in range(self._length)]

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "n 3 h w"]:
        """Return the batch, whatever the indices."""
        return self._batch


def _photograph(seed: int) -> bytes:
    """Return a JPEG file with a photograph's spectrum: amplitude falls with frequency."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_JPEG_SIDE), np.fft.fftfreq(_JPEG_SIDE)))
    noise = np.fft.fft2(random.normal(size=(3, _JPEG_SIDE, _JPEG_SIDE))) / np.maximum(frequency, 1 / _JPEG_SIDE)
    pixels = np.fft.ifft2(noise).real
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std()
    memory = io.BytesIO()
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    image.save(memory, "JPEG", quality=_QUALITY)
    return memory.getvalue()


def _table(figures: dict[str, Any], name: str) -> list[str]:
    model, jpeg = figures["model"], figures["jpeg"]
    ratio = [100 * value for value in model["streamed_over_bare"]]
    rates = model["images_per_second"]
    rows = [
        (f"bare model ({name}; {model['vertices']} vertices)", f"{_range(rates['bare'])} images/s"),
        ("the same streamed into a store", f"{_range(rates['streamed'])} images/s"),
        ("streamed over bare", f"{_range(ratio, '.1f')} %"),
        (
            f"JPEG files of {jpeg['side']} pixels, {jpeg['bytes'] / 1000:.0f} kB, decoded and queued",
            f"{_range(jpeg['images_per_second'])} images/s on {figures['cores']} cores",
        ),
    ]
    width = max(len(label) for label, _ in rows)
    return [f"{label:<{width}}  {value}" for label, value in rows]


def _range(values: list[float], form: str = ",.0f") -> str:
    """Return the median as text, followed by the least and the most if there are several values."""
    form = ",.1f" if form == ",.0f" and max(values) < 100 else form
    middle = format(float(np.median(values)), form)
    return middle if len(values) == 1 else f"{middle} ({format(min(values), form)} to {format(max(values), form)})"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@jax.jit
def _nothing(images: Num[Array, "b 3 h w"]) -> Float[Array, "b vertices"]:
    first = images[:, 0, 0, :1].astype(jnp.float32)
    return jnp.broadcast_to(first, (images.shape[0], _VERTICES))


def _anonymous_memory() -> str:
    """Return this process's anonymous memory (RssAnon), which Linux reports."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown here"
    return next(f"{int(line.split()[1]) / 1024:.0f} MB" for line in lines if line.startswith("RssAnon"))

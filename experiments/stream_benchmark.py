"""What the stream itself costs: the loop with a model that computes nothing, and memory as images go by.

berg-jax bench-stream                    seconds; more than 4,000 images/s expected
berg-jax bench-stream --images 100000    flat memory: within 10% of what 10,000 images take
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ..errors import InvalidParameterError
from ..rois import Vertices
from ..stream.arrays import ArraySource
from ..stream.loop import stream
from ..stream.stores import Columns

_VERTICES = 200
_SIDE = 64  # pixels


def bench_stream(images: int = 20_000, batch_size: int = 32) -> str:
    """Stream a memory map through a model without arithmetic into a store, on one device.

    Parameters
    ----------
    images
        How many, of 64 × 64 pixels; the map takes 12 kB of disk for each.
    batch_size
        Images a step.

    Returns
    -------
    Images a second, and the process' anonymous memory at the end, in one line.

    Raises
    ------
    InvalidParameterError
        ``images`` is less than 1.
    """
    if images < 1:
        raise InvalidParameterError(f"images must be at least 1, got {images}.")
    vertices = Vertices(np.arange(_VERTICES // 2), np.arange(_VERTICES // 2), _VERTICES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        array = np.lib.format.open_memmap(path, "w+", np.uint8, (images, 3, _SIDE, _SIDE))
        array[:] = np.random.default_rng(0).integers(0, 256, array.shape[1:], dtype=np.uint8)
        del array
        start = time.perf_counter()
        stream(
            _nothing,
            ArraySource(path),
            [Columns(vertices)],
            output=Path(folder) / "responses.zarr",
            identity="nothing",
            batch_size=batch_size,
            devices=jax.local_devices()[:1],
            show_progress=False,
        )
        seconds = time.perf_counter() - start
    return (
        f"{images} images of {_SIDE} pixels, {_VERTICES} responses each, stored: {images / seconds:,.0f} images/s "
        f"({jax.devices()[0].device_kind}); anonymous memory {_anonymous_memory()}"
    )


@jax.jit
def _nothing(images: Num[Array, "b 3 h w"]) -> Float[Array, "b vertices"]:
    first = images[:, 0, 0, :1].astype(jnp.float32)
    return jnp.broadcast_to(first, (images.shape[0], _VERTICES))


def _anonymous_memory() -> str:
    """RssAnon of this process, which Linux tells."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown here"
    return next(f"{int(line.split()[1]) / 1024:.0f} MB" for line in lines if line.startswith("RssAnon"))

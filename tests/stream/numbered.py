"""Numbered images, a model that is a sine of the number, and a reducer that sees who was counted twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from berg_jax.errors import (
    StimulusError,
)
from berg_jax.stream.loop import stream
from berg_jax.stream.store.output import Columns
from berg_jax.vertices import Vertices

from .calls import executed

VERTICES = Vertices(np.arange(3), np.arange(2), 4)
COLUMNS = Columns(VERTICES, {"V1v": np.array([True, False, False, True, False]), "V1d": np.arange(5) == 1})
# Blocks of 4 images in three chunks of vertices, of which the last one is padded.
SHARDS = replace(COLUMNS, chunk_bytes=4 * 5 * 4 // 3)


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


run = executed(stream, model, identity="sines", batch_size=4, show_progress=False)


def responses(path: Path) -> np.ndarray:
    with xarray.open_zarr(path) as data:
        assert data.attrs["complete"] is True
        return data.responses.values


def assert_each_once(results: dict, count: int = 300) -> None:
    assert (results["sum"]["seen"] == 1).sum() == count
    assert results["sum"]["count"] == count
    np.testing.assert_allclose(results["sum"]["sum"], EXPECTED.astype(np.float64).sum(0), atol=1e-3)

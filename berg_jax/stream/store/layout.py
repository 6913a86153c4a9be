"""Layout of an output: a zarr v3 store of responses that xarray opens with named coordinates.

responses   (image, vertex) float32 or float16, z units; NaN where nothing was written; absent if only reducers ran
image       names of the images
digest      (image,) digests of the images' contents, 0 where none was made; absent if the source has none
vertex      index within the hemisphere
hemisphere  "lh" or "rh" of each vertex
roi         names of the subject's ROIs; absent without metadata
membership  (roi, vertex) whether a vertex belongs to a ROI; absent without metadata
attributes  run (values that a resumed run must have, too), block, complete; subject, weights, versions, …
ledger/     finished blocks: see :mod:`berg_jax.stream.store.ledger`
growing/    names and digests of all images, from when images were appended; attribute growing while they are
reducers/   settings and states of reducers, and at the end their results
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray
import zarr
from jaxtyping import Bool
from zarr.storage import MemoryStore

from ...errors import InvalidParameterError, ResourceError
from ...vertices import Vertices
from .places import Place, Remote, read, write_new

RESPONSES = "responses"
ROOT = "zarr.json"
LEDGER = "ledger"
GROWING = "growing"  # attribute of an output to which images are being appended, and the folder of their record
DTYPES = ("float32", "float16")
_REPORT = "report.html"  # file that every experiment writes at its end
_BLOCK_BYTES = 2**23
_BLOCK_IMAGES = 256  # at most, so that a crash costs little if few vertices are stored
_BLOCKS = 64  # at least, if there are as many batches, so that many devices and processes can share them


@dataclass(frozen=True)
class Columns:
    """Columns of the stored responses.

    Attributes
    ----------
    vertices
        Vertices of the columns.
    membership
        For each ROI, whether each of the vertices belongs to it.
    dtype
        Type of the stored responses, ``"float32"`` or ``"float16"``. The latter takes half the space and keeps three
        digits; a response that it cannot hold, from 65,520 on, is an error.
    chunk_bytes
        Approximate size of a chunk, which holds some vertices of a block's images. A smaller one makes one vertex
        faster to read, and scattered vertices and whole stores slower (``berg-jax bench-store``).
    """

    vertices: Vertices
    membership: dict[str, Bool[np.ndarray, " vertices"]] = field(default_factory=dict)
    dtype: str = "float32"
    chunk_bytes: int = 2**19

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidParameterError(f"dtype must be one of {list(DTYPES)}, got {self.dtype!r}.")
        if self.chunk_bytes < 1:
            raise InvalidParameterError(f"chunk_bytes must be at least 1, got {self.chunk_bytes}.")


def lay_out(store: Any, dataset: xarray.Dataset, columns: Columns | None, block: int) -> None:
    """Write coordinates, attributes and the metadata of the responses into a zarr store."""
    dataset.to_zarr(store, zarr_format=3, consolidated=False, mode="a")
    if columns:
        shape = dataset.sizes["image"], dataset.sizes["vertex"]
        block = min(block, shape[0])
        chunk = _chunk(block * shape[1] * np.dtype(columns.dtype).itemsize, shape[1], columns.chunk_bytes)
        shard = (block, -(-shape[1] // chunk) * chunk)
        zarr.open_group(store, mode="r+", use_consolidated=False).create_array(
            RESPONSES,
            shape=shape,
            dtype=columns.dtype,
            chunks=(block, chunk),
            shards=None if chunk == shape[1] else shard,
            compressors=None,  # responses are like noise to a compressor, which saves 8% at best
            fill_value=np.nan,
            dimension_names=("image", "vertex"),
            attributes={"units": "z", "long_name": "predicted fMRI response"},
        )
    _consolidate(store)


def put(path: Remote, dataset: xarray.Dataset, columns: Columns | None, block: int) -> None:
    """Write the beginning of an output into an object store, where the output appears with its last object.

    Several processes may do this at the same time, or one may have died meanwhile, so existing objects must be equal.
    """
    objects: dict[str, Any] = {}
    lay_out(MemoryStore(objects), dataset, columns, block)
    for key in sorted(objects, key=lambda key: key == ROOT):
        data = objects[key].to_bytes()
        if not write_new(path / key, data) and (key == ROOT or read(path / key) != data):
            raise ResourceError(f"{path} holds {key} of another run. Choose another output, or remove it first.")


def coordinates_of(columns: Columns) -> dict[str, Any]:
    """Return the coordinates of the columns: vertices, hemispheres and ROIs."""
    vertices, membership = columns.vertices, columns.membership
    found: dict[str, Any] = {
        "vertex": ("vertex", vertices.indices.astype(np.int32)),
        "hemisphere": ("vertex", vertices.hemispheres.astype(np.dtypes.StringDType())),
    }
    if membership:
        found["roi"] = ("roi", np.array(list(membership), dtype=np.dtypes.StringDType()))
        found["membership"] = (("roi", "vertex"), np.stack(list(membership.values())))
    return found


def block_size(multiple: int, images: int, row: int) -> int:
    """Return the number of images in a block of about 8 MB, or fewer in a small run; an image takes ``row`` bytes."""
    most = min(_BLOCK_BYTES // max(row, 1), _BLOCK_IMAGES, images // _BLOCKS)
    return multiple * max(1, most // multiple)


def _chunk(block_bytes: int, vertices: int, chunk_bytes: int) -> int:
    """Return the number of vertices in a chunk of a block, such that little of the last chunk is padding."""
    chunks = max(1, block_bytes // chunk_bytes)
    return -(-vertices // chunks)


def _consolidate(store: Any) -> None:
    """Consolidate the metadata, which also keeps zarr from looking for arrays in the ledger."""
    with warnings.catch_warnings():
        # Libraries other than zarr and xarray may not know consolidated metadata; they ignore them.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        zarr.consolidate_metadata(store)


def no_output(path: Place, error: Exception) -> str:
    """Return the message for a path at which there is something else than an output: what it is, and what to do."""
    reason = f"it lacks {ROOT}" if isinstance(error, FileNotFoundError) else str(error)
    if isinstance(path, Path):
        if (path / _REPORT).is_file():
            return (
                f"{path} is the folder of a finished experiment: open {path / _REPORT}. Give an output of "
                "encode here; to write one, choose another path."
            )
        below = [folder.parent for depth in ("*", "*/*") for folder in path.glob(f"{depth}/{LEDGER}")]
        if outputs := sorted(folder for folder in below if (folder / ROOT).is_file()):
            return f"{path} is no output itself, but holds {len(outputs)}: {outputs[0]} is one. Give that."
        if path.is_file():
            reason = "it is a file, and an output is a folder"
    return f"{path} exists and is no output of berg_jax ({reason}). Choose another one."

"""Output of a stream: a zarr v3 store of responses that xarray opens with named coordinates.

responses   (image, vertex) float32 or float16, z units; NaN where nothing was written; absent if only reducers ran
image       names of the images
vertex      index within the hemisphere
hemisphere  "lh" or "rh" of each vertex
roi         names of the subject's ROIs; absent without metadata
membership  (roi, vertex) whether a vertex belongs to a ROI; absent without metadata
attributes  run (values that a resumed run must have, too), block, complete; subject, weights, versions, …
ledger/     finished blocks: see :mod:`berg_jax.stream.store.ledger`
reducers/   settings and states of reducers, and at the end their results
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import xarray
import zarr
from jaxtyping import Bool, Float
from zarr.storage import MemoryStore

from ...errors import IntegrityError, InvalidParameterError, ModelNotFoundError, ResourceError
from ...files import disk as files
from ...vertices import Vertices
from .ledger import Ledger
from .places import Place, Remote, exists, explained, find_place, read, write, write_new
from .remote_zarr import zarr_store

RESPONSES = "responses"
DTYPES = ("float32", "float16")
LEDGER, _REDUCERS = "ledger", "reducers"
_ROOT = "zarr.json"
_BLOCK_BYTES = 2**23
_BLOCK_IMAGES = 256  # at most, so that a crash costs little if few vertices are stored
_BLOCKS = 64  # at least, if there are as many batches, so that many devices and processes can share them
_log = logging.getLogger(__name__)


def is_there(path: Place) -> bool:
    """Return whether there is an output at this path, or anything else.

    Raises
    ------
    ResourceError
        The object store cannot be reached, or refuses access; the message says why.
    """
    return path.exists() if isinstance(path, Path) else exists(path / _ROOT)


def is_complete(path: Place) -> bool:
    """Return whether there is an output at this path that a run has finished.

    Raises
    ------
    ResourceError
        The object store cannot be reached, or refuses access; the message says why.
    """
    if not is_there(path):
        return False
    try:
        return bool(zarr.open_group(zarr_store(path), mode="r", use_consolidated=False).attrs["complete"])
    except Exception:  # zarr raises many kinds of exceptions if there is no store
        return False


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


class Output:
    """Output of a stream, which is written block by block. A block is one file or object of the responses: a shard.

    A shard is divided into chunks of vertices, so that one vertex is read without all others. A small block is one
    chunk, as every block was in earlier versions.

    Use :meth:`create`, :meth:`reopen` or :meth:`existing` to get one.

    Attributes
    ----------
    path
        Folder of the store, or its place in an object store.
    ledger
        Ledger of the finished blocks.
    """

    def __init__(self, path: str | Place) -> None:
        self.path = path = find_place(path)
        try:
            if isinstance(path, Path):
                files.read_small(path / _ROOT)  # raises an error at a pipe, for which zarr would wait
            group = zarr.open_group(zarr_store(path), mode="r", use_consolidated=False)
            self.attributes = dict(group.attrs)
            images, block = self.attributes["images"], self.attributes["block"]
            if not (type(images) is int and type(block) is int and images > 0 and block > 0):
                raise ValueError(f"{images!r:.20} images in blocks of {block!r:.20}")
            if not isinstance(self.attributes.get("run", {}), dict):
                raise ValueError("its run is not described")
            stores = RESPONSES in group
        except Exception as error:  # zarr raises many kinds of exceptions if there is no store
            reason = f"it lacks {_ROOT}" if isinstance(error, FileNotFoundError) else error
            raise ResourceError(
                f"{path} exists and is no output of berg_jax ({reason}). Choose another one."
            ) from error
        self.ledger = Ledger(path / LEDGER, images, block)
        self.reducers = path / _REDUCERS
        self._responses = self._open() if stores else None

    @classmethod
    def existing(cls, path: str | Place) -> Output:
        """Open an existing output of any run.

        Raises
        ------
        ModelNotFoundError, ResourceError
            There is nothing at this path, or something else than an output.
        """
        place = find_place(path)
        if not is_there(place):
            raise ModelNotFoundError(f"There is no output {place}. Give the output of a run.")
        return cls(place)

    @classmethod
    def create(
        cls,
        path: Place,
        ids: list[str],
        run: Mapping[str, Any],
        multiple: int,
        columns: Columns | None,
        attributes: Mapping[str, Any],
    ) -> Output:
        """Create an output, which appears complete with all its coordinates.

        Parameters
        ----------
        path
            Folder of the output, by convention ``….zarr``, or place in an object store. It must not exist.
        ids
            Names of the images.
        run
            JSON values that a resumed run must have, too.
        multiple
            Number of images of which the number of images in a block is a multiple.
        columns
            Columns of the responses, or None if they are not stored.
        attributes
            Further JSON values, for readers of the output.

        Raises
        ------
        ResourceError
            The path exists or cannot be written, or its disk is too full.
        """
        if is_there(path):
            raise ResourceError(f"{path} exists. Choose another output, or remove it first.")
        vertices = len(columns.vertices) if columns else 0
        row = vertices * np.dtype(columns.dtype).itemsize if columns else 0
        if isinstance(path, Path):
            files.require_space(path, len(ids) * row, "Storing the responses")
        block = _block(multiple, len(ids), row)
        coordinates: dict[str, Any] = {"image": ("image", np.array(ids, dtype=np.dtypes.StringDType()))}
        if columns:
            coordinates |= _coordinates(columns)
        everything = {**attributes, "run": dict(run), "images": len(ids), "block": block, "complete": False}
        # Without indexes, because nothing is looked up by name here, and an index of a million names takes 100 MB.
        dataset = xarray.Dataset(coords=xarray.Coordinates(coordinates, indexes={}), attrs=everything)
        if isinstance(path, Path):
            with files.explained("write", path), files.atomic_folder(path, replace=False) as folder:
                _lay_out(folder, dataset, columns, block)
        else:
            _put(path, dataset, columns, block)
        return cls(path)

    @classmethod
    def reopen(cls, path: Place, run: Mapping[str, Any], versions: Mapping[str, str]) -> Output:
        """Open an output that an earlier run with the same description has begun.

        Other versions of libraries only cause a warning.

        Raises
        ------
        ResourceError
            There is no such output, or it belongs to another run; the message says what differs.
        """
        output = cls(path)
        differences = _differences(output.attributes.get("run", {}), run)
        if differences:
            raise ResourceError(
                f"{path} exists and belongs to another run: {'; '.join(differences)}. Choose another output, or "
                "remove it first."
            )
        if output.attributes.get("versions") != dict(versions):
            _log.warning("%s was begun with other versions: %s.", path, output.attributes.get("versions"))
        return output

    @property
    def stores_responses(self) -> bool:
        """Whether responses are stored, and not only reduced."""
        return self._responses is not None

    @property
    def complete(self) -> bool:
        """Whether all images are done and the output is finished."""
        return is_complete(self.path)

    def write(self, start: int, responses: Float[np.ndarray, "images vertices"]) -> None:
        """Write the responses to images ``start``, ``start`` + 1, … durably.

        Raises
        ------
        InvalidParameterError
            A response is too large for the store's type.
        ResourceError
            The responses cannot be written.
        """
        stored = _narrowed(responses, start, self._responses.dtype.numpy_dtype)
        with explained("write", self.path):
            self._responses[start : start + len(responses)].write(stored).result()

    def finish(self) -> None:
        """Mark the output as complete, in a single write.

        Raises
        ------
        ResourceError
            The output's description cannot be read or written, such as while another process writes it into a store
            whose writes are not atomic.
        """
        path = self.path / _ROOT
        try:
            root = json.loads(read(path))
            root["attributes"]["complete"] = True
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ResourceError(
                f"{path} cannot be read now ({type(error).__name__}: {str(error)[:200]}): another process may be "
                "writing it. All images are done; run the same command again, or berg-jax merge, which marks the "
                "output as complete."
            ) from error
        write(path, json.dumps(root, indent=2 if isinstance(path, Path) else None).encode())

    def _open(self) -> Any:
        spec: dict[str, Any] = {"driver": "zarr3", "recheck_cached_data": "open"}
        if not isinstance(self.path, Path):
            # A block of NaN must not be deleted instead of written, because object stores do not order deletes and
            # writes.
            spec["store_data_equal_to_fill_value"] = True
            with explained("open", self.path):
                return tensorstore.open(spec, kvstore=self.path.store() / f"{RESPONSES}/").result()
        # Resolved, because tensorstore does not accept "..".
        spec["kvstore"] = {"driver": "file", "path": str((self.path / RESPONSES).resolve())}
        with files.explained("open", self.path):
            try:
                return tensorstore.open(spec).result()
            except ValueError as error:
                raise IntegrityError(f"{self.path} cannot be opened: {error}. Choose another output.") from error


def _differences(recorded: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the differences between two runs' descriptions in words, entry by entry for nested values."""
    found = []
    for name, value in now.items():
        other = recorded.get(name)
        if other == value:
            continue
        if isinstance(value, Mapping) and isinstance(other, Mapping) and value.keys() == other.keys():
            found += _differences(other, value, f"{name}'s ")
        else:
            found.append(f"{prefix}{name} is {other!r:.80} there and {value!r:.80} now")
    return found


def _lay_out(store: Any, dataset: xarray.Dataset, columns: Columns | None, block: int) -> None:
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


def _put(path: Remote, dataset: xarray.Dataset, columns: Columns | None, block: int) -> None:
    """Write the beginning of an output into an object store, where the output appears with its last object.

    Several processes may do this at the same time, or one may have died meanwhile, so existing objects must be equal.
    """
    objects: dict[str, Any] = {}
    _lay_out(MemoryStore(objects), dataset, columns, block)
    for key in sorted(objects, key=lambda key: key == _ROOT):
        data = objects[key].to_bytes()
        if not write_new(path / key, data) and (key == _ROOT or read(path / key) != data):
            raise ResourceError(f"{path} holds {key} of another run. Choose another output, or remove it first.")


def _coordinates(columns: Columns) -> dict[str, Any]:
    vertices, membership = columns.vertices, columns.membership
    found: dict[str, Any] = {
        "vertex": ("vertex", vertices.indices.astype(np.int32)),
        "hemisphere": ("vertex", vertices.hemispheres.astype(np.dtypes.StringDType())),
    }
    if membership:
        found["roi"] = ("roi", np.array(list(membership), dtype=np.dtypes.StringDType()))
        found["membership"] = (("roi", "vertex"), np.stack(list(membership.values())))
    return found


def _narrowed(
    responses: Float[np.ndarray, "images vertices"], start: int, dtype: np.dtype
) -> Float[np.ndarray, "images vertices"]:
    """Return the responses in the store's type, or raise an error if a finite one would become infinite."""
    with np.errstate(over="ignore"):
        stored = responses.astype(dtype, copy=False)
    over = np.isinf(stored) & np.isfinite(responses)
    if over.any():
        image, column = np.argwhere(over)[0]
        raise InvalidParameterError(
            f"The response {responses[image, column]:g} to image {start + image}, column {column}, is more than "
            f"{dtype} holds ({np.finfo(dtype).max:g}). Store it as float32, in another output."
        )
    return stored


def _block(multiple: int, images: int, row: int) -> int:
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

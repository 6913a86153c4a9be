"""Responses on disk: a zarr v3 store that xarray opens with its names.

responses   (image, vertex) float32, z units; NaN where nothing was written
image       names of the images
vertex      index within the hemisphere
hemisphere  "lh" or "rh" of each vertex
roi         names of the subject's ROIs, and
membership  (roi, vertex) whether a vertex belongs to it; both absent without metadata
attributes  subject, identity, synthetic, selection, precision, versions, complete, …
ledger/     what is done: see :mod:`berg_jax.stream.ledger`
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import xarray
import zarr
from jaxtyping import Bool, Float

from ..errors import IntegrityError, ResourceError
from ..files import atomic_folder, explained, require_space
from ..rois import Vertices
from .ledger import Ledger

RESPONSES = "responses"
_LEDGER = "ledger"
_BLOCK_BYTES = 2**23
_BLOCK_IMAGES = 256  # at most, so that a crash costs little where few vertices are stored
_log = logging.getLogger(__name__)


class ResponseStore:
    """A store of responses that is being written, block by block. A block is one chunk of the array.

    Use :meth:`create` or :meth:`reopen`.

    Attributes
    ----------
    path
        The store's folder.
    ledger
        Which images are done.
    """

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self.path, self.ledger = path, ledger
        with explained("open", path):
            spec = {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str(path.absolute() / RESPONSES)},
                "recheck_cached_data": "open",
            }
            try:
                self._responses = tensorstore.open(spec).result()
            except ValueError as error:
                raise IntegrityError(f"{path} cannot be opened: {error}. Choose another output.") from error

    @classmethod
    def create(
        cls,
        path: Path,
        ids: list[str],
        vertices: Vertices,
        attributes: Mapping[str, Any],
        batch_size: int,
        membership: dict[str, Bool[np.ndarray, " vertices"]] | None = None,
    ) -> ResponseStore:
        """A new store, which appears at once with all its coordinates.

        Parameters
        ----------
        path
            The store's folder, by custom ``….zarr``. It must not exist.
        ids
            Names of the images.
        vertices
            The columns.
        attributes
            JSON values that say where the responses come from; what :meth:`reopen` compares.
        batch_size
            How many images are computed at a time; a block is a multiple of it.
        membership
            Of each ROI, which of the vertices belong to it.

        Raises
        ------
        ResourceError
            The path exists, cannot be written, or its disk is too full.
        """
        if path.exists():
            raise ResourceError(f"{path} exists. Choose another output, or remove it first.")
        shape = (len(ids), len(vertices))
        require_space(path, 4 * shape[0] * shape[1], "Storing the responses")
        coordinates = {
            "image": ("image", np.array(ids, dtype=np.dtypes.StringDType())),
            "vertex": ("vertex", vertices.indices.astype(np.int32)),
            "hemisphere": ("vertex", vertices.hemispheres.astype(np.dtypes.StringDType())),
        }
        if membership:
            coordinates["roi"] = ("roi", np.array(list(membership), dtype=np.dtypes.StringDType()))
            coordinates["membership"] = (("roi", "vertex"), np.stack(list(membership.values())))
        block = _block(batch_size, shape[1])
        with explained("write", path), atomic_folder(path, replace=False) as folder:
            everything = {**attributes, "block": block, "complete": False}
            dataset = xarray.Dataset(coords=coordinates, attrs=everything)
            dataset.to_zarr(folder, zarr_format=3, consolidated=False, mode="a")
            zarr.open_group(folder, mode="r+", use_consolidated=False).create_array(
                RESPONSES,
                shape=shape,
                dtype="float32",
                chunks=(block, shape[1]),
                compressors=None,  # responses are noise to a compressor: 8% at best
                fill_value=np.nan,
                dimension_names=("image", "vertex"),
                attributes={"units": "z", "long_name": "predicted fMRI response"},
            )
            _consolidate(folder)
        return cls(path, Ledger(path / _LEDGER, shape[0], block))

    @classmethod
    def reopen(cls, path: Path, attributes: Mapping[str, Any]) -> ResponseStore:
        """A store that an earlier run with the same attributes has begun.

        Raises
        ------
        ResourceError
            It is no such store, or belongs to another run; the message says what differs.
        """
        try:
            group = zarr.open_group(path, mode="r", use_consolidated=False)
            there, shape = dict(group.attrs), group[RESPONSES].shape
            block = there["block"]
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ResourceError(
                f"{path} exists and is no store of responses ({error}). Choose another output."
            ) from error
        _require_same(path, there, attributes)
        return cls(path, Ledger(path / _LEDGER, shape[0], block))

    @property
    def complete(self) -> bool:
        """Whether every image is done and the store finished."""
        return bool(zarr.open_group(self.path, mode="r", use_consolidated=False).attrs["complete"])

    def write(self, start: int, responses: Float[np.ndarray, "images vertices"]) -> None:
        """Write the responses to images ``start``, ``start`` + 1, …, durably."""
        with explained("write", self.path):
            try:
                self._responses[start : start + len(responses)].write(responses).result()
            except ValueError as error:  # as tensorstore reports what the system refuses
                raise OSError(str(error)[:300]) from error

    def finish(self) -> None:
        """Mark the store as complete."""
        with explained("write", self.path):
            zarr.open_group(self.path, mode="r+", use_consolidated=False).attrs["complete"] = True
            _consolidate(self.path)


def _block(batch_size: int, vertices: int) -> int:
    """Images of a block: whole batches, of about 8 MB of responses in all."""
    images = min(_BLOCK_BYTES // (4 * vertices), _BLOCK_IMAGES)
    return batch_size * max(1, images // batch_size)


def _consolidate(folder: Path) -> None:
    """Gather the metadata in one place, which also keeps zarr from looking into the ledger for arrays."""
    with warnings.catch_warnings():
        # Libraries other than zarr and xarray may not know consolidated metadata; they ignore them.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        zarr.consolidate_metadata(folder)


def _require_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """ResourceError unless a store's attributes are the wanted ones; other versions are only warned of."""
    differences = [
        f"{name} is {there.get(name)!r:.80} there and {value!r:.80} now"
        for name, value in wanted.items()
        if name != "versions" and there.get(name) != value
    ]
    if differences:
        raise ResourceError(
            f"{path} exists and belongs to another run: {'; '.join(differences)}. Choose another output, or remove "
            "it first."
        )
    if there.get("versions") != wanted.get("versions"):
        _log.warning("%s was begun with other versions: %s.", path, there.get("versions"))

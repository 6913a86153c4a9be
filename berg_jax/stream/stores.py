"""Responses on disk: a zarr v3 store that xarray opens with its names.

responses   (image, vertex) float32, z units; NaN where nothing was written
image       names of the images
vertex      index within the hemisphere
hemisphere  "lh" or "rh" of each vertex
roi         names of the subject's ROIs, and
membership  (roi, vertex) whether a vertex belongs to it; both absent without metadata
attributes  subject, identity, synthetic, selection, precision, versions, complete
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray
import zarr
from jaxtyping import Bool, Float

from ..errors import ResourceError
from ..files import explained, require_space
from ..rois import Vertices

RESPONSES = "responses"
_CHUNK_BYTES = 2**23


class ResponseStore:
    """A new store of responses, written rows at a time.

    Parameters
    ----------
    path
        The store's folder, by custom ``….zarr``. It must not exist.
    ids
        Names of the images.
    vertices
        The columns.
    attributes
        JSON values that say where the responses come from.
    batch_size
        How many images are written at a time.
    membership
        Of each ROI, which of the vertices belong to it.

    Raises
    ------
    ResourceError
        The path exists, cannot be written, or its disk is too full.
    """

    def __init__(
        self,
        path: str | Path,
        ids: list[str],
        vertices: Vertices,
        attributes: dict[str, Any],
        batch_size: int,
        membership: dict[str, Bool[np.ndarray, " vertices"]] | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.exists():
            raise ResourceError(f"{path} exists. Choose another output, or remove it first.")
        shape = (len(ids), len(vertices))
        require_space(self.path, 4 * shape[0] * shape[1], "Storing the responses")
        coordinates = {
            "image": ("image", np.array(ids, dtype=np.dtypes.StringDType())),
            "vertex": ("vertex", vertices.indices.astype(np.int32)),
            "hemisphere": ("vertex", vertices.hemispheres.astype(np.dtypes.StringDType())),
        }
        if membership:
            coordinates["roi"] = ("roi", np.array(list(membership), dtype=np.dtypes.StringDType()))
            coordinates["membership"] = (("roi", "vertex"), np.stack(list(membership.values())))
        # Chunks hold whole batches, so that writing a batch rarely rewrites what is there.
        rows = batch_size * max(1, _CHUNK_BYTES // (4 * batch_size * shape[1]))
        with explained("write", self.path):
            dataset = xarray.Dataset(coords=coordinates, attrs={**attributes, "complete": False})
            dataset.to_zarr(self.path, zarr_format=3, consolidated=False, mode="w-")
            self._group = zarr.open_group(self.path, mode="r+", use_consolidated=False)
            self._responses = self._group.create_array(
                RESPONSES,
                shape=shape,
                dtype="float32",
                chunks=(min(rows, shape[0]), shape[1]),
                compressors=None,  # responses are noise to a compressor: 8% at best
                fill_value=np.nan,
                dimension_names=("image", "vertex"),
                attributes={"units": "z", "long_name": "predicted fMRI response"},
            )

    def write(self, start: int, responses: Float[np.ndarray, "batch vertices"]) -> None:
        """Write the responses to images ``start``, ``start`` + 1, …"""
        with explained("write", self.path):
            self._responses[start : start + len(responses)] = responses

    def finish(self) -> None:
        """Mark the store as complete."""
        with explained("write", self.path), warnings.catch_warnings():
            # Libraries other than zarr and xarray may not know consolidated metadata; they ignore them.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            self._group.attrs["complete"] = True
            zarr.consolidate_metadata(self.path)

"""What ROIs respond to on average: the best images, and every image's mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError, ValidationError
from ...vertices import Vertices
from .base import Settings
from .pairs import Indices, Responses, Results, State, Valid, dot, full

_NO_IMAGE = np.iinfo(np.int32).max


def roi_weights(vertices: Vertices, rois: Mapping[str, Vertices]) -> Float[np.ndarray, "rois vertices"]:
    """Weights that average over ROIs: row ``i`` times a model's responses is the mean over the ``i``-th ROI.

    Parameters
    ----------
    vertices
        The model's, whose order is its columns' order.
    rois
        The ROIs' vertices, all of them among the model's.

    Raises
    ------
    InvalidParameterError
        There are no ROIs, one is empty, or has vertices that the model does not answer.
    """
    if not rois:
        raise InvalidParameterError("rois must name at least one ROI, got none.")
    columns = vertices.global_indices
    weights = np.zeros((len(rois), len(columns)), np.float32)
    for row, (name, roi) in zip(weights, rois.items(), strict=True):
        if roi.hemisphere_size != vertices.hemisphere_size or not len(roi):
            raise InvalidParameterError(
                f"ROI {name!r} must have vertices, of hemispheres of {vertices.hemisphere_size}; got {len(roi)}, of "
                f"hemispheres of {roi.hemisphere_size}."
            )
        member = np.isin(columns, roi.global_indices)
        if missing := len(roi) - member.sum():
            raise InvalidParameterError(
                f"{missing} of the {len(roi)} vertices of ROI {name!r} are not among the model's. Choose the ROI by "
                "the same thresholds as the model's vertices, or a model of more vertices."
            )
        row[member] = 1 / len(roi)
    return weights


class _OfRois(Settings):
    """Shared by reducers of ROIs' mean responses; ``rois`` are weights of the vertices."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_table("rois")
        object.__setattr__(self, "vertices", self.rois.shape[1])

    def _means(self, responses: Responses, valid: Valid) -> Float[Array, "b rois"]:
        return dot(jnp.where(valid[:, None], responses, 0), jnp.asarray(self.rois.T, jnp.float32))


@dataclass(frozen=True, eq=False)
class TopK(_OfRois):
    """The images to which ROIs respond most, on average over their vertices. Of equal ones the first come first.

    Results: ``values`` (rois, k) float32, descending, and ``images`` (rois, k), their numbers in the source; NaN and
    −1 where there were fewer than k images. A response that is NaN comes first, to be seen. ``count``.

    Parameters
    ----------
    k
        How many images.
    rois
        Weights of the vertices, such as :func:`roi_weights` gives.
    """

    k: int
    rois: Num[np.ndarray, "rois vertices"]
    name: str = "top_k"

    def init(self) -> State:
        """The state of no images."""
        shape = (len(self.rois), self.k)
        none = {"values": full(shape, np.nan, np.float32), "images": full(shape, _NO_IMAGE, np.int32)}
        return {**none, "count": full((), 0, np.int32)}

    def _of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        values = self._means(responses, valid).T
        images = jnp.broadcast_to(jnp.where(valid, indices, _NO_IMAGE)[None], values.shape)
        return {"values": values, "images": images, "count": valid.sum(dtype=jnp.int32)}

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""
        values, images = (jnp.concatenate([a[key], b[key]], axis=1) for key in ("values", "images"))
        order = jnp.where(images == _NO_IMAGE, jnp.inf, jnp.where(jnp.isnan(values), -jnp.inf, -values))
        _, images, values = lax.sort((order, images, values), num_keys=2)
        return {"values": values[:, : self.k], "images": images[:, : self.k], "count": a["count"] + b["count"]}

    def finalize(self, state: State) -> Results:
        """Values and images."""
        values, images = np.asarray(state["values"]), np.asarray(state["images"])
        there = images != _NO_IMAGE
        values, images = np.where(there, values, np.float32(np.nan)), np.where(there, images, -1)
        return {"values": values, "images": images, "count": np.array(int(state["count"]))}


@dataclass(frozen=True, eq=False)
class RoiMeans(_OfRois):
    """The mean response of ROIs to every image: a table that is kept on the device, 4 bytes an image and ROI.

    Results: ``means`` (images, rois) float32, NaN for images that were not seen; ``seen`` (images,); ``count``.

    Parameters
    ----------
    rois
        Weights of the vertices, such as :func:`roi_weights` gives.
    images
        Length of the source.
    """

    rois: Num[np.ndarray, "rois vertices"]
    images: int
    name: str = "roi_means"

    def init(self) -> State:
        """The state of no images."""
        means = full((self.images, len(self.rois)), np.nan, np.float32)
        return {"means": means, "seen": full((self.images,), False, bool), "count": full((), 0, np.int32)}

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in."""
        place = jnp.where(valid & (indices >= 0), indices, self.images)  # past the end, where it is dropped
        return {
            "means": state["means"].at[place].set(self._means(responses, valid), mode="drop"),
            "seen": state["seen"].at[place].set(True, mode="drop"),
            "count": state["count"] + valid.sum(dtype=jnp.int32),
        }

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""
        means = jnp.where(b["seen"][:, None], b["means"], a["means"])
        return {"means": means, "seen": a["seen"] | b["seen"], "count": a["count"] + b["count"]}

    def finalize(self, state: State) -> Results:
        """The table.

        Raises
        ------
        ValidationError
            An image came twice, or is none of the source.
        """
        seen, count = np.asarray(state["seen"]), int(state["count"])
        if seen.sum() != count:
            raise ValidationError(
                f"Reducer {self.name!r} was given {count} images, of which {seen.sum()} are different ones of its "
                f"{self.images}: some came twice, or are of another source."
            )
        return {"means": np.asarray(state["means"]), "seen": seen, "count": np.array(count)}

"""Reducers of ROIs' mean responses: the images with the largest means, and the mean for every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError, ValidationError
from ...vertices import Vertices
from .base import BaseReducer
from .pairs import Indices, Responses, Results, State, Valid, dot, full

_NO_IMAGE = np.iinfo(np.int32).max


def roi_weights(vertices: Vertices, rois: Mapping[str, Vertices]) -> Float[np.ndarray, "rois vertices"]:
    """Return weights that average over ROIs: row ``i`` times a model's responses is the mean over the ``i``-th ROI.

    Parameters
    ----------
    vertices
        Vertices of the model, in the order of its columns.
    rois
        Vertices of each ROI by its name, all of which must be among the model's.

    Returns
    -------
    (rois, vertices) weights, float32.

    Raises
    ------
    InvalidParameterError
        There are no ROIs, or a ROI is empty or has vertices that the model lacks.

    See Also
    --------
    TopK, RoiMeans : Reducers that take these weights.

    Examples
    --------
    >>> vertices = Vertices(lh=np.array([3, 5]), rh=np.array([7]), hemisphere_size=642)
    >>> roi_weights(vertices, {"left": Vertices(np.array([3, 5]), np.array([], int), 642)}).tolist()
    [[0.5, 0.5, 0.0]]
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


class _RoiReducer(BaseReducer):
    """Base class of reducers of ROIs' mean responses; ``rois`` are weights of the vertices."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_table("rois")
        object.__setattr__(self, "vertices", self.rois.shape[1])

    def _means(self, responses: Responses, valid: Valid) -> Float[Array, "b rois"]:
        return dot(jnp.where(valid[:, None], responses, 0), jnp.asarray(self.rois.T, jnp.float32))


@dataclass(frozen=True, eq=False)
class TopK(_RoiReducer):
    """The images with the largest responses of ROIs, averaged over their vertices.

    Results are ``values`` (rois, k) float32, descending, ``images`` (rois, k), their numbers in the source, and
    ``count``. Equal responses are in the order of the images. A response that is NaN comes first, so that it is
    noticed. If there are fewer than k images, the other values are NaN and their numbers −1.

    Parameters
    ----------
    k
        Number of images.
    rois
        Weights of the vertices for each ROI, from :func:`roi_weights`.
    name
        Name of the results.

    See Also
    --------
    RoiMeans : The mean responses to all images.

    Examples
    --------
    >>> reducer = TopK(k=2, rois=np.array([[0.5, 0.5]]))
    >>> responses = jnp.array([[1.0, 1.0], [0.0, 4.0], [3.0, 3.0]])
    >>> state = reducer.update(reducer.init(), responses, jnp.arange(3), jnp.ones(3, bool))
    >>> reducer.finalize(state)["images"].tolist()
    [[2, 1]]
    """

    k: int
    rois: Num[np.ndarray, "rois vertices"]
    name: str = "top_k"

    def init(self) -> State:
        """Return the state of no images."""
        shape = (len(self.rois), self.k)
        none = {"values": full(shape, np.nan, np.float32), "images": full(shape, _NO_IMAGE, np.int32)}
        return {**none, "count": full((), 0, np.int32)}

    def _state_of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        values = self._means(responses, valid).T
        images = jnp.broadcast_to(jnp.where(valid, indices, _NO_IMAGE)[None], values.shape)
        return {"values": values, "images": images, "count": valid.sum(dtype=jnp.int32)}

    def merge(self, a: State, b: State) -> State:
        """Return the state of the union of two disjoint sets of images."""
        values, images = (jnp.concatenate([a[key], b[key]], axis=1) for key in ("values", "images"))
        order = jnp.where(images == _NO_IMAGE, jnp.inf, jnp.where(jnp.isnan(values), -jnp.inf, -values))
        _, images, values = lax.sort((order, images, values), num_keys=2)
        return {"values": values[:, : self.k], "images": images[:, : self.k], "count": a["count"] + b["count"]}

    def finalize(self, state: State) -> Results:
        """Return the values and the images' numbers."""
        values, images = np.asarray(state["values"]), np.asarray(state["images"])
        exists = images != _NO_IMAGE
        values, images = np.where(exists, values, np.float32(np.nan)), np.where(exists, images, -1)
        return {"values": values, "images": images, "count": np.array(int(state["count"]))}


@dataclass(frozen=True, eq=False)
class RoiMeans(_RoiReducer):
    """The mean response of ROIs to every image: a table on the device, with 4 bytes per image and ROI.

    Results are ``means`` (images, rois) float32, NaN for images that were skipped, ``seen`` (images,), whether an
    image was counted, and ``count``.

    Parameters
    ----------
    rois
        Weights of the vertices for each ROI, from :func:`roi_weights`.
    images
        Number of images of the source.
    name
        Name of the results.

    See Also
    --------
    TopK : Only the images with the largest means.

    Examples
    --------
    >>> reducer = RoiMeans(rois=np.array([[0.5, 0.5]]), images=2)
    >>> state = reducer.update(reducer.init(), jnp.array([[1.0, 3.0]]), jnp.array([1]), jnp.array([True]))
    >>> reducer.finalize(state)["means"].tolist()
    [[nan], [2.0]]
    """

    rois: Num[np.ndarray, "rois vertices"]
    images: int
    name: str = "roi_means"

    def init(self) -> State:
        """Return the state of no images."""
        means = full((self.images, len(self.rois)), np.nan, np.float32)
        return {"means": means, "seen": full((self.images,), False, bool), "count": full((), 0, np.int32)}

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Return the state with a batch added."""
        # Rows of images that are not valid lie past the end of the table, where they are dropped.
        rows = jnp.where(valid & (indices >= 0), indices, self.images)
        return {
            "means": state["means"].at[rows].set(self._means(responses, valid), mode="drop"),
            "seen": state["seen"].at[rows].set(True, mode="drop"),
            "count": state["count"] + valid.sum(dtype=jnp.int32),
        }

    def merge(self, a: State, b: State) -> State:
        """Return the state of the union of two disjoint sets of images."""
        means = jnp.where(b["seen"][:, None], b["means"], a["means"])
        return {"means": means, "seen": a["seen"] | b["seen"], "count": a["count"] + b["count"]}

    def finalize(self, state: State) -> Results:
        """Return the table of means.

        Raises
        ------
        ValidationError
            An image occurred twice, or is not in the source.
        """
        seen, count = np.asarray(state["seen"]), int(state["count"])
        if seen.sum() != count:
            raise ValidationError(
                f"Reducer {self.name!r} was given {count} images, of which {seen.sum()} are different ones of its "
                f"{self.images}: some came twice, or are of another source."
            )
        return {"means": np.asarray(state["means"]), "seen": seen, "count": np.array(count)}

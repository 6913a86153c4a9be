"""Data of a training: which images and vertices a step takes, read by rows and placed on the devices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from ....errors import InvalidParameterError, ValidationError
from ....model.replicas import local_devices
from ..recipe import Recipe
from .distillation import measured_share
from .steps import Batch

_DIGESTED = 512  # rows that are hashed at once


@dataclass(frozen=True)
class Data:
    """Images, responses and split of a training.

    Attributes
    ----------
    inputs
        Function image numbers → inputs of the network, whose arrays' first axis counts the images.
    responses
        (images, rows) array in z units that is read by rows, NaN where not measured.
    train, validation
        Numbers of the images.
    rows
        Number of vertices.
    teacher
        (images, rows) responses of a teacher, or None.
    """

    inputs: Callable[[Int[np.ndarray, " n"]], Any]
    responses: Any
    train: Int[np.ndarray, " n"]
    validation: Int[np.ndarray, " m"]
    rows: int
    teacher: Any = None

    @classmethod
    def of(cls, inputs: Callable[..., Any], responses: Any, split: Any, rows: int, teacher: Any = None) -> Data:
        """Return the data, checked.

        Raises
        ------
        ValidationError
            Responses, teacher and vertices do not match, or the split is empty, overlaps, or has other images.
        """
        for name, array in (("responses", responses), ("the teacher's responses", teacher)):
            shape = tuple(getattr(array, "shape", ()))
            if array is not None and (len(shape) != 2 or shape[1] != rows or shape[0] != responses.shape[0]):
                raise ValidationError(
                    f"Expected {name} as an array (images, {rows} vertices) like the tables and each other, got "
                    f"shape {shape}."
                )
        images, parts = responses.shape[0], {}
        for name in ("train", "validation"):
            part = parts[name] = np.asarray(getattr(split, name))
            if part.ndim != 1 or part.dtype.kind not in "iu" or not len(part) or len(np.unique(part)) != len(part):
                raise ValidationError(f"split.{name} must hold image numbers, each once, and at least one.")
            if part.min() < 0 or part.max() >= images:
                raise ValidationError(f"split.{name} has images {part.min()} to {part.max()}, there are {images}.")
        if both := np.intersect1d(parts["train"], parts["validation"]).tolist():
            raise ValidationError(f"{len(both)} images are in train and validation, such as {both[0]}.")
        return cls(inputs, responses, parts["train"], parts["validation"], rows, teacher)


def rows_of(array: Any, rows: Int[np.ndarray, " n"]) -> np.ndarray:
    """Return rows of an array, read in ascending order and once each, as files on disk want it."""
    ascending, places = np.unique(rows, return_inverse=True)
    return np.asarray(array[ascending])[places]


def chosen_images(data: Data, recipe: Recipe, seed: int, step: int) -> Int[np.ndarray, " batch"]:
    """Return the images of a step: every pass over the training images has an order of its own."""
    size = min(recipe.batch_size, len(data.train))
    number, place = divmod(step, len(data.train) // size)
    order = np.random.default_rng((seed, 0, number)).permutation(data.train)
    return order[place * size : (place + 1) * size]


def chosen_vertices(data: Data, recipe: Recipe, seed: int, step: int) -> Int[np.ndarray, " vertices"]:
    """Return the vertices of a step, ascending."""
    if recipe.vertices >= data.rows:
        return np.arange(data.rows, dtype=np.int32)
    drawn = np.random.default_rng((seed, 1, step)).choice(data.rows, recipe.vertices, replace=False)
    return np.sort(drawn).astype(np.int32)


def validated_images(data: Data, recipe: Recipe, seed: int) -> Int[np.ndarray, " images"]:
    """Return the validation images on which every epoch's r is computed, ascending."""
    order = np.random.default_rng((seed, 2)).permutation(data.validation)
    return np.sort(order[: recipe.validated(len(order))])


class Devices:
    """Local devices, which divide the images of each batch; parameters are copied to each.

    Parameters
    ----------
    devices
        Number of local devices, or the devices themselves (default: all).

    Raises
    ------
    InvalidParameterError
        There are not so many devices here.
    """

    def __init__(self, devices: int | Sequence[jax.Device] | None = None) -> None:
        self.all = local_devices(devices)
        if not self.all:
            raise InvalidParameterError("devices must name at least one device, got none.")
        mesh = Mesh(np.array(self.all), ("data",))
        self._copied, self._divided = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))

    def copied(self, tree: Any) -> Any:
        """Return the tree with a copy of all arrays on each device."""
        return jax.device_put(tree, self._copied)

    def batch(
        self,
        data: Data,
        images: Int[np.ndarray, " batch"],
        rows: Int[np.ndarray, " vertices"],
        vertex_weights: Float[np.ndarray, " rows"] | None = None,
        share: float = 1.0,
        size: int | None = None,
    ) -> Batch:
        """Return a batch on the devices, filled up to ``size`` and to their number with images without responses."""
        size = len(images) if size is None else size
        missing = size + -size % len(self.all) - len(images)
        filled = np.concatenate([images, np.repeat(images[-1:], missing)])
        every = len(rows) == data.rows  # then rows are ascending and need not be chosen

        def of(array: Any) -> Float[np.ndarray, "batch vertices"]:
            chosen = rows_of(array, filled).astype(np.float32)
            return chosen if every else chosen[:, rows]

        measured = of(data.responses)
        measured[len(images) :] = np.nan
        teacher = None if data.teacher is None else of(data.teacher)
        weights = np.ones(len(rows), np.float32) if vertex_weights is None else vertex_weights[rows]
        inputs, measured, teacher = jax.device_put((data.inputs(filled), measured, teacher), self._divided)
        rows, weights, part = self.copied((rows.astype(np.int32), weights, np.float32(share)))
        return Batch(inputs, measured, rows, weights, teacher, part)

    def training_batch(
        self, data: Data, recipe: Recipe, seed: int, step: int, epoch: int, weights: Float[np.ndarray, " rows"]
    ) -> Batch:
        """Return the batch of a step, which depends on the seed and the step alone, and on the vertices' weights."""
        share = measured_share(epoch, recipe.distillation_epochs)
        images, rows = (chosen(data, recipe, seed, step) for chosen in (chosen_images, chosen_vertices))
        return self.batch(data, images, rows, weights, share)


def digest(*arrays: Any) -> str:
    """Return a hash of arrays' shapes, types and contents, which are read in blocks of rows."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{tuple(array.shape)} {np.dtype(array.dtype).str}".encode())
        for start in range(0, len(array), _DIGESTED) if len(array.shape) else ():
            total.update(np.ascontiguousarray(array[start : start + _DIGESTED]).tobytes())
    return total.hexdigest()[:16]

"""Models on several local devices, which divide the images of each call among themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Num

from ..errors import InvalidParameterError

AnyModel = TypeVar("AnyModel")  # a pytree of arrays
_IMAGES = "data"  # the mesh's axis


def replicate(model: AnyModel, devices: int | Sequence[jax.Device] | None = None) -> AnyModel:
    """Return the same model on several local devices, which divide the images of each call among themselves.

    Each device holds all weights and computes images of its own; none waits for another. In a function that you
    compile yourself, the images are divided as you have placed them.

    Parameters
    ----------
    model
        A model of one subject, or of several: see :func:`berg_jax.stack`.
    devices
        Number of local devices, or the devices themselves (default: all).

    Raises
    ------
    InvalidParameterError
        There are not so many devices here.

    See Also
    --------
    berg_jax.Execution : The devices of a run that encodes to a store.

    Examples
    --------
    >>> from berg_jax import load
    >>> from berg_jax.demo import images
    >>> model = replicate(load("demo", 1, roi="FFA-1"))
    >>> model(images("faces", 3)).shape == (3, len(model.vertices))
    True
    """
    chosen = local_devices(devices)
    mesh = Mesh(np.array(chosen), (_IMAGES,))
    return jax.device_put(model, NamedSharding(mesh, PartitionSpec()))


def local_devices(devices: int | Sequence[jax.Device] | None) -> list[jax.Device]:
    """Return the first of JAX's local devices, all of them for None, or those that are given.

    Raises
    ------
    InvalidParameterError
        There are not so many devices here.
    """
    here = jax.local_devices()
    if devices is None:
        return here
    if not isinstance(devices, int):
        return list(devices)
    if not 1 <= devices <= len(here):
        raise InvalidParameterError(f"devices must be from 1 to {len(here)}, which are here, got {devices}.")
    return here[:devices]


def placed_like(array: Any, images: Any) -> Num[Array, "batch 3 height width"] | Any:
    """Return images divided over the devices that hold a replicated array, filled up to a multiple of their number.

    Images or an array of a trace, and images for a single device, are only brought into this machine's byte order.
    """
    if isinstance(images, np.ndarray):
        images = images.astype(images.dtype.newbyteorder("="), copy=False)  # JAX would ignore the byte order
    if isinstance(images, jax.core.Tracer) or isinstance(array, jax.core.Tracer) or not isinstance(array, jax.Array):
        return images
    sharding = array.sharding
    if not isinstance(sharding, NamedSharding) or sharding.mesh.axis_names != (_IMAGES,) or sharding.mesh.size == 1:
        return images
    if isinstance(images, jax.Array) and len(images.sharding.device_set) > 1:
        return images  # divided already
    if missing := -len(images) % sharding.mesh.size:
        images = np.concatenate([np.asarray(images), np.repeat(np.asarray(images[-1:]), missing, axis=0)])
    return jax.device_put(images, NamedSharding(sharding.mesh, PartitionSpec(_IMAGES)))


def without_filling(responses: Array, count: int, axis: int = 0) -> Array:
    """Return the responses to the first ``count`` images along an axis."""
    return responses if responses.shape[axis] == count else jax.lax.slice_in_dim(responses, 0, count, axis=axis)

"""Checks of images: their shape and type everywhere, their values where they are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import StimulusError

FIELD = 4.2  # degrees of visual angle from fixation to the image's border: NSD's images span 8.4°
_ROUNDING = 1e-3  # beyond 0–255, by which a resized image of floats may be off
_OPENING = "Stimulus must be a 4D numpy array (batch, channels, height, width)"


def check_shape(images: Any) -> None:
    """Raise StimulusError unless images are a NumPy or JAX array (batch, 3, height, width), square, of real numbers.

    See Also
    --------
    check_images : The same, and a check of the values.
    """
    shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
    if not (isinstance(shape, tuple) and hasattr(dtype, "kind")):  # a list, or a PyTorch tensor
        raise _no_array(images)
    if len(shape) != 4:
        hint = " For a single image use image[None]." if len(shape) == 3 else ""
        raise StimulusError(f"{_OPENING}, got shape {tuple(shape)}.{hint}")
    if shape[0] == 0:
        raise StimulusError(f"{_OPENING}, got an empty batch.")
    if shape[1] != 3:
        kinds = {1: "grey images: repeat the channel three times", 4: "RGBA: leave out the fourth channel"}
        looks = f"looks like {kinds[shape[1]]}" if shape[1] in kinds else f"has {shape[1]} channels"
        if shape[3] in (1, 3, 4):
            looks = "has the channels last: use images.transpose(0, 3, 1, 2)"
        raise StimulusError(f"{_OPENING} with 3 channels, got {tuple(shape)}, which {looks}.")
    if shape[2] != shape[3] or shape[2] == 0:
        raise StimulusError(f"Stimulus images must be square, got {shape[2]} × {shape[3]} pixels. Crop or pad them.")
    if not (dtype.kind in "iuf" or dtype.name == "bfloat16") or dtype.itemsize > 8:
        raise StimulusError(f"Stimulus values must be integers or floats in 0–255, got {dtype}.")


def _no_array(images: Any) -> StimulusError:
    advice = "Read it: berg_jax.read_images(path)." if isinstance(images, str | Path) else "Use numpy.asarray."
    return StimulusError(f"{_OPENING}, got {type(images).__name__}. {advice}")


def check_images(images: Any) -> None:
    """Raise StimulusError unless images are a NumPy array (batch, 3, height, width), square, in 0–255.

    Nothing is converted: each message says what the array looks like and what to do.

    See Also
    --------
    check_shape : A check of shape and type alone, also for JAX arrays.

    Examples
    --------
    >>> check_images(np.zeros((1, 3, 224, 224), np.uint8))
    """
    if not isinstance(images, np.ndarray):
        raise _no_array(images)
    check_shape(images)
    _check_range(images.min(), images.max(), images.dtype.kind == "f")


def check_values(images: Any) -> None:
    """Raise StimulusError unless images are a NumPy or JAX array as for :func:`check_images`.

    The extreme values of a JAX array are found on its device. Under a trace, such as of ``jit`` or ``grad``, values
    are not known, and only the shape and type are checked.
    """
    check_shape(images)
    if isinstance(images, np.ndarray):
        check_images(images)
    elif not isinstance(images, jax.core.Tracer):
        with jax.ensure_compile_time_eval():  # a traced function may hold images whose values are known
            low, high = np.asarray(_bounds(images))
        _check_range(low, high, jnp.issubdtype(images.dtype, jnp.floating))


@jax.jit
def _bounds(images: jax.Array) -> jax.Array:
    values = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    return jnp.stack([values.min(), values.max()])


def _check_range(low: Any, high: Any, floats: bool) -> None:
    if not np.isfinite([low, high]).all():
        raise StimulusError("Stimulus holds NaN or infinity; values must be in 0–255.")
    if low < -_ROUNDING or high > 255 + _ROUNDING:
        raise StimulusError(f"Stimulus values must be in 0–255, got {low} to {high}. Undo any normalization first.")
    if floats and 0 < high <= 1:
        raise StimulusError(
            f"Stimulus values must be in 0–255, got floats from {low} to {high}, which look like 0–1. Scale them."
        )

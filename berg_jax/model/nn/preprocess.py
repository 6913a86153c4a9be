"""Differentiable preprocessing of pixels in 0–255 to the normalized 224 × 224 images that the network takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from .config import IMAGE

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's images, RGB in 0–1
STD = (0.229, 0.224, 0.225)


def preprocess(
    images: Num[Array, "batch 3 height width"], dtype: jnp.dtype = jnp.float32
) -> Float[Array, "batch 3 224 224"]:
    """Scale images to 0–1, resize them to 224 × 224, and normalize them.

    Parameters
    ----------
    images
        RGB images in 0–255, integers or floats, square.
    dtype
        Type of the computation and of the result.

    Returns
    -------
    Normalized images. The resize is bilinear between pixel centers, without antialiasing, as PyTorch's
    ``interpolate(align_corners=False)``.
    """
    pixels = images.astype(dtype) / 255
    if images.shape[2:] != (IMAGE, IMAGE):
        rows, columns = (jnp.asarray(bilinear_matrix(n, IMAGE), dtype) for n in images.shape[2:])
        exact = jax.lax.Precision.HIGHEST
        pixels = jnp.einsum("yh,bchw,xw->bcyx", rows, pixels, columns, precision=exact)
    mean = jnp.asarray(MEAN, dtype)[None, :, None, None]
    std = jnp.asarray(STD, dtype)[None, :, None, None]
    return (pixels - mean) / std


def bilinear_matrix(length: int, size: int) -> Float[np.ndarray, "size length"]:
    """Return the weights of ``length`` pixels in each of ``size`` new ones along one axis, in float64.

    A row has two weights, as there is no antialiasing. ``jax.image.resize`` has them in float32, which causes errors
    of 1e-4 in the normalized image at 425 pixels.
    """
    position = np.maximum((np.arange(size) + 0.5) * length / size - 0.5, 0)
    low = np.minimum(position.astype(int), length - 1)
    matrix = np.zeros((size, length))
    np.add.at(matrix, (np.arange(size), low), 1 - (position - low))
    np.add.at(matrix, (np.arange(size), np.minimum(low + 1, length - 1)), position - low)
    return matrix

"""Pixels of 0–255 to the normalized 224 × 224 images that the network takes; differentiable."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from .config import IMAGE

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, RGB, of images in 0–1
STD = (0.229, 0.224, 0.225)


def preprocess(
    images: Num[Array, "batch 3 height width"], dtype: jnp.dtype = jnp.float32
) -> Float[Array, "batch 3 224 224"]:
    """Scale to 0–1, resize to 224 × 224, normalize.

    Parameters
    ----------
    images
        RGB in 0–255, integers or floats, square.
    dtype
        Type to compute in.

    Returns
    -------
    Normalized images. Resizing is bilinear between pixel centres, without antialiasing, as PyTorch's
    ``interpolate(align_corners=False)``.
    """
    pixels = images.astype(dtype) / 255
    if images.shape[2:] != (IMAGE, IMAGE):
        size = (*images.shape[:2], IMAGE, IMAGE)
        pixels = jax.image.resize(pixels, size, "linear", antialias=False, precision=jax.lax.Precision.HIGHEST)
    mean = jnp.asarray(MEAN, dtype)[None, :, None, None]
    std = jnp.asarray(STD, dtype)[None, :, None, None]
    return (pixels - mean) / std

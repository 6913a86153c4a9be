"""Forms of a direct convolution, equal but for rounding, of which one or the other is faster on a device."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .precision import Precision


def convolve(
    maps: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], precision: Precision, form: str = "NHWC"
) -> Float[Array, "b h2 w2 o"]:
    """Return the cross-correlation without padding.

    Parameters
    ----------
    maps, kernel
        Feature maps and kernel.
    precision
        Precision of the products.
    form
        ``"NHWC"`` or ``"NCHW"``, the layout in which XLA convolves; ``"im2col"``, one product with every cell's
        neighborhood; ``"shifted"``, a sum of products, one for each cell of the kernel.
    """
    if form == "NHWC":
        return precision.convolve(maps, kernel)
    if form == "NCHW":
        return _channels_first(maps, kernel, precision)
    high, wide = (maps.shape[axis + 1] - kernel.shape[axis] + 1 for axis in (0, 1))
    shifted = [
        maps[:, row : row + high, column : column + wide]
        for row in range(kernel.shape[0])
        for column in range(kernel.shape[1])
    ]
    weights = kernel.reshape(-1, *kernel.shape[2:])
    if form == "shifted":
        return sum(precision.einsum("bhwi,io->bhwo", part, weights[k]) for k, part in enumerate(shifted))
    neighborhoods = jnp.concatenate([part.astype(precision.operands) for part in shifted], axis=-1)
    return precision.einsum("bhwi,io->bhwo", neighborhoods, weights.reshape(-1, weights.shape[-1]))


def _channels_first(maps: Array, kernel: Array, precision: Precision) -> Array:
    result = lax.conv_general_dilated(
        maps.transpose(0, 3, 1, 2).astype(precision.operands),
        kernel.transpose(3, 2, 0, 1).astype(precision.operands),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        precision=precision.products,
    )
    return result.transpose(0, 2, 3, 1).astype(precision.accumulate)

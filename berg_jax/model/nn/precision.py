"""Named precisions of the network's products, which mean the same on every device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Precision:
    """Type and exactness of every product in the network.

    Sums are accumulated in ``accumulate``; norms, softmax and the residual stream are computed in it, too.
    """

    name: str
    operands: Any
    accumulate: Any
    products: lax.Precision

    def einsum(self, subscripts: str, *operands: Array, narrow: bool = False) -> Array:
        """Return ``jnp.einsum`` of operands rounded to this precision, summed in ``accumulate``.

        If it is ``narrow``, the sum is rounded to the operands' type.
        """
        product = jnp.einsum(
            subscripts,
            *(x.astype(self.operands) for x in operands),
            precision=self.products,
            preferred_element_type=self.operands if narrow else self.accumulate,
        )
        return product.astype(self.accumulate)

    def convolve(self, maps: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"]) -> Float[Array, "b h2 w2 o"]:
        """Return the cross-correlation without padding."""
        result = lax.conv_general_dilated(
            maps.astype(self.operands),
            kernel.astype(self.operands),
            window_strides=(1, 1),
            padding="VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=self.products,
        )
        return result.astype(self.accumulate)


PRECISIONS = {
    p.name: p
    for p in (
        # JAX's own default is TF32 on recent GPUs and bfloat16 on TPUs, hence HIGHEST.
        Precision("float32", jnp.float32, jnp.float32, lax.Precision.HIGHEST),
        Precision("tensorfloat32", jnp.float32, jnp.float32, lax.Precision.HIGH),
        Precision("bfloat16", jnp.bfloat16, jnp.float32, lax.Precision.DEFAULT),
        Precision("float64", jnp.float64, jnp.float64, lax.Precision.HIGHEST),
    )
}


def x64_enabled() -> bool:
    """Return whether JAX's 64-bit types are enabled."""
    return bool(jax.config.jax_enable_x64)

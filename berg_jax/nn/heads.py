"""What a part makes of its backbone's tokens: per layer a feature map and a global vector."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .config import GRID, PartConfig
from .precision import Precision
from .vit import Linear, layer_norm

KERNEL = 5


class FeatureMap(nn.Module):
    """Three 5 × 5 convolutions; the first two are residual, the last one goes to the part's width."""

    width: int
    precision: Precision

    @nn.compact
    def __call__(self, grid: Float[Array, "b 16 16 c"]) -> Float[Array, "b 16 16 d"]:  # noqa: D102
        p, c = self.precision, grid.shape[-1]
        x = grid
        for index in (0, 1):
            kernel = self.param(f"conv_{index}", _init, (KERNEL, KERNEL, c, c))
            x += jax.nn.silu(layer_norm(p, f"norm_{index}")(p.convolve(x, kernel)))
        kernel = self.param("conv_2", _init, (KERNEL, KERNEL, c, self.width))
        return jax.nn.silu(p.convolve(x, kernel))


_init = nn.initializers.lecun_normal()


def pool(tokens: Float[Array, "b 257 c"], is_last: bool) -> Float[Array, "b g"]:
    """The class token after the last block; else average and maximum of the patch tokens, side by side."""
    if is_last:
        return tokens[:, 0]
    return jnp.concatenate([tokens[:, 1:].mean(axis=1), tokens[:, 1:].max(axis=1)], axis=-1)


class Heads(nn.Module):
    """Tapped tokens → maps (layers, batch, 16, 16, width) and vectors (layers, batch, width)."""

    config: PartConfig
    precision: Precision

    @nn.compact
    def __call__(  # noqa: D102
        self, taps: dict[int, Float[Array, "b 257 c"]]
    ) -> tuple[Float[Array, "l b 16 16 d"], Float[Array, "l b d"]]:
        c, p = self.config, self.precision
        maps, vectors = [], []
        for layer in c.layers:
            tokens = taps[layer]
            grid = tokens[:, 1:].reshape(tokens.shape[0], GRID, GRID, -1)
            maps.append(FeatureMap(c.width, p, name=f"map_{layer}")(grid))
            pooled = pool(tokens, is_last=layer == c.vit.depth - 1)
            hidden = Linear(pooled.shape[-1], p, name=f"global_{layer}_fc1")(pooled)
            hidden = jax.nn.gelu(hidden, approximate=False)
            vectors.append(Linear(c.width, p, name=f"global_{layer}_fc2")(hidden))
        return jnp.stack(maps), jnp.stack(vectors)

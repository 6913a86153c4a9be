"""Heads of a part, which turn its backbone's tokens into a feature map and a global vector for each layer."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import winograd
from .config import DEFAULT_PLAN, GRID, ComputePlan, PartConfig, Window
from .convolutions import convolve
from .precision import Precision
from .vit import Linear, layer_norm

KERNEL = winograd.KERNEL
_REACH = KERNEL // 2  # cells that a convolution looks beyond its output
_init = nn.initializers.lecun_normal()


class FeatureMap(nn.Module):
    """Three 5 × 5 convolutions: the first two are residual, the last one has the part's width.

    Only the cells that the window needs are computed: each convolution's output is the window of the next one's
    output, grown by its reach.
    """

    width: int
    precision: Precision
    compute_plan: ComputePlan

    @nn.compact
    def __call__(self, grid: Float[Array, "b 16 16 c"]) -> Float[Array, "b 16 16 d"]:  # noqa: D102
        p, c = self.precision, grid.shape[-1]
        last = self.compute_plan.window
        middle = last.grown(_REACH)
        windows = [middle.grown(_REACH), middle, last]
        x, there = grid, Window()
        for index in (0, 1):
            y = self._convolve(x, there, windows[index], f"conv_{index}", c)
            x = _cut(x, there, windows[index]) + jax.nn.silu(layer_norm(p, f"norm_{index}")(y))
            there = windows[index]
        x = jax.nn.silu(self._convolve(x, there, last, "conv_2", self.width))
        outside = ((last.top, GRID - last.bottom), (last.left, GRID - last.right))
        return jnp.pad(x, ((0, 0), *outside, (0, 0)))

    def _convolve(self, x: Array, there: Window, wanted: Window, name: str, width: int) -> Array:
        """Return the ``wanted`` outputs of a convolution of a map's cells ``there``."""
        rows = winograd.POINTS if self.compute_plan.winograd else KERNEL
        kernel = self.param(name, _init, (rows, KERNEL, x.shape[-1], width))
        x = _cut(x, there, wanted, _REACH)
        if self.compute_plan.winograd:
            return winograd.convolve(x, kernel, self.precision)
        return convolve(x, kernel, self.precision, self.compute_plan.convolution)


def _cut(x: Float[Array, "b h w c"], there: Window, wanted: Window, margin: int = 0) -> Float[Array, "b h2 w2 c"]:
    """Return the wanted cells of a map and a margin around them, with zeros beyond the 16 × 16 cells."""

    def one_axis(low: int, high: int, first: int) -> tuple[slice, tuple[int, int]]:
        inside = max(low - margin, 0), min(high + margin, GRID)
        return slice(inside[0] - first, inside[1] - first), (inside[0] - low + margin, high + margin - inside[1])

    rows, above = one_axis(wanted.top, wanted.bottom, there.top)
    columns, beside = one_axis(wanted.left, wanted.right, there.left)
    return jnp.pad(x[:, rows, columns], ((0, 0), above, beside, (0, 0)))


def pool(tokens: Float[Array, "b 257 c"], is_last: bool) -> Float[Array, "b g"]:
    """Return the class token of the last block, or else the concatenated mean and maximum of the patch tokens."""
    if is_last:
        return tokens[:, 0]
    return jnp.concatenate([tokens[:, 1:].mean(axis=1), tokens[:, 1:].max(axis=1)], axis=-1)


class Heads(nn.Module):
    """Tapped tokens → maps (layers, batch, 16, 16, width) and vectors (layers, batch, width)."""

    config: PartConfig
    precision: Precision
    compute_plan: ComputePlan = DEFAULT_PLAN

    @nn.compact
    def __call__(  # noqa: D102
        self, taps: dict[int, Float[Array, "b 257 c"]]
    ) -> tuple[Float[Array, "l b 16 16 d"], Float[Array, "l b d"]]:
        c, p = self.config, self.precision
        maps, vectors = [], []
        for layer in c.layers:
            tokens = taps[layer]
            grid = tokens[:, 1:].reshape(tokens.shape[0], GRID, GRID, -1)
            maps.append(FeatureMap(c.width, p, self.compute_plan, name=f"map_{layer}")(grid))
            pooled = pool(tokens, is_last=layer == c.vit.depth - 1)
            hidden = Linear(pooled.shape[-1], p, name=f"global_{layer}_fc1")(pooled)
            hidden = jax.nn.gelu(hidden, approximate=False)
            vectors.append(Linear(c.width, p, name=f"global_{layer}_fc2")(hidden))
        return jnp.stack(maps), jnp.stack(vectors)

"""Compiled programs of a model: pixels, features of one network, responses of one network's vertices.

They are compiled separately. The first depends on the images' size, the second on the networks' sizes (one program
serves both parts, if they have one size, and every selection), the third on the number of tiles. None depends on the
selected columns. Inside a user's own jit, they become part of its program.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float, Int, Num

from .nn.config import DEFAULT_PLAN, ComputePlan, PartConfig
from .nn.heads import Heads
from .nn.precision import PRECISIONS
from .nn.preprocess import preprocess
from .nn.readout import readout
from .nn.vit import ViT


@partial(jax.jit, static_argnames="precision")
def pixels_of(images: Num[Array, "b 3 h w"], precision: str) -> Float[Array, "b 3 224 224"]:
    """Return the normalized images that the networks take."""
    return preprocess(images, PRECISIONS[precision].accumulate)


@partial(jax.jit, static_argnames=("config", "precision", "compute_plan"))
def features_of(
    vit: dict[str, Any],
    heads: dict[str, Any],
    config: PartConfig,
    precision: str,
    pixels: Float[Array, "b 3 224 224"],
    compute_plan: ComputePlan = DEFAULT_PLAN,
) -> tuple[dict[int, Float[Array, "b 257 c"]], Float[Array, "l b 16 16 d"], Float[Array, "l b d"]]:
    """Return one part's tapped tokens, feature maps and global vectors, which are all that its vertices read."""
    kind = PRECISIONS[precision]
    _, taps = ViT(config.vit, kind, config.layers, compute_plan).apply({"params": vit}, pixels)
    maps, vectors = Heads(config, kind, compute_plan).apply({"params": heads}, taps)
    return taps, maps, vectors


@partial(jax.jit, static_argnames=("precision", "tiles_per_step"))
def slots_of(
    params: dict[str, Float[Array, "tiles 128 ..."]],
    corners: Int[Array, " tiles"],
    maps: Float[Array, "l b 16 16 d"],
    vectors: Float[Array, "l b d"],
    precision: str,
    tiles_per_step: int = DEFAULT_PLAN.tiles_per_step,
) -> Float[Array, "b slots"]:
    """Return one part's responses in the order of its slots."""
    return readout(params, corners, maps, vectors, PRECISIONS[precision], tiles_per_step)

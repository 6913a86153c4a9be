"""DINOv2 class tokens: features of the unmodified backbone, a baseline to compare brain responses with."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ....convert.dinov2 import Backbone
from ....model.batches import filled_batches
from ....model.encoding_model import pixels_of
from ....model.nn.config import ViTConfig
from ....model.nn.precision import PRECISIONS
from ....model.nn.vit import ViT
from ....stream.sources.image_files import Source


def class_tokens(
    backbone: Backbone, source: Source, batch_size: int = 8
) -> dict[str, Float[np.ndarray, "images features"]]:
    """Return the class tokens of all images of a source at four depths of a backbone.

    Returns
    -------
    Features (images, width) by layer, ``dinov2-<block>``: the last block of each quarter of the depth, counted from
    0, without the final norm.
    """
    depth = backbone.config.depth
    layers = tuple(sorted({max(depth * quarter // 4 - 1, 0) for quarter in (1, 2, 3, 4)}))
    params = jax.tree.map(jnp.asarray, backbone.params)
    batches: list[Any] = []
    for indices, new in filled_batches(len(source), batch_size):
        pixels = pixels_of(jnp.asarray(source.read(indices)), "float32")
        tokens = np.asarray(_tokens(params, pixels, backbone.config, layers))
        batches.append(tokens[:, :new])
    tokens = np.concatenate(batches, axis=1)
    return {f"dinov2-{layer}": layer_tokens for layer, layer_tokens in zip(layers, tokens, strict=True)}


@partial(jax.jit, static_argnames=("config", "layers"))
def _tokens(
    params: dict[str, Any], pixels: Num[Array, "b 3 224 224"], config: ViTConfig, layers: tuple[int, ...]
) -> Float[Array, "l b c"]:
    _, taps = ViT(config, PRECISIONS["float32"], layers).apply({"params": params}, pixels)
    return jnp.stack([taps[layer][:, 0] for layer in layers])

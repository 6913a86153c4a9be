"""Weights in the form in which a model computes with them: types, fused adapters, Winograd's form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..errors import ModelLoadError
from .nn.config import PartConfig
from .nn.precision import Precision
from .nn.winograd import transform_kernel

_PRODUCT_WEIGHTS = ("kernel", "patch_kernel", "conv_0", "conv_1", "conv_2", "weight", "lora_down", "lora_up")


def on_device(tree: Any, precision: Precision) -> Any:
    """Return JAX arrays: weights of products in the type of products, all others in the type of sums."""

    def place(path: tuple, value: Any) -> Array:
        is_weight = path[-1].key in _PRODUCT_WEIGHTS
        return jnp.asarray(value, precision.operands if is_weight else precision.accumulate)

    return jax.tree_util.tree_map_with_path(place, tree)


def fused(tree: dict[str, Any], scale: float, precision: Precision) -> dict[str, Any]:
    """Add low-rank adapters to their kernels, in float64, rounded once to the type of products."""
    if "lora_down" in tree:
        down, up = (np.asarray(tree[key], np.float64) for key in ("lora_down", "lora_up"))
        with np.errstate(over="ignore"):
            kernel = np.asarray(tree["kernel"], np.float64) + scale * (down @ up)
            kernel = kernel.astype(precision.operands)
        if not np.isfinite(kernel).all():
            raise ModelLoadError(
                f"A low-rank adapter's product, times the LoRA scale {scale:g}, is too large for "
                f"{np.dtype(precision.operands)}. Check the scale (--lora-scale), and that the weights are whole."
            )
        return {"kernel": jnp.asarray(kernel), "bias": tree["bias"]}
    return {key: fused(value, scale, precision) if isinstance(value, dict) else value for key, value in tree.items()}


def winograd_kernels(heads: dict[str, Any]) -> dict[str, Any]:
    """Transform the feature maps' kernels to Winograd's form on the device, one by one, which saves memory."""
    heads = {name: dict(module) for name, module in heads.items()}
    for module in heads.values():
        for key in module.keys() & {"conv_0", "conv_1", "conv_2"}:
            module[key] = jnp.asarray(transform_kernel(module[key]))
    return heads


def without_lora(config: PartConfig) -> PartConfig:
    """Return the sizes of a part whose adapters have been fused."""
    return replace(config, vit=replace(config.vit, lora_rank=0))


def prepared(
    config: PartConfig, weights: dict[str, Any], precision: Precision, fuse_lora: bool, winograd: bool
) -> tuple[PartConfig, dict[str, Any], dict[str, np.ndarray]]:
    """Return a part's sizes, its network on the device in the form used for computing, and its readout tables."""
    network = {key: weights.pop(key) for key in ("vit", "heads")}
    if fuse_lora:
        network["vit"] = fused(network["vit"], config.vit.lora_scale, precision)
        config = without_lora(config)
    if winograd:
        network["heads"] = winograd_kernels(network.pop("heads"))
    return config, on_device(network, precision), weights["readout"]

"""Conversion of stock DINOv2 backbones from Hugging Face's files to params of :class:`~berg_jax.model.nn.vit.ViT`.

The files are safetensors with the names of ``Dinov2Model``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ModelLoadError, ModelNotFoundError, ResourceError
from ..files.disk import read_small, readable
from ..model.nn.config import PATCH, ViTConfig
from .constants import resize_position_embedding
from .keys import as_is, convolution, first, flat, linear

FILE, SIZES = "model.safetensors", "config.json"
_EMBEDDINGS = {
    "embeddings.cls_token": ("cls_token", flat),
    "embeddings.position_embeddings": ("pos_embed", first),
    "embeddings.patch_embeddings.projection.weight": ("patch_kernel", convolution),
    "embeddings.patch_embeddings.projection.bias": ("patch_bias", as_is),
}
_FIRST_BIAS = "encoder.layer.0.mlp.fc1.bias"
_UNUSED = ("embeddings.mask_token", "layernorm.weight", "layernorm.bias")
_BLOCK = {
    "norm1.weight": ("norm1/scale", as_is),
    "norm1.bias": ("norm1/bias", as_is),
    "attention.output.dense.weight": ("attn/proj/kernel", linear),
    "attention.output.dense.bias": ("attn/proj/bias", as_is),
    "layer_scale1.lambda1": ("ls1", as_is),
    "norm2.weight": ("norm2/scale", as_is),
    "norm2.bias": ("norm2/bias", as_is),
    "mlp.fc1.weight": ("mlp/fc1/kernel", linear),
    "mlp.fc1.bias": ("mlp/fc1/bias", as_is),
    "mlp.fc2.weight": ("mlp/fc2/kernel", linear),
    "mlp.fc2.bias": ("mlp/fc2/bias", as_is),
    "layer_scale2.lambda1": ("ls2", as_is),
}
_QKV = ("query", "key", "value")
# Names of the same tensors in transformers 5.
_RENAMED = {"attention.o_proj": "attention.output.dense"} | {
    f"attention.{name[0]}_proj": f"attention.attention.{name}" for name in _QKV
}


class Backbone(NamedTuple):
    """A vision transformer's sizes, and its params for :class:`~berg_jax.model.nn.vit.ViT`."""

    config: ViTConfig
    params: dict[str, Any]


def load_dinov2(path: str | Path, position_offset: float = 0.0) -> Backbone:
    """Load a stock DINOv2 (S, B or L, patch 14, without registers) from Hugging Face's files.

    Parameters
    ----------
    path
        The folder of ``model.safetensors`` and ``config.json``, or the former file alone, in which case the number of
        heads is embed_dim / 64.
    position_offset
        Offset in the resize of the position embedding to 16 × 16: 0 as in transformers, or 0.1 as in DINOv2's own
        code.

    Returns
    -------
    Sizes and params of the backbone.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ModelLoadError
        The file cannot be read, or is not such a backbone. The message lists tensors that are missing, unexpected or
        misshapen.
    ResourceError
        safetensors is not installed.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ModelNotFoundError(f"There is no file {file}. Give the folder of {FILE} and {SIZES}.")
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ResourceError("Reading it needs safetensors: pip install 'berg_jax[hf]'.") from error
    with readable(file, ModelLoadError, "Get the file again."), np.errstate(over="ignore", invalid="ignore"):
        tensors = {_plain(name): tensor.astype(np.float32) for name, tensor in load_file(file).items()}
    # The layers are counted, because a layer's number may be so high that a list up to it would never end.
    depth = len({match[1] for name in tensors if (match := re.match(r"encoder\.layer\.(\d+)\.", name))})
    e, m = _length(tensors, "embeddings.patch_embeddings.projection.weight"), _length(tensors, _FIRST_BIAS)
    _check(file, tensors, depth, e, m)
    config = ViTConfig(e, depth, _heads(path, e), m)
    params = {target: transform(tensors[name]) for name, (target, transform) in _EMBEDDINGS.items()}
    params["pos_embed"] = resize_position_embedding(params["pos_embed"], position_offset)
    params["blocks"] = _stacked(tensors, depth)
    return Backbone(config, params)


def _length(tensors: Mapping[str, np.ndarray], name: str) -> int:
    return tensors[name].shape[0] if name in tensors and tensors[name].ndim else 0


def _plain(name: str) -> str:
    """Return a tensor's usual name, without the prefix that it has in a larger model."""
    name = name.removeprefix("dinov2.")
    for new_name, usual_name in _RENAMED.items():
        name = name.replace(f".{new_name}.", f".{usual_name}.")
    return name


def _shapes(depth: int, e: int, m: int) -> dict[str, tuple[int | None, ...]]:
    """Return the shape of each required tensor, in which None stands for any length."""
    block: dict[str, tuple[int | None, ...]] = {name: (e,) for name in _BLOCK}
    block |= {"attention.output.dense.weight": (e, e), "mlp.fc1.weight": (m, e), "mlp.fc1.bias": (m,)}
    block |= {"mlp.fc2.weight": (e, m)}
    for name in _QKV:
        block |= {f"attention.attention.{name}.weight": (e, e), f"attention.attention.{name}.bias": (e,)}
    shapes: dict[str, tuple[int | None, ...]] = {
        "embeddings.cls_token": (1, 1, e),
        "embeddings.position_embeddings": (1, None, e),
        "embeddings.patch_embeddings.projection.weight": (e, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (e,),
    }
    return shapes | {f"encoder.layer.{i}.{name}": shape for i in range(depth) for name, shape in block.items()}


def _check(file: Path, tensors: Mapping[str, np.ndarray], depth: int, e: int, m: int) -> None:
    shapes = _shapes(depth, e, m)
    problems = [f"{name} is missing" for name in shapes if name not in tensors]
    # The limit leaves room for the resize of the position embedding, which enlarges some numbers.
    problems += [f"{name} is not finite" for name, tensor in tensors.items() if not (np.abs(tensor) < 1e30).all()]
    problems += [f"{name} is not expected" for name in tensors if name not in shapes and name not in _UNUSED]
    for name, shape in shapes.items():
        found = tensors[name].shape if name in tensors else shape
        if len(found) != len(shape) or any(b not in (None, a) for a, b in zip(found, shape, strict=True)):
            problems.append(f"{name} has shape {found}, expected {shape}")
    positions = tensors.get("embeddings.position_embeddings", np.zeros((1, 2, 0)))
    positions = positions.shape[1] - 1 if positions.ndim == 3 else -1
    if positions < 1 or math.isqrt(positions) ** 2 != positions:
        problems.append(f"embeddings.position_embeddings are of {positions} patches, which is no square")
    if depth < 1 or problems:
        shown = "; ".join(problems[:8]) + ("; …" if len(problems) > 8 else "")
        raise ModelLoadError(f"{file} is no DINOv2 of patch 14 without registers, as Dinov2Model: {shown}.")


def _stacked(tensors: Mapping[str, np.ndarray], depth: int) -> dict[str, Any]:
    """Return the params of all blocks, stacked, with queries, keys and values as one product."""

    def stack(name: str, transform: Any = as_is) -> np.ndarray:
        return np.stack([transform(tensors[f"encoder.layer.{i}.{name}"]) for i in range(depth)])

    blocks: dict[str, Any] = {}
    for name, (target, transform) in _BLOCK.items():
        *branches, leaf = target.split("/")
        node = blocks
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = stack(name, transform)
    kernels, biases = (
        [stack(f"attention.attention.{name}.{kind}", transform) for name in _QKV]
        for kind, transform in (("weight", linear), ("bias", as_is))
    )
    blocks["attn"]["qkv"] = {"kernel": np.concatenate(kernels, 2), "bias": np.concatenate(biases, 1)}
    return blocks


def _heads(path: Path, embed_dim: int) -> int:
    sizes = path / SIZES
    heads = embed_dim // 64
    if path.is_dir() and sizes.is_file():
        with readable(sizes, ModelLoadError, "Get the file again."):
            heads = json.loads(read_small(sizes))["num_attention_heads"]
    if type(heads) is not int or heads < 1 or embed_dim % heads:
        raise ModelLoadError(
            f"{path}: an embedding of {embed_dim} does not divide into {heads!r:.40} heads. Give {SIZES}."
        )
    return heads

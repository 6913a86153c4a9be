"""The network that the demo subjects share: Gabor-like patch filters, random blocks, and local convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from ..model.nn.config import GRID, PATCH, PartConfig, ViTConfig
from ..published.berg_dir import DEMO_VERSION

CONFIG = PartConfig(ViTConfig(64, 4, 2, 128, 4), (0, 2, 3), 48)
_LORA = 0.03  # size of the adapters relative to the kernels


def random_network(random: np.random.Generator) -> dict[str, Any]:
    """Draw the weights of ``CONFIG``'s network without its readout; only the adapters differ between subjects."""
    own, shared = random, np.random.default_rng(DEMO_VERSION)
    vit, width = CONFIG.vit, CONFIG.width
    e, m, r, depth = vit.embed_dim, vit.mlp_dim, vit.lora_rank, vit.depth

    def linear(inputs: int, outputs: int) -> dict[str, np.ndarray]:
        return {
            "kernel": _normal(shared, (depth, inputs, outputs), inputs),
            "bias": 0.1 * _normal(shared, (depth, outputs)),
            "lora_down": _normal(own, (depth, inputs, r), inputs) * _LORA * inputs**0.5,
            "lora_up": _normal(own, (depth, r, outputs), r),
        }

    norm = {"scale": np.ones((depth, e), np.float32), "bias": np.zeros((depth, e), np.float32)}
    gain = np.full((depth, e), 0.4, np.float32)
    blocks = {
        "attn": {"qkv": linear(e, 3 * e), "proj": linear(e, e)},
        "mlp": {"fc1": linear(e, m), "fc2": linear(m, e)},
        "norm1": norm,
        "norm2": dict(norm),
        "ls1": 0.5 * gain,
        "ls2": 2 * gain,
    }
    tokens = {
        "patch_kernel": _patches(e, shared),
        "patch_bias": np.zeros(e, np.float32),
        "cls_token": _normal(shared, (e,)),
        "pos_embed": 0.02 * _normal(shared, (1 + GRID * GRID, e)),
    }
    heads: dict[str, Any] = {}
    for layer in CONFIG.layers:
        local = layer == CONFIG.layers[0]
        heads[f"map_{layer}"] = {
            "conv_0": _convolution(e, e, shared),
            "conv_1": _convolution(e, e, shared),
            "conv_2": (1 if local else 0.3) * _convolution(e, width, shared),
            "norm_0": {"scale": np.ones(e, np.float32), "bias": np.zeros(e, np.float32)},
            "norm_1": {"scale": np.ones(e, np.float32), "bias": np.zeros(e, np.float32)},
        }
        size = CONFIG.global_size(layer)
        heads[f"global_{layer}_fc1"] = {
            "kernel": _normal(shared, (size, size), size),
            "bias": _normal(shared, (size,)),
        }
        # Early vertices read local features; late vertices read mostly global ones.
        kernel = (0.02 if local else 1) * _normal(shared, (size, width), size)
        heads[f"global_{layer}_fc2"] = {"kernel": kernel, "bias": np.zeros(width, np.float32)}
    return {"vit": {**tokens, "blocks": blocks}, "heads": heads}


def _normal(random: np.random.Generator, shape: tuple[int, ...], fan_in: int = 1) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32) / np.float32(fan_in**0.5)


def _patches(features: int, random: np.random.Generator) -> Float[np.ndarray, "14 14 3 features"]:
    """Return Gabor patches of several orientations, frequencies and phases, a quarter of them in color."""
    position = (np.arange(PATCH) + 0.5) / PATCH - 0.5
    window = np.exp(-(position**2 + position[:, None] ** 2) / (2 * 0.3**2))
    kernel = np.empty((PATCH, PATCH, 3, features), np.float32)
    for index in range(features):
        angle, frequency, phase = np.pi * index / 8, 0.75 * (1 + index % 3), np.pi / 2 * (index // 8 % 4)
        wave = np.cos(2 * np.pi * frequency * (position[:, None] * np.sin(angle) + position * np.cos(angle)) + phase)
        color = random.normal(size=3) if index % 4 == 3 else np.ones(3)
        kernel[..., index] = (wave * window)[..., None] * color
    return kernel / np.linalg.norm(kernel.reshape(-1, features), axis=0)


def _convolution(inputs: int, outputs: int, random: np.random.Generator) -> Float[np.ndarray, "5 5 i o"]:
    """Draw kernels that mix channels at random and smooth them in space, so that maps stay local."""
    offset = np.arange(5) - 2
    window = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * 0.6**2))
    return (window[:, :, None, None] / window.sum() * _normal(random, (inputs, outputs), inputs)).astype(np.float32)

"""A subject's constants, computed once in float64: position embedding, layer weights, receptive-field centers.

The position embedding is resized. A vertex's layer weights and receptive-field center are functions of its
coordinates alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import erf, softmax

from ..errors import ModelLoadError
from ..model.nn.config import GRID

# Constants of the reference's positional encoding. Its configuration file has other values, which it does not use.
MAX_STEPS, FEATURES, PERIODS = 100, 32, 100
_OFFSET = 0.1  # offset in DINOv2's resize of the position embedding, with which the published weights were trained
_CUBIC = -0.75  # PyTorch's bicubic coefficient
_CHUNK = 16_384  # vertices encoded at once


def resize_position_embedding(
    embedding: Float[np.ndarray, "1+n c"], offset: float = _OFFSET
) -> Float[np.ndarray, "257 c"]:
    """Return the class token's embedding, and the patches' embedding resized from a square grid to 16 × 16.

    The resize is bicubic without antialiasing, with DINOv2's scale (16 + offset) / side and a repeated border. It
    enlarges some numbers; those that become too large for float32 are infinite.
    """
    embedding = np.asarray(embedding, np.float64)
    side = int(np.sqrt(len(embedding) - 1))
    if side == GRID:
        return embedding.astype(np.float32)
    matrix = _bicubic(side, offset)
    grid = embedding[1:].reshape(side, side, -1)
    resized = np.einsum("yi,xj,ijc->yxc", matrix, matrix, grid, optimize=True).reshape(GRID * GRID, -1)
    with np.errstate(over="ignore"):
        return np.concatenate([embedding[:1], resized]).astype(np.float32)


def _bicubic(side: int, offset: float) -> Float[np.ndarray, "16 side"]:
    """Return the weights of the ``side`` inputs in each of 16 outputs."""
    source = (np.arange(GRID) + 0.5) * side / (GRID + offset) - 0.5
    left = np.floor(source).astype(int)
    matrix = np.zeros((GRID, side))
    for tap in (-1, 0, 1, 2):
        t = np.abs(source - (left + tap))
        near = ((_CUBIC + 2) * t - (_CUBIC + 3)) * t * t + 1
        far = ((t - 5) * t + 8) * t * _CUBIC - 4 * _CUBIC
        np.add.at(matrix, (np.arange(GRID), np.clip(left + tap, 0, side - 1)), np.where(t <= 1, near, far))
    return matrix


def frequencies() -> Float[np.ndarray, " 32"]:
    """Return the frequencies of the positional encoding, in radians per step, falling from 1 to about 1 / 100."""
    return PERIODS ** np.linspace(0, 1 / FEATURES - 1, FEATURES)


def positional_encoding(
    coordinates: Float[np.ndarray, "vertices 3"],
    low: Float[np.ndarray, " 3"],
    span: float,
) -> Float[np.ndarray, "vertices 192"]:
    """Return sines and cosines of scaled coordinates, in the order axis · 64 + 2k + (0: sin, 1: cos).

    ``low`` is the smallest coordinate on each axis, and ``span`` the largest extent over all axes, of the whole part.
    """
    position = (coordinates.astype(np.float64) - low) * MAX_STEPS / span
    angle = position[:, :, None] * frequencies()
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(len(coordinates), -1)


def vertex_tables(
    coordinates: Float[np.ndarray, "vertices 3"],
    layer_selector: dict[str, Any],
    retina_mapper: dict[str, Any],
    retina_sigma: float,
    source: str,
) -> tuple[Float[np.ndarray, "vertices layers"], Float[np.ndarray, "vertices 2"]]:
    """Return each vertex's weights of the layers, and its receptive-field center (x right, y down) in (−1, 1).

    Raises
    ------
    ModelLoadError
        All coordinates are the same, so they cannot be scaled by their extent.
    """
    low = coordinates.min(axis=0).astype(np.float64)
    span = float((coordinates.max(axis=0).astype(np.float64) - low).max())
    if span == 0:
        raise ModelLoadError(
            f"{source}: the coordinates of all {len(coordinates)} vertices are the same; expected positions on "
            "a surface. The positional encoding divides by their extent."
        )
    layer_weights, rf_centers = [], []
    for start in range(0, len(coordinates), _CHUNK):
        encoding = positional_encoding(coordinates[start : start + _CHUNK], low, span)
        layer_weights.append(softmax(_mlp(encoding, layer_selector), axis=1).astype(np.float32))
        rf_centers.append((np.tanh(_mlp(encoding, retina_mapper)) * (1 - retina_sigma)).astype(np.float32))
    return np.concatenate(layer_weights), np.concatenate(rf_centers)


def _mlp(x: np.ndarray, layers: dict[str, Any]) -> np.ndarray:
    for index in ("1", "3", "5"):
        if index != "1":
            x = x * 0.5 * (1 + erf(x / np.sqrt(2)))
        x = x @ layers[index]["weight"].T.astype(np.float64) + layers[index]["bias"]
    return x

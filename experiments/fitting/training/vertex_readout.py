"""Readout of vertices whose receptive fields move: their tiles are made anew in every step, inside the program."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ....model.nn.config import GRID
from ....model.nn.precision import Precision
from ....model.nn.readout import PADDED, TILE, map_position, readout
from .parametrizations import Parametrization
from .steps import Prediction

_CELLS = (GRID + 1) ** 2  # cells in which a vertex may look
_LEAST_TILE = 8
_PRODUCTS = 2048  # slots that are multiplied at once


def predicted(
    params: dict[str, Any],
    parametrization: Parametrization,
    rows: Int[Array, " vertices"],
    maps: Float[Array, "layers batch 16 16 width"],
    vectors: Float[Array, "layers batch width"],
    precision: Precision,
    jitter: float,
    key: Array | None,
) -> Prediction:
    """Return the prediction of a step's vertices from the features of its images.

    Parameters
    ----------
    params
        ``selectors``, the parametrization's, and ``readout`` with ``weight`` and ``bias`` of all vertices.
    parametrization
        Functions of the selectors' parameters.
    rows
        Rows of the vertices.
    maps, vectors
        Feature maps and global vectors.
    precision
        Precision of the products.
    jitter
        Standard deviation of the noise on receptive-field centers, in units of half the image.
    key
        Random key of the noise; None for no noise.
    """
    layer_weights, rf_center = parametrization.tables(params["selectors"], rows)
    seen = rf_center
    if key is not None and jitter:
        seen = jnp.clip(rf_center + jitter * jax.random.normal(key, rf_center.shape, rf_center.dtype), -1, 1)
    weight, bias = (params["readout"][name][rows] for name in ("weight", "bias"))
    responses = read(weight, bias, layer_weights, seen, maps, vectors, precision)
    return Prediction(responses, layer_weights, rf_center, parametrization.penalty(params["selectors"], rows))


def read(
    weight: Float[Array, "vertices width"],
    bias: Float[Array, " vertices"],
    layer_weights: Float[Array, "vertices layers"],
    rf_center: Float[Array, "vertices 2"],
    maps: Float[Array, "layers batch 16 16 width"],
    vectors: Float[Array, "layers batch width"],
    precision: Precision,
) -> Float[Array, "batch vertices"]:
    """Return the responses of vertices in z units, differentiable in all arguments.

    Parameters
    ----------
    weight, bias, layer_weights, rf_center
        Tables of the vertices: see :class:`~berg_jax.experiments.fitting.tables.VertexTables`.
    maps, vectors
        Feature maps and global vectors of the images.
    precision
        Precision of the products with the weights.

    See Also
    --------
    berg_jax.model.nn.readout.readout : The readout of tiles, which computes it.
    """
    vertices = len(bias)
    tile = tile_size(vertices)
    slots, rows, corners = tiles_of(jax.lax.stop_gradient(rf_center), tile)
    tables = {"weight": weight, "bias": bias, "layer_weights": layer_weights, "rf_center": rf_center}
    # Empty slots hold some vertex, too; nobody reads them.
    tiled = {name: table[rows].reshape(-1, tile, *table.shape[1:]) for name, table in tables.items()}
    return readout(tiled, corners, maps, vectors, precision, max(_PRODUCTS // tile, 1))[:, slots]


def tile_size(vertices: int) -> int:
    """Return the number of vertices in a tile: a power of two from 8 to 128, so that few slots are empty."""
    return min(max(1 << (vertices // _CELLS).bit_length(), _LEAST_TILE), TILE)


def tiles_of(
    rf_center: Float[Array, "vertices 2"], tile: int
) -> tuple[Int[Array, " vertices"], Int[Array, " slots"], Int[Array, " tiles"]]:
    """Sort vertices into tiles, each of which looks at one grid cell, by operations that can be compiled.

    Returns
    -------
    slots
        Slot of each vertex.
    rows
        Vertex in each slot, 0 in empty ones.
    corners
        Index of each tile's top left corner among the 18 × 18 positions of a padded map.
    """
    vertices = len(rf_center)
    cell = jnp.clip(jnp.floor(map_position(rf_center)).astype(jnp.int32), 0, GRID)
    corner = cell[:, 1] * PADDED + cell[:, 0]
    order = jnp.argsort(corner, stable=True)
    counts = jnp.bincount(corner, length=PADDED * PADDED)
    tiles_of_cell = -(-counts // tile)
    first_slot = tile * (jnp.cumsum(tiles_of_cell) - tiles_of_cell)
    first_vertex = jnp.cumsum(counts) - counts
    slots_in_order = jnp.arange(vertices) + (first_slot - first_vertex)[corner[order]]
    slots = jnp.zeros(vertices, jnp.int32).at[order].set(slots_in_order.astype(jnp.int32))
    tiles = vertices // tile + min(_CELLS, vertices)  # at most: all full tiles, and one more in each cell
    rows = jnp.zeros(tiles * tile, jnp.int32).at[slots].set(jnp.arange(vertices, dtype=jnp.int32))
    corners = jnp.zeros(tiles, jnp.int32).at[slots // tile].set(corner)
    return slots, rows, corners

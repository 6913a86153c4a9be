"""Readout of vertices' responses from feature maps.

A vertex samples every layer's map at its receptive-field center, mixes the layers and weighs the features:

    y = mean_d( weight_d · Σ_l w_l · ( sample(F_l, center)_d + g_l,d ) ) + bias

Bilinear sampling reads the four corners of one grid cell. Vertices are therefore sorted into tiles of 128 that look
at the same cell, and a tile is one small matrix product of its weights with the cell's corners, for all layers and
images at once; the corners' and layers' coefficients are applied to the product. An array of batch × vertices × width
is never made. Adding g to the map, and to the ring of zeros around it, gives the same sum, because a vertex's four
coefficients add up to one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .config import DEFAULT_PLAN, GRID
from .precision import Precision

TILE = 128  # vertices in a tile
PADDED = GRID + 2  # width of a map with its ring of zeros, for samples beyond the border
_CORNERS = (0, 1, PADDED, PADDED + 1)  # top left, top right, bottom left, bottom right


def map_position(rf_center: Float[Array, "... 2"]) -> Float[Array, "... 2"]:
    """Return the pixel positions on the padded map, 0 to 17, of receptive-field centers (x, y) in (−1, 1).

    It takes NumPy and JAX arrays alike, so that tiles are assigned by exactly the numbers that sampling uses.
    """
    return ((rf_center + 1) * GRID - 1) / 2 + 1


def tile_count(needed: int) -> int:
    """Return a model's number of tiles, rounded up to a power of two up to 256, then to multiples of 256.

    Selections of similar size thus share one compiled program.
    """
    if needed > 256:
        return -(-needed // 256) * 256
    return 1 << max(needed - 1, 0).bit_length()


def assign_tiles(
    rf_center: Float[np.ndarray, "vertices 2"],
) -> tuple[Int[np.ndarray, "tiles 128"], Int[np.ndarray, " tiles"]]:
    """Sort vertices into tiles, each of which looks at one grid cell.

    Returns
    -------
    rows
        Vertex (row of ``rf_center``) in each slot, −1 in empty slots.
    corners
        Index of each tile's top left corner among the 18 × 18 positions of a padded map.
    """
    cell = np.clip(np.floor(map_position(np.asarray(rf_center))).astype(np.int64), 0, GRID)
    corner = cell[:, 1] * PADDED + cell[:, 0]
    order = np.argsort(corner, kind="stable")
    cells, counts = np.unique(corner, return_counts=True)
    tiles_of_cell = -(-counts // TILE)
    tiles = tile_count(int(tiles_of_cell.sum()))
    rows = np.full(tiles * TILE, -1, np.int32)
    first_slot = TILE * (np.cumsum(tiles_of_cell) - tiles_of_cell)
    first_vertex = np.cumsum(counts) - counts
    rows[np.arange(len(order)) + np.repeat(first_slot - first_vertex, counts)] = order
    corners = np.zeros(tiles, np.int32)
    corners[: tiles_of_cell.sum()] = np.repeat(cells, tiles_of_cell)
    return rows.reshape(tiles, TILE), corners


def readout(
    params: dict[str, Float[Array, "tiles 128 ..."]],
    corners: Int[Array, " tiles"],
    maps: Float[Array, "l b 16 16 d"],
    vectors: Float[Array, "l b d"],
    precision: Precision,
    tiles_per_step: int = DEFAULT_PLAN.tiles_per_step,
) -> Float[Array, "b slots"]:
    """Return the responses of every slot in z units, tile after tile.

    Parameters
    ----------
    params
        ``weight`` (tiles, 128, d), ``bias`` (tiles, 128), ``layer_weights`` (tiles, 128, l) and
        ``rf_center`` (tiles, 128, 2), all zero in empty slots.
    corners
        Cell of each tile, from :func:`assign_tiles`.
    maps, vectors
        Feature maps and global vectors, from :class:`~berg_jax.model.nn.heads.Heads`.
    precision
        Precision of the products with the weights, which are summed in at least float32.
    tiles_per_step
        Tiles that are multiplied at once.
    """
    layers, batch, _, _, width = maps.shape
    ring = ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))
    features = jnp.pad(maps, ring) + vectors[:, :, None, None, :]
    # (positions, layers, batch, width): a tile's corners are four rows of this table.
    features = features.transpose(2, 3, 0, 1, 4).reshape(PADDED * PADDED, layers, batch, width)
    features = features.astype(precision.operands)

    def one_tile(tile: tuple[dict[str, Array], Array]) -> Float[Array, "b 128"]:
        p, corner = tile
        x, y = jnp.moveaxis(map_position(p["rf_center"]), -1, 0)
        dx, dy = x - corner % PADDED, y - corner // PADDED
        bilinear = jnp.stack([(1 - dx) * (1 - dy), dx * (1 - dy), (1 - dx) * dy, dx * dy])
        coefficients = bilinear[:, None] * p["layer_weights"].T[None]  # (corners, layers, 128)
        cell = features[corner + jnp.asarray(_CORNERS)]
        # The batch keeps an axis of its own, so that images may lie on different devices.
        products = precision.einsum("clbd,vd->clbv", cell, p["weight"])
        # A plain sum: on CPU a fifth faster than a product of so few terms.
        return (products * coefficients[:, :, None]).sum(axis=(0, 1)) / width + p["bias"][None]

    # Tables stay float32 in every precision except float64; only the weights have the products' type.
    tables = {name: table.astype(precision.accumulate) for name, table in params.items() if name != "weight"}
    tiles = jax.lax.map(one_tile, ({**tables, "weight": params["weight"]}, corners), batch_size=tiles_per_step)
    return tiles.transpose(1, 0, 2).reshape(batch, -1)

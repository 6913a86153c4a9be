"""5 × 5 convolutions by Winograd's minimal filtering: 81 products for 16 outputs, instead of 400 directly.

A row of 8 cells and a kernel of 5 are treated as polynomials. Their values at 9 points are multiplied, and the 4
outputs of the convolution are coefficients of the product. In two dimensions:

    y = A [ (G g Gᵀ) ⊙ (B d Bᵀ) ] Aᵀ

(Lavin & Gray 2016, arXiv:1509.09308.) The points are 0, 1, −1, ½, −2, ∞ and the imaginary unit, whose product takes
three real ones. Eight real points would save a fifth of the products, but they enlarge float32's rounding errors 19
times, while these points enlarge them 4 times.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .precision import Precision

TILE = 4  # outputs of a tile along one axis
KERNEL = 5
INPUTS = TILE + KERNEL - 1  # cells of a tile along one axis
POINTS = 9

# Rows are the points, in the order 0, 1, −1, ½, −2, real part, imaginary part, their sum, ∞.
_G = np.array(
    [
        np.array([1, 0, 0, 0, 0]) / 2,
        np.array([1, 1, 1, 1, 1]) / 12,
        np.array([1, -1, 1, -1, 1]) / 12,
        np.array([16, 8, 4, 2, 1]) * 4 / 75,
        np.array([1, -2, 4, -8, 16]) / 150,
        np.array([1, 0, -1, 0, 1]) / 50,
        np.array([0, 1, 0, -1, 0]) / 50,
        np.array([1, 1, -1, -1, 1]) / 50,
        np.array([0, 0, 0, 0, 1]) / 2,
    ]
)
_B = np.array(
    [
        [2, -3, -2, 0, -2, 3, 2, 0],
        [0, -2, 1, 3, 3, 5, 2, 0],
        [0, -2, 5, -3, 3, -1, -2, 0],
        [0, 2, 1, 0, 0, -2, -1, 0],
        [0, 1, -2, 0, 0, -1, 2, 0],
        [0, -2, -11, 25, 25, -23, -14, 0],
        [0, -14, 23, 25, -25, -11, 2, 0],
        [0, 8, -6, -25, 0, 17, 6, 0],
        [0, 2, -3, -2, 0, -2, 3, 2],
    ],
    np.float64,
)
_A = np.array(
    [
        [1, 1, 1, 1, 1, 1, 0, 1, 0],
        [0, 1, -1, 1 / 2, -2, 0, 1, 1, 0],
        [0, 1, 1, 1 / 4, 4, -1, 0, -1, 0],
        [0, 1, -1, 1 / 8, -8, 0, -1, -1, 1],
    ]
)


def transform_kernel(kernel: Float[np.ndarray, "5 5 i o"]) -> Float[np.ndarray, "9 5 i o"]:
    """Return the values of a kernel's columns at the points, in float32, computed in float64.

    Values along both axes would be 1.8 times as large, and reading them would be as slow as computing them.
    """
    return np.tensordot(_G, np.asarray(kernel, np.float32), axes=(1, 0)).astype(np.float32)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    maps: Float[Array, "b rows columns i"], kernel: Float[Array, "9 5 i o"], precision: Precision
) -> Float[Array, "b rows-4 columns-4 o"]:
    """Return the cross-correlation without padding, whose height and width must be multiples of 4.

    The kernel comes from :func:`transform_kernel`. The function can be differentiated in reverse mode only; direct
    convolutions can be differentiated in forward mode, too.
    """
    return _convolved(maps, kernel, precision)


def _remembered(maps: Array, kernel: Array, precision: Precision) -> tuple[Array, tuple[Array, Array]]:
    return _convolved(maps, kernel, precision), (maps, kernel)


def _gradients(precision: Precision, remembered: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
    """Return both gradients, computed separately, so that one that is not needed is not computed."""
    maps, kernel = remembered
    (of_kernel,) = jax.vjp(lambda kernel: _convolved(maps, kernel, precision), kernel)[1](outer)
    return _transposed(outer, kernel, precision), of_kernel


convolve.defvjp(_remembered, _gradients)


@partial(jax.jit, static_argnums=2)  # traced once for all layers
def _convolved(maps: Array, kernel: Array, precision: Precision) -> Array:
    """Convolve one row of points at a time, whose values are still in the cache when they are read."""
    batch, rows, columns, inputs = maps.shape
    high, wide = (rows - KERNEL + 1) // TILE, (columns - KERNEL + 1) // TILE
    tiles = [maps[:, k : k + TILE * (high - 1) + 1 : TILE] for k in range(INPUTS)]
    values = _sums(_B, tiles)  # (points, batch, tiles down, columns, i)

    def one_row(of_row: tuple[Array, Array]) -> Float[Array, "b down columns-4 o"]:
        row, kernel_row = of_row
        tiles = [row[:, :, k : k + TILE * (wide - 1) + 1 : TILE] for k in range(INPUTS)]
        values = _sums(_B, tiles).reshape(POINTS, -1, inputs)
        products = _products(values, kernel_row, "bi,io->bo", precision).reshape(POINTS, batch, high, wide, -1)
        return jnp.moveaxis(_sums(_A, products), 0, 3).reshape(batch, high, TILE * wide, -1)

    products = jax.lax.map(one_row, (values, kernel))
    return jnp.moveaxis(_sums(_A, products), 0, 2).reshape(batch, TILE * high, TILE * wide, -1)


@partial(jax.jit, static_argnums=2)
def _transposed(outer: Array, kernel: Array, precision: Precision) -> Array:
    """Return the gradient of the maps, a quarter faster than JAX's own, which is made of strided slices."""
    batch, rows, columns, outputs = outer.shape
    high, wide = rows // TILE, columns // TILE
    tiles = outer.reshape(batch, high, TILE, columns, outputs)
    values = _sums(_A.T, [tiles[:, :, k] for k in range(TILE)])

    def one_row(of_row: tuple[Array, Array]) -> Float[Array, "b down columns+4 i"]:
        row, kernel_row = of_row
        tiles = row.reshape(batch, high, wide, TILE, outputs)
        values = _sums(_A.T, [tiles[:, :, :, k] for k in range(TILE)]).reshape(POINTS, -1, outputs)
        products = _products(values, kernel_row, "bo,io->bi", precision).reshape(POINTS, batch, high, wide, -1)
        return _overlapping(_sums(_B.T, products), axis=2)

    return _overlapping(_sums(_B.T, jax.lax.map(one_row, (values, kernel))), axis=1)


def _products(
    values: Float[Array, "9 tiles c"], kernel_row: Float[Array, "5 i o"], subscripts: str, precision: Precision
) -> Float[Array, "9 tiles d"]:
    """Return the products of values and weights at each point of a row of points.

    A loop multiplies a point's weights while they are in the cache. For the few tiles of a region this is up to a
    quarter faster on CPU than nine products written out.
    """

    # The weights are computed again for the kernel's gradient: keeping them would take 3.2 times the kernels' memory.
    @partial(jax.checkpoint, prevent_cse=False)
    def one_point(of_point: tuple[Array, Array]) -> Float[Array, "tiles d"]:
        value, point = of_point
        weights = sum(point[k] * kernel_row[k] for k in range(KERNEL))
        return precision.einsum(subscripts, value, weights)

    return jax.lax.map(one_point, (values, jnp.asarray(_G, kernel_row.dtype)))


def _sums(weights: Float[np.ndarray, "m n"], terms: list[Array] | Array) -> Float[Array, "m ..."]:
    """Return weighted sums of ``n`` arrays, one for each row of the weights, without the terms of weight 0."""
    return jnp.stack(
        [
            sum(terms[k] if w == 1 else terms[k] * w.astype(np.float32) for k, w in enumerate(row) if w)
            for row in weights
        ]
    )


def _overlapping(tiles: Float[Array, "8 ..."], axis: int) -> Array:
    """Lay tiles along an axis, one every 4 cells, and add them where they overlap."""

    def padded(k: int, before: int) -> Array:
        widths = [(0, 0)] * (tiles.ndim - 1)
        widths[axis] = (before, 1 - before)
        return jnp.pad(tiles[k], widths)

    cells = jnp.stack([padded(k, 0) + padded(k + TILE, 1) for k in range(TILE)], axis=axis + 1)
    return cells.reshape(*cells.shape[:axis], -1, *cells.shape[axis + 2 :])

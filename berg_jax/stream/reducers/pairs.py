"""Arithmetic of reducers: lossless sums in pairs of float32 numbers, means that can be merged, and products."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

Results = dict[str, np.ndarray]
Responses = Float[Array, "b vertices"]
Indices = Int[Array, " b"]
Valid = Bool[Array, " b"]


class Pair(NamedTuple):
    """Two arrays of float32 numbers whose sum is meant: values, and their rounding errors."""

    high: Float[Array, " ..."]
    low: Float[Array, " ..."]


State = dict[str, Array | Pair]


def full(shape: tuple[int, ...], value: float, dtype: Any) -> Array:
    """Return an array filled with one value, made by NumPy so that nothing is compiled."""
    return jnp.asarray(np.full(shape, value, dtype))


def two_sum(a: Float[Array, " ..."], b: Float[Array, " ..."]) -> Pair:
    """Return the float32 sum and its rounding error (Knuth). A test checks that XLA keeps the order of additions."""
    total = a + b
    of_b = total - a
    return Pair(total, (a - (total - of_b)) + (b - of_b))


def add_pairs(a: Pair, b: Pair, more: Float[Array, " ..."] | float = 0.0) -> Pair:
    """Return the sum of two pairs and of a float32 number whose own rounding error does not matter."""
    high, low = two_sum(a.high, b.high)
    return two_sum(high, low + (a.low + b.low + more))


def paired(value: Float[Array, " ..."]) -> Pair:
    """Return a float32 number as a pair."""
    return Pair(value, jnp.zeros_like(value))


def exact(pair: Pair) -> Float[np.ndarray, " ..."]:
    """Return the value of a pair in float64."""
    with np.errstate(invalid="ignore"):  # NumPy warns of some kinds of NaN
        return np.asarray(pair.high, np.float64) + np.asarray(pair.low, np.float64)


def choose(condition: Bool[Array, " ..."], a: Any, b: Any) -> Any:
    """Return each leaf of ``a`` where the condition holds, and of ``b`` elsewhere."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def dot(a: Float[Array, "m n"], b: Float[Array, "n k"]) -> Float[Array, "m k"]:
    """Return the matrix product in full float32 on every device."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def sum_rows(rows: Float[Array, "b n"]) -> Float[Array, " n"]:
    """Return the sum of rows, computed as a product: on CPUs, XLA's sum along the first axis is 50 times slower."""
    return dot(jnp.ones((1, len(rows)), rows.dtype), rows)[0]


def from_first(rows: Float[Array, "b n"], valid: Valid) -> tuple[Float[Array, " n"], Float[Array, "b n"]]:
    """Return the first valid row, and all rows minus it, which keeps their digits; rows that are not valid are 0."""
    rows = jnp.where(valid[:, None], rows, 0)
    first = rows[valid.argmax()]
    return first, jnp.where(valid[:, None], rows - first[None], 0)


def merged_mean(
    count_a: Int[Array, " ..."], a: Pair, count_b: Int[Array, " ..."], b: Pair
) -> tuple[Pair, Float[Array, " ..."]]:
    """Return the mean of two sets of images, which is exact if one is empty, and b's mean minus a's."""
    high, low = two_sum(b.high, -a.high)
    low += b.low - a.low
    share = count_b / jnp.maximum(count_a + count_b, 1).astype(jnp.float32)
    return add_pairs(a, Pair(high * share, low * share)), high + low


def group_means(responses: Responses, groups: Indices, size: int) -> tuple[Int[Array, " groups"], Pair]:
    """Return the number of images and the mean response of groups 0 to size − 1 in a batch, ignoring other rows."""
    member = groups[None] == jnp.arange(size)[:, None]
    counts = member.sum(1, dtype=jnp.int32)
    first, distances = from_first(responses, member.any(0))
    means = dot(member.astype(jnp.float32), distances) / jnp.maximum(counts, 1)[:, None]
    pair = two_sum(jnp.broadcast_to(first[None], means.shape), means)
    return counts, choose(counts[:, None] > 0, pair, Pair(0.0, 0.0))


def rows_of(table: Num[np.ndarray, "images ..."], indices: Indices, missing: float = np.nan) -> Array:
    """Return rows of a table, or ``missing`` for an index outside it, which must not give another image's row."""
    return jnp.asarray(table).at[indices].get(mode="fill", fill_value=missing, wrap_negative_indices=False)

"""Reducers of means, variances, covariances and weighted sums, which merge without cancellation.

A state is kept for each device of each run, and states are merged at the end. Rounding therefore depends on how many
devices and processes shared the work and on interruptions: results differ by about 1e-8 of the responses' spread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from .base import BaseReducer
from .pairs import (
    Indices,
    Pair,
    Responses,
    Results,
    State,
    Valid,
    add_pairs,
    dot,
    exact,
    from_first,
    merged_mean,
    paired,
    rows_of,
    sum_rows,
    two_sum,
)


class Comoments(BaseReducer):
    """Base class of reducers that keep means of numbers, and sums over images of products about the means.

    The numbers are an image's row of ``_table``, if there is one, and its responses. Merging two sets adds the
    products of one more row, the weighted difference of their means, to those of the sets (Chan et al.), so one
    function of deviations serves batches and merging.
    """

    _table: Float[np.ndarray, "images p"] | None = None
    # A method that returns sums over rows of products of the deviations from the mean.
    _products: Callable[[Float[Array, "b n"]], Float[Array, " ..."]]

    def _state_of(self, responses: Responses, indices: Indices, valid: Valid) -> State:
        if self._table is not None:
            responses = jnp.concatenate([rows_of(self._table, indices), responses], axis=1)
        count = valid.sum(dtype=jnp.int32)
        first, distances = from_first(responses, valid)
        mean = sum_rows(distances) / jnp.maximum(count, 1)
        deviations = jnp.where(valid[:, None], distances - mean[None], 0)
        high, low = two_sum(first, mean)
        low += sum_rows(deviations) / jnp.maximum(count, 1)  # the rounding error of the mean
        return {"count": count, "mean": Pair(high, low), "products": paired(self._products(deviations))}

    def merge(self, a: State, b: State) -> State:
        """Return the state of the union of two disjoint sets of images."""
        count = a["count"] + b["count"]
        weight = jnp.sqrt(a["count"] * (b["count"] / jnp.maximum(count, 1).astype(jnp.float32)))
        mean, difference = merged_mean(a["count"], a["mean"], b["count"], b["mean"])
        between = self._products((weight * difference)[None])
        return {"count": count, "mean": mean, "products": add_pairs(a["products"], b["products"], between)}


def _mean_and_spread(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean, the variance or covariance (of n − 1), and the count; NaN if there are too few images."""
    count, mean, products = int(state["count"]), exact(state["mean"]), exact(state["products"])
    spread = products / (count - 1) if count > 1 else products + np.nan
    return mean if count else mean + np.nan, spread, np.array(count)


@dataclass(frozen=True, eq=False)
class Moments(Comoments):
    """Mean and variance of each vertex's response.

    Results are ``mean``, ``variance`` (of n − 1, in z units squared) and ``std``, each (vertices,) float64, NaN if
    there are too few images, and ``count``. They differ by about 1e-8 of the responses' spread between numbers of
    devices or processes, because their states are merged in another order.

    Parameters
    ----------
    vertices
        Number of columns of the responses.
    name
        Name of the results.

    See Also
    --------
    Covariance : Covariances between vertices.

    Examples
    --------
    >>> reducer = Moments(vertices=2)
    >>> responses = jnp.array([[1.0, 2.0], [3.0, 6.0]])
    >>> state = reducer.update(reducer.init(), responses, jnp.arange(2), jnp.ones(2, bool))
    >>> reducer.finalize(state)["mean"].tolist()
    [2.0, 4.0]
    """

    vertices: int
    name: str = "moments"

    def _products(self, deviations: Float[Array, "b vertices"]) -> Float[Array, " vertices"]:
        return sum_rows(deviations**2)

    def finalize(self, state: State) -> Results:
        """Return the mean, the variance and the standard deviation."""
        mean, variance, count = _mean_and_spread(state)
        return {"mean": mean, "variance": variance, "std": np.sqrt(variance), "count": count}


@dataclass(frozen=True, eq=False)
class Covariance(Comoments):
    """Mean and covariance of the vertices' responses over images.

    Results are ``mean`` (vertices,) and ``covariance`` (vertices, vertices), of n − 1 and in z units squared,
    float64, NaN if there are too few images, and ``count``. The state takes 8 · vertices² bytes, which is 200 MB for
    a ROI of 5,000 vertices, and an update 20 · vertices² bytes in all.

    Parameters
    ----------
    vertices
        Number of columns of the responses.
    name
        Name of the results.

    See Also
    --------
    Moments : Variances alone, in less memory.

    Examples
    --------
    >>> reducer = Covariance(vertices=2)
    >>> responses = jnp.array([[1.0, 2.0], [3.0, 6.0]])
    >>> state = reducer.update(reducer.init(), responses, jnp.arange(2), jnp.ones(2, bool))
    >>> reducer.finalize(state)["covariance"].tolist()
    [[2.0, 4.0], [4.0, 8.0]]
    """

    vertices: int
    name: str = "covariance"

    def _products(self, deviations: Float[Array, "b vertices"]) -> Float[Array, "vertices vertices"]:
        return dot(deviations.T, deviations)

    def finalize(self, state: State) -> Results:
        """Return the mean and the covariance."""
        mean, covariance, count = _mean_and_spread(state)
        return {"mean": mean, "covariance": covariance, "count": count}


@dataclass(frozen=True, eq=False)
class WeightedSums(Comoments):
    """Weighted sums of responses over images: ``sum_i weights[i, k] · responses[i]``.

    Results are ``sums`` (k, vertices) float64, in z units times the unit of the weights, and ``count``.

    Parameters
    ----------
    weights
        (images, k) weights of the images, of any real type, which are rounded to float32 on the device.
    vertices
        Number of columns of the responses.
    name
        Name of the results.

    See Also
    --------
    GroupMeans : Mean responses to groups of images.

    Examples
    --------
    >>> reducer = WeightedSums(weights=np.array([[0.5], [2.0]]), vertices=1)
    >>> responses = jnp.array([[4.0], [1.0]])
    >>> state = reducer.update(reducer.init(), responses, jnp.arange(2), jnp.ones(2, bool))
    >>> reducer.finalize(state)["sums"].tolist()
    [[4.0]]
    """

    weights: Num[np.ndarray, "images k"]
    vertices: int
    name: str = "weighted_sums"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_table("weights")
        object.__setattr__(self, "images", len(self.weights))
        object.__setattr__(self, "_table", self.weights.astype(np.float32))

    def _products(self, deviations: Float[Array, "b k+vertices"]) -> Float[Array, "k vertices"]:
        columns = self.weights.shape[1]
        return dot(deviations[:, :columns].T, deviations[:, columns:])

    def finalize(self, state: State) -> Results:
        """Return the weighted sums."""
        count, mean = int(state["count"]), exact(state["mean"])
        product_of_means = np.outer(*np.split(mean, [self.weights.shape[1]]))
        return {"sums": exact(state["products"]) + count * product_of_means, "count": np.array(count)}

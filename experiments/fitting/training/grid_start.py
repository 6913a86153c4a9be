"""Grid start: receptive fields and layers found by a search over the cells of the maps, before any gradient.

The gradient through bilinear sampling reaches one cell around a center. A vertex that looks elsewhere than the
donor's vertex is therefore first moved to the cell and the mix of layers whose features predict its responses best.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ....model.nn.config import GRID
from ..tables import VertexTables
from .data import rows_of

_CHOSEN = 0.85  # weight of the layer that a mix is for, if the donor has no vertex that prefers it
_PENALTIES = tuple(10.0**power for power in range(-3, 4))  # of ridge, relative to the features' mean variance
_MOST_FREE = 0.9  # degrees of freedom per image, above which an estimate of the error means nothing
_EXACT = jax.lax.Precision.HIGHEST


class GridStart(NamedTuple):
    """Result of the search.

    Attributes
    ----------
    tables
        The donor's tables, in which the vertices that moved have a new center, layer weights and readout.
    moved
        Whether a vertex moved.
    gain
        Rise of each vertex's cross-validated R² from the donor's cell and layers to the best ones.
    """

    tables: VertexTables
    moved: Bool[np.ndarray, " rows"]
    gain: Float[np.ndarray, " rows"]


def grid_start(
    maps: Any,
    vectors: Any,
    responses: Any,
    train: Int[np.ndarray, " n"],
    tables: VertexTables,
    *,
    seed: int,
    most: int,
) -> GridStart:
    """Move each vertex to the best of all cells and mixes of layers, if it is clearly better than the donor's.

    For each cell and mix, a ridge regression predicts all vertices, and generalised cross-validation in closed form
    gives its error, the smallest over seven penalties. A vertex moves if its R² rises by more than
    3 · log(candidates) / images, which the best of so many candidates seldom gains by chance. Responses that were not
    measured count as the vertex's mean in this search.

    Parameters
    ----------
    maps, vectors
        Kept features: arrays (images, layers, 16, 16, width) and (images, layers, width), read by rows.
    responses
        (images, rows) responses in z units, NaN where not measured.
    train
        Numbers of the training images, the only ones that are read.
    tables
        The donor's tables.
    seed
        Seed of the choice of images.
    most
        Number of training images that are searched at most.

    References
    ----------
    .. [1] G. H. Golub, M. Heath, G. Wahba (1979). Generalized cross-validation as a method for choosing a good ridge
       parameter. Technometrics 21, 215-223.
    """
    chosen = np.sort(np.random.default_rng((seed, 3)).permutation(train)[:most])
    measured = rows_of(responses, chosen).astype(np.float32)
    mixes = layer_mixes(np.asarray(tables.layer_weights))
    donor = _nearest_candidate(tables, mixes)
    found = _search(rows_of(maps, chosen), rows_of(vectors, chosen), measured, jnp.asarray(mixes), jnp.asarray(donor))
    best, score, donor_score, weight, bias = (np.asarray(x) for x in found)
    gain = score - donor_score
    moved = gain > 3 * np.log(GRID * GRID * len(mixes)) / len(chosen)
    cell, mix = np.divmod(best, len(mixes))
    center = (2 * np.stack([cell % GRID, cell // GRID], axis=1) + 1) / GRID - 1
    new = (weight, bias, mixes[mix], center.astype(np.float32))
    fields = (
        np.where(moved.reshape(-1, *(1,) * (x.ndim - 1)), x, np.asarray(old, np.float32))
        for x, old in zip(new, tables, strict=True)
    )
    return GridStart(VertexTables(*fields), moved, gain)


def layer_mixes(layer_weights: Float[np.ndarray, "rows layers"]) -> Float[np.ndarray, "mixes layers"]:
    """Return the mixes that are tried: for each layer, mostly it, and the mean of the vertices that prefer it."""
    layers = layer_weights.shape[1]
    if layers == 1:
        return np.ones((1, 1), np.float32)
    mixes = list(np.where(np.eye(layers, dtype=bool), _CHOSEN, (1 - _CHOSEN) / (layers - 1)))
    preferred = layer_weights.argmax(axis=1)
    mixes += [layer_weights[preferred == layer].mean(axis=0) for layer in range(layers) if (preferred == layer).any()]
    return np.asarray(mixes, np.float32)


def _nearest_candidate(tables: VertexTables, mixes: Float[np.ndarray, "mixes layers"]) -> Int[np.ndarray, " rows"]:
    """Return the candidate, cell · mixes + mix, that is nearest to each vertex of the donor."""
    cell = np.clip(np.rint(((np.asarray(tables.rf_center) + 1) * GRID - 1) / 2), 0, GRID - 1).astype(np.int64)
    far = [((np.asarray(tables.layer_weights) - mix) ** 2).sum(axis=1) for mix in mixes]
    return ((cell[:, 1] * GRID + cell[:, 0]) * len(mixes) + np.argmin(far, axis=0)).astype(np.int32)


@jax.jit
def _search(
    maps: Float[Array, "n layers 16 16 width"],
    vectors: Float[Array, "n layers width"],
    measured: Float[Array, "n rows"],
    mixes: Float[Array, "mixes layers"],
    donor: Int[Array, " rows"],
) -> tuple[Array, Array, Array, Array, Array]:
    """Return each vertex's best candidate and its score, the donor's score, and the best one's readout."""
    there = ~jnp.isnan(measured)
    mean = jnp.where(there, measured, 0).sum(axis=0) / jnp.maximum(there.sum(axis=0), 1)
    responses = jnp.where(there, measured - mean[None], 0)
    width = maps.shape[-1]

    def one(index: Array, carried: tuple[Array, ...]) -> tuple[Array, ...]:
        best, best_score, donor_score, best_weight, best_bias = carried
        cell, mix = index // len(mixes), index % len(mixes)
        here = maps[:, :, cell // GRID, cell % GRID].astype(jnp.float32) + vectors.astype(jnp.float32)
        features = jnp.einsum("nld,l->nd", here, mixes[mix], precision=_EXACT)
        score, weight, bias = _ridge(features, responses)
        better = score > best_score
        return (
            jnp.where(better, index, best),
            jnp.where(better, score, best_score),
            jnp.where(donor == index, score, donor_score),
            jnp.where(better[:, None], width * weight, best_weight),
            jnp.where(better, bias + mean, best_bias),
        )

    rows = measured.shape[1]
    empty = jnp.full(rows, -jnp.inf)
    start = (jnp.zeros(rows, jnp.int32), empty, empty, jnp.zeros((rows, width)), jnp.zeros(rows))
    return jax.lax.fori_loop(0, GRID * GRID * len(mixes), one, start)


def _ridge(
    features: Float[Array, "n width"], responses: Float[Array, "n rows"]
) -> tuple[Float[Array, " rows"], Float[Array, "rows width"], Float[Array, " rows"]]:
    """Return R² by generalised cross-validation, weights and bias of the best of the penalties for each response."""
    n = len(features)
    mean = features.mean(axis=0)
    centered = features - mean[None]
    variances, axes = jnp.linalg.eigh(jnp.matmul(centered.T, centered, precision=_EXACT))
    variances = jnp.maximum(variances, 1e-6 * variances[-1] + 1e-30)
    along = jnp.matmul(axes.T, jnp.matmul(centered.T, responses, precision=_EXACT), precision=_EXACT)
    explained = along**2 / variances[:, None]
    total = (responses**2).sum(axis=0)
    score, penalty = jnp.full(total.shape, -jnp.inf), jnp.ones_like(total)
    for relative in _PENALTIES:
        candidate = relative * variances.mean()
        shrunk = variances / (variances + candidate)
        free = (1 + shrunk.sum()) / n
        rest = total - jnp.einsum("dv,d->v", explained, 2 * shrunk - shrunk**2, precision=_EXACT)
        error = rest / (1 - jnp.minimum(free, _MOST_FREE)) ** 2
        r2 = jnp.where(free < _MOST_FREE, 1 - error * (1 - 1 / n) ** 2 / jnp.maximum(total, 1e-30), -jnp.inf)
        penalty = jnp.where(r2 > score, candidate, penalty)
        score = jnp.maximum(score, r2)
    shrunk = along / (variances[:, None] + penalty[None])
    weight = jnp.matmul(axes, shrunk, precision=_EXACT).T
    return score, weight, -jnp.matmul(weight, mean, precision=_EXACT)

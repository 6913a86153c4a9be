"""Ridge regression of each vertex's readout, whose penalty is chosen by leave-one-out in closed form.

A vertex with layer weights w and receptive-field center μ mixes the donor's features of an image, its maps F_l and
global vectors g_l, to h = Σ_l w_l (F_l(μ) + g_l). Over the training images, with the means of h and of the responses
y subtracted,

    β = (HᵀH + λ I)⁻¹ Hᵀ y,    e₋ᵢ = (yᵢ − ŷᵢ) / (1 − 1/n − hᵢᵀ (HᵀH + λ I)⁻¹ hᵢ),

where e₋ᵢ is the error at image i of the regression that is fitted, its intercept too, to all other images [1]_. The λ
with the least Σ e₋ᵢ² is chosen for each vertex. All of it comes from one decomposition of HᵀH, in float64.

.. [1] D. M. Allen (1974). The relationship between variable selection and data augmentation and a method for
   prediction. Technometrics 16 (1), 125–127.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...errors import InvalidParameterError, ResourceError
from ...model.nn.config import GRID
from ...model.nn.precision import PRECISIONS
from ...model.nn.readout import assign_tiles, map_position, readout
from .inputs.features import Features
from .tables import VertexTables

PENALTIES = tuple(float(value) for value in np.logspace(-4, 4, 17))  # relative to the mean eigenvalue of HᵀH
FEWEST = 20  # images of a leave-one-out that chooses among so many penalties
_TILES = (1, 4, 16, 64)  # vertices in a tile, which a compiled program serves
_TILE_BYTES = {"cpu": 2**29}  # of a tile's arrays; on accelerators:
_ACCELERATOR_BYTES = 2**32
_IMAGES = 32  # whose responses are read at a time


class Readout(NamedTuple):
    """Ridge regressions of vertices, of one target each, or of several where the responses had a third axis.

    Attributes
    ----------
    weight
        Readout weight: the coefficient times the width, because a response is the mean over the width.
    bias
        Intercept.
    penalty
        Chosen λ, relative to the mean eigenvalue of HᵀH: one of the penalties given.
    alpha
        The same λ in its own unit, that of scikit-learn's ``Ridge(alpha)``.
    loo_r
        Correlation over training images of the measured with the left-out predicted responses.
    """

    weight: Float[np.ndarray, "vertices ... width"]
    bias: Float[np.ndarray, "vertices ..."]
    penalty: Float[np.ndarray, "vertices ..."]
    alpha: Float[np.ndarray, "vertices ..."]
    loo_r: Float[np.ndarray, "vertices ..."]


def fit_readout(
    features: Features,
    responses: Float[np.ndarray, "images vertices ..."],
    tables: VertexTables,
    *,
    penalties: tuple[float, ...] = PENALTIES,
    images: Int[np.ndarray, " train"] | None = None,
) -> Readout:
    """Fit each vertex's readout weights and bias to its responses, with the layer weights and centers as they are.

    Parameters
    ----------
    features
        The donor's features of the images.
    responses
        Response of each vertex to each image, in any unit and without NaN; with a third axis, several targets of each
        vertex, such as permutations, are fitted at once.
    tables
        Tables of the vertices, of which the layer weights and receptive-field centers are used.
    penalties
        Penalties to choose from, positive and relative to the mean eigenvalue of HᵀH.
    images
        Indices of the training images among the features and responses; by default all.

    Returns
    -------
    Readout
        Weights, biases and penalties of the vertices.

    Raises
    ------
    InvalidParameterError
        Features, responses and tables do not fit each other; a response is NaN; there are fewer than 20 images, or a
        penalty is not positive.
    ResourceError
        The device does not compute in float64.

    See Also
    --------
    predict : Responses by fitted tables.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> features = Features(random.normal(size=(2, 40, 16, 16, 3)), random.normal(size=(2, 40, 3)))
    >>> tables = VertexTables(np.zeros((1, 3)), np.zeros(1), np.array([[0.5, 0.5]]), np.zeros((1, 2)))
    >>> responses = mixed_features(features, tables)[0] @ [[1.0], [2.0], [3.0]] + 4.0
    >>> fitted = fit_readout(features, responses, tables)
    >>> (fitted.weight / 3).round(2).tolist(), fitted.bias.round(2).tolist()
    ([[1.0, 2.0, 3.0]], [4.0])
    """
    images = np.arange(features.maps.shape[1]) if images is None else np.asarray(images)
    _check(features, responses, tables, penalties, images)
    rows = len(tables.rf_center)
    targets = responses[images].reshape(len(images), rows, -1).transpose(1, 0, 2)
    count, width = targets.shape[2], features.maps.shape[-1]
    found = [np.empty((rows, count, *shape)) for shape in ((width,), (), (), (), ())]
    most = _most_vertices(len(images), width, count * len(penalties))
    with jax.enable_x64(True):
        for cell, those, coefficients in _cells(features, tables, images):
            for tile in _tiles(len(those), most):
                results = _ridge(
                    cell,
                    jnp.asarray(coefficients[tile], jnp.float64),
                    jnp.asarray(targets[those[tile]], jnp.float64),
                    jnp.asarray(penalties, jnp.float64),
                )
                for array, values in zip(found, results, strict=True):
                    array[those[tile]] = np.asarray(values)
    if not np.isfinite(found[0]).all():
        raise ResourceError("Readout weights are not finite: the device does not compute in float64. Use another.")
    found[0] *= width
    weight, *others = (array.reshape(rows, *responses.shape[2:], *array.shape[2:]) for array in found)
    return Readout(weight.astype(np.float32), others[0].astype(np.float32), *others[1:])


def mixed_features(
    features: Features, tables: VertexTables, images: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "vertices images width"]:
    """Return the features h that each vertex weighs, in float64: sampled at its center, with its layers mixed.

    Parameters
    ----------
    features, tables, images
        See :func:`fit_readout`.
    """
    images = np.arange(features.maps.shape[1]) if images is None else np.asarray(images)
    mixed = np.empty((len(tables.rf_center), len(images), features.maps.shape[-1]))
    with jax.enable_x64(True):
        for cell, those, coefficients in _cells(features, tables, images):
            mixed[those] = _mixed(cell, jnp.asarray(coefficients, jnp.float64))
    return mixed


def predict(
    features: Features, tables: VertexTables, images: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "images vertices"]:
    """Return the responses of vertices to images from their features, in float32, as a model computes them.

    Parameters
    ----------
    features, images
        See :func:`fit_readout`.
    tables
        Tables of the vertices, all of which are used.
    """
    images = np.arange(features.maps.shape[1]) if images is None else np.asarray(images)
    slots, corners = assign_tiles(np.asarray(tables.rf_center, np.float32))
    filled = slots >= 0
    params = {}
    for name, table in tables._asdict().items():
        values = np.asarray(table, np.float32)[np.maximum(slots, 0)]
        values[~filled] = 0
        params[name] = jnp.asarray(values)
    found = np.empty((len(images), len(tables.bias)), np.float32)
    for start in range(0, len(images), _IMAGES):
        some = images[start : start + _IMAGES]
        padded = np.resize(some, _IMAGES)  # one program serves all
        maps = jnp.asarray(np.asarray(features.maps[:, padded], np.float32))
        vectors = jnp.asarray(np.asarray(features.vectors[:, padded], np.float32))
        responses = np.asarray(_responses(params, jnp.asarray(corners), maps, vectors))
        found[start : start + len(some), slots[filled]] = responses[: len(some), filled.ravel()]
    return found


_responses = jax.jit(partial(readout, precision=PRECISIONS["float32"]))


def _check(
    features: Features,
    responses: Float[np.ndarray, "images vertices ..."],
    tables: VertexTables,
    penalties: tuple[float, ...],
    images: Int[np.ndarray, " train"],
) -> None:
    layers, count = features.maps.shape[:2]
    if responses.ndim not in (2, 3) or responses.shape[:2] != (count, len(tables.rf_center)):
        raise InvalidParameterError(
            f"Responses must be (images, vertices) or (images, vertices, targets) of {count} images and "
            f"{len(tables.rf_center)} vertices, got shape {responses.shape}."
        )
    if tables.layer_weights.shape[1] != layers:
        raise InvalidParameterError(
            f"The tables have {tables.layer_weights.shape[1]} layers, and the features {layers}. Are both the same "
            "donor's?"
        )
    if len(images) < FEWEST:
        raise InvalidParameterError(
            f"Leave-one-out, which chooses the penalty, needs at least {FEWEST} training images, got {len(images)}."
        )
    if not np.isfinite(responses[images]).all():
        raise InvalidParameterError("Responses must be finite. Leave out vertices that lack a trial.")
    if not penalties or not all(0 < penalty < np.inf for penalty in penalties):
        raise InvalidParameterError(f"penalties must be positive numbers, at least one, got {penalties}.")


def _cells(
    features: Features, tables: VertexTables, images: Int[np.ndarray, " n"]
) -> Iterator[tuple[Float[Array, "4 layers n width"], Int[np.ndarray, " v"], Float[np.ndarray, "v 4 layers"]]]:
    """Yield the four corners of each grid cell that vertices look at, those vertices, and their coefficients."""
    position = map_position(np.asarray(tables.rf_center, np.float32)).astype(np.float64)
    cell = np.clip(np.floor(position).astype(np.int64), 0, GRID)
    dx, dy = (position - cell).T
    bilinear = np.stack([(1 - dx) * (1 - dy), dx * (1 - dy), (1 - dx) * dy, dx * dy], axis=1)
    coefficients = bilinear[:, :, None] * np.asarray(tables.layer_weights, np.float64)[:, None]
    number = cell[:, 1] * (GRID + 1) + cell[:, 0]
    vectors = np.asarray(features.vectors[:, images], np.float32)
    for place in np.unique(number):
        those = np.flatnonzero(number == place)
        top, left = divmod(int(place), GRID + 1)
        corners = []
        for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            inside = 1 <= row <= GRID and 1 <= column <= GRID  # around the map lies a ring of zeros
            values = features.maps[:, images, row - 1, column - 1] if inside else 0
            corners.append(vectors + np.asarray(values, np.float32))
        yield jnp.asarray(np.stack(corners)), those, coefficients[those]


def _most_vertices(images: int, width: int, fits: int) -> int:
    """Return the largest number of vertices of a tile, whose arrays fit the memory that is meant for them."""
    limit = _TILE_BYTES.get(jax.default_backend(), _ACCELERATOR_BYTES)
    fitting = limit // (8 * images * (4 * width + 2 * fits))
    return max(size for size in _TILES if size <= max(fitting, 1))


def _tiles(count: int, most: int) -> Iterator[slice]:
    """Yield slices of the vertices of a cell, whose lengths are the numbers that there are programs for."""
    start = 0
    while start < count:
        size = max(size for size in _TILES if size <= min(count - start, most))
        yield slice(start, start + size)
        start += size


def _mixed(
    cell: Float[Array, "4 layers images width"], coefficients: Float[Array, "vertices 4 layers"]
) -> Float[Array, "vertices images width"]:
    return jnp.einsum("clnd,vcl->vnd", cell.astype(jnp.float64), coefficients)


@jax.jit
def _ridge(
    cell: Float[Array, "4 layers images width"],
    coefficients: Float[Array, "vertices 4 layers"],
    targets: Float[Array, "vertices images targets"],
    penalties: Float[Array, " penalties"],
) -> tuple[Array, ...]:
    """Return coefficients, intercept, relative and own penalty, and left-out r of each vertex and target."""
    h = _mixed(cell, coefficients)
    mean_h, mean_y = h.mean(1), targets.mean(1)
    h, y = h - mean_h[:, None], targets - mean_y[:, None]
    values, directions = jnp.linalg.eigh(jnp.einsum("vnd,vne->vde", h, h))
    values = jnp.maximum(values, 0)
    scores = h @ directions
    moments = jnp.einsum("vnd,vnt->vdt", scores, y)
    unit = jnp.maximum(values.mean(1), jnp.finfo(values.dtype).tiny)
    alpha = penalties[None] * unit[:, None]
    shrunk = 1 / (values[:, None] + alpha[:, :, None])  # (vertices, penalties, width)
    leverage = 1 / h.shape[1] + jnp.einsum("vnd,vpd->vpn", scores**2, shrunk)
    predicted = jnp.einsum("vnd,vpdt->vpnt", scores, shrunk[..., None] * moments[:, None])
    errors = (y[:, None] - predicted) / (1 - leverage)[..., None]
    best = (errors**2).mean(2).argmin(1)  # (vertices, targets)
    left_out = y - jnp.take_along_axis(errors, best[:, None, None], axis=1)[:, 0]
    chosen = jnp.take_along_axis(shrunk, best[:, :, None], axis=1)  # (vertices, targets, width)
    beta = jnp.einsum("vde,vte->vtd", directions, chosen * moments.transpose(0, 2, 1))
    intercept = mean_y - jnp.einsum("vtd,vd->vt", beta, mean_h)
    own = jnp.take_along_axis(alpha, best, axis=1)
    return beta, intercept, penalties[best], own, _correlation(left_out, y)


def _correlation(a: Float[Array, "v n t"], b: Float[Array, "v n t"]) -> Float[Array, "v t"]:
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    scale = jnp.sqrt((a**2).sum(1) * (b**2).sum(1))
    return jnp.where(scale > 0, (a * b).sum(1) / jnp.where(scale > 0, scale, 1), jnp.nan)

"""Parametrizations of the selectors: what is trained, from which layer weights and centers follow.

``free`` numbers are a vertex's own. ``coordinates`` are the two networks of the published model, which read a
vertex's position on the surface, so that neighbors choose alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ....convert.constants import positional_encoding
from ....convert.keys import check_part, convert_part
from ....errors import InvalidParameterError
from ....files.torch_archive import read_torch
from ....published.berg_dir import SubjectFiles
from ..tables import VertexTables

RETINA_SIGMA = 0.01  # distance of centers from the border, in units of half the image
CONSTANTS = ("anchor", "encoding")  # names of what is not trained
_LEAST_WEIGHT = 1e-4  # of a layer, so that its logit is finite
_MOST = 0.9999  # of a hyperbolic tangent, so that its argument is finite

Rows = Int[Array, " chosen"]
Selected = tuple[Float[Array, "chosen layers"], Float[Array, "chosen 2"]]


class Parametrization(NamedTuple):
    """Selectors as pure functions of their parameters, and the parameters to start from.

    Attributes
    ----------
    params
        What is trained, and under ``anchor`` or ``encoding`` what is not.
    tables
        Function (params, rows) → layer weights and receptive-field centers of these rows.
    penalty
        Function (params, rows) → penalty, averaged over these rows.
    """

    params: dict[str, Any]
    tables: Callable[[dict[str, Any], Rows], Selected]
    penalty: Callable[[dict[str, Any], Rows], Float[Array, ""]]


def free(tables: VertexTables, *, anchor: float = 1e-3, retina_sigma: float = RETINA_SIGMA) -> Parametrization:
    """Return selectors of numbers that are a vertex's own, with a penalty on those that leave their start.

    Layer weights are the softmax of logits, a center is (1 − σ) · tanh. The penalty is ``anchor`` times the squared
    distance from the start, of layer weights and center together, averaged over vertices.

    Parameters
    ----------
    tables
        Where they start.
    anchor
        Weight of the penalty.
    retina_sigma
        Distance σ that centers keep from the border, in units of half the image.
    """
    layer_weights, rf_center = (np.asarray(table, np.float32) for table in (tables.layer_weights, tables.rf_center))
    params = {
        "logits": np.log(np.maximum(layer_weights, _LEAST_WEIGHT)),
        "position": np.arctanh(np.clip(rf_center / (1 - retina_sigma), -_MOST, _MOST)),
        "anchor": {"layer_weights": layer_weights, "rf_center": rf_center},
    }

    def select(params: dict[str, Any], rows: Rows) -> Selected:
        weights = jax.nn.softmax(params["logits"][rows], axis=-1)
        return weights, (1 - retina_sigma) * jnp.tanh(params["position"][rows])

    def penalty(params: dict[str, Any], rows: Rows) -> Float[Array, ""]:
        weights, center = select(params, rows)
        there = params["anchor"]
        far = ((weights - there["layer_weights"][rows]) ** 2).sum(axis=1)
        return anchor * (far + ((center - there["rf_center"][rows]) ** 2).sum(axis=1)).mean()

    return Parametrization(params, select, penalty)


class CoordinateNetworks(NamedTuple):
    """The donor's two coordinate networks, and the coordinates of all its part's vertices.

    Attributes
    ----------
    coordinates
        Positions of the part's vertices, which scale the encoding.
    layer_selector, retina_mapper
        Weights of three linear layers, under ``"1"``, ``"3"`` and ``"5"``: ``weight`` (out, in) and ``bias``.
    """

    coordinates: Float[np.ndarray, "vertices 3"]
    layer_selector: dict[str, Any]
    retina_mapper: dict[str, Any]


def read_coordinate_networks(berg_dir: str | Path, subject_id: int, part: str = "part1") -> CoordinateNetworks:
    """Read the coordinate networks of a donor from its PyTorch file; a converted subject holds only their results.

    Parameters
    ----------
    berg_dir
        The folder that contains ``encoding_models/…``, in BERG's layout.
    subject_id
        ID of the donor.
    part
        ``"part1"`` or ``"part2"``.

    Raises
    ------
    InvalidParameterError
        There is no such part.
    ModelNotFoundError, ModelLoadError
        The file is missing or damaged.
    """
    if part not in ("part1", "part2"):
        raise InvalidParameterError(f"part must be 'part1' or 'part2', got {part!r}.")
    files = SubjectFiles(Path(berg_dir), subject_id)
    files.require()
    path = getattr(files, part)
    state = read_torch(path)
    tree = convert_part(state, check_part(state, files.name, str(path)), files.name, str(path))
    return CoordinateNetworks(*(tree[name] for name in CoordinateNetworks._fields))


def coordinates(
    networks: CoordinateNetworks,
    rows: Int[np.ndarray, " chosen"] | None = None,
    *,
    retina_sigma: float = RETINA_SIGMA,
) -> Parametrization:
    """Return selectors that two networks compute from the vertices' positions, as in the published model.

    Parameters
    ----------
    networks
        The donor's networks: see :func:`read_coordinate_networks`.
    rows
        The donor's row of each vertex (default: all rows).
    retina_sigma
        Distance that centers keep from the border, in units of half the image.

    Raises
    ------
    InvalidParameterError
        A row is not one of the donor's, or its vertices all lie in one place.
    """
    positions = np.asarray(networks.coordinates, np.float64)
    low = positions.min(axis=0)
    span = float((positions.max(axis=0) - low).max())
    chosen = np.arange(len(positions)) if rows is None else np.asarray(rows)
    if not span > 0:
        raise InvalidParameterError(f"The coordinates of all {len(positions)} vertices are the same.")
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or ((chosen < 0) | (chosen >= len(positions))).any():
        raise InvalidParameterError(f"rows must be integers from 0 to {len(positions) - 1}, the donor's rows.")
    params = {
        "layer_selector": networks.layer_selector,
        "retina_mapper": networks.retina_mapper,
        "encoding": positional_encoding(positions[chosen], low, span).astype(np.float32),
    }

    def select(params: dict[str, Any], rows: Rows) -> Selected:
        encoding = params["encoding"][rows]
        weights = jax.nn.softmax(_network(encoding, params["layer_selector"]), axis=-1)
        return weights, (1 - retina_sigma) * jnp.tanh(_network(encoding, params["retina_mapper"]))

    def penalty(params: dict[str, Any], rows: Rows) -> Float[Array, ""]:
        del params, rows
        return jnp.zeros(())

    return Parametrization(params, select, penalty)


def _network(x: Float[Array, "vertices 192"], layers: dict[str, Any]) -> Float[Array, "vertices outputs"]:
    for index in ("1", "3", "5"):
        x = x if index == "1" else jax.nn.gelu(x, approximate=False)
        product = jnp.matmul(x, layers[index]["weight"].T, precision=jax.lax.Precision.HIGHEST)
        x = product + layers[index]["bias"][None]
    return x

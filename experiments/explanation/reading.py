"""Readout of a region in closed form: where its vertices look, which layers they read, and what each place adds.

A vertex's response is linear in the feature maps and global vectors (:mod:`berg_jax.model.nn.readout`), so a weighted
sum of vertices is a sum over places and layers, without any approximation.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError
from ...model.encoding_model import EncodingModel, features_of, pixels_of, slots_of
from ...model.images import FIELD, check_values
from ...model.nn.config import GRID
from ...model.nn.readout import PADDED, map_position


class Reading(NamedTuple):
    """Places and layers that a weighted sum of vertices reads.

    Attributes
    ----------
    rf_center
        (vertices, 2) receptive-field centers in degrees, x right and y up.
    layer_weights
        (vertices, layers) weight of each layer, which sum to 1.
    layers
        Transformer block (from 0) of each layer.
    look
        (16, 16) share of the weights' absolute sum that each place of the feature maps has, top row first. The rest
        lies beyond the maps' border.
    layer_share
        (layers,) share of each layer, which sum to 1.
    """

    rf_center: Float[np.ndarray, "vertices 2"]
    layer_weights: Float[np.ndarray, "vertices layers"]
    layers: tuple[int, ...]
    look: Float[np.ndarray, "16 16"]
    layer_share: Float[np.ndarray, " layers"]


class Contributions(NamedTuple):
    """Shares of a weighted sum of responses, which they sum to.

    Attributes
    ----------
    places
        (n, layers, 16, 16) share of each place of each layer's feature map, z units.
    vectors
        (n, layers) share of each layer's global vector.
    bias
        Share of the biases, the same for all images.
    """

    places: Float[np.ndarray, "n layers 16 16"]
    vectors: Float[np.ndarray, "n layers"]
    bias: float


def reading(model: EncodingModel, weights: Float[np.ndarray, " vertices"]) -> Reading:
    """Return where vertices look and which layers they read, from the model's own tables.

    Parameters
    ----------
    model
        Model of one part, such as any selection of ROIs.
    weights
        Weight of each of its vertices, such as a ROI's from :func:`berg_jax.experiments.synthesis.union`; for a
        contrast, one ROI's minus the other's.

    Raises
    ------
    InvalidParameterError
        There is not one weight for each vertex, all are 0, or the vertices' layers differ between the model's parts.

    See Also
    --------
    contributions : The share of each place for an image.

    Examples
    --------
    >>> from berg_jax import load
    >>> model = load("demo", 1, roi="V1")
    >>> look = reading(model, np.full(len(model.vertices), 1 / len(model.vertices))).look
    >>> look.shape, bool(look.sum() <= 1.0001)
    ((16, 16), True)
    """
    weights = _checked(model, weights)
    tables = [model.params[name]["readout"] for name, _ in model.config.parts]
    order = np.asarray(model.order)
    center, layer_weights = (
        np.concatenate([np.asarray(table[key], np.float64).reshape(-1, table[key].shape[-1]) for table in tables])[
            order
        ]
        for key in ("rf_center", "layer_weights")
    )
    size = np.abs(weights) / np.abs(weights).sum()
    position = map_position(center)
    cell = np.clip(np.floor(position).astype(int), 0, GRID)
    dx, dy = (position - cell).T
    padded = np.zeros((PADDED, PADDED))
    for row, column in np.ndindex(2, 2):
        share = (dx if column else 1 - dx) * (dy if row else 1 - dy)
        np.add.at(padded, (cell[:, 1] + row, cell[:, 0] + column), size * share)
    return Reading(
        rf_center=center * (FIELD, -FIELD),
        layer_weights=layer_weights,
        layers=model.config.parts[0][1].layers,
        look=padded[1:-1, 1:-1],
        layer_share=size @ layer_weights,
    )


def contributions(
    model: EncodingModel, weights: Float[np.ndarray, " vertices"], images: Num[np.ndarray, "n 3 height width"]
) -> Contributions:
    """Return the share of each place and layer in a weighted sum of vertices' responses, which is exact.

    A place is one of 16 × 16 of the feature maps. What it holds depends on the whole image as far as the network's
    attention spreads, so this says where the readout reads, while attribution to pixels says what moves it.

    Parameters
    ----------
    model, weights
        See :func:`reading`.
    images
        Images (n, 3, height, width) in 0–255.

    Returns
    -------
    Shares whose sum is ``model(images) @ weights``.

    Raises
    ------
    StimulusError
        They are no images in 0–255.
    InvalidParameterError
        As :func:`reading`.

    See Also
    --------
    berg_jax.experiments.explanation.attribution.integrated_gradients : Shares of pixels.
    """
    check_values(images)
    places, vectors, bias = _contributions(model, jnp.asarray(_checked(model, weights), float), jnp.asarray(images))
    return Contributions(np.asarray(places), np.asarray(vectors), float(bias))


def _checked(model: EncodingModel, weights: Float[np.ndarray, " vertices"]) -> Float[np.ndarray, " vertices"]:
    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(model.vertices),) or not weights.any():
        raise InvalidParameterError(
            f"Give a weight for each of the model's {len(model.vertices)} vertices, not all 0; got {weights.shape}."
        )
    if len({part.layers for _, part in model.config.parts}) > 1:
        raise InvalidParameterError("The model's parts read different layers: select vertices of one part.")
    return weights


@jax.jit
def _contributions(
    model: EncodingModel, weights: Float[Array, " vertices"], images: Num[Array, "n 3 h w"]
) -> tuple[Float[Array, "n l 16 16"], Float[Array, "n l"], Float[Array, ""]]:
    precision, plan = model.config.precision, model.config.compute_plan
    pixels = pixels_of(images, precision)
    maps, vectors = {}, {}
    for name, part in model.config.parts:
        params = model.params[name]
        _, maps[name], vectors[name] = features_of(params["vit"], params["heads"], part, precision, pixels, plan)

    def total(features: tuple[dict[str, Array], dict[str, Array]]) -> Float[Array, ""]:
        read = [
            slots_of(
                model.params[name]["readout"],
                model.corners[name],
                features[0][name],
                features[1][name],
                precision,
                plan.tiles_per_step,
            )
            for name, _ in model.config.parts
        ]
        return (jnp.concatenate(read, axis=1)[:, model.order] * weights[None]).sum()

    # The readout is linear: features times its gradient are its terms, and what is left at zero is the bias.
    by_maps, by_vectors = jax.grad(total)((maps, vectors))
    names = [name for name, _ in model.config.parts]
    places = sum((maps[name] * by_maps[name]).sum(axis=-1) for name in names)
    shares = sum((vectors[name] * by_vectors[name]).sum(axis=-1) for name in names)
    nothing = jax.tree.map(jnp.zeros_like, (maps, vectors))
    return jnp.moveaxis(places, 0, 1), shares.T, total(nothing) / len(images)

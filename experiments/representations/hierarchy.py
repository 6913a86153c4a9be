"""Hierarchy of regions along the layers of a network: the layer that each region is most like, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.spatial.distance import squareform

from ...errors import InvalidParameterError
from ..reporting.statistics import (
    CONFIDENCE,
    FEWEST,
    NO_INTERVAL,
    REPETITIONS,
    SEED,
    Interval,
    resample,
    weighted_pair_correlation,
)
from .measure import RDM, Measure

Pairs = Float[np.ndarray, " pairs"]


class BestLayer(NamedTuple):
    """The layer that a region is most like.

    Attributes
    ----------
    region, layer
        Names of the region and of the layer.
    position
        Position of the layer among all, from 0.
    correlation
        Spearman's correlation of both matrices.
    positions
        Percentile interval of the position over resamples of the images.
    """

    region: str
    layer: str
    position: int
    correlation: float
    positions: Interval


class Hierarchy(NamedTuple):
    """Regions and the layers that they are most like.

    Attributes
    ----------
    regions
        The best layer of each region, in the regions' order.
    order
        Spearman's correlation of the regions' order with their layers' positions; NaN where all have one layer.
    over_images
        Percentile interval of that correlation over resamples of the images.
    correlations
        Spearman's correlation of each region with each layer.
    """

    regions: list[BestLayer]
    order: float
    over_images: Interval
    correlations: Float[np.ndarray, "regions layers"]


def layer_hierarchy(
    regions: Mapping[str, Pairs | Sequence[Pairs]],
    layers: Mapping[str, Pairs],
    *,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
    measure: Measure = RDM,
) -> Hierarchy:
    """Find the layer that each region is most like, and whether regions follow the layers' order [1]_.

    Parameters
    ----------
    regions
        Upper triangles of dissimilarity matrices by name, in the order of the presumed hierarchy, such as V1, V2,
        hV4; or for each region those of several subjects, over which correlations are averaged.
    layers
        Those of a network's layers, from the first to the last.
    repetitions, seed
        Number of resamples of the images, and the seed that draws them. Pairs of an image with its copy do not count.
    measure
        Measure of similarity, of which these are triangles: dissimilarities by default.

    Raises
    ------
    InvalidParameterError
        There are fewer than two regions or layers, they are of other images, or a matrix holds NaN or does not vary.

    References
    ----------
    .. [1] U. Güçlü & M. A. J. van Gerven (2015). Deep neural networks reveal a gradient in the complexity of neural
       representations across the ventral stream. Journal of Neuroscience 35 (27), 10005–10014.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> layers = {f"layer {i}": random.normal(size=45) for i in range(3)}
    >>> found = layer_hierarchy({"V1": layers["layer 0"], "hV4": layers["layer 2"]}, layers)
    >>> [(row.region, row.layer) for row in found.regions], round(found.order, 6)
    ([('V1', 'layer 0'), ('hV4', 'layer 2')], 1.0)
    """
    if len(regions) < 2 or len(layers) < 2:
        raise InvalidParameterError(f"Give two regions and two layers at least, got {len(regions)}, {len(layers)}.")
    owns = {name: [pairs] if np.ndim(pairs[0]) == 0 else list(pairs) for name, pairs in regions.items()}
    given = [*((f"region {name}", own) for name, some in owns.items() for own in some), *layers.items()]
    if len({len(pairs) for _, pairs in given}) > 1:
        raise InvalidParameterError("Dissimilarities must all be of the same images.")
    if bad := [name for name, pairs in given if not np.isfinite(measure.unit(pairs)).all()]:
        raise InvalidParameterError(f"Dissimilarities of {bad[0]!r} hold NaN or do not vary.")
    of_layers = [squareform(measure.unit(pairs), checks=False) for pairs in layers.values()]
    images = len(of_layers[0])
    weights = np.concatenate([np.ones((1, images)), resample(images, repetitions=repetitions, seed=seed).drawn])
    correlations = np.stack([_mean_correlations(weights, some, of_layers, measure) for some in owns.values()])
    best = correlations.argmax(1)  # (regions, 1 + repetitions)
    few = images < FEWEST
    names = list(layers)
    rows = [
        BestLayer(
            region=name,
            layer=names[best[index, 0]],
            position=int(best[index, 0]),
            correlation=float(correlations[index, best[index, 0], 0]),
            positions=NO_INTERVAL if few else _percentiles(best[index, 1:]),
        )
        for index, name in enumerate(regions)
    ]
    orders = np.array([_order(positions) for positions in best.T])
    over_images = NO_INTERVAL if few else _percentiles(orders[1:][np.isfinite(orders[1:])])
    return Hierarchy(rows, float(orders[0]), over_images, correlations[:, :, 0])


def _mean_correlations(
    weights: Float[np.ndarray, "rows images"],
    owns: Sequence[Pairs],
    layers: Sequence[Float[np.ndarray, "images images"]],
    measure: Measure,
) -> Float[np.ndarray, "layers rows"]:
    """Return the correlations of a region with each layer for each row of weights, mean over subjects."""
    squares = [squareform(measure.unit(own), checks=False) for own in owns]
    return np.mean([[weighted_pair_correlation(weights, own, layer) for layer in layers] for own in squares], axis=0)


def _order(positions: np.ndarray) -> float:
    if (positions == positions[0]).all():
        return float("nan")
    place = np.arange(len(positions))
    return float(np.corrcoef(place, stats.rankdata(positions))[0, 1])


def _percentiles(values: np.ndarray) -> Interval:
    if not len(values):
        return NO_INTERVAL
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))

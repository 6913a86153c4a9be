"""Hierarchy of regions along the layers of a network: the layer that each region is most like, and their order."""

from __future__ import annotations

from collections.abc import Mapping
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
from .dissimilarity import ranks

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
    regions: Mapping[str, Pairs], layers: Mapping[str, Pairs], *, repetitions: int = REPETITIONS, seed: int = SEED
) -> Hierarchy:
    """Find the layer that each region is most like, and whether regions follow the layers' order [1]_.

    Parameters
    ----------
    regions
        Upper triangles of dissimilarity matrices by name, in the order of the presumed hierarchy, such as V1, V2,
        hV4.
    layers
        Those of a network's layers, from the first to the last.
    repetitions, seed
        Number of resamples of the images, and the seed that draws them. Pairs of an image with its copy do not count.

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
    given = {**{f"region {name}": pairs for name, pairs in regions.items()}, **layers}
    if len({len(pairs) for pairs in given.values()}) > 1:
        raise InvalidParameterError("Dissimilarities must all be of the same images.")
    if bad := [name for name, pairs in given.items() if not np.isfinite(ranks(pairs)).all()]:
        raise InvalidParameterError(f"Dissimilarities of {bad[0]!r} hold NaN or do not vary.")
    of_regions, of_layers = (
        [squareform(ranks(pairs), checks=False) for pairs in some.values()] for some in (regions, layers)
    )
    images = len(of_regions[0])
    weights = np.concatenate([np.ones((1, images)), resample(images, repetitions=repetitions, seed=seed).drawn])
    correlations = np.stack(
        [[weighted_pair_correlation(weights, own, layer) for layer in of_layers] for own in of_regions]
    )
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

"""Two encoding models of the same measured responses, compared in pairs: which predicts a region better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...errors import InvalidParameterError
from ..reporting.statistics import FEWEST, NO_INTERVAL, REPETITIONS, SEED, Interval, resample, spread_interval
from .trials import Trials
from .uncertainty import Resampled, sampled_vertices

_AT_ONCE = 100  # resamples that are in memory together


class PairedAccuracy(NamedTuple):
    """Accuracy of two models in a region, and their difference.

    Attributes
    ----------
    first, second
        Median over vertices of r, the correlation over images of a model's prediction with the mean over trials.
    difference
        Median over vertices of the first model's r less the second's.
    over_images
        95% interval of the difference, by a bootstrap over images, of which both models have the same.
    vertices
        Number of vertices that have measured responses.
    """

    first: float
    second: float
    difference: float
    over_images: Interval
    vertices: int


def compare_models(
    first: Float[np.ndarray, "images vertices"],
    second: Float[np.ndarray, "images vertices"],
    trials: Trials,
    regions: Mapping[str, Bool[np.ndarray, " vertices"]] | None = None,
    *,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> dict[str, PairedAccuracy]:
    """Compare the predictions of two models with the same measured responses.

    Parameters
    ----------
    first, second
        Each model's responses to the same images at the same vertices, such as rows of two stores.
    trials
        Measured responses, from :func:`~berg_jax.experiments.accuracy.trial_reader` or its like.
    regions
        Masks of vertices by name; by default all vertices are one region.
    repetitions, seed
        Number of resamples of the images, and the seed that draws them. The interval is the difference ± 1.96
        standard deviations over resamples, of up to 300 evenly spaced vertices.

    Returns
    -------
    For each region, both accuracies and their difference.

    Raises
    ------
    InvalidParameterError
        The predictions, the trials and the masks do not fit each other, or no vertex of a region was measured.

    See Also
    --------
    berg_jax.experiments.accuracy.vertex_accuracy : Maps of one model.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> measured = random.normal(size=(30, 8))
    >>> trials = Trials(measured.astype(np.float32), np.arange(30))
    >>> found = compare_models(measured + random.normal(size=(30, 8)), random.normal(size=(30, 8)), trials)
    >>> found["all vertices"].over_images.low > 0
    True
    """
    shapes = {"first": first.shape, "second": second.shape, "trials": (len(first), trials.responses.shape[1])}
    if len(set(shapes.values())) > 1 or int(trials.images.max(initial=-1)) >= len(first):
        raise InvalidParameterError(
            f"Both predictions must be (images, vertices) of the trials' images and vertices, got {shapes} and "
            f"images up to number {int(trials.images.max(initial=-1))}."
        )
    regions = {"all vertices": np.ones(first.shape[1], bool)} if regions is None else regions
    if bad := [name for name, mask in regions.items() if np.shape(mask) != (first.shape[1],)]:
        raise InvalidParameterError(f"The mask of {bad[0]!r} must have {first.shape[1]} values, one for each vertex.")
    ones = np.ones((1, len(first)))
    both = [_accuracies(predicted, trials, ones)[0] for predicted in (first, second)]
    known = ~np.isnan(both[0]) & ~np.isnan(both[1])
    inside = {name: np.asarray(mask, bool) & known for name, mask in regions.items()}
    if empty := [name for name, mask in inside.items() if not mask.any()]:
        raise InvalidParameterError(f"No vertex of {empty[0]!r} has responses that vary. Choose other vertices.")
    sampled = sampled_vertices(inside)
    used = np.unique(np.concatenate(list(sampled.values())))
    place = {int(vertex): index for index, vertex in enumerate(used)}
    drawn = resample(len(first), repetitions=repetitions, seed=seed).drawn
    few = Trials(trials.responses[:, used], trials.images)
    models = [Resampled(predicted[:, used], few, np.ones(len(used))) for predicted in (first, second)]
    differences = np.concatenate(
        [
            models[0](drawn[start : start + _AT_ONCE])["r"] - models[1](drawn[start : start + _AT_ONCE])["r"]
            for start in range(0, repetitions, _AT_ONCE)
        ]
    )
    found = {}
    for name, mask in inside.items():
        difference = float(np.median((both[0] - both[1])[mask]))
        columns = [place[int(vertex)] for vertex in sampled[name]]
        medians = np.nanmedian(differences[:, columns], axis=1)
        ends = NO_INTERVAL if len(first) < FEWEST else spread_interval(difference, medians)
        medians_of = (float(np.median(own[mask])) for own in both)
        found[name] = PairedAccuracy(*medians_of, difference, ends, int(mask.sum()))
    return found


def _accuracies(
    predicted: Float[np.ndarray, "images vertices"], trials: Trials, weights: Float[np.ndarray, "rows images"]
) -> Float[np.ndarray, "rows vertices"]:
    return Resampled(predicted, trials, np.ones(predicted.shape[1]))(weights)["r"]

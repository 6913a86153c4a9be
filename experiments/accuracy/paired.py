"""Two encoding models of the same measured responses, compared in pairs: which predicts a region better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    paired = PairedRegions(len(first), {name: np.asarray(mask, bool) for name, mask in regions.items()})
    paired.add(slice(0, first.shape[1]), first, second, trials)
    return paired.found(repetitions, seed)


class PairedRegions:
    """Accuracies of two models in regions, gathered from parts of the vertices.

    Parameters
    ----------
    images
        Number of images.
    regions
        Masks of vertices by name.
    """

    def __init__(self, images: int, regions: Mapping[str, Bool[np.ndarray, " vertices"]]) -> None:
        self._images, self._regions = images, regions
        self._sampled = sampled_vertices(regions)
        self._used = np.unique(np.concatenate(list(self._sampled.values())))
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._few: list[tuple[np.ndarray, np.ndarray, Trials]] = []

    def add(
        self,
        part: slice,
        first: Float[np.ndarray, "images vertices"],
        second: Float[np.ndarray, "images vertices"],
        trials: Trials,
    ) -> None:
        """Compute the accuracies of one part's vertices; parts come in their order."""
        ones = np.ones((1, self._images))
        self._parts.append((_accuracies(first, trials, ones)[0], _accuracies(second, trials, ones)[0]))
        inside = self._used[(self._used >= part.start) & (self._used < part.stop)] - part.start
        if len(inside):
            few = Trials(trials.responses[:, inside], trials.images)
            self._few.append((first[:, inside], second[:, inside], few))

    def maps(self) -> tuple[Float[np.ndarray, " vertices"], Float[np.ndarray, " vertices"]]:
        """Return each model's r at every vertex; NaN where a vertex was not measured or nothing varies."""
        first, second = (np.concatenate([part[model] for part in self._parts]) for model in (0, 1))
        return first, second

    def found(
        self, repetitions: int = REPETITIONS, seed: int = SEED, regions: Sequence[str] | None = None
    ) -> dict[str, PairedAccuracy]:
        """Return the accuracies and differences of the regions: see :func:`compare_models`.

        Parameters
        ----------
        repetitions, seed
            Number of resamples, and the seed that draws them.
        regions
            Names of the regions, by default all.
        """
        both = self.maps()
        known = ~np.isnan(both[0]) & ~np.isnan(both[1])
        inside = {name: mask & known for name, mask in self._regions.items() if regions is None or name in regions}
        if empty := [name for name, mask in inside.items() if not mask.any()]:
            raise InvalidParameterError(f"No vertex of {empty[0]!r} has responses that vary. Choose other vertices.")
        differences = self._drawn(repetitions, seed)
        found = {}
        for name, mask in inside.items():
            difference = float(np.median((both[0] - both[1])[mask]))
            columns = np.searchsorted(self._used, [vertex for vertex in self._sampled[name] if known[vertex]])
            ends = NO_INTERVAL
            if self._images >= FEWEST and len(columns):
                ends = spread_interval(difference, np.nanmedian(differences[:, columns], axis=1))
            medians = (float(np.median(own[mask])) for own in both)
            found[name] = PairedAccuracy(*medians, difference, ends, int(mask.sum()))
        return found

    def _drawn(self, repetitions: int, seed: int) -> Float[np.ndarray, "repetitions sampled"]:
        """Return the difference of both models' r in each resample, at the sampled vertices."""
        drawn = resample(self._images, repetitions=repetitions, seed=seed).drawn
        columns = []
        for first, second, trials in self._few:
            models = [Resampled(predicted, trials, np.ones(predicted.shape[1])) for predicted in (first, second)]
            rows = [drawn[start : start + _AT_ONCE] for start in range(0, repetitions, _AT_ONCE)]
            columns.append(np.concatenate([models[0](some)["r"] - models[1](some)["r"] for some in rows]))
        return np.concatenate(columns, axis=1)


def _accuracies(
    predicted: Float[np.ndarray, "images vertices"], trials: Trials, weights: Float[np.ndarray, "rows images"]
) -> Float[np.ndarray, "rows vertices"]:
    return Resampled(predicted, trials, np.ones(predicted.shape[1]))(weights)["r"]

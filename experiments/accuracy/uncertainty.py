"""Confidence intervals of the medians over vertices: bootstrap over images, with all trials of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from ...published.metadata import noise_ceiling
from ..reporting.statistics import NO_INTERVAL, Interval, resample, spread_interval, weighted_correlation
from .trials import Trials

_MOST = {"r2": 1.0, "noise_ceiling": 1.0, "explained_variance": 100.0}  # of what is a share, and never below 0
# Images that an interval needs. Of fewer, so many resamples hold only two different images, which have a correlation
# of 1 or −1, that their spread says nothing: 10% of the resamples of 5 images, 0.04% of 8, and 0.0005% of 10.
FEWEST_FOR_INTERVAL = 10
_OF_THREE = ("r_in_silico", "r_one_trial", "r_two_trials")  # over the images that have three trials
_SAMPLED = 300  # vertices of each row, evenly spaced; neighbors tell nearly the same


def too_few(images: int) -> str:
    """Return what is said of so many images if they are too few for an interval, and nothing if they are enough.

    Examples
    --------
    >>> too_few(5), too_few(10)
    ('too few for an interval (at least 10)', '')
    """
    return "" if images >= FEWEST_FOR_INTERVAL else f"too few for an interval (at least {FEWEST_FOR_INTERVAL})"


def sampled_vertices(rows: Mapping[str, Bool[np.ndarray, " vertices"]]) -> dict[str, Int[np.ndarray, " n"]]:
    """Return the vertices of each row of a table that its interval is computed from: at most 300, evenly spaced."""
    found = {}
    for name, mask in rows.items():
        inside = np.flatnonzero(mask)
        places = np.linspace(0, len(inside) - 1, min(_SAMPLED, len(inside))).round().astype(int)
        found[name] = inside[places]
    return found


class Resampled:
    """Accuracy of some vertices in every resample of the images.

    It is what :func:`~berg_jax.experiments.accuracy.experiment.vertex_accuracy` returns of the data themselves.

    Parameters
    ----------
    predicted
        Responses to each image, at these vertices.
    trials
        Measured ones.
    ncsnr
        The ncsnr that is not estimated from the trials, or None: then it is, of each resample anew.
    """

    def __init__(
        self,
        predicted: Float[np.ndarray, "images vertices"],
        trials: Trials,
        ncsnr: Float[np.ndarray, " vertices"] | None,
    ) -> None:
        images, order = trials.images, np.argsort(trials.images, kind="stable")
        self._counts = np.bincount(images, minlength=len(predicted))
        self._predicted, self._ncsnr = predicted.astype(np.float64), ncsnr
        responses = trials.responses.astype(np.float64)
        averaging = sparse.csr_array((1 / self._counts[images], (images, np.arange(len(images)))))
        self._mean = averaging @ responses
        summing = sparse.csr_array((np.ones(len(images)), (images, np.arange(len(images)))))
        self._within = summing @ (responses - self._mean[images]) ** 2
        thrice = np.flatnonzero(self._counts >= 3)
        first = np.concatenate([[0], np.cumsum(self._counts)[:-1]])[thrice]
        self._thrice = thrice
        self._three = [responses[order[first + k]] for k in range(3)] if len(thrice) > 2 else []

    def __call__(self, weights: Float[np.ndarray, "rows images"]) -> dict[str, Float[np.ndarray, "rows vertices"]]:
        """Return r, its square, noise ceiling, explained variance, single trials for each row of weights, by name."""
        r = weighted_correlation(weights, self._predicted, self._mean)
        r2, ceiling = np.where(np.isnan(r), np.nan, np.maximum(r, 0)) ** 2, self._ceiling(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            explained = np.where(ceiling > 0, np.minimum(100 * r2 / ceiling, 100), np.nan)
        found = {"r": r, "r2": r2, "noise_ceiling": ceiling, "explained_variance": explained}
        if not self._three:
            return found
        own, predicted = weights[:, self._thrice], self._predicted[self._thrice]
        pairs = [(self._three[k], self._three[(k + 1) % 3], self._three[(k + 2) % 3]) for k in range(3)]
        compared = {
            "r_in_silico": [(predicted, held_out) for held_out, _, _ in pairs],
            "r_one_trial": [(one, held_out) for held_out, one, _ in pairs],
            "r_two_trials": [(one + other, held_out) for held_out, one, other in pairs],
        }
        for name, both in compared.items():
            found[name] = np.mean([weighted_correlation(own, x, y) for x, y in both], axis=0)
        return found

    def _ceiling(self, weights: Float[np.ndarray, "rows images"]) -> Float[np.ndarray, "rows vertices"]:
        total = weights.sum(1, keepdims=True)
        share = weights @ (1 / self._counts)[:, None] / total  # mean of 1/n over images
        if self._ncsnr is not None:
            return noise_ceiling(self._ncsnr, 1 / share)
        centered = self._mean - self._mean.mean(0)
        between = (weights @ centered**2 - (weights @ centered) ** 2 / total) / (total - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = weights @ self._within / (weights @ (self._counts - 1.0)[:, None])
            signal = np.maximum(between - noise * share, 0)
            return signal / (signal + noise * share)


class MedianIntervals:
    """Intervals of medians over vertices, gathered from parts of the vertices; none of fewer than 10 images.

    Parameters
    ----------
    images
        Number of images.
    vertices
        The vertices to compute, sorted: all that a row of the table needs.
    """

    def __init__(self, images: int, vertices: Int[np.ndarray, " n"]) -> None:
        self._vertices = vertices
        self._drawn = resample(images).drawn if images >= FEWEST_FOR_INTERVAL else None
        self._parts: list[dict[str, np.ndarray]] = []
        self._whole: dict[str, np.ndarray] = {}

    def add(
        self,
        part: slice,
        predicted: Float[np.ndarray, "images vertices"],
        trials: Trials,
        ncsnr: Float[np.ndarray, " vertices"] | None,
    ) -> None:
        """Compute the vertices of one part; parts come in their order."""
        inside = self._vertices[(self._vertices >= part.start) & (self._vertices < part.stop)] - part.start
        if self._drawn is None or not len(inside):
            return
        own = Trials(trials.responses[:, inside], trials.images)
        resampled = Resampled(predicted[:, inside], own, None if ncsnr is None else ncsnr[inside])
        found = resampled(self._drawn)
        if (np.bincount(trials.images) >= 3).sum() < FEWEST_FOR_INTERVAL:
            found = {name: values for name, values in found.items() if name not in _OF_THREE}
        self._parts.append({name: values.astype(np.float32) for name, values in found.items()})

    def of(self, vertices: Sequence[int], estimates: Mapping[str, float]) -> dict[str, Interval]:
        """Return the interval of each median over some of the vertices, by name.

        Parameters
        ----------
        vertices
            Vertices that represent a row.
        estimates
            The row's medians over all of its vertices.
        """
        if not self._parts or not len(vertices):
            return dict.fromkeys(estimates, NO_INTERVAL)
        if not self._whole:
            names = self._parts[0]
            self._whole = {name: np.concatenate([part[name] for part in self._parts], axis=1) for name in names}
        columns = np.searchsorted(self._vertices, vertices)
        found = {}
        for name, values in self._whole.items():
            most = _MOST.get(name)
            low, high = spread_interval(estimates[name], _median(values[:, columns]), correlation=most is None)
            found[name] = Interval(low, high) if most is None else Interval(max(low, 0), min(high, most))
        return found


def _median(values: Float[np.ndarray, "rows vertices"]) -> Float[np.ndarray, " rows"]:
    """Return the median of each row without NaN; NaN of a row that has nothing else."""
    ordered = np.sort(values, axis=1)  # NaN last; NumPy's nanmedian takes a row at a time
    counts = (~np.isnan(values)).sum(1)
    middle = np.stack([(counts - 1) // 2, counts // 2], axis=1)
    return np.take_along_axis(ordered, np.maximum(middle, 0), axis=1).mean(1)

"""Accuracy of a fit on the test images: maps, medians of ROIs with intervals, predictable vertices, controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from ....errors import InvalidParameterError
from ....published.metadata import noise_ceiling
from ...accuracy.experiment import correlation
from ...accuracy.trials import Trials
from ...accuracy.uncertainty import MedianIntervals, sampled_vertices
from ...reporting.statistics import Interval, fdr
from ..inputs.donor import take_rows
from ..inputs.features import Features
from ..inputs.splits import FEWEST_TRAINING, Split
from ..ridge import fit_readout, mixed_features, predict
from ..tables import VertexTables

ALPHA = 0.05  # false discovery rate of vertices that are called predictable
PERMUTATIONS, CONTROL_VERTICES = 20, 300  # of the control of shuffled images
CURVE_VERTICES = 1000  # of each part, whose learning curve is fitted
ALL = "all"


class Evaluation(NamedTuple):
    """Accuracy of a fit on the test images.

    Attributes
    ----------
    maps
        Values of each vertex by name: ``r``, the correlation of the prediction with the mean over trials; ``r2``, 0
        where r is negative; ``noise_ceiling``; ``explained_variance``, r2 by the noise ceiling in per cent, at most
        100; ``q`` of r > 0; ``r_…`` of other predictions of the same vertices.
    medians
        Medians of each row: all vertices, and each ROI.
    intervals
        95% interval over images of the rows' medians of r and of explained variance.
    """

    maps: dict[str, Float[np.ndarray, " vertices"]]
    medians: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, Interval]]


class Predictions:
    """Predictions of the test images and further results of all vertices, filled part by part of the donor.

    Parameters
    ----------
    images, vertices
        Numbers of test images and of vertices.

    Attributes
    ----------
    test
        Predicted responses to the test images, by name: of the fit, ``"donor"`` and earlier stages.
    maps
        Further values of each vertex, by name.
    control
        Test correlations of fits to shuffled images.
    curve
        Test correlations at each number of training images.
    training
        Record of each part's training, by name; empty in the readout stage.
    """

    def __init__(self, images: int, vertices: int) -> None:
        self._shape = images, vertices
        self.test: dict[str, Float[np.ndarray, "images vertices"]] = {}
        self.maps: dict[str, Float[np.ndarray, " vertices"]] = {}
        self.control: list[Float[np.ndarray, "permutations v"]] = []
        self.curve: list[Float[np.ndarray, "sizes v"]] = []
        self.training: dict[str, dict[str, Any]] = {}

    def add_test(self, name: str, places: Int[np.ndarray, " n"], predicted: Float[np.ndarray, "images n"]) -> None:
        """Fill in the predictions of some vertices."""
        self.test.setdefault(name, np.full(self._shape, np.nan, np.float32))[:, places] = predicted

    def add_map(self, name: str, places: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> None:
        """Fill in a map's values of some vertices."""
        self.maps.setdefault(name, np.full(self._shape[1], np.nan))[places] = values


def evaluate(
    predicted: Float[np.ndarray, "images vertices"],
    measured: Float[np.ndarray, "images vertices"],
    counts: Int[np.ndarray, " images"],
    ncsnr: Float[np.ndarray, " vertices"],
    regions: Mapping[str, Bool[np.ndarray, " vertices"]],
    others: Mapping[str, Float[np.ndarray, "images vertices"]] | None = None,
) -> Evaluation:
    """Compare predicted with measured responses to the test images.

    Parameters
    ----------
    predicted, measured
        Responses to the test images; measured ones are means over an image's trials.
    counts
        Number of trials of each image.
    ncsnr
        Noise-ceiling signal-to-noise ratio of each vertex, NaN where it is not known.
    regions
        Masks of ROIs, by name.
    others
        Other predictions of the same responses, by name, such as the donor's own.

    Returns
    -------
    Evaluation
        Maps, medians and intervals.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> signal = random.normal(size=(50, 4))
    >>> found = evaluate(signal, signal + random.normal(size=(50, 4)), np.ones(50, int), np.ones(4), {})
    >>> bool((found.maps["q"] < 0.05).all())
    True
    """
    r = correlation(predicted.astype(np.float64), measured.astype(np.float64))
    r2 = np.where(np.isnan(r), np.nan, np.maximum(r, 0)) ** 2
    share = float((1 / counts).mean())
    ceiling = noise_ceiling(ncsnr, 1 / share)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(ceiling > 0, np.minimum(100 * r2 / ceiling, 100), np.nan)
    maps = {
        "r": r,
        "r2": r2,
        "noise_ceiling": ceiling,
        "explained_variance": explained,
        "q": fdr(p_of(r, len(counts))),
    }
    for name, values in (others or {}).items():
        maps[f"r_{name}"] = correlation(values.astype(np.float64), measured.astype(np.float64))
    inside = {"all vertices": np.ones(len(r), bool)} | {name: mask for name, mask in regions.items() if mask.any()}
    medians = {name: _medians(maps, mask) for name, mask in inside.items()}
    sampled = sampled_vertices(inside)
    resampled = MedianIntervals(len(counts), np.unique(np.concatenate(list(sampled.values()))))
    # The responses are means over trials: each counts as one trial, with as much less noise.
    trials = Trials(measured, np.arange(len(counts)))
    resampled.add(slice(0, len(r)), predicted, trials, ncsnr / math.sqrt(share))
    intervals = {name: resampled.of(those[~np.isnan(r[those])], medians[name]) for name, those in sampled.items()}
    return Evaluation(maps, medians, intervals)


def p_of(r: Float[np.ndarray, " vertices"], images: int) -> Float[np.ndarray, " vertices"]:
    """Return the one-sided p of correlations over so many independent images, by Student's t."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = r * np.sqrt((images - 2) / (1 - r**2))
    return np.where(np.isnan(r), np.nan, stats.t.sf(t, images - 2))


def _medians(
    maps: Mapping[str, Float[np.ndarray, " vertices"]], mask: Bool[np.ndarray, " vertices"]
) -> dict[str, float]:
    found: dict[str, float] = {"vertices": int(mask.sum())}
    for name, values in maps.items():
        known = values[mask & ~np.isnan(values)]
        if name == "q":
            found["predictable"] = float((known < ALPHA).sum() / max(mask.sum(), 1))
        else:
            found[name] = float(np.median(known)) if len(known) else math.nan
    return found


def spread_rows(count: int, most: int) -> Int[np.ndarray, " n"]:
    """Return at most so many rows, evenly spaced, of as many as there are."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def shuffled_control(
    features: Features,
    responses: Float[np.ndarray, "images rows"],
    tables: VertexTables,
    split: Split,
    *,
    penalties: tuple[float, ...],
    permutations: int = PERMUTATIONS,
    vertices: int = CONTROL_VERTICES,
    seed: int = 0,
) -> Float[np.ndarray, "permutations vertices"]:
    """Return test correlations of readouts that were fitted to the responses of other images than were shown.

    The responses to the training images are permuted over the images, for each vertex anew, and fitted as the true
    ones are. The mean is 0 unless something of the test images has leaked.

    Parameters
    ----------
    features, responses, tables, penalties
        See :func:`~berg_jax.experiments.fitting.ridge.fit_readout`.
    split
        Split of the images.
    permutations, vertices, seed
        Number of permutations, largest number of evenly spaced vertices, and seed of the draws.
    """
    rows = spread_rows(len(tables.bias), vertices)
    few, own = take_rows(tables, rows), responses[:, rows]
    random = np.random.default_rng((seed, len(split.train)))
    targets = np.zeros((*own.shape, permutations), np.float32)
    for number in range(permutations):
        targets[split.train, :, number] = random.permuted(own[split.train], axis=0)
    fitted = fit_readout(features, targets, few, penalties=penalties, images=split.train)
    h = mixed_features(features, few, split.test)
    predicted = np.einsum("vnd,vtd->nvt", h, fitted.weight / h.shape[2]) + fitted.bias[None]
    return np.stack([correlation(predicted[:, :, n], own[split.test]) for n in range(permutations)])


def parse_sizes(text: str | Sequence[int | str] | None, images: int) -> list[int]:
    """Return the numbers of training images of a learning curve, ascending.

    Parameters
    ----------
    text
        Numbers such as ``"30,100,all"``, or a list of them; None for none.
    images
        Number of training images, for which ``all`` stands.

    Raises
    ------
    InvalidParameterError
        A number is not one, is below 20, or is more than there are.

    Examples
    --------
    >>> parse_sizes("100,30,all", 240)
    [30, 100, 240]
    """
    if text is None:
        return []
    items = text.split(",") if isinstance(text, str) else text
    sizes = []
    for item in (str(item).strip() for item in items):
        if item != ALL and not item.isdecimal():
            raise InvalidParameterError(
                f"learning_curve (--learning-curve) must be numbers such as 30,100,all, got {item!r}."
            )
        size = images if item == ALL else int(item)
        if not FEWEST_TRAINING <= size <= images:
            raise InvalidParameterError(
                f"A learning curve of {images} training images has from {FEWEST_TRAINING} to {images} of them, got "
                f"{size}. Give other numbers, or all."
            )
        sizes.append(size)
    return sorted(set(sizes))


def learning_curve_r(
    features: Features,
    responses: Float[np.ndarray, "images rows"],
    tables: VertexTables,
    split: Split,
    sizes: Sequence[int],
    *,
    penalties: tuple[float, ...],
    vertices: int = CURVE_VERTICES,
    seed: int = 0,
) -> Float[np.ndarray, "sizes vertices"]:
    """Return test correlations of readouts that were fitted to fewer and fewer training images.

    Parameters
    ----------
    features, responses, tables, penalties
        See :func:`~berg_jax.experiments.fitting.ridge.fit_readout`.
    split
        Split of the images. The images of a smaller number are among those of a larger one.
    sizes
        Numbers of training images.
    vertices, seed
        Largest number of evenly spaced vertices, and seed that draws the images.
    """
    rows = spread_rows(len(tables.bias), vertices)
    few, own = take_rows(tables, rows), responses[:, rows]
    order = np.random.default_rng((seed, 1)).permutation(split.train)
    found = np.empty((len(sizes), len(rows)))
    for place, size in enumerate(sizes):
        fitted = fit_readout(features, own, few, penalties=penalties, images=np.sort(order[:size]))
        predicted = predict(features, few._replace(weight=fitted.weight, bias=fitted.bias), split.test)
        found[place] = correlation(predicted.astype(np.float64), own[split.test].astype(np.float64))
    return found

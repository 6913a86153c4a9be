"""Uncertainty of representational similarities: bootstrap over images, t over subjects, permutation of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import squareform

from ..reporting.statistics import (
    FEWEST,
    FEWEST_SUBJECTS,
    NO_INTERVAL,
    REPETITIONS,
    SEED,
    Interval,
    correlation_of,
    fdr,
    interval,
    mantel_p,
    mean_interval,
    pair_totals,
    permutation_p,
    resample,
)
from .measure import RDM, Measure

MOST_PERMUTED = 1000  # images; a thousand permutations of more take minutes for each row
_MANY, _FEWER = 2000, 200  # images from which on there are fewer resamples, and their number


class MostAlike(NamedTuple):
    """The representation that is most like another, with its uncertainty.

    Attributes
    ----------
    name
        ROI, feature or matrix.
    nearest
        The one whose dissimilarities correlate most with it.
    alike
        The second, if the difference between both correlations has an interval that holds 0: they are not told apart.
    correlation
        Spearman's correlation with the nearest, mean over subjects.
    images, over_images
        Number of images, and the correlation's interval over them.
    subjects, over_subjects
        Number of subjects, and the correlation's interval over three or more of them.
    p
        Share of random orders of the images (the given one included) with a correlation as large; NaN of more than
        1,000 images.
    between, between_over_images
        Correlation of the ROI between subjects, mean over pairs, and its interval over images; None of one subject.
    """

    name: str
    nearest: str
    alike: str | None
    correlation: float
    images: int
    over_images: Interval
    subjects: int
    over_subjects: Interval
    p: float
    between: float | None
    between_over_images: Interval | None

    @property
    def said(self) -> str:
        """The nearest in a few words, with the second where it is not told apart."""
        if self.nearest == self.name:
            return "–"  # there is no other
        return self.nearest if self.alike is None else f"{self.nearest} ≈ {self.alike}"

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON has it."""
        ends = {key: list(value) for key, value in self._asdict().items() if isinstance(value, Interval)}
        return {**self._asdict(), **ends}


def with_uncertainty(
    rows: Sequence[tuple[str, str, str | None, float, float | None]], squares: Sequence[Squares]
) -> list[MostAlike]:
    """Return rows of most similar representations with their uncertainty.

    The bootstrap draws images and counts pairs of different images; the ranks of dissimilarities stay as they are.

    Parameters
    ----------
    rows
        Name, nearest, second (None if there is none), correlation with the nearest, and between subjects.
    squares
        Matrices of each subject, of all names.
    """
    images = squares[0].images
    few = images < FEWEST
    alike = []
    for name, nearest, second, correlation, between in rows:
        over_images, told = NO_INTERVAL, True
        if not few and nearest != name:
            first = np.mean([own.correlation(name, nearest) for own in squares], axis=0)
            over_images = squares[0].interval(first)
            if second is not None:
                difference = first - np.mean([own.correlation(name, second) for own in squares], axis=0)
                low, high = squares[0].interval(difference)
                told = not low <= 0 <= high
        across = NO_INTERVAL
        if len(squares) >= FEWEST_SUBJECTS and nearest != name:
            across = mean_interval(np.array([own.ranks[name] @ own.ranks[nearest] for own in squares]))
        p = np.nan
        if images <= MOST_PERMUTED and np.isfinite(correlation) and nearest != name:
            p = mantel_p([own.square(name) for own in squares], [own.square(nearest) for own in squares])
        ends = None if between is None else NO_INTERVAL if few else _between(squares, name)
        row = (name, nearest, None if told else second, correlation, images, over_images)
        alike.append(MostAlike(*row, len(squares), across, p, between, ends))
    return alike


class TargetSimilarity(NamedTuple):
    """Similarity of a ROI and a target, with its uncertainty.

    Attributes
    ----------
    roi, target
        Names of the ROI and of the features or matrix.
    similarity
        Their similarity, mean over subjects.
    images, over_images
        Number of images, and the similarity's 95% interval over them.
    subjects, over_subjects
        Number of subjects, and the similarity's 95% interval over three or more of them.
    p, q
        p by permutation of the images (NaN of more than 1,000 images), and p adjusted for the false discovery rate
        over all ROIs and targets.
    """

    roi: str
    target: str
    similarity: float
    images: int
    over_images: Interval
    subjects: int
    over_subjects: Interval
    p: float
    q: float


def target_similarities(
    squares: Sequence[Squares], rois: Sequence[str], targets: Sequence[str]
) -> list[TargetSimilarity]:
    """Return the similarity of each ROI and each target.

    Parameters
    ----------
    squares
        Matrices of each subject, of all ROIs and targets.
    rois, targets
        Names of the ROIs, and of the targets, whose matrices all subjects share.
    """
    images, few = squares[0].images, squares[0].images < FEWEST
    pairs = [(roi, target) for roi in rois for target in targets]
    p = _permuted(squares, rois, targets) if images <= MOST_PERMUTED else np.full(len(pairs), np.nan)
    q = fdr(p)
    rows = []
    for index, (roi, target) in enumerate(pairs):
        each = np.array([own.ranks[roi] @ own.ranks[target] for own in squares])
        over_images = across = NO_INTERVAL
        if not few:
            drawn = np.mean([own.correlation(roi, target) for own in squares], axis=0)
            over_images = squares[0].interval(drawn)
        if len(squares) >= FEWEST_SUBJECTS:
            across = mean_interval(each)
        numbers = (float(each.mean()), images, over_images, len(squares), across, float(p[index]), float(q[index]))
        rows.append(TargetSimilarity(roi, target, *numbers))
    return rows


def _permuted(squares: Sequence[Squares], rois: Sequence[str], targets: Sequence[str]) -> Float[np.ndarray, " pairs"]:
    """Return p of each ROI and target, by the same permutations of the images."""
    own = np.stack([sum(some.square(roi) for some in squares).ravel() for roi in rois])
    theirs = np.stack([squares[0].square(target) for target in targets])
    found = own @ theirs.reshape(len(targets), -1).T
    random = np.random.default_rng(SEED)
    as_good = np.zeros((REPETITIONS, *found.shape), bool)
    for index in range(REPETITIONS):
        order = random.permutation(squares[0].images)
        drawn = own @ theirs[:, order][:, :, order].reshape(len(targets), -1).T
        as_good[index] = drawn >= found - 1e-9 * abs(found)
    p = np.apply_along_axis(permutation_p, 0, as_good)
    return np.where(np.isfinite(found), p, np.nan).ravel()


class Squares:
    """One subject's matrices, ranked or scaled, and their correlations in every resample of the images.

    Parameters
    ----------
    found
        Upper triangles by name.
    measure
        Measure of similarity, which scales them.
    """

    def __init__(self, found: Mapping[str, Float[np.ndarray, " pairs"]], measure: Measure = RDM) -> None:
        self.ranks = {name: measure.unit(pairs) for name, pairs in found.items()}
        self.images = round((1 + np.sqrt(1 + 8 * len(next(iter(found.values()))))) / 2)
        self.repetitions = REPETITIONS if self.images < _MANY else _FEWER
        resamples = resample(self.images, repetitions=self.repetitions)
        self.weights = np.concatenate([np.ones((1, self.images)), resamples.drawn, resamples.left_out])
        self.pairs = pair_totals(self.weights, 1 - np.eye(self.images))
        self._sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def interval(self, values: Float[np.ndarray, " rows"]) -> Interval:
        """Return the interval of a statistic from its values for each row of weights."""
        return interval(float(values[0]), values[1 : 1 + self.repetitions], values[1 + self.repetitions :])

    def square(self, name: str) -> Float[np.ndarray, "images images"]:
        """Return a matrix of ranks, scaled."""
        return squareform(self.ranks[name], checks=False)

    def correlation(self, one: str, other: str, theirs: Squares | None = None) -> Float[np.ndarray, " rows"]:
        """Return the correlation of two matrices for each row of weights: the data, resamples, one image less."""
        theirs = theirs or self
        (sum_a, square_a), (sum_b, square_b) = self._moments(one), theirs._moments(other)
        both = pair_totals(self.weights, self.square(one) * theirs.square(other))
        with np.errstate(divide="ignore", invalid="ignore"):
            covariance = both / self.pairs - sum_a * sum_b / self.pairs**2
            variance_a = square_a / self.pairs - (sum_a / self.pairs) ** 2
            variance_b = square_b / self.pairs - (sum_b / self.pairs) ** 2
        return correlation_of(covariance, variance_a, variance_b)

    def _moments(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in self._sums:
            square = self.square(name)
            self._sums[name] = pair_totals(self.weights, square), pair_totals(self.weights, square**2)
        return self._sums[name]


def _between(squares: Sequence[Squares], name: str) -> Interval:
    pairs = [(i, j) for i in range(len(squares)) for j in range(i + 1, len(squares))]
    values = np.mean([squares[i].correlation(name, name, squares[j]) for i, j in pairs], axis=0)
    return squares[0].interval(values)

"""Encoding-weighted representational similarity: features weighted as they predict a region, on held-out images.

Features as they are count alike, however much or little a region uses them. Here ridge regressions on one half of the
images weight them, and only the other half is compared: by predictions of each vertex (veRSA), or by a weight of each
feature (feature-reweighted RSA).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import squareform

from ....errors import InvalidParameterError
from ...reporting.statistics import (
    FEWEST,
    NO_INTERVAL,
    REPETITIONS,
    SEED,
    Interval,
    interval,
    permutation_p,
    resample,
    weighted_pair_correlation,
)
from ..dissimilarity import dissimilarities, ranks
from .ridge import PENALTIES, PairRidge, predict_left_out

FEWEST_WEIGHTED = 10  # images: of five in a half there are ten pairs
_MOST_FEATURES = 4096  # whose weights are a matrix of features by features
Weighting = Literal["encoding", "features"]
Patterns = Float[np.ndarray, "images features"]
Weigh = Callable[[np.ndarray], list[np.ndarray]]
Half = tuple[Int[np.ndarray, " training"], Int[np.ndarray, " left_out"]]


class WeightedSimilarity(NamedTuple):
    """Similarity of a region and features, weighted and as they are, on the same left-out images.

    Attributes
    ----------
    plain, weighted
        Spearman's correlation of dissimilarities, mean over both halves of the images and over subjects: of the
        features as they are, and weighted.
    over_images, plain_over_images
        95% intervals of ``weighted`` and of ``plain``, by a bootstrap over images within halves, given the weights.
    gain
        The interval of the difference ``weighted`` − ``plain``.
    p
        p of ``weighted``, by permutations of the images within halves, as if both halves were fully dependent.
    images, subjects
        Number of images and of subjects.
    """

    plain: float
    weighted: float
    over_images: Interval
    plain_over_images: Interval
    gain: Interval
    p: float
    images: int
    subjects: int


def halves(images: int, seed: int = SEED) -> list[Half]:
    """Return both ways to divide images, drawn at random, into a half for training and one that is left out.

    Raises
    ------
    InvalidParameterError
        There are fewer than 10 images.
    """
    if images < FEWEST_WEIGHTED:
        raise InvalidParameterError(
            f"Weights need at least {FEWEST_WEIGHTED} images, half of which are left out, got {images}."
        )
    order = np.random.default_rng(seed).permutation(images)
    one, other = np.sort(order[: images // 2]), np.sort(order[images // 2 :])
    return [(one, other), (other, one)]


def encoding_weighted(
    features: Patterns, responses: Float[np.ndarray, "images vertices"], seed: int = SEED
) -> list[Float[np.ndarray, " pairs"]]:
    """Return dissimilarities of predicted responses, of the images that were left out of each half's training.

    This is voxel-encoding representational similarity analysis [1]_.

    Parameters
    ----------
    features, responses
        Features and a region's responses to the same images.
    seed
        Seed by which the images are divided: see :func:`halves`.

    Returns
    -------
    For each of both halves the upper triangle, in the order of its left-out images.

    References
    ----------
    .. [1] T. Konkle & G. A. Alvarez (2022). A self-supervised domain-general learning framework for human ventral
       stream representation. Nature Communications 13, 491.

    See Also
    --------
    feature_weighted : Weights of features instead of predictions of vertices.
    """
    features, responses = _checked(features, responses)
    return [
        dissimilarities(predict_left_out(features[training], responses[training], features[left_out]))
        for training, left_out in halves(len(features), seed)
    ]


def feature_weighted(
    features: Patterns, responses: Float[np.ndarray, "images vertices"], seed: int = SEED
) -> list[Float[np.ndarray, " pairs"]]:
    """Return dissimilarities of features with a weight each, of the images that were left out.

    In feature-reweighted representational similarity analysis [1]_, the similarity of two images is a weighted sum
    over features of the product of their scaled values, and the weights are a ridge regression, over pairs of
    training images, of the similarities of a region. The penalty is chosen by dividing the training images again.

    Parameters
    ----------
    features, responses, seed
        See :func:`encoding_weighted`.

    Returns
    -------
    For each of both halves the upper triangle, in the order of its left-out images.

    Raises
    ------
    InvalidParameterError
        There are more than 4,096 features.

    References
    ----------
    .. [1] P. Kaniuth & M. N. Hebart (2022). Feature-reweighted representational similarity analysis: A method for
       improving the fit between computational models, brains, and behavior. NeuroImage 257, 119294.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> features = random.normal(size=(40, 12))
    >>> found = feature_weighted(features, features[:, :3])  # only three of the features count
    >>> [len(pairs) for pairs in found]
    [190, 190]
    """
    features, responses = _checked(features, responses)
    return _FeatureWeights(features, seed)(responses)


class _FeatureWeights:
    """Weights of features for any region, of which all that does not depend on the region is computed once."""

    def __init__(self, features: Patterns, seed: int) -> None:
        if features.shape[1] > _MOST_FEATURES:
            raise InvalidParameterError(
                f"A weight of each feature is for up to {_MOST_FEATURES:,} features, got {features.shape[1]:,}. Give "
                "fewer, such as principal components, or weight by encoding."
            )
        self._features = _row_scaled(features)
        self._halves = halves(len(features), seed)
        order = np.random.default_rng(seed).permutation(len(self._halves[0][0]))
        self._whole, self._parts = [], []
        for training, _ in self._halves:
            own = self._features[training]
            again = np.concatenate([order, np.arange(len(order), len(own))])  # a half can have one image more
            parts = [(again[part::2], again[1 - part :: 2]) for part in range(2)]
            self._whole.append(PairRidge(own))
            self._parts.append([(inside, outside, PairRidge(own[inside])) for inside, outside in parts])

    def __call__(self, responses: Float[np.ndarray, "images vertices"]) -> list[Float[np.ndarray, " pairs"]]:
        found = []
        for (training, left_out), whole, parts in zip(self._halves, self._whole, self._parts, strict=True):
            region = 1 - squareform(dissimilarities(responses[training]), checks=False)
            penalty = self._best_penalty(self._features[training], region, parts)
            weights, _ = whole.fit(region, [penalty])
            found.append(1 - _weighted_products(self._features[left_out], weights[0]))
        return found

    def _best_penalty(
        self, features: Patterns, similarity: Float[np.ndarray, "n n"], parts: Sequence[tuple]
    ) -> float:
        """Return the penalty whose weights predict the similarities of left-out training images best."""
        penalties = PENALTIES * float((features**2).mean() ** 2)  # times a product's variance
        errors = np.zeros(len(penalties))
        for inside, outside, ridge in parts:
            weights, intercepts = ridge.fit(similarity[np.ix_(inside, inside)], penalties)
            truth = similarity[np.ix_(outside, outside)][np.triu_indices(len(outside), 1)]
            for index, (row, intercept) in enumerate(zip(weights, intercepts, strict=True)):
                errors[index] += ((_weighted_products(features[outside], row) + intercept - truth) ** 2).sum()
        return float(penalties[errors.argmin()])


def compare_weighted(
    features: Patterns,
    responses: Sequence[Float[np.ndarray, "images vertices"]],
    *,
    weighting: Weighting = "encoding",
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> WeightedSimilarity:
    """Compare weighted features and features as they are with a region, on images that were left out of the weights.

    Parameters
    ----------
    features
        Features of the images, such as a network's layer.
    responses
        A region's responses to the same images, of each subject.
    weighting
        ``"encoding"`` (see :func:`encoding_weighted`) or ``"features"`` (see :func:`feature_weighted`).
    repetitions, seed
        Number of resamples and of permutations, and the seed that draws them and divides the images.

    Raises
    ------
    InvalidParameterError
        There are fewer than 10 images, no subject, or responses to other images, or numbers that are not finite.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> features = random.normal(size=(80, 30))
    >>> region = features[:, :2] @ random.normal(size=(2, 50))  # reads two of thirty features
    >>> found = compare_weighted(features, [region], repetitions=200)
    >>> found.weighted > found.plain + 0.3, found.gain.low > 0, found.p < 0.01
    (True, True, True)
    """
    return compare_regions(features, {"": responses}, weighting=weighting, repetitions=repetitions, seed=seed)[""]


def compare_regions(
    features: Patterns,
    regions: Mapping[str, Sequence[Float[np.ndarray, "images vertices"]]],
    *,
    weighting: Weighting = "encoding",
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> dict[str, WeightedSimilarity]:
    """Compare features with several regions, as :func:`compare_weighted` does with one.

    Parameters
    ----------
    features
        Features of the images.
    regions
        For each region its responses in each subject.
    weighting, repetitions, seed
        See :func:`compare_weighted`.
    """
    if weighting not in ("encoding", "features"):
        raise InvalidParameterError(f"weighting must be 'encoding' or 'features', got {weighting!r}.")
    if any(not len(responses) for responses in regions.values()):
        raise InvalidParameterError("Give the responses of one or more subjects, got none.")
    for responses in regions.values():
        for own in responses:
            _checked(features, own)
    features = np.asarray(features, np.float64)
    if weighting == "encoding":
        weigh: Weigh = partial(encoding_weighted, features, seed=seed)
    else:
        weigh = _FeatureWeights(features, seed)
    return {name: _compared(features, responses, weigh, repetitions, seed) for name, responses in regions.items()}


def _compared(
    features: Patterns,
    responses: Sequence[Float[np.ndarray, "images vertices"]],
    weigh: Weigh,
    repetitions: int,
    seed: int,
) -> WeightedSimilarity:
    parts = halves(len(features), seed)
    left_out = [those for _, those in parts]
    as_they_are = [_square(dissimilarities(np.asarray(features)[those])) for those in left_out]
    pairs = []  # of each subject and half: the region's, the weighted and the plain matrix
    for own in responses:
        weighted = weigh(np.asarray(own, np.float64))
        for half, those in enumerate(left_out):
            region = _square(dissimilarities(np.asarray(own)[those]))
            pairs.append((half, region, _square(weighted[half]), as_they_are[half]))
    groups = np.zeros(len(features), int)
    groups[left_out[1]] = 1
    draws = resample(len(features), groups=groups, repetitions=repetitions, seed=seed)
    weights = np.concatenate([np.ones((1, len(features))), draws.drawn, draws.left_out])
    values = [
        np.mean([weighted_pair_correlation(weights[:, left_out[row[0]]], row[1], row[k]) for row in pairs], axis=0)
        for k in (2, 3)
    ]
    few = len(features) < 2 * FEWEST

    def ends(drawn: Float[np.ndarray, " rows"]) -> Interval:
        return NO_INTERVAL if few else interval(float(drawn[0]), drawn[1 : 1 + repetitions], drawn[1 + repetitions :])

    return WeightedSimilarity(
        plain=float(values[1][0]),
        weighted=float(values[0][0]),
        over_images=ends(values[0]),
        plain_over_images=ends(values[1]),
        gain=ends(values[0] - values[1]),
        p=_p(pairs, left_out, repetitions, seed),
        images=len(features),
        subjects=len(responses),
    )


def _p(pairs: Sequence[tuple], left_out: Sequence[np.ndarray], repetitions: int, seed: int) -> float:
    """Return p of the mean correlation, by the same permutation of each half's images in all subjects.

    A half's images trained the other half's weights, so that both correlations are high or low together, however the
    features and the region are related. Their permutations are therefore added in the order of their size, as if
    both were as dependent as can be, which makes p larger.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros((repetitions, len(left_out)))
    found = 0.0
    for half, those in enumerate(left_out):
        own = [(region, weighted) for number, region, weighted, _ in pairs if number == half]
        found += sum(float((region * weighted).sum()) for region, weighted in own)
        for index in range(repetitions):
            order = random.permutation(len(those))
            drawn[index, half] = sum(
                float((region * weighted[np.ix_(order, order)]).sum()) for region, weighted in own
            )
    return permutation_p(np.sort(drawn, axis=0).sum(1) >= found - 1e-9 * abs(found))


def _square(pairs: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, "images images"]:
    """Return the matrix of ranks of a triangle; those of features that do not vary are all 0."""
    return squareform(np.nan_to_num(ranks(np.nan_to_num(pairs, nan=1.0))), checks=False)


def _checked(features: Patterns, responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, responses = (np.asarray(some, np.float64) for some in (features, responses))
    if features.ndim != 2 or responses.ndim != 2 or len(features) != len(responses):
        raise InvalidParameterError(
            "Features and responses must be (images, features) and (images, vertices) of the same images, got shapes "
            f"{features.shape} and {responses.shape}."
        )
    if not (np.isfinite(features).all() and np.isfinite(responses).all()):
        raise InvalidParameterError("Features and responses must be finite.")
    return features, responses


def _row_scaled(features: Patterns) -> Patterns:
    """Return features of each image scaled to mean 0 and length 1, whose products add up to the correlation."""
    centered = features - features.mean(1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    return centered / np.where(length > 0, length, 1)


def _weighted_products(features: Patterns, weights: Float[np.ndarray, " features"]) -> Float[np.ndarray, " pairs"]:
    return ((features * weights) @ features.T)[np.triu_indices(len(features), 1)]

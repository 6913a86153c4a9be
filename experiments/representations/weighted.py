"""Encoding-weighted representational similarity: features weighted as they predict a region, on held-out images.

Features as they are count alike, however much or little a region uses them. Here ridge regressions on one half of the
images weight them, and only the other half is compared: by predictions of each vertex (veRSA), or by a weight of each
feature (feature-reweighted RSA).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import squareform

from ...errors import InvalidParameterError
from ..reporting.statistics import (
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
from .dissimilarity import dissimilarities, ranks

FEWEST_WEIGHTED = 10  # images: of five in a half there are ten pairs
PENALTIES = np.logspace(-3, 5, 9)  # times the number of features, which are scaled to a variance of 1
_MOST_FEATURES = 4096  # whose weights are a matrix of features by features
Weighting = Literal["encoding", "features"]
Patterns = Float[np.ndarray, "images features"]
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


def predict_left_out(
    features: Float[np.ndarray, "training features"],
    responses: Float[np.ndarray, "training vertices"],
    new: Float[np.ndarray, "left_out features"],
) -> Float[np.ndarray, "left_out vertices"]:
    """Predict responses to new images by ridge regression, each vertex with the penalty that suits it best.

    Features are scaled to a mean of 0 and a variance of 1 over the training images. Of nine penalties, from 0.001 to
    100,000 times the number of features, each vertex has the one with the smallest error of leave-one-out
    predictions, which a ridge has in closed form.

    Parameters
    ----------
    features, responses
        Training images' features and responses.
    new
        Features of the images to predict.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> features, weights = random.normal(size=(60, 5)), random.normal(size=(5, 3))
    >>> predicted = predict_left_out(features[:50], features[:50] @ weights, features[50:])
    >>> round(float(np.corrcoef(predicted.ravel(), (features[50:] @ weights).ravel())[0, 1]), 3)
    1.0
    """
    features, responses, new = (np.asarray(some, np.float64) for some in (features, responses, new))
    center, spread = features.mean(0), features.std(0)
    spread[spread == 0] = 1  # of a feature that does not vary, which is 0 then
    scaled, applied = (features - center) / spread, (new - center) / spread
    mean = responses.mean(0)
    values, vectors = np.linalg.eigh(scaled @ scaled.T)
    values = np.maximum(values, 0)
    rotated = vectors.T @ (responses - mean)
    best = np.full(responses.shape[1], np.inf)
    duals = np.zeros_like(responses)
    for penalty in PENALTIES * features.shape[1]:
        shrunk = 1 / (values + penalty)
        kept = values * shrunk
        leverage = 1 / len(features) + (vectors**2) @ kept
        error = (responses - mean - vectors @ (kept[:, None] * rotated)) / np.maximum(1 - leverage, 1e-12)[:, None]
        loss = (error**2).mean(0)
        better = loss < best
        best[better] = loss[better]
        duals[:, better] = vectors @ (shrunk[:, None] * rotated[:, better])
    return mean + applied @ (scaled.T @ duals)


def encoding_weighted(
    features: Patterns, responses: Float[np.ndarray, "images vertices"], seed: int = SEED
) -> list[Float[np.ndarray, " pairs"]]:
    """Return dissimilarities of predicted responses, of the images that were left out of each half's training [1]_.

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
    """Return dissimilarities of features with a weight each, of the images that were left out [1]_.

    The similarity of two images is a weighted sum over features of the product of their scaled values, and the
    weights are a ridge regression, over pairs of training images, of the similarities of a region. The penalty is
    chosen by dividing the training images again.

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
    if features.shape[1] > _MOST_FEATURES:
        raise InvalidParameterError(
            f"A weight of each feature is for up to {_MOST_FEATURES:,} features, got {features.shape[1]:,}. Give "
            "fewer, such as principal components, or weight by encoding."
        )
    found = []
    for training, left_out in halves(len(features), seed):
        region = 1 - squareform(dissimilarities(responses[training]), checks=False)
        applied = _row_scaled(features)
        penalty = _best_penalty(applied[training], region, seed)
        weights, _ = pair_ridge(applied[training], region, penalty)
        found.append(1 - _weighted_products(applied[left_out], weights))
    return found


def pair_ridge(
    features: Patterns, similarity: Float[np.ndarray, "images images"], penalties: float | Sequence[float]
) -> tuple[Float[np.ndarray, "*penalties features"], Float[np.ndarray, "*penalties"]]:
    """Return weights of the products of features, by ridge regression on pairs of images, and intercepts.

    The sums over pairs are products of matrices of features, so that no array of all pairs and features is made.

    Parameters
    ----------
    features
        Features of the images.
    similarity
        The region's similarity of each two images; its diagonal does not count.
    penalties
        Penalty of squared weights, or several, times the number of pairs.
    """
    pairs = len(features) * (len(features) - 1) / 2
    off = similarity - np.diag(np.diag(similarity))
    squares = features**2
    gram = ((features.T @ features) ** 2 - squares.T @ squares) / 2
    means = (features.sum(0) ** 2 - squares.sum(0)) / 2 / pairs
    target = off.sum() / 2 / pairs
    right = (features * (off @ features)).sum(0) / 2 - pairs * means * target
    values, vectors = np.linalg.eigh(gram - pairs * np.outer(means, means))
    rotated = vectors.T @ right
    several = np.atleast_1d(np.asarray(penalties, np.float64)) * pairs
    weights = (rotated / (np.maximum(values, 0) + several[:, None])) @ vectors.T
    intercepts = target - weights @ means
    return (weights, intercepts) if np.ndim(penalties) else (weights[0], intercepts[0])


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
    if weighting not in ("encoding", "features"):
        raise InvalidParameterError(f"weighting must be 'encoding' or 'features', got {weighting!r}.")
    if not len(responses):
        raise InvalidParameterError("Give the responses of one or more subjects, got none.")
    weigh = encoding_weighted if weighting == "encoding" else feature_weighted
    parts = halves(len(features), seed)
    left_out = [those for _, those in parts]
    as_they_are = [_square(dissimilarities(np.asarray(features)[those])) for those in left_out]
    pairs = []  # of each subject and half: the region's, the weighted and the plain matrix
    for own in responses:
        weighted = weigh(features, own, seed)
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


def _best_penalty(features: Patterns, similarity: Float[np.ndarray, "n n"], seed: int) -> float:
    """Return the penalty whose weights predict the similarities of left-out training images best."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(features))
    scale = float((features**2).mean() ** 2)  # of a product's variance
    penalties = PENALTIES * scale
    errors = np.zeros(len(penalties))
    for part in range(2):
        inside, outside = order[part::2], order[1 - part :: 2]
        weights, intercepts = pair_ridge(features[inside], similarity[np.ix_(inside, inside)], penalties)
        truth = similarity[np.ix_(outside, outside)][np.triu_indices(len(outside), 1)]
        for index, (row, intercept) in enumerate(zip(weights, intercepts, strict=True)):
            errors[index] += ((_weighted_products(features[outside], row) + intercept - truth) ** 2).sum()
    return float(penalties[errors.argmin()])

"""Ridge regressions by which features are weighted: of vertices on features, and of pairs of images on products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

PENALTIES = np.logspace(-3, 5, 9)  # times the number of features, which are scaled to a variance of 1
Patterns = Float[np.ndarray, "images features"]


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


class PairRidge:
    """Ridge regression of similarities of pairs of images on the products of their features.

    With more pairs than features, sums over pairs are products of matrices of features, so that no array of all pairs
    and features is made; with fewer, the regression is solved in the pairs.

    Parameters
    ----------
    features
        Features of the images.
    """

    def __init__(self, features: Patterns) -> None:
        self._features, count = features, len(features)
        self._places = np.triu_indices(count, 1)
        self._pairs = count * (count - 1) // 2
        squares = features**2
        self._means = (features.sum(0) ** 2 - squares.sum(0)) / 2 / self._pairs
        self._products: np.ndarray | None = None
        if self._pairs < features.shape[1]:
            first, second = self._places
            self._products = features[first] * features[second] - self._means
            gram = self._products @ self._products.T
        else:
            gram = ((features.T @ features) ** 2 - squares.T @ squares) / 2
            gram -= self._pairs * np.outer(self._means, self._means)
        values, self._vectors = np.linalg.eigh(gram)
        self._values = np.maximum(values, 0)

    def fit(
        self, similarity: Float[np.ndarray, "images images"], penalties: Sequence[float]
    ) -> tuple[Float[np.ndarray, "penalties features"], Float[np.ndarray, " penalties"]]:
        """Return the weights of the features and the intercept for each penalty.

        Parameters
        ----------
        similarity
            The region's similarity of each two images; its diagonal does not count.
        penalties
            Penalties of squared weights, times the number of pairs.
        """
        target = similarity[self._places].mean()
        several = np.asarray(penalties, np.float64)[:, None] * self._pairs
        if self._products is not None:
            rotated = self._vectors.T @ (similarity[self._places] - target)
            weights = (rotated / (self._values + several)) @ self._vectors.T @ self._products
        else:
            off = similarity - np.diag(np.diag(similarity))
            right = (self._features * (off @ self._features)).sum(0) / 2 - self._pairs * self._means * target
            weights = (self._vectors.T @ right / (self._values + several)) @ self._vectors.T
        return weights, target - weights @ self._means

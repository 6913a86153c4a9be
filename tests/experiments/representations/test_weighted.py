"""Weighted features: ridges of scikit-learn, planted weights, gains that are real, and rates under the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import binom, spearmanr
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.representations import compare_weighted, encoding_weighted, feature_weighted
from berg_jax.experiments.representations.weighted import PairRidge, halves, predict_left_out
from berg_jax.experiments.representations.weighted.ridge import PENALTIES

SIMULATIONS = 200
MOST = int(binom.ppf(0.99, SIMULATIONS, 0.05))  # p below 0.05 among so many nulls, with 99% certainty


def planted(seed: int, images: int = 60, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Forty features, of which a region of 50 vertices reads three."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(images, 40))
    responses = features[:, :3] @ random.normal(size=(3, 50)) + noise * random.normal(size=(images, 50))
    return features, responses


def test_predictions_are_those_of_scikit_learn() -> None:
    features, responses = planted(0)
    features[:, 7] = 2.5  # one that does not vary
    responses *= np.linspace(0.1, 5, 50)
    alphas = PENALTIES * 40
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=alphas, alpha_per_target=True))
    expected = model.fit(features[:40], responses[:40]).predict(features[40:])
    assert len(set(model[-1].alpha_)) > 1
    np.testing.assert_allclose(predict_left_out(features[:40], responses[:40], features[40:]), expected, atol=1e-9)
    wide = np.random.default_rng(1).normal(size=(60, 500))  # more features than images
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES * 500, alpha_per_target=True))
    expected = model.fit(wide[:40], responses[:40]).predict(wide[40:])
    np.testing.assert_allclose(predict_left_out(wide[:40], responses[:40], wide[40:]), expected, atol=1e-9)


def test_dissimilarities_of_predictions_are_those_of_scikit_learn() -> None:
    features, responses = planted(1)
    found = encoding_weighted(features, responses)
    for pairs, (training, left_out) in zip(found, halves(60), strict=True):
        assert not set(training) & set(left_out)
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES * 40, alpha_per_target=True))
        predicted = model.fit(features[training], responses[training]).predict(features[left_out])
        np.testing.assert_allclose(pairs, pdist(predicted, "correlation"), atol=1e-9)
    one = compare_weighted(features, [responses], repetitions=20)
    expected = [
        spearmanr(pairs, pdist(responses[left_out], "correlation")).statistic
        for pairs, (_, left_out) in zip(found, halves(60), strict=True)
    ]
    assert one.weighted == pytest.approx(np.mean(expected))
    plain = [
        spearmanr(pdist(features[those], "correlation"), pdist(responses[those], "correlation")).statistic
        for _, those in halves(60)
    ]
    assert one.plain == pytest.approx(np.mean(plain))


@pytest.mark.parametrize("count", [6, 120], ids=["more pairs", "more features"])
@pytest.mark.parametrize("penalty", [1e-3, 0.3, 50.0])
def test_pairs_are_regressed_as_by_scikit_learn(penalty: float, count: int) -> None:
    random = np.random.default_rng(2)
    features, similarity = random.normal(size=(14, count)), random.normal(size=(14, 14))
    similarity += similarity.T
    first, second = np.triu_indices(14, 1)
    products = features[first] * features[second]
    expected = Ridge(alpha=penalty * len(first)).fit(products, similarity[first, second])
    weights, intercepts = PairRidge(features).fit(similarity, [penalty, 1.0])
    np.testing.assert_allclose(weights[0], expected.coef_, atol=1e-9)
    assert intercepts[0] == pytest.approx(expected.intercept_)
    assert intercepts.shape == (2,)


@pytest.mark.parametrize("weighting", ["encoding", "features"])
def test_planted_weights_are_found(weighting: str) -> None:
    """A region that reads three of forty features is like them when they are weighted, more than as they are."""
    features, responses = planted(3, images=120)
    found = compare_weighted(features, [responses], weighting=weighting, repetitions=200)
    assert found.weighted > found.plain + 0.2
    assert found.gain.low > 0
    assert found.p == 1 / 201
    assert found.over_images.low < found.weighted < found.over_images.high
    assert (found.images, found.subjects) == (120, 1)
    both = compare_weighted(features, [responses, responses], weighting=weighting, repetitions=20)
    assert both.weighted == pytest.approx(found.weighted)
    assert both.subjects == 2


def test_weights_of_features_are_those_that_were_planted() -> None:
    """Similarities that are a weighted sum of products have these weights, without noise."""
    features, weights = np.random.default_rng(4).normal(size=(50, 8)), np.array([3.0, 1, 0, 0, 0.5, 0, 0, 2])
    found, intercepts = PairRidge(features).fit((features * weights) @ features.T + 0.7, [1e-12])
    np.testing.assert_allclose(found[0], weights, atol=1e-6)
    assert intercepts[0] == pytest.approx(0.7)


def test_mistakes() -> None:
    features, responses = planted(0)
    for arguments, said in (
        ((features[:8], [responses[:8]]), "at least 10 images"),
        ((features, []), "one or more subjects"),
        ((features, [responses[:30]]), "of the same images"),
        ((features, [np.full_like(responses, np.nan)]), "must be finite"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            compare_weighted(*arguments, repetitions=5)
    with pytest.raises(InvalidParameterError, match="'encoding' or 'features'"):
        compare_weighted(features, [responses], weighting="ridge")
    with pytest.raises(InvalidParameterError, match="up to 4,096 features"):
        feature_weighted(np.zeros((60, 5000)), responses)
    flat = compare_weighted(np.random.default_rng(0).normal(size=(40, 3)), [np.ones((40, 5))], repetitions=5)
    assert np.isnan(flat.weighted) or flat.weighted == 0


@pytest.mark.nightly
@pytest.mark.parametrize("weighting", ["encoding", "features"])
def test_p_keeps_its_level(weighting: str) -> None:
    """200 regions that have nothing of the features → p ≤ 0.05 in at most as many as chance allows (99%)."""
    false = 0
    for seed in range(SIMULATIONS):
        random = np.random.default_rng(seed)
        features, responses = random.normal(size=(30, 12)), random.normal(size=(30, 15))
        false += compare_weighted(features, [responses], weighting=weighting, repetitions=99, seed=seed).p <= 0.05
    print(f"\n{weighting}: {false} of {SIMULATIONS} nulls with p ≤ 0.05, at most {MOST}")
    assert false <= MOST

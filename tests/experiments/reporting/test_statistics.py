"""Statistics of reports: intervals, permutations and adjusted p are scipy's, and intervals cover as they say."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import squareform

from berg_jax.experiments.accuracy.experiment import vertex_accuracy
from berg_jax.experiments.accuracy.trials import Trials
from berg_jax.experiments.accuracy.uncertainty import MedianIntervals, _median
from berg_jax.experiments.reporting.statistics import (
    Interval,
    bootstrap,
    fdr,
    interval,
    mantel_p,
    mean_interval,
    permutation_p,
    resample,
    spread_interval,
    weighted_correlation,
    weighted_pair_correlation,
)
from berg_jax.experiments.representations.dissimilarity import dissimilarities, similarities
from berg_jax.experiments.representations.uncertainty import Squares, with_uncertainty


def of_mean(values: np.ndarray) -> Any:
    return lambda weights: weights @ values / weights.sum(1)


def of_correlation(x: np.ndarray, y: np.ndarray) -> Any:
    return lambda weights: weighted_correlation(weights, x[:, None], y[:, None])[:, 0]


def test_bootstrap_intervals_are_scipy_s() -> None:
    """The same resamples → the bias-corrected and accelerated interval of scipy, of a mean and of a correlation."""
    random = np.random.default_rng(0)
    x = random.exponential(size=40)
    y = x + random.normal(size=40)
    options: dict[str, Any] = {"n_resamples": 500, "method": "BCa"}
    resamples = resample(40, repetitions=500, seed=3)
    for data, statistic, ours in (
        ((x,), np.mean, of_mean(x)),
        ((x, y), lambda a, b: stats.pearsonr(a, b).statistic, of_correlation(x, y)),
    ):
        paired = {"paired": len(data) > 1, "vectorized": False}
        expected = stats.bootstrap(data, statistic, rng=np.random.default_rng(3), **paired, **options)
        found = bootstrap(ours, resamples)
        np.testing.assert_allclose(found, expected.confidence_interval, rtol=1e-9)
        assert found.low < float(statistic(*data)) < found.high


def test_resamples_of_groups_keep_their_sizes() -> None:
    groups = np.array([0, 1, 1, 0, 2, 1, 2])
    resamples = resample(7, groups=groups, repetitions=50)
    for group in range(3):
        np.testing.assert_array_equal(resamples.drawn[:, groups == group].sum(1), (groups == group).sum())
    assert resamples.drawn.max() > 1
    np.testing.assert_array_equal(resamples.left_out, 1 - np.eye(7))
    assert resample(1001, repetitions=2).left_out.shape == (0, 1001)


def test_too_few_units_have_no_interval() -> None:
    """Four images, one subject, or a statistic that is not finite → no interval, and a dash in the table."""
    values = np.arange(4.0)
    for found in (
        bootstrap(of_mean(values), resample(4)),
        mean_interval(np.array([1.0])),
        interval(np.nan, np.arange(9.0), np.arange(3.0)),
        interval(1, np.full(9, np.nan), np.arange(3.0)),
    ):
        assert np.isnan(found).all()
        assert str(found) == "–"
    assert str(Interval(0.1, 0.25)) == "0.100 to 0.250"
    assert interval(2, np.full(9, 2.0), np.full(3, 2.0)) == (2, 2)


def test_intervals_of_means_are_student_s() -> None:
    values = np.array([0.3, np.nan, 0.9, 0.4, 0.8])
    for confidence in (0.9, 0.95):
        expected = stats.ttest_1samp(values, 0, nan_policy="omit").confidence_interval(confidence)
        np.testing.assert_allclose(mean_interval(values, confidence), expected)


def test_spreads_are_around_the_estimate() -> None:
    """Resamples with a bias → an interval around the estimate; of a correlation as wide as Fisher's z says."""
    random = np.random.default_rng(0)
    low, high = spread_interval(2, random.normal(1.5, 0.1, 20_000))
    np.testing.assert_allclose([low, high], [2 - 0.196, 2 + 0.196], atol=0.004)
    z = random.normal(np.arctanh(0.7), 1 / np.sqrt(47), 20_000)  # of 50 images
    expected = stats.pearsonr(*_correlated(0.7)).confidence_interval()
    np.testing.assert_allclose(spread_interval(0.7, np.tanh(z), correlation=True), expected, atol=0.005)
    assert spread_interval(1, np.ones(5), correlation=True).high <= 1
    assert str(spread_interval(np.nan, np.ones(5))) == "–"


def _correlated(r: float) -> np.ndarray:
    """Fifty pairs with exactly this correlation."""
    x, y = stats.zscore(np.random.default_rng(1).normal(size=(2, 50)), axis=1)
    rest = stats.zscore(y - x * (x @ y) / 50)
    return np.stack([x, r * x + np.sqrt(1 - r**2) * rest])


def test_weights_are_copies() -> None:
    """Weighted correlations → those of units that are given so often; pairs of a unit's own copies do not count."""
    random = np.random.default_rng(0)
    drawn = np.array([2, 0, 1, 3, 1, 1])
    copies = np.repeat(np.arange(6), drawn)
    x, y = random.normal(5, 1, (2, 6, 3))
    found = weighted_correlation(drawn[None].astype(float), x, y)[0]
    np.testing.assert_allclose(found, [stats.pearsonr(x[copies, k], y[copies, k])[0] for k in range(3)])
    a, b = (squareform(random.normal(size=15)) for _ in range(2))
    different = copies[:, None] != copies
    expected = np.corrcoef(*(matrix[np.ix_(copies, copies)][different] for matrix in (a, b)))[0, 1]
    np.testing.assert_allclose(weighted_pair_correlation(drawn[None].astype(float), a, b), [expected])


def test_adjusted_p_are_scipy_s_and_statsmodels() -> None:
    p = np.random.default_rng(0).uniform(size=30) ** 2
    expected = stats.false_discovery_control(p)
    np.testing.assert_array_equal(fdr(p), expected)
    some = np.insert(p, [0, 7], np.nan)
    np.testing.assert_array_equal(fdr(some)[~np.isnan(some)], expected)
    assert np.isnan(fdr(np.array([np.nan]))).all()
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    np.testing.assert_allclose(fdr(p), multitest.multipletests(p, method="fdr_bh")[1])


def test_permutations_of_matrices_are_mantel_s_test() -> None:
    """All orders of five units by hand → the share of them whose correlation is as large."""
    random = np.random.default_rng(0)
    a = squareform(random.normal(size=10))
    b = a + squareform(random.normal(0, 1.5, size=10))
    orders = [np.array(order) for order in itertools.permutations(range(5))]
    exact = np.mean([(a * b[np.ix_(o, o)]).sum() >= (a * b).sum() - 1e-9 for o in orders])
    assert 0.02 < exact < 0.6
    np.testing.assert_allclose(mantel_p([a], [b], repetitions=4000), exact, atol=0.03)
    assert mantel_p([a, a], [a, a], repetitions=50) < 0.1  # orders in which a matrix is itself are as good
    assert permutation_p(np.zeros(99, bool)) == 0.01


def test_the_most_alike_is_named_with_what_is_not_told_apart() -> None:
    """Two regions of the same causes, and noise → told apart from the noise; two that are equally alike are not."""
    random = np.random.default_rng(0)
    causes = random.normal(size=(40, 5)) @ random.normal(size=(5, 100))

    def region(noise: float) -> np.ndarray:
        return dissimilarities(causes + noise * random.normal(size=(40, 100)))

    own = {"a": region(0), "near": region(2), "as near": region(2), "noise": region(40)}
    matrix, labels = similarities(own), list(own)
    (told,) = with_uncertainty([("a", "near", "noise", matrix[0, 1], None)], [Squares(own)])
    assert (told.said, told.alike, told.images, told.subjects) == ("near", None, 40, 1)
    assert told.over_images.low < told.correlation < told.over_images.high
    assert told.p == 1 / 1001
    order = np.argsort(-matrix[0, 1:]) + 1
    nearest, second = (labels[k] for k in order[:2])
    (alike,) = with_uncertainty([("a", nearest, second, matrix[0, order[0]], None)], [Squares(own)])
    assert alike.said == f"{nearest} ≈ {second}"
    (apart,) = with_uncertainty([("noise", "a", None, matrix[3, 0], None)], [Squares(own)])
    assert apart.over_images.low < 0.1
    subjects = [{name: region(0.5) for name in ("a", "b")} for _ in range(3)]
    correlations = [similarities(one)[0, 1] for one in subjects]
    ready = [Squares(one) for one in subjects]
    (over,) = with_uncertainty([("a", "b", None, float(np.mean(correlations)), 0.5)], ready)
    np.testing.assert_allclose(over.over_subjects, mean_interval(np.array(correlations)), rtol=1e-9)
    assert over.between_over_images.low < over.between_over_images.high
    assert set(over.as_json()) == set(over._fields)
    six = {name: np.round(dissimilarities(random.normal(size=(6, 9)))) for name in "abc"}  # resamples all alike
    matrix = similarities(six)
    assert with_uncertainty([("a", "b", "c", matrix[0, 1], None)], [Squares(six)])[0].over_images.high <= 1
    four = {name: dissimilarities(random.normal(size=(4, 9))) for name in "ab"}
    assert np.isnan(with_uncertainty([("a", "b", None, 0.1, None)], [Squares(four)])[0].over_images).all()
    (alone,) = with_uncertainty([("a", "a", None, np.nan, None)], [Squares(own)])
    assert (alone.said, str(alone.over_images)) == ("–", "–")


def _covered(simulate: Any, truth: float, runs: int = 1000) -> float:
    inside = 0
    for run in range(runs):
        low, high = simulate(np.random.default_rng(run))
        inside += low <= truth <= high
    return inside / runs


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["mean", "groups", "correlation", "subjects", "pairs"])
def test_intervals_cover_95_per_cent(kind: str) -> None:
    """1,000 simulated experiments → the interval holds the truth in 95% of them, ± 2."""
    groups = np.repeat([0, 1], 50)
    resamples, both = resample(100), resample(100, groups=groups)
    mixing = np.random.default_rng(0).normal(size=(2, 4, 400))

    def pairs_of(random: np.random.Generator, images: int) -> list[np.ndarray]:
        causes = random.normal(size=(images, 8))
        return [squareform(dissimilarities(causes[:, [*range(3 * k, 3 * k + 4)]] @ mixing[k])) for k in (0, 1)]

    def simulate(random: np.random.Generator) -> Interval:
        if kind == "mean":
            return bootstrap(of_mean(random.exponential(size=100)), resamples)
        if kind == "groups":
            values = random.normal(groups, 1 + groups)
            signs = np.where(groups == 1, 1, -1) / 50
            return bootstrap(lambda weights: weights @ (signs * values), both)
        if kind == "correlation":
            x, other = random.normal(size=(2, 100))
            return bootstrap(of_correlation(x, 0.6 * x + 0.8 * other), resamples)
        if kind == "subjects":
            return mean_interval(random.normal(0.5, 1, 8))
        a, b = pairs_of(random, 60)
        return bootstrap(lambda weights: weighted_pair_correlation(weights, a, b), resample(60))

    truth = {"mean": 1.0, "groups": 1.0, "correlation": 0.6, "subjects": 0.5}
    if kind == "pairs":
        a, b = pairs_of(np.random.default_rng(1), 4000)
        upper = np.triu_indices(4000, 1)
        truth["pairs"] = float(np.corrcoef(a[upper], b[upper])[0, 1])
    found = _covered(simulate, truth[kind])
    print(kind, "covered", found)
    assert abs(found - 0.95) <= 0.02


def test_medians_of_rows_leave_out_nan() -> None:
    values = np.random.default_rng(0).normal(size=(6, 5))
    values[1, 2], values[2, :2], values[3, 1:] = np.nan, np.nan, np.nan
    np.testing.assert_array_equal(_median(values), np.nanmedian(values, axis=1))
    assert np.isnan(_median(np.full((1, 3), np.nan))).all()


@pytest.mark.nightly
def test_intervals_of_accuracy_cover_95_per_cent() -> None:
    """Medians over vertices of r and explained variance, by trials of 80 images → ± 2 of 95% over 1,000."""
    vertices, images = 9, 80
    truth_r = np.sqrt(0.5 * 1 / (1 + 1 / 3))
    inside = np.zeros(2)
    for run in range(1000):
        random = np.random.default_rng(run)
        signal, other = random.normal(size=(2, images, 1))  # the same in all vertices, as neighbors nearly have
        noise = random.normal(size=(3 * images, vertices))
        trials = Trials((np.tile(signal, (3, 1)) + noise).astype(np.float32), np.tile(np.arange(images), 3))
        predicted = np.repeat(np.sqrt(0.5) * signal + np.sqrt(0.5) * other, vertices, axis=1)
        intervals = MedianIntervals(images, np.arange(vertices))
        intervals.add(slice(0, vertices), predicted, trials, None)
        maps = vertex_accuracy(predicted, trials)
        medians = {name: float(np.median(values)) for name, values in maps.items()}
        found = intervals.of(np.arange(vertices), medians)
        for index, (name, truth) in enumerate((("r", truth_r), ("explained_variance", 50))):
            inside[index] += found[name].low <= truth <= found[name].high
    print("r and explained variance covered", inside / 1000)
    assert (abs(inside / 1000 - 0.95) <= 0.02).all()

"""Targets: noise ceilings, embeddings, alignment and shares against other implementations and planted answers."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binom, rankdata, spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import cosine_distances

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.accuracy import Trials
from berg_jax.experiments.reporting.statistics import resample
from berg_jax.experiments.representations import (
    cosine_dissimilarities,
    dissimilarities,
    layer_hierarchy,
    linear_cka,
    noise_ceiling,
    partition_variance,
    searchlights,
    triplet_dissimilarities,
)
from berg_jax.experiments.representations.given.embeddings import mean_caption
from berg_jax.experiments.representations.measure import CKA, measure_of
from berg_jax.experiments.representations.reports.measured import MeasuredRegion, agreements, measured_regions
from berg_jax.experiments.representations.reports.study import Study
from berg_jax.experiments.representations.searchlight import size_of
from berg_jax.experiments.representations.uncertainty import Squares, target_similarities
from berg_jax.vertices import Vertices

SIMULATIONS = 200
MOST = int(binom.ppf(0.99, SIMULATIONS, 0.05))  # p below 0.05 among so many nulls, with 99% certainty


def patterns(seed: int, images: int = 20, features: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(images, features))


def pairs_of(seed: int, images: int = 20) -> np.ndarray:
    return dissimilarities(patterns(seed, images))


def test_noise_ceilings_are_those_of_scipy() -> None:
    shared = patterns(0)
    subjects = [dissimilarities(shared + patterns(seed)) for seed in range(1, 6)]
    found = noise_ceiling(subjects)
    ranked = np.array([rankdata(pairs) for pairs in subjects])
    lower = [spearmanr(subjects[i], np.delete(ranked, i, 0).mean(0)).statistic for i in range(5)]
    upper = [np.corrcoef(own, ranked.mean(0))[0, 1] for own in ranked]
    assert found.lower == pytest.approx(np.mean(lower))
    assert found.upper == pytest.approx(np.mean(upper))
    assert found.subjects == 5
    random = np.random.default_rng(9)
    for _ in range(50):  # no model is above the upper bound, not even the mean itself
        model = ranked.mean(0) + random.normal(0, 10, ranked.shape[1])
        assert np.mean([spearmanr(own, model).statistic for own in subjects]) <= found.upper + 1e-12
    equal = noise_ceiling([subjects[0]] * 3)
    assert (equal.lower, equal.upper) == pytest.approx((1, 1))
    for wrong, said in (
        (subjects[:1], "two or more subjects"),
        ([subjects[0], subjects[1][:20]], "same images"),
        ([subjects[0], np.ones_like(subjects[0])], "does not vary"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            noise_ceiling(wrong)


def test_triplets_are_those_of_a_loop() -> None:
    embedding = np.abs(patterns(1, 9, 5))
    similar = embedding @ embedding.T
    expected = np.zeros((9, 9))
    for i, j in itertools.permutations(range(9), 2):
        chances = []
        for k in set(range(9)) - {i, j}:
            terms = np.exp([similar[i, j], similar[i, k], similar[j, k]])
            chances.append(terms[0] / terms.sum())
        expected[i, j] = 1 - np.mean(chances)
    np.testing.assert_allclose(triplet_dissimilarities(embedding), squareform(expected, checks=False), atol=1e-12)
    huge = triplet_dissimilarities(1000 * embedding)  # whose exponentials overflow
    assert np.isfinite(huge).all()
    assert huge.min() >= 0
    for wrong in (embedding[:3], np.where(embedding > 1, np.nan, embedding), embedding[0]):
        with pytest.raises(InvalidParameterError, match="An embedding must be finite"):
            triplet_dissimilarities(wrong)


def test_cosines_are_those_of_scikit_learn() -> None:
    embedding = patterns(2) + 1
    np.testing.assert_allclose(
        cosine_dissimilarities(embedding), squareform(cosine_distances(embedding), checks=False), atol=1e-12
    )
    captions = np.stack([embedding, 5 * embedding], axis=1)  # of one direction
    np.testing.assert_allclose(
        cosine_dissimilarities(mean_caption(captions)), cosine_dissimilarities(embedding), atol=1e-12
    )
    with pytest.raises(InvalidParameterError, match="images, captions, features"):
        mean_caption(captions[None])


def test_alignment_by_triangles_is_alignment() -> None:
    """Products of the triangles' unit vectors are unbiased CKA, so that its tests are those of correlations."""
    one, other = patterns(3), patterns(4, features=5) + patterns(3)[:, :5]
    found = CKA.unit(CKA.triangle(one)) @ CKA.unit(CKA.triangle(other))
    assert found == pytest.approx(linear_cka(one, other))
    assert np.isnan(CKA.unit(CKA.triangle(np.ones((9, 4))))).all()
    with pytest.raises(InvalidParameterError, match="one of \\['rdm', 'cka'\\]"):
        measure_of("pearson")
    squares = [Squares({"V1": CKA.triangle(one), "net": CKA.triangle(other)}, CKA)]
    (row,) = target_similarities(squares, ["V1"], ["net"])
    assert row.similarity == pytest.approx(linear_cka(one, other))
    assert row.over_images.low < row.similarity < row.over_images.high


def test_searchlights_by_alignment() -> None:
    vertices = Vertices.all(642)
    responses, features = patterns(5, 12, 1284), patterns(6, 12, 7)
    found = searchlights(responses, vertices, 6, {"net": CKA.triangle(features)}, measure=CKA)["net"]
    (*_, near) = size_of("6").around(vertices)
    assert found[-1] == pytest.approx(linear_cka(responses[:, near], features))


@pytest.mark.parametrize("text", ["ten", "geodesic", "geodesic:wide", "radius:3", "3.5", ""])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="A searchlight is a number of vertices"):
        size_of(text)


def test_targets_are_compared_as_by_scipy() -> None:
    subjects = [
        {"V1": pairs_of(1) + pairs_of(9), "PPA": pairs_of(2)},
        {"V1": pairs_of(3) + pairs_of(9), "PPA": pairs_of(4)},
    ]
    targets = {"net": pairs_of(9), "noise": pairs_of(10)}
    squares = [Squares({**own, **targets}) for own in subjects]
    rows = {(row.roi, row.target): row for row in target_similarities(squares, ["V1", "PPA"], list(targets))}
    for (roi, target), row in rows.items():
        expected = np.mean([spearmanr(own[roi], targets[target]).statistic for own in subjects])
        assert row.similarity == pytest.approx(expected)
    assert rows["V1", "net"].p == 1 / 1001
    assert rows["V1", "net"].q <= 0.01
    assert rows["PPA", "noise"].p > 0.05
    assert rows["V1", "net"].over_images.low > 0


def test_intervals_of_shares_are_those_of_weighted_regressions() -> None:
    """A resample's shares, by regressions in which each pair counts as often as it is drawn."""
    matrix, targets = pairs_of(0) + pairs_of(1), {"a": pairs_of(1), "b": pairs_of(2) + pairs_of(1)}
    found = partition_variance(matrix, targets, resamples=80)
    weights = resample(20, repetitions=80).drawn
    first, second = np.triu_indices(20, 1)
    ranked = {name: rankdata(pairs) for name, pairs in {"matrix": matrix, **targets}.items()}

    def explained(row: np.ndarray, *names: str) -> float:
        x = np.stack([ranked[name] for name in names], axis=1)
        count = row[first] * row[second]
        return LinearRegression().fit(x, ranked["matrix"], count).score(x, ranked["matrix"], count)

    drawn = np.array([explained(row, "a", "b") - explained(row, "b") for row in weights])
    low, high = found.intervals["a",]
    assert np.quantile(drawn, 0.001) <= low < high <= np.quantile(drawn, 0.999)
    assert low <= found.shares["a",] <= high
    total = np.array([explained(row, "a", "b") for row in weights])
    assert total.min() <= found.intervals[()].low <= found.total <= found.intervals[()].high <= total.max()
    assert set(found.intervals) == {(), ("a",), ("b",), ("a", "b")}
    several = partition_variance([matrix, pairs_of(7)], targets)
    alone = [partition_variance(own, targets) for own in (matrix, pairs_of(7))]
    assert several.total == pytest.approx(np.mean([one.total for one in alone]))
    assert several.shares["a", "b"] == pytest.approx(np.mean([one.shares["a", "b"] for one in alone]))


def test_hierarchies_over_subjects_are_means() -> None:
    layers = {f"layer{index}": pairs_of(index) for index in range(3)}
    regions = {"V1": [pairs_of(0) + pairs_of(20), pairs_of(0) + pairs_of(21)], "hV4": [pairs_of(2), pairs_of(2)]}
    found = layer_hierarchy(regions, layers, repetitions=20)
    assert [row.layer for row in found.regions] == ["layer0", "layer2"]
    expected = np.mean([spearmanr(own, layers["layer0"]).statistic for own in regions["V1"]])
    assert found.correlations[0, 0] == pytest.approx(expected)


def measured(seed: int, signal: np.ndarray, noise: float) -> dict[str, MeasuredRegion]:
    """Two trials of each image in random order, with noise."""
    random = np.random.default_rng(seed)
    order = random.permutation(np.repeat(np.arange(len(signal)), 2))
    trials = Trials(signal[order] + noise * random.normal(size=(len(order), signal.shape[1])), order)
    vertices = Vertices(np.arange(signal.shape[1]), [], 162)
    return measured_regions(lambda part: trials, vertices, {"V1": vertices}, len(signal), measure_of("rdm"))


def study_of(*owns: np.ndarray) -> Study:
    triangles = [{"V1": dissimilarities(own)} for own in owns]
    return Study(owns, Path(), measure_of("rdm"), len(owns[0]), ["V1"], triangles, [], {}, {}, [])


def test_measured_regions_are_those_of_scipy() -> None:
    signal = patterns(11, 30, 20)
    found = measured(0, signal, 1.0)["V1"]
    random = np.random.default_rng(0)
    order = random.permutation(np.repeat(np.arange(30), 2))
    trials = signal[order] + random.normal(size=(60, 20))
    means = np.array([trials[order == image].mean(0) for image in range(30)])
    np.testing.assert_allclose(found.triangle, pdist(means, "correlation"), atol=1e-6)
    halves = [np.array([trials[order == image][half] for image in range(30)]) for half in (0, 1)]
    expected = spearmanr(*(pdist(half, "correlation") for half in halves)).statistic
    assert found.split_half == pytest.approx(expected)
    (row,) = agreements(study_of(signal, signal), [{"V1": found}, measured(1, signal, 1.0)])
    assert row.over_images.low > 0.3
    assert row.p == row.q == 1 / 1001
    assert row.subjects == 2
    once = Trials(means, np.arange(30))
    vertices = Vertices(np.arange(20), [], 162)
    alone = measured_regions(lambda part: once, vertices, {"V1": vertices}, 30, measure_of("rdm"))
    assert np.isnan(alone["V1"].split_half)
    unknown = Trials(np.full((30, 20), np.nan), np.arange(30))
    with pytest.raises(InvalidParameterError, match="0 vertices with measured responses"):
        measured_regions(lambda part: unknown, vertices, {"V1": vertices}, 30, measure_of("rdm"))


@pytest.mark.nightly
def test_agreement_with_measured_noise_keeps_its_level() -> None:
    """200 measurements of nothing → p ≤ 0.05 at most as often as chance allows (99%)."""
    false = 0
    for seed in range(SIMULATIONS):
        noise = measured(seed, np.zeros((14, 10)), 1.0)
        (row,) = agreements(study_of(patterns(1000 + seed, 14)), [noise])
        false += row.p <= 0.05
    print(f"\n{false} of {SIMULATIONS} nulls with p ≤ 0.05, at most {MOST}")
    assert false <= MOST


@pytest.mark.nightly
def test_p_of_targets_and_of_own_shares_keeps_its_level() -> None:
    """200 nulls → p ≤ 0.05 at most as often as chance allows (99%): of targets by both measures, of an own share."""
    false = dict.fromkeys(("targets", "alignment", "own share over two subjects"), 0)
    for seed in range(SIMULATIONS):
        one, other, third, fourth = (patterns(4 * seed + k, 14) for k in range(4))
        for name, measure in (("targets", measure_of("rdm")), ("alignment", CKA)):
            squares = [Squares({"V1": measure.triangle(one), "net": measure.triangle(other)}, measure)]
            false[name] += target_similarities(squares, ["V1"], ["net"])[0].p <= 0.05
        shared = dissimilarities(third)
        owns = [dissimilarities(own) + shared for own in (one, fourth)]
        targets = {"shared": shared, "null": dissimilarities(other) + 0.5 * shared}
        found = partition_variance(owns, targets, repetitions=99, seed=seed)
        false["own share over two subjects"] += found.p["null"] <= 0.05
    print(f"\n{false} of {SIMULATIONS} nulls with p ≤ 0.05, at most {MOST}")
    assert max(false.values()) <= MOST


@pytest.mark.nightly
def test_the_order_of_a_hierarchy_is_seldom_claimed_by_chance() -> None:
    """200 regions without an order → its interval leaves out 0 at most as often as chance allows (99%)."""
    false = 0
    for seed in range(SIMULATIONS):
        regions = {f"R{k}": pairs_of(20 * seed + k, 14) for k in range(6)}
        layers = {f"L{k}": pairs_of(20 * seed + 10 + k, 14) for k in range(4)}
        low, high = layer_hierarchy(regions, layers, repetitions=200, seed=seed).over_images
        false += not low <= 0 <= high
    print(f"\n{false} of {SIMULATIONS} orders by chance, at most {MOST}")
    assert false <= MOST


def test_pdist_is_the_oracle_of_these_tests() -> None:
    np.testing.assert_allclose(pairs_of(0), pdist(patterns(0), "correlation"), atol=1e-12)

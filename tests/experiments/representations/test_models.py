"""Alignment, variance partitioning and hierarchies: closed forms, planted answers, and rates under the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import squareform
from scipy.stats import binom, rankdata
from sklearn.linear_model import LinearRegression

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.representations import (
    cka_p,
    dissimilarities,
    layer_hierarchy,
    linear_cka,
    partition_variance,
)

SIMULATIONS = 200
MOST = int(binom.ppf(0.99, SIMULATIONS, 0.05))  # p below 0.05 among so many nulls, with 99% certainty


def patterns(seed: int, images: int = 30, features: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(images, features))


def test_alignment_equals_its_definition_by_features() -> None:
    """Biased: ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of centered features, which has no products of images."""
    x, y = patterns(0), patterns(1, features=7) + patterns(0)[:, :7]
    a, b = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert linear_cka(x, y, unbiased=False) == pytest.approx(expected, rel=1e-12)


def unbiased_by_sums(k: np.ndarray, m: np.ndarray) -> float:
    """The estimator of Song et al., term by term."""
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    n, one = len(k), np.ones(len(k))
    total = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (total - 2 * (one @ k @ m @ one) / (n - 2)) / (n * (n - 3))


def test_unbiased_alignment_equals_the_published_sums_and_is_zero_by_chance() -> None:
    x, y = patterns(0), patterns(1, features=7) + patterns(0)[:, :7]
    k, m = x @ x.T, y @ y.T
    expected = unbiased_by_sums(k, m) / np.sqrt(unbiased_by_sums(k, k) * unbiased_by_sums(m, m))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)
    chance = [linear_cka(patterns(seed, 20, 500), patterns(1000 + seed, 20, 500)) for seed in range(40)]
    assert abs(np.mean(chance)) < 4 * np.std(chance) / np.sqrt(40)
    assert linear_cka(patterns(0, 20, 500), patterns(1, 20, 500), unbiased=False) > 0.8  # by its bias alone
    rotation = np.linalg.qr(patterns(3, 40, 40))[0]
    assert linear_cka(x, -2 * x @ rotation + 5) == pytest.approx(1, abs=1e-9)
    assert np.isnan(linear_cka(np.ones((10, 3)), x[:10]))
    with pytest.raises(InvalidParameterError, match="of the same images"):
        linear_cka(x, y[:10])
    with pytest.raises(InvalidParameterError, match="at least 4 images"):
        linear_cka(x[:3], y[:3])


def pairs_of(seed: int, images: int = 25) -> np.ndarray:
    return dissimilarities(patterns(seed, images, 6))


def test_shares_equal_differences_of_regressions() -> None:
    a, b, c = (pairs_of(seed) for seed in range(3))
    b = b + 0.7 * a
    matrix = a + b + 0.5 * c + 0.8 * pairs_of(9)
    targets = {"a": a, "b": b, "c": c}
    found = partition_variance(matrix, targets)

    def explained(*names: str) -> float:
        x = np.stack([rankdata(targets[name]) for name in names], axis=1)
        y = rankdata(matrix)
        return LinearRegression().fit(x, y).score(x, y)

    assert found.total == pytest.approx(explained("a", "b", "c"))
    assert found.shares["a",] == pytest.approx(explained("a", "b", "c") - explained("b", "c"))
    assert found.shares["c",] == pytest.approx(explained("a", "b", "c") - explained("a", "b"))
    common = explained("a", "c") + explained("b", "c") - explained("c") - explained("a", "b", "c")
    assert found.shares["a", "b"] == pytest.approx(common)
    assert sum(found.shares.values()) == pytest.approx(found.total)
    assert sum(share for names, share in found.shares.items() if "a" in names) == pytest.approx(explained("a"))


def test_a_planted_share_is_found_and_a_copy_has_none() -> None:
    a, b = pairs_of(0), pairs_of(1)
    found = partition_variance(a + b + 0.3 * pairs_of(5), {"a": a, "b": b, "noise": pairs_of(7)}, repetitions=199)
    assert found.shares["a",] > 0.2
    assert found.shares["b",] > 0.2
    assert abs(found.shares["noise",]) < 0.05
    assert max(found.p["a"], found.p["b"]) <= 0.01
    assert found.p["noise"] > 0.05
    twice = partition_variance(a + 0.3 * pairs_of(5), {"a": a, "copy": 2 * a})
    assert twice.shares["a",] == pytest.approx(0, abs=1e-9)
    assert twice.shares["a", "copy"] == pytest.approx(twice.total)
    for targets, said in (
        ({}, "1 to 5 targets"),
        ({"a": a[:10]}, "same images"),
        ({"a": np.ones_like(a)}, "do not vary"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            partition_variance(a, targets)


def layers_and_regions(images: int = 40) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    layers = {f"layer{index}": pairs_of(index, images) for index in range(4)}
    planted = {"V1": 0, "V2": 1, "hV4": 2, "FFA": 3}
    regions = {name: layers[f"layer{index}"] + 0.5 * pairs_of(50 + index, images) for name, index in planted.items()}
    return regions, layers


def test_a_planted_hierarchy_is_found() -> None:
    regions, layers = layers_and_regions()
    found = layer_hierarchy(regions, layers, repetitions=200)
    assert [row.layer for row in found.regions] == list(layers)
    assert found.order == pytest.approx(1)
    assert found.over_images.low > 0.5
    for row, pairs in zip(found.regions, regions.values(), strict=True):
        expected = np.corrcoef(rankdata(pairs), rankdata(layers[row.layer]))[0, 1]
        assert row.correlation == pytest.approx(expected)
        assert row.positions.low <= row.position <= row.positions.high
    backwards = layer_hierarchy(dict(reversed(regions.items())), layers, repetitions=20)
    assert backwards.order == pytest.approx(-1)
    same = {name: layers["layer2"] + 0.01 * pairs_of(70 + i, 40) for i, name in enumerate(("V1", "V2"))}
    assert np.isnan(layer_hierarchy(same, layers, repetitions=20).order)
    with pytest.raises(InvalidParameterError, match="two regions and two layers"):
        layer_hierarchy({"V1": layers["layer0"]}, layers)


@pytest.mark.nightly
def test_p_is_uniform_under_the_null() -> None:
    """200 simulations without a share, beside a target that explains much → few below 0.05, as by chance (99%)."""
    few, by_cka = [], []
    for seed in range(SIMULATIONS):
        other = pairs_of(3 * seed, 15)
        target = pairs_of(3 * seed + 1, 15) + other  # correlated with the other one
        matrix = other + pairs_of(3 * seed + 2, 15)
        found = partition_variance(matrix, {"other": other, "target": target}, repetitions=99, seed=seed)
        few.append(found.p["target"] <= 0.05)
        by_cka.append(cka_p(patterns(2 * seed, 15, 9), patterns(2 * seed + 1, 15, 9), 99, seed) <= 0.05)
    print(f"\n{sum(few)} own shares and {sum(by_cka)} alignments of {SIMULATIONS} with p ≤ 0.05, at most {MOST}")
    assert sum(few) <= MOST
    assert sum(by_cka) <= MOST


def test_squares_and_triangles_are_the_same_order() -> None:
    pairs = pairs_of(0, 6)
    np.testing.assert_array_equal(squareform(squareform(pairs)), pairs)

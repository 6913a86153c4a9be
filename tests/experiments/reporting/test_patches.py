"""Bootstrap over patches of cortex: where patches are, and that intervals hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from berg_jax.experiments.reporting.patches import correlation_interval, median_interval, patches_of
from berg_jax.experiments.reporting.statistics import Interval
from berg_jax.experiments.retinotopy.receptive_fields import circular_correlation
from berg_jax.vertices import Vertices

from ...surface.pictures import coordinates


def test_patches_are_small_and_of_one_hemisphere() -> None:
    vertices = Vertices(np.arange(0, 10_242, 7), np.arange(3, 10_242, 5), 10_242)
    patches = patches_of(vertices)
    left, right = patches[: len(vertices.lh)], patches[len(vertices.lh) :]
    assert not set(left) & set(right)
    assert min(len(set(left)), len(set(right))) > 600
    assert max(len(set(left)), len(set(right))) <= 642
    points = coordinates("rh", "sphere")
    nearest = cKDTree(points[:642]).query(points[vertices.rh])[1]
    np.testing.assert_array_equal(right - right.min(), nearest)


def test_places_that_are_not_known() -> None:
    fine = patches_of(Vertices([5, 10_242, 100_000], [9], 163_842))
    assert (fine >= 0).tolist() == [True, False, False, True]
    assert (patches_of(Vertices([1, 2], [3], 80)) == -1).all()
    nothing = np.full(9, -1)
    assert np.isnan(correlation_interval(np.arange(9.0), np.arange(9.0), nothing).low)
    assert np.isnan(median_interval(np.arange(9.0), nothing).low)
    few = np.arange(9) % 4
    assert np.isnan(correlation_interval(np.arange(9.0), np.arange(9.0), few).low)


def _smooth(random: np.random.Generator, patches: np.ndarray, share: float) -> np.ndarray:
    """Values with a variance of 1, of which a share is common to each patch."""
    common = random.normal(size=patches.max() + 1)[patches]
    return np.sqrt(share) * common + np.sqrt(1 - share) * random.normal(size=len(patches))


def test_neighbors_that_are_alike_count_for_less() -> None:
    """Correlated within patches → an interval as wide as of one value a patch, not of one a vertex."""
    random = np.random.default_rng(0)
    patches = np.arange(4000) // 100
    x = _smooth(random, patches, 0.99)
    y = (x + _smooth(random, patches, 0.99)) / np.sqrt(2)
    whole, alone = correlation_interval(x, y, patches), correlation_interval(x, y, np.arange(4000))
    assert whole.high - whole.low > 5 * (alone.high - alone.low)
    means = median_interval(x, patches)
    assert means.high - means.low > 3 * (lambda one: one.high - one.low)(median_interval(x, np.arange(4000)))


def test_angles_have_the_interval_of_their_own_correlation() -> None:
    """The estimate lies in it, and angles turned or counted otherwise have the same one."""
    random = np.random.default_rng(0)
    patches = np.arange(600) // 10
    a = random.uniform(-180, 180, 600)
    b = a + random.normal(0, 30, 600)
    found = correlation_interval(a, b, patches, circular=True)
    assert found.low < circular_correlation(a, b) < found.high
    turned = correlation_interval(a + 77, (b + 360) % 360, patches, circular=True)
    np.testing.assert_allclose(found, turned, atol=1e-9)


def _covered(interval: Interval, truth: float) -> bool:
    return interval.low < truth < interval.high


@pytest.mark.nightly
@pytest.mark.parametrize("circular", [False, True])
def test_coverage_of_correlations(circular: bool) -> None:
    """1,000 experiments of 80 patches of 8 vertices: the truth lies in 95% ± 3 of the intervals."""
    random = np.random.default_rng(1)
    patches = np.repeat(np.arange(80), 8)
    hits, spread = 0, 0.6

    def maps(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if circular:
            a = random.uniform(-180, 180, patches.max() + 1)[patches]
            return a, a + 40 * _smooth(random, patches, spread)
        x = _smooth(random, patches, spread)
        return x, (x + _smooth(random, patches, spread)) / np.sqrt(2)

    many = maps(np.repeat(np.arange(200_000), 8))
    truth = circular_correlation(*many) if circular else 1 / np.sqrt(2)
    for _ in range(1000):
        hits += _covered(correlation_interval(*maps(patches), patches, circular=circular), truth)
    assert 920 <= hits <= 980


@pytest.mark.nightly
def test_coverage_of_medians() -> None:
    random = np.random.default_rng(2)
    patches = np.repeat(np.arange(80), 8)
    hits = sum(_covered(median_interval(_smooth(random, patches, 0.6), patches), 0) for _ in range(1000))
    assert 920 <= hits <= 980

"""Fusion over time: correlations by scipy, a planted time, and false clusters at the nominal rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr, ttest_1samp

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.representations import dissimilarities, fuse_over_time

IMAGES, CHANNELS, TIMES = 14, 10, 30


def eeg(seed: int, planted: np.ndarray | None = None, participants: int = 8) -> list[np.ndarray]:
    """Noise, with a shape of patterns at times 12 to 19."""
    random = np.random.default_rng(seed)
    found = [random.normal(size=(IMAGES, CHANNELS, TIMES)) for _ in range(participants)]
    for one in found if planted is not None else []:
        one[:, :, 12:20] += 1.5 * planted[:, :, None]
    return found


def test_a_planted_time_is_found() -> None:
    """The region's own patterns are added at some times → the largest cluster; another region is much less alike."""
    random = np.random.default_rng(1)
    shape, other = random.normal(size=(2, IMAGES, CHANNELS))
    patterns = eeg(0, shape)
    found = fuse_over_time(patterns, {"V1": dissimilarities(shape), "PPA": dissimilarities(other)}, repetitions=300)
    cluster = max(found["V1"].clusters, key=lambda cluster: cluster.mass)
    assert (cluster.start, cluster.stop) == (12, 20)
    assert cluster.p < 0.01
    planted = {name: fusion.correlations[:, 12:20].mean() for name, fusion in found.items()}
    assert planted["V1"] > 0.4
    assert abs(planted["PPA"]) < planted["V1"] / 2
    expected = spearmanr(pdist(patterns[3][:, :, 15], "correlation"), pdist(shape, "correlation")).statistic
    assert found["V1"].correlations[3, 15] == pytest.approx(expected)
    z = np.arctanh(found["V1"].correlations[:, cluster.start : cluster.stop])
    assert cluster.mass == pytest.approx(ttest_1samp(z, 0).statistic.sum())


def test_patterns_that_do_not_fit_are_refused() -> None:
    region = dissimilarities(np.random.default_rng(0).normal(size=(IMAGES, 5)))
    for patterns, regions, said in (
        (eeg(0, participants=4), {"V1": region}, "at least 5"),
        ([*eeg(0), np.zeros((IMAGES, 3, 7))], {"V1": region}, "same images and times"),
        (eeg(0), {"V1": region[:10]}, "must be 91 numbers"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            fuse_over_time(patterns, regions)


@pytest.mark.nightly
def test_false_clusters_come_at_the_nominal_rate() -> None:
    """200 simulations of noise → a cluster below 0.05 in about 5% of them at most."""
    region = {"V1": dissimilarities(np.random.default_rng(9).normal(size=(IMAGES, 5)))}
    any_found = []
    for seed in range(200):
        clusters = fuse_over_time(eeg(seed), region, repetitions=199, seed=seed)["V1"].clusters
        any_found.append(any(cluster.p <= 0.05 for cluster in clusters))
    assert np.mean(any_found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)

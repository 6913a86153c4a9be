"""Fusion over time: correlations by scipy, a planted time, and false clusters at the nominal rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import binom, spearmanr, ttest_1samp

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.representations import dissimilarities, fuse_over_time

IMAGES, CHANNELS, TIMES = 14, 10, 30
SIMULATIONS = 200
MOST = int(binom.ppf(0.99, SIMULATIONS, 0.05))  # p below 0.05 among so many nulls, with 99% certainty


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
    """200 simulations of noise → clusters below 0.05 at most as often as chance allows, of one ROI and of all."""
    random = np.random.default_rng(9)
    regions = {name: dissimilarities(random.normal(size=(IMAGES, 5))) for name in ("V1", "hV4", "PPA")}
    of_one = of_all = 0
    for seed in range(SIMULATIONS):
        found = fuse_over_time(eeg(seed), regions, repetitions=199, seed=seed)
        of_one += any(cluster.p <= 0.05 for cluster in found["V1"].clusters)
        of_all += any(cluster.p_of_all <= 0.05 for one in found.values() for cluster in one.clusters)
    print(f"\nclusters of one ROI in {of_one}, of all in {of_all} of {SIMULATIONS} simulations, at most {MOST}")
    assert of_one <= MOST
    assert of_all <= MOST

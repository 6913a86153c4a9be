"""Thresholds of searchlights: p is that of a permutation test of each vertex, and few pass where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import false_discovery_control

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.reporting.statistics import mantel_p
from berg_jax.experiments.representations import dissimilarities, searchlight_significance, searchlights
from berg_jax.experiments.representations.dissimilarity import ranks
from berg_jax.experiments.representations.measure import CKA
from berg_jax.experiments.representations.reports.searchlights import check_names
from berg_jax.experiments.representations.searchlight import Size, neighborhoods
from berg_jax.vertices import Vertices

SIZE, IMAGES, K = 162, 14, 12
VERTICES = Vertices(np.arange(SIZE), np.arange(SIZE), 642)


def planted(strength: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses, in which the 30 vertices around one of the right hemisphere have a geometry; it; and the patch."""
    random = np.random.default_rng(seed)
    near = next(part for index, part in enumerate(neighborhoods(VERTICES, 30)) if index == SIZE + 20)
    causes, responses = random.normal(size=(IMAGES, 4)), random.normal(size=(IMAGES, 2 * SIZE))
    responses[:, near] += strength * causes @ random.normal(size=(4, 30))
    return responses, pdist(causes, "cosine"), near


def test_p_is_that_of_a_permutation_test_of_each_vertex() -> None:
    """Vertex by vertex by Mantel's test of whole matrices; the map's maxima by scipy-free counting."""
    responses, target, _ = planted(1.0)
    other = pdist(np.random.default_rng(1).normal(size=(IMAGES, 5)), "correlation")
    targets = {"planted": target, "other": other}
    options = {"repetitions": 99, "seed": 3}
    found = searchlight_significance(responses, VERTICES, Size(K), targets, largest_of={"any": targets}, **options)
    plain = searchlights(responses, VERTICES, K, targets)
    near = list(neighborhoods(VERTICES, K))
    for name in targets:
        np.testing.assert_allclose(found[name].values, plain[name], atol=1e-12)
        second = squareform(ranks(targets[name]))
        for vertex in (0, SIZE + 20, 2 * SIZE - 1):
            first = squareform(ranks(dissimilarities(responses[:, near[vertex]])))
            assert found[name].p[vertex] == mantel_p([first], [second], **options)
    random, local = np.random.default_rng(3), [ranks(dissimilarities(responses[:, part])) for part in near]
    maxima, of_any = [], []
    for _ in range(99):
        order = random.permutation(IMAGES)
        drawn = [local @ ranks(squareform(squareform(one)[np.ix_(order, order)])) for one in targets.values()]
        maxima.append(drawn[0].max())
        of_any.append(max(map(np.max, drawn)))
    expected = [(1 + np.count_nonzero(maxima >= value - 1e-12)) / 100 for value in plain["planted"]]
    np.testing.assert_array_equal(found["planted"].corrected, expected)
    most = np.fmax(plain["planted"], plain["other"])
    np.testing.assert_allclose(found["any"].values, most, atol=1e-12)
    expected = [(1 + np.count_nonzero(of_any >= value - 1e-12)) / 100 for value in most]
    np.testing.assert_array_equal(found["any"].corrected, expected)
    np.testing.assert_array_equal(found["planted"].passes, plain["planted"] > found["planted"].threshold)
    rate = searchlight_significance(responses, VERTICES, Size(K), targets, correction="fdr", **options)["planted"]
    np.testing.assert_array_equal(rate.p, found["planted"].p)
    np.testing.assert_allclose(rate.corrected, false_discovery_control(rate.p))
    assert np.isnan(rate.threshold)
    assert rate.said == "q ≤ 0.05 by false discovery rate, 99 permutations"
    assert found["planted"].said.startswith("p ≤ 0.05 by maximum statistic (above 0.")


@pytest.mark.parametrize("correction", ["max", "fdr"])
def test_a_planted_geometry_passes_where_it_is(correction: str) -> None:
    responses, target, patch = planted(4.0)
    found = searchlight_significance(responses, VERTICES, Size(K), {"a": target}, correction=correction)["a"]
    reached = [len(np.intersect1d(near, patch)) for near in neighborhoods(VERTICES, K)]
    assert found.passes[np.equal(reached, K)].all()  # searchlights that lie in the patch
    outside = found.passes[np.equal(reached, 0)]
    assert outside.mean() <= (0 if correction == "max" else 0.05)
    assert not found.passes[:SIZE].any() or correction == "fdr"
    assert np.nanmin(found.corrected) >= 1 / 1001


def test_vertices_without_a_searchlight_do_not_pass() -> None:
    responses, target, patch = planted(4.0)
    responses[:, patch] = 2.0
    found = searchlight_significance(responses, VERTICES, Size(K), {"a": target}, repetitions=19)["a"]
    inside = [np.isin(near, patch).all() for near in neighborhoods(VERTICES, K)]
    for values in (found.values, found.p, found.corrected):
        np.testing.assert_array_equal(np.isnan(values), inside)
    assert not found.passes[inside].any()
    assert any(inside)
    by_alignment = searchlight_significance(
        responses, VERTICES, Size(K), {"a": CKA.triangle(planted(0)[0])}, measure=CKA, repetitions=19
    )["a"]
    assert np.nanmin(by_alignment.p) == 1 / 20


def test_mistakes() -> None:
    responses, target, _ = planted(0.0)
    with pytest.raises(InvalidParameterError, match=r"correction must be one of \['max', 'fdr'\], got 'none'"):
        searchlight_significance(responses, VERTICES, Size(K), {"a": target}, correction="none")
    with pytest.raises(InvalidParameterError, match=r"repetitions must be at least 19.* got 18"):
        searchlight_significance(responses, VERTICES, Size(K), {"a": target}, repetitions=18)
    for names in (["best_layer"], ["a", "a_thresholded"], ["a", "a_p"], ["a_q", "a"]):
        with pytest.raises(InvalidParameterError, match="is the name of a map that is written"):
            check_names(names)
    check_names(["a", "b", "p"])


@pytest.mark.nightly
@pytest.mark.parametrize("correction", ["max", "fdr"])
def test_without_an_effect_few_maps_have_a_vertex_that_passes(correction: str) -> None:
    """In at most 18 of 200 maps: with a true rate of 5% that is so with 99% certainty."""
    wrong = 0
    for seed in range(200):
        responses, _, _ = planted(0.0, seed)
        target = pdist(np.random.default_rng(1000 + seed).normal(size=(IMAGES, 4)), "cosine")
        options = {"repetitions": 99, "seed": seed, "correction": correction}
        wrong += searchlight_significance(responses, VERTICES, Size(K), {"a": target}, **options)["a"].passes.any()
    assert wrong <= 18

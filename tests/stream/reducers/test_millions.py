"""A million images: pairs of float32 lose nothing that float64 would keep."""

from __future__ import annotations

import numpy as np
import pytest

from berg_jax.stream.reducers import (
    GLM,
    ArgmaxOverProbes,
    Covariance,
    GroupMeans,
    Moments,
    RoiMeans,
    TopK,
    WeightedSums,
)

from .oracle import assert_close, fitted, in_order, merged, reduce


def million(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A million images' responses at six vertices, and the number of their category."""
    random = np.random.default_rng(seed)
    category = np.sort(random.integers(0, 4, 1_000_000))
    spread, mean = 10.0 ** np.arange(-2, 4), np.array([0, 1, 1000, -1000, 1000, -30])
    responses = random.normal(size=(len(category), 6)) + random.normal(size=(4, 6))[category] / 10 + mean
    return (responses * spread).astype(np.float32), category


@pytest.mark.nightly
def test_moments_of_a_million() -> None:
    responses, _ = million(2)
    reducer = Moments(6)
    parts = in_order(stop=len(responses), size=250)
    one, two, three = (reduce(reducer, responses, parts[i::3], size=250) for i in range(3))
    variance = responses.var(axis=0, ddof=1, dtype=np.float64)
    mean = responses.mean(axis=0, dtype=np.float64)
    for states in ([one, two, three], [three, one, two]):
        results = reducer.finalize(merged(reducer, *states))
        assert (np.abs(results["mean"] - mean) / np.sqrt(variance)).max() < 1e-7
        assert (np.abs(results["variance"] - variance) / variance).max() < 1e-7
        assert results["count"] == len(responses)


@pytest.mark.nightly
def test_glm_of_a_million() -> None:
    responses, category = million(3)
    contrasts = np.array([[1, -1, 0, 0, 0], [3, -1, -1, -1, 0], [0, 0, 0, 0, 1]])
    design = np.column_stack([np.eye(4)[category], np.linspace(0, 1, len(category)) ** 2])
    reducer = GLM(design, contrasts, 6)
    parts = in_order(stop=len(responses), size=250)
    states = [reduce(reducer, responses, parts[i::2], size=250) for i in range(2)]
    results = reducer.finalize(merged(reducer, *states))
    truth = fitted(design, contrasts, responses.astype(np.float64))
    for key in ("effects", "betas", "t"):  # in standard errors, which are less than a hundredth of the spread
        assert (np.abs(results[key] - truth[key][0]) / truth[key][1]).max() < 1e-4, key
    residual = truth["residual_variance"][0]
    assert (np.abs(results["residual_variance"] - residual) / residual).max() < 1e-7


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", ["covariance", "weighted_sums", "group_means", "top_k", "roi_means", "argmax_over_probes"]
)
def test_the_others_of_a_million(name: str) -> None:
    """As a whole, and in three shares that take turns: within 1e-5 of the spread, and 1e-6 of each other."""
    responses, category = million(4)
    exact = responses.astype(np.float64)
    spread = exact.std(axis=0, ddof=1)
    weights = np.random.default_rng(5).normal(size=(len(exact), 2)).astype(np.float32)
    # One image's mean is a float32 number: where the mean is a thousand times the spread, that is no measure for it.
    rois = np.array([[1, 0, 0, 0, 0, 0], [0.5, 0.25, 0, 0, 0, 0.25]])
    probes = exact.reshape(-1, 500, 6).mean(axis=1)
    top = np.argsort(-exact, axis=0, kind="stable")[:9].T
    reducer, truth = {
        "covariance": (Covariance(6), {"covariance": (np.cov(exact, rowvar=False), np.outer(spread, spread))}),
        "weighted_sums": (
            WeightedSums(weights, 6),
            {"sums": (weights.T.astype(np.float64) @ exact, np.outer(np.abs(weights).sum(axis=0), spread))},
        ),
        "group_means": (
            GroupMeans(category, 6),
            {"means": (np.stack([exact[category == group].mean(axis=0) for group in range(4)]), spread)},
        ),
        "top_k": (TopK(9, np.eye(6)), {"images": (top, None), "values": (exact[top, np.arange(6)[:, None]], None)}),
        "roi_means": (RoiMeans(rois, len(exact)), {"means": (exact @ rois.T, rois @ spread)}),
        "argmax_over_probes": (
            ArgmaxOverProbes(len(probes), 500, 6),
            {"probe": (probes.argmax(axis=0), None), "value": (probes.max(axis=0), spread)},
        ),
    }[name]
    parts = in_order(stop=len(responses), size=2000)
    whole = reducer.finalize(reduce(reducer, responses, parts, size=2000))
    shares = [reduce(reducer, responses, parts[i::3], size=2000) for i in range(3)]
    joined = reducer.finalize(merged(reducer, *shares))
    assert_close({key: whole[key] for key in truth}, truth, 1e-5)
    assert_close(
        {key: joined[key] for key in truth}, {key: (whole[key], size) for key, (_, size) in truth.items()}, 1e-6
    )
    for key, (value, size) in truth.items():
        if size is not None:
            print(f"{name} {key}: off by {np.max(np.abs(whole[key] - value) / size):.1e} of the spread")

"""Two models compared in pairs: correlations by scipy, a planted winner, and the rate under the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, pearsonr

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.accuracy import Trials, compare_models


def simulated(seed: int, better: float = 0.0, images: int = 60, vertices: int = 20) -> tuple:
    """Predictions of the signal with independent noise, less of it in the first by ``better``; two trials each."""
    random = np.random.default_rng(seed)
    signal = random.normal(size=(images, vertices))
    first, second = (signal + scale * random.normal(size=signal.shape) for scale in (1 - better, 1))
    responses = np.concatenate([signal + random.normal(size=signal.shape) for _ in range(2)]).astype(np.float32)
    return first, second, Trials(responses, np.tile(np.arange(images), 2))


def test_the_better_model_is_found_where_it_is_better() -> None:
    first, second, trials = simulated(0, better=0.6)
    first[:, 10:] = second[:, 10:]
    masks = {"better": np.arange(20) < 10, "the same": np.arange(20) >= 10}
    found = compare_models(first, second, trials, masks, repetitions=300)
    assert found["better"].over_images.low > 0
    assert found["the same"].difference == 0
    assert found["the same"].over_images == (0, 0)
    mean = trials.responses.reshape(2, 60, 20).mean(0)
    ours, theirs = ([pearsonr(model[:, v], mean[:, v]).statistic for v in range(10)] for model in (first, second))
    assert found["better"].first == pytest.approx(np.median(ours), abs=1e-6)
    assert found["better"].second == pytest.approx(np.median(theirs), abs=1e-6)
    assert found["better"].difference == pytest.approx(np.median(np.subtract(ours, theirs)), abs=1e-6)
    swapped = compare_models(second, first, trials, masks, repetitions=300)
    assert swapped["better"].difference == pytest.approx(-found["better"].difference)


def test_vertices_without_data_are_left_out_and_misfits_refused() -> None:
    first, second, trials = simulated(1)
    trials.responses[:, 3] = np.nan
    assert compare_models(first, second, trials, repetitions=20)["all vertices"].vertices == 19
    for arguments, said in (
        ((first, second[:, :5], trials), r"must be \(images, vertices\)"),
        ((first[:30], second[:30], trials), "images up to number 59"),
        ((first, second, trials, {"x": np.ones(3, bool)}), "mask of 'x' must have 20 values"),
        ((first, second, trials, {"x": np.arange(20) == 3}), "No vertex of 'x'"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            compare_models(*arguments)


@pytest.mark.nightly
def test_equal_models_differ_at_the_nominal_rate() -> None:
    """200 pairs of equally good models → intervals leave out 0 at most as often as chance allows."""
    outside, most = [], int(binom.ppf(0.99, 200, 0.05))
    for seed in range(200):
        low, high = compare_models(*simulated(seed), repetitions=200, seed=seed)["all vertices"].over_images
        outside.append(not low <= 0 <= high)
    print(f"\n{sum(outside)} of 200 intervals without 0, at most {most}")
    assert sum(outside) <= most

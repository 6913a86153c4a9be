"""Few images: no interval below the number at which it says something, and the page and the terminal say why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax.experiments.accuracy.experiment import vertex_accuracy
from berg_jax.experiments.accuracy.reports.against_ceiling import ceiling_section
from berg_jax.experiments.accuracy.reports.medians import key_numbers, summary
from berg_jax.experiments.accuracy.trials import Trials
from berg_jax.experiments.accuracy.uncertainty import MedianIntervals, too_few
from berg_jax.experiments.reporting.page import Table
from berg_jax.experiments.reporting.statistics import Interval
from berg_jax.vertices import Vertices

from ...conftest import Golden

VERTICES = 60


def simulated(images: int, r: float = 0.85, thrice: int | None = None, seed: int = 0) -> tuple[np.ndarray, Trials]:
    """Predictions, and measured responses that correlate with them by r, of images shown once or three times."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(5, VERTICES))
    predicted = random.normal(size=(images, 5)) @ mixing / np.linalg.norm(mixing, axis=0)
    repeats = np.where(np.arange(images) < (thrice or 0), 3, 1)
    of = np.repeat(np.arange(images), repeats)
    noise = random.normal(size=(len(of), VERTICES))
    return predicted, Trials((r * predicted[of] + np.sqrt(1 - r**2) * noise).astype(np.float32), of)


def intervals_of(predicted: np.ndarray, trials: Trials) -> tuple[dict[str, float], dict[str, Interval]]:
    maps = vertex_accuracy(predicted, trials, np.ones(VERTICES))
    medians = {name: float(np.median(values)) for name, values in maps.items()}
    gathered = MedianIntervals(len(predicted), np.arange(VERTICES))
    gathered.add(slice(0, VERTICES), predicted, trials, np.ones(VERTICES))
    return medians, gathered.of(np.arange(VERTICES), medians)


@pytest.mark.parametrize("images", [5, 8, 9, 10, 12])
def test_no_interval_is_given_of_fewer_than_ten_images(images: int) -> None:
    """Five images → none, which was -1 to 1 before; from ten on an interval that says something."""
    medians, found = intervals_of(*simulated(images))
    if images < 10:
        assert all(str(ends) == "–" for ends in found.values())
        assert too_few(images)
    else:
        low, high = found["r"]
        assert low < medians["r"] < high
        assert high - low < 0.4
        assert not too_few(images)


def test_correlations_of_single_trials_need_ten_images_with_three_trials() -> None:
    for thrice, known in ((9, False), (10, True)):
        _, found = intervals_of(*simulated(20, thrice=thrice))
        assert "r" in found
        assert ("r_in_silico" in found) is known


@pytest.mark.parametrize("images", [5, 50])
def test_the_report_says_why_there_is_none(images: int, complement: Golden, tmp_path: Path) -> None:
    predicted, trials = simulated(images, thrice=images)
    subject = berg_jax.Subject(complement.folder, 2)
    maps = vertex_accuracy(predicted, trials, np.ones(VERTICES))
    medians, found = intervals_of(predicted, trials)
    rows = {"all vertices": {**medians, "vertices": VERTICES, "clipped": 0}}
    intervals = {"all vertices": found}
    vertices = Vertices.from_global(np.arange(VERTICES), subject.hemisphere_size)
    made = {"images": images, "betas": "b.npy", "noise_ceiling": "trials"}
    inside = {"all vertices": np.ones(VERTICES, bool)}
    section = ceiling_section(subject, vertices, maps, inside, rows, intervals, made, "V1", tmp_path)
    titles = [part.caption for part in section.parts if isinstance(part, Table)]
    titles.append(key_numbers(rows, intervals, images, "trials").caption)
    ratios = {"agreement": None, "source": "trials"}
    titles.append(summary(subject, maps, rows, intervals, trials, ratios, tmp_path))
    for title in titles:
        assert ("too few for an interval (at least 10)" in title) is (images < 10)
    assert ("95% interval" in titles[-1]) is (images > 10)


@pytest.mark.nightly
@pytest.mark.parametrize("r", [0.2, 0.5])
def test_intervals_of_ten_images_hold_the_truth(r: float) -> None:
    """300 experiments of ten images → the truth is inside of nine in ten of the intervals, or more."""
    inside = [
        (ends := intervals_of(*simulated(10, r, seed=seed))[1]["r"]).low <= r <= ends.high for seed in range(300)
    ]
    print(f"\nr {r}: {np.mean(inside):.3f} of 300 intervals of 10 images hold the truth")
    assert np.mean(inside) > 0.9

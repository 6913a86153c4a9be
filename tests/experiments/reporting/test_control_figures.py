"""Figures of control: the numbers behind both regions' matrices, the search's course, and bars with errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from berg_jax.experiments.control.bars import draw_alignments, draw_shifts
from berg_jax.experiments.control.curves import Curve, draw_curves
from berg_jax.experiments.control.matrices import draw_dissimilarities, draw_responses
from berg_jax.experiments.reporting.statistics import Interval
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.vertices import Vertices

from .standing import check_figure

TEXTS: dict[str, Any] = {"title": "What it is", "subtitle": "subject 1 · n = 12 images", "note": "SYNTHETIC"}
RANDOM = np.random.default_rng(1)
RESPONSES = RANDOM.normal(size=(12, 9)).astype(np.float32)
REGIONS = {"V1": np.repeat([0.25, 0.0], [4, 5]), "PPA": np.repeat([0.0, 0.2], [4, 5])}
VERTICES = Vertices(np.array([3, 5, 8]), np.arange(10, 16), 32)


@pytest.fixture
def source(tmp_path: Path) -> ArraySource:
    np.save(tmp_path / "images.npy", RANDOM.integers(0, 255, (12, 3, 32, 32), dtype=np.uint8))
    return ArraySource(tmp_path / "images.npy")


def test_responses_are_less_their_mean_over_all_images(source: ArraySource, tmp_path: Path) -> None:
    chosen = {"both up": np.array([4, 1]), "none": np.array([], int), "both down": np.array([7])}
    draw_responses(RESPONSES, REGIONS, VERTICES, chosen, source, tmp_path / "r.png", **TEXTS)
    header, *rows = check_figure(tmp_path / "r.png")
    assert header == ["goal", "image", "roi", "hemisphere", "vertex", "response"]
    assert len(rows) == 3 * 9
    sides = [("lh", "3"), ("lh", "5"), ("lh", "8"), *(("rh", str(n)) for n in range(10, 16))]
    away = RESPONSES - RESPONSES.astype(float).mean(0)
    for goal, image, roi, hemisphere, vertex, value in rows:
        column = sides.index((hemisphere, vertex))
        assert float(value) == pytest.approx(away[int(image), column], abs=1e-5)
        assert int(image) in chosen[goal]
        assert REGIONS[roi][column] > 0


@pytest.mark.nightly
def test_dissimilarities_of_both_regions(source: ArraySource, tmp_path: Path) -> None:
    chosen = {"align": np.array([0, 3, 5, 6, 11]), "disentangle": np.array([1, 2, 4, 9, 10])}
    draw_dissimilarities(RESPONSES, REGIONS, chosen, source, tmp_path / "d.png", **TEXTS)
    _, *rows = check_figure(tmp_path / "d.png")
    assert len(rows) == 2 * 2 * 10
    for goal, roi, one, other, value in rows:
        own = RESPONSES[:, REGIONS[roi] > 0].astype(float)
        assert float(value) == pytest.approx(1 - np.corrcoef(own[int(one)], own[int(other)])[0, 1], abs=1e-5)
        assert {int(one), int(other)} <= set(chosen[goal].tolist())


@pytest.mark.nightly
def test_curves_have_every_step(tmp_path: Path) -> None:
    values = np.array([0.1, np.nan, 0.3])
    curves = [Curve("align", "judge 1", "best", values), Curve("align", "judge 1", "mean", values - 1)]
    draw_curves(curves, tmp_path / "c.png", step="generation", label="alignment", **TEXTS)
    header, *rows = check_figure(tmp_path / "c.png")
    assert header == ["goal", "of", "shown", "generation", "value"]
    assert [row[4] for row in rows] == ["0.1", "", "0.3", "-0.9", "", "-0.7"]


@pytest.mark.nightly
def test_bars_have_intervals_and_the_mean_over_subjects(tmp_path: Path) -> None:
    ways = [(1.0, 2.0), (2.0, 2.5), (4.0, 3.0)]
    ends = [[Interval(way - 0.5, way + 0.5) for way in own] for own in ways]
    rows = [{"goal": "both up", "ways": ways, "intervals": ends, "counts": [5, 6, 7]}]
    draw_shifts(rows, ["V1", "PPA"], [1, 2, 4], tmp_path / "b.png", **TEXTS)
    _, *found = check_figure(tmp_path / "b.png")
    assert ["both up", "chosen", "PPA", "2", "2.5", "2", "3", "6"] in found
    (mean,) = [row for row in found if row[2:4] == ["V1", "mean"]]
    first = [1.0, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 2, np.mean(first), stats.sem(first))
    np.testing.assert_allclose([float(cell) for cell in mean[4:7]], [np.mean(first), low, high], rtol=1e-5)
    sets = [
        {
            "goal": goal,
            "alignment": [0.8, 0.7],
            "intervals": [Interval(0.6, 0.9)] * 2,
            "random sets": [0.5, 0.4],
            "random range": [(0.3, 0.7)] * 2,
        }
        for goal in ("align", "disentangle")
    ]
    draw_alignments(sets, [1, 2], tmp_path / "a.png", **TEXTS)
    _, *found = check_figure(tmp_path / "a.png")
    assert found[0] == ["1", "random sets", "0.5", "0.3", "0.7"]
    assert found[-1] == ["2", "disentangle", "0.7", "0.6", "0.9"]

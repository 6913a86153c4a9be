"""r² against the noise ceiling: figures and table have the maps' numbers, of a model that explains a known share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax.experiments.accuracy.experiment import vertex_accuracy
from berg_jax.experiments.accuracy.reports.against_ceiling import DISTRIBUTIONS, SCATTER, ceiling_section
from berg_jax.experiments.accuracy.trials import Trials
from berg_jax.experiments.reporting.page import Picture, Section, Table
from berg_jax.experiments.reporting.statistics import Interval
from berg_jax.vertices import Vertices

from ...conftest import Golden
from ..reporting.standing import check_figure

IMAGES, SHARE, MADE = 400, 0.6, {"images": 400, "betas": "b.npy", "noise_ceiling": "trials"}


def simulated(vertices: int) -> dict[str, np.ndarray]:
    """Accuracy of a model that explains 60% of the signal's variance, where the ncsnr grows from 0.3 to 1.5."""
    random = np.random.default_rng(0)
    signal, other = random.normal(size=(2, IMAGES, vertices))
    noise = random.normal(size=(3, IMAGES, vertices)) / np.linspace(0.3, 1.5, vertices)
    responses = (signal + noise).reshape(3 * IMAGES, vertices).astype(np.float32)
    responses[:, 5] = np.nan  # a vertex that was not measured
    predicted = np.sqrt(SHARE) * signal + np.sqrt(1 - SHARE) * other
    return vertex_accuracy(predicted, Trials(responses, np.tile(np.arange(IMAGES), 3)))


def section_of(
    complement: Golden, maps: dict[str, np.ndarray], inside: dict[str, np.ndarray], output: Path
) -> Section:
    subject = berg_jax.Subject(complement.folder, 2)
    vertices = Vertices.all(subject.hemisphere_size)
    medians = {
        name: {
            "vertices": int(mask.sum()),
            **{key: float(np.nanmedian(maps[key][mask])) for key in ("r2", "noise_ceiling")},
        }
        for name, mask in inside.items()
        if not np.isnan(maps["r2"][mask]).all()
    }
    intervals = {name: {"r2": Interval(0.1, 0.9), "noise_ceiling": Interval(0.2, 0.8)} for name in medians}
    return ceiling_section(subject, vertices, maps, inside, medians, intervals, MADE, "V1", output)


def test_figures_have_the_maps_numbers(complement: Golden, tmp_path: Path) -> None:
    maps = simulated(160)
    inside = {"all vertices": np.ones(160, bool), "low": np.arange(160) < 80, "few": np.arange(160) < 4}
    *pictures, table = section_of(complement, maps, inside, tmp_path).parts
    assert [picture.path.name for picture in pictures] == [SCATTER, DISTRIBUTIONS]  # of this size there are no brains
    r2, ceiling, known = maps["r2"], maps["noise_ceiling"], np.arange(160) != 5
    header, *rows = check_figure(tmp_path / SCATTER)
    assert header == ["hemisphere", "vertex", "noise_ceiling", "r2"]
    expected = [(h, vertex) for h in ("lh", "rh") for vertex in range(80)]
    assert [(row[0], int(row[1])) for row in rows] == [one for one, kept in zip(expected, known, strict=True) if kept]
    drawn = np.array([row[2:] for row in rows], float)
    np.testing.assert_allclose(drawn, np.stack([ceiling, r2], axis=1)[known], rtol=1e-5)
    slope = float((drawn[:, 0] * drawn[:, 1]).sum() / (drawn[:, 0] ** 2).sum())
    assert slope == pytest.approx(SHARE, abs=0.03)  # r² is the planted share of the ceiling
    header, *rows = check_figure(tmp_path / DISTRIBUTIONS)
    assert [row[:2] for row in rows] == [["all vertices", "159"], ["low", "79"]]
    for row, mask in zip(rows, (known, known & inside["low"]), strict=True):
        found = {name: float(cell) for name, cell in list(zip(header, row, strict=True))[1:]}
        for level in (5, 25, 50, 75, 95):
            assert found[f"r2_{level}%"] == pytest.approx(np.percentile(r2[mask], level), rel=1e-5)
        for level in (25, 50, 75):
            assert found[f"noise_ceiling_{level}%"] == pytest.approx(np.percentile(ceiling[mask], level), rel=1e-5)
        assert (found["r2_median_low"], found["noise_ceiling_median_high"]) == (0.1, 0.8)
    assert isinstance(table, Table)
    above = 100 * (r2 > ceiling)[known].mean()
    assert table.rows[0][-1] == pytest.approx(above)
    assert f"{above:.1f}% of 159 vertices are above it" in pictures[0].caption


def test_without_a_ceiling_the_distributions_stand_alone(complement: Golden, tmp_path: Path) -> None:
    (tmp_path / SCATTER).touch()
    maps = simulated(160)
    maps["noise_ceiling"] = np.full(160, np.nan)  # no image was shown twice
    with pytest.warns(RuntimeWarning, match="All-NaN slice"):
        parts = section_of(complement, maps, {"all vertices": np.ones(160, bool)}, tmp_path).parts
    (picture,) = (part for part in parts if isinstance(part, Picture))
    assert picture.path.name == DISTRIBUTIONS
    assert not (tmp_path / SCATTER).exists()
    header, row = check_figure(tmp_path / DISTRIBUTIONS)
    assert dict(zip(header, row, strict=True))["noise_ceiling_50%"] == ""

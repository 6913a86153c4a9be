"""Sizes against eccentricity and visual-field coverage: planted lines and fields are found, on the demo, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import berg_jax
from berg_jax.experiments.reporting.statistics import NO_INTERVAL, Interval
from berg_jax.experiments.retinotopy.areas import COVERAGE, SIZES, area_numbers, area_sections, areas_of
from berg_jax.experiments.retinotopy.coverage import HALF, coverage, covered, places
from berg_jax.experiments.retinotopy.figures import Pair, Texts, draw_agreement
from berg_jax.experiments.retinotopy.receptive_fields import polar
from berg_jax.experiments.retinotopy.sizes import size_line
from berg_jax.vertices import HEMISPHERES, Vertices

from ..reporting.standing import check_figure


def planted(seed: int, patches: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eccentricities, sizes of 0.3° + 0.2 · eccentricity with noise that patches share, and the patches."""
    random = np.random.default_rng(seed)
    patch = np.repeat(np.arange(patches), 6)
    eccentricity = np.clip(random.uniform(0.2, 4, patches)[patch] + random.normal(0, 0.2, len(patch)), 0.05, None)
    size = 0.3 + 0.2 * eccentricity + (random.normal(0, 0.1, patches)[patch] + random.normal(0, 0.1, len(patch)))
    return eccentricity, size, patch


def test_a_planted_line_is_found() -> None:
    eccentricity, size, patch = planted(0)
    found = size_line(eccentricity, size, patch)
    expected = stats.linregress(eccentricity, size)
    np.testing.assert_allclose([found.slope, found.intercept], [expected.slope, expected.intercept], rtol=1e-9)
    assert found.slope_interval.low < 0.2 < found.slope_interval.high
    assert found.intercept_interval.low < 0.3 < found.intercept_interval.high
    heights = found.intercept + found.slope * found.at
    assert all(ends.low < height < ends.high for ends, height in zip(found.band, heights, strict=True))
    singly = size_line(eccentricity, size, np.arange(len(patch)))  # neighbors taken for independent: too narrow
    assert np.diff(singly.slope_interval) < 0.8 * np.diff(found.slope_interval)
    for one in found.bins:
        inside = (eccentricity >= one.start) & (eccentricity < one.stop)
        assert (one.vertices, one.stop - one.start) == (inside.sum(), 0.5)
        np.testing.assert_allclose([one.eccentricity, one.size], [eccentricity[inside].mean(), size[inside].mean()])
        assert np.isnan(one.interval.low) or one.interval.low < one.size < one.interval.high
    assert sum(one.vertices for one in found.bins) > 0.95 * len(size)


def test_too_few_receptive_fields_have_no_line() -> None:
    for eccentricity in (np.array([1.0, 2.0]), np.ones(6)):
        found = size_line(eccentricity, np.ones(len(eccentricity)), np.zeros(len(eccentricity), int))
        assert np.isnan([found.slope, found.intercept, *found.slope_interval]).all()
        assert not found.band
    found = size_line(np.arange(6.0), np.ones(6), np.arange(6) // 2)
    assert np.isnan(found.slope_interval.low)  # three patches
    np.testing.assert_allclose(found.slope, 0, atol=1e-12)


@pytest.mark.nightly
def test_intervals_of_lines_hold_the_truth_as_often_as_they_say() -> None:
    """In 95% of 500 experiments ± 2.5%, of which the binomial's 99% interval is a part."""
    inside = np.zeros(2)
    for seed in range(500):
        found = size_line(*planted(seed))
        ends = (found.slope_interval, 0.2), (found.intercept_interval, 0.3)
        inside += [low < truth < high for (low, high), truth in ends]
    print(f"intervals of slope and intercept hold the truth in {inside / 5} per cent of 500 experiments")
    assert (abs(inside / 500 - 0.95) <= 0.025).all()


def test_coverage_is_the_largest_receptive_field() -> None:
    random = np.random.default_rng(0)
    centers, size = random.normal(0, 2, (700, 2)), random.uniform(0.2, 1, 700)
    field, at = coverage(centers, size), places()
    for row, column in ((0, 0), (20, 31), (55, 3)):
        distance = np.hypot(at[column] - centers[:, 0], at[row] - centers[:, 1])
        np.testing.assert_allclose(field[row, column], np.exp(-(distance**2) / (2 * size**2)).max())
    one = coverage(np.array([[1.0, -2.0]]), np.array([0.8]))
    radius = 0.8 * np.sqrt(2 * np.log(1 / HALF))
    distance = np.hypot(at[None, :] - 1, at[:, None] + 2)  # rows are y, from the bottom
    np.testing.assert_array_equal(one >= HALF, distance <= radius)
    row, column = np.unravel_index(one.argmax(), one.shape)
    assert (at[row], at[column]) == pytest.approx((-2, 1), abs=0.08)


def test_halves_of_the_visual_field() -> None:
    centers = np.array([[1.0, 1], [2, 1], [3, -1], [-1, -1]])
    size, patches = np.full(4, 0.5), np.arange(4)
    left, right = (covered("V1", hemisphere, centers, size, patches) for hemisphere in HEMISPHERES)
    assert (left.contralateral, right.contralateral, left.upper) == (0.75, 0.25, 0.5)
    assert np.isnan(left.upper_interval.low)  # four patches
    many = covered("V1", "lh", np.tile(centers, (20, 1)), np.full(80, 0.5), np.arange(80) // 2)
    assert many.contralateral_interval.low < 0.75 < many.contralateral_interval.high


@pytest.fixture(scope="module")
def subject(demo: Path) -> berg_jax.Subject:
    return berg_jax.Subject("demo", 1)


def mapped(subject: berg_jax.Subject, vertices: Vertices) -> dict[str, np.ndarray]:
    """Maps of a fit that finds the demo's planted centers, of sizes that grow with eccentricity."""
    raw = subject.metadata.raw["planted"]
    centers = np.concatenate([raw[f"{h}_rf_center"][getattr(vertices, h)] for h in HEMISPHERES])
    maps = {f"fit_{name}": values for name, values in polar(centers).items()}
    return {**maps, "fit_size": 0.2 + 0.15 * maps["fit_eccentricity"], "fit_r2": np.full(len(vertices), 0.9)}


def test_areas_of_the_demo_see_what_was_planted(subject: berg_jax.Subject) -> None:
    """Each hemisphere the other half, and both halves of the field: sizes lie on the planted line."""
    vertices = subject.vertices("V1 + V2 + FFA-1")
    maps = mapped(subject, vertices)
    areas = areas_of(subject, vertices, maps)
    assert list(areas) == ["V1", "V2"]  # no receptive field is planted in FFA-1
    for name, area in areas.items():
        np.testing.assert_array_equal(
            area.inside, np.isin(vertices.global_indices, subject.vertices(name).global_indices)
        )
        assert (area.line.slope, area.line.intercept) == pytest.approx((0.15, 0.2))
        assert [one.hemisphere for one in area.coverage] == ["lh", "rh"]
        for one in area.coverage:
            assert one.contralateral > 0.9
            assert one.upper_interval.low < 0.5 < one.upper_interval.high
            seen = one.field if one.hemisphere == "lh" else one.field[:, ::-1]
            assert (seen[:, 28:] >= HALF).mean() > 4 * (seen[:, :28] >= HALF).mean()
    at_bound = {**maps, "fit_size": np.where(np.arange(len(vertices)) % 2, 3.0, maps["fit_size"])}
    left = areas_of(subject, vertices, at_bound)["V1"]  # what says only that it is larger is left out
    assert 0 < left.inside.sum() < areas["V1"].inside.sum()
    assert (left.line.slope, left.line.intercept) == pytest.approx((0.15, 0.2))
    numbers = area_numbers(areas)
    assert [row["area"] for row in numbers["size over eccentricity"]] == ["V1", "V2"]
    assert [row["vertices"] for row in numbers["coverage"]] == [
        one.vertices for a in areas.values() for one in a.coverage
    ]
    assert areas_of(subject, vertices, {name: values for name, values in maps.items() if name != "fit_size"}) == {}


@pytest.mark.nightly
def test_figures_of_areas_have_what_they_show(subject: berg_jax.Subject, tmp_path: Path) -> None:
    vertices = subject.vertices("V1 + V2")
    maps = mapped(subject, vertices)
    areas = areas_of(subject, vertices, maps)
    titles = [section.title for section in area_sections(subject, vertices, maps, areas, "V1 + V2", tmp_path)]
    assert titles == ["Receptive-field size", "Visual-field coverage"]
    header, *rows = check_figure(tmp_path / SIZES)
    assert header == ["area", "shown", "eccentricity", "size", "low", "high", "vertices"]
    for name, area in areas.items():
        dots = [row[2:4] for row in rows if row[:2] == [name, "vertex"]]
        np.testing.assert_allclose(np.array(dots, float), np.stack([area.eccentricity, area.size], 1), rtol=1e-5)
        assert [int(row[6]) for row in rows if row[:2] == [name, "bin"]] == [one.vertices for one in area.line.bins]
    header, *rows = check_figure(tmp_path / COVERAGE)
    assert header == ["area", "hemisphere", "x", "y", "coverage"]
    assert len(rows) == 4 * 56**2
    here = [float(row[4]) for row in rows if row[:2] == ["V2", "rh"]]
    np.testing.assert_allclose(np.reshape(here, (56, 56)), areas["V2"].coverage[1].field, rtol=1e-5, atol=1e-12)
    (section,) = area_sections(subject, vertices, {}, {}, "V1 + V2", tmp_path)
    assert section.parts == ["They need a fit (--fit)."]
    assert not list(tmp_path.iterdir())


def test_angles_are_drawn_on_the_near_side_of_the_circle(tmp_path: Path) -> None:
    theirs, ours = np.array([-179.0, 90, 10]), np.array([178.0, 95, 10])
    pairs = [
        Pair("polar angle", theirs, ours, 0.9, Interval(0.8, 0.95)),
        Pair("eccentricity", ours, ours, 1, NO_INTERVAL),
    ]
    places_ = [("lh", 3), ("lh", 9), ("rh", 1)]
    draw_agreement(pairs, "planted", places_, tmp_path / "a.png", Texts("Receptive fields", "subject 1", None))
    header, *rows = check_figure(tmp_path / "a.png")
    assert header[:4] == ["hemisphere", "vertex", "planted polar_angle", "estimated polar_angle"]
    assert [row[:2] for row in rows] == [["lh", "3"], ["lh", "9"], ["rh", "1"]]
    np.testing.assert_allclose([float(row[3]) for row in rows], [-182, 95, 10])

"""A sweep's figures: trials' curves, their starts beside their images, and what images of each ROI drive."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from berg_jax.experiments.sweeps import tables
from berg_jax.experiments.sweeps.figures import course_section, regions_section
from berg_jax.experiments.sweeps.program import start_image
from berg_jax.experiments.synthesis.parametrizations.fourier import fourier

from ..reporting.standing import check_figure
from .made import BASE_NONE, parsed, trial

TEXTS = ("subject 1 · FFA-1, PPA · n = 6 trials", "SYNTHETIC")
ROIS = ("FFA-1", "PPA")


def made_rows(spec: Any) -> list[Any]:
    random = np.random.default_rng(0)
    rows = []
    for number, one in enumerate(spec.trials):
        responses = dict(zip(ROIS, random.normal(size=2).tolist(), strict=True))
        shares = {"FFA-1": 10.0 * number}
        history = [0.1 * number, None, 0.3 * number]
        entry = {"value": 0.3 * number, "failed": False, "error": None, "history": history, "responses": responses}
        rows.append((one, {**entry, "percentiles": shares}))
    return rows


SPEC = 'zip = {drive = ["FFA-1", "PPA"], suppress = ["PPA", []]}\ngrid = {seed = [0, 1, 2]}'


def test_percentiles_are_in_the_table() -> None:
    spec = parsed(SPEC, BASE_NONE)
    table = tables._table(spec, made_rows(spec))
    assert table["percentile: FFA-1"].to_pylist() == [10.0 * number for number in range(6)]
    assert "percentile: PPA" not in table.column_names


def test_settings_that_an_experiment_does_not_use_are_null() -> None:
    photo = 'grid = {experiment = ["metamer"], photo = ["a.png"], drive = ["PPA"], seed = [0, 1]}'
    spec = parsed(photo, BASE_NONE)
    row = tables._table(spec, [(one, made_rows(spec)[0][1]) for one in spec.trials]).to_pylist()[1]
    assert (row["seed"], row["photo"], row["steps"]) == (1, "a.png", 4096)
    assert [row[name] for name in ("objective", "images", "optimizer", "jitter")] == [None] * 4


def test_a_curve_needs_two_steps_and_a_table_two_rois(tmp_path: Path) -> None:
    spec = parsed(SPEC, BASE_NONE)
    rows = [(one, {**entry, "history": [1.0], "responses": {"PPA": 1.0}}) for one, entry in made_rows(spec)]
    assert (course_section(tmp_path, rows, [], *TEXTS), regions_section(tmp_path, rows, *TEXTS)) == ([], [])
    assert not list(tmp_path.iterdir())


@pytest.mark.nightly
def test_a_trial_starts_as_its_optimization_does() -> None:
    parametrization = fourier()
    key, _ = jax.random.split(jax.random.key(3))
    expected = np.asarray(parametrization.decode(parametrization.init(key, 1)))[0]
    np.testing.assert_allclose(start_image(trial(seed=3).settings), expected, atol=0.51)


@pytest.mark.nightly
def test_curves_pairs_and_regions_have_their_numbers(tmp_path: Path) -> None:
    spec = parsed(SPEC, BASE_NONE)
    rows = made_rows(spec)
    (tmp_path / "images").mkdir()
    for one, _ in rows:
        Image.fromarray(np.zeros((224, 224, 3), np.uint8)).save(tmp_path / "images" / f"{one.id}.png")
    course_section(tmp_path, rows, ["drive", "seed"], *TEXTS)
    _, *found = check_figure(tmp_path / "course.png")
    best = rows[::-1]
    assert [row[0] for row in found[::3]] == [
        f"{one.settings['drive'][0]}, {one.settings['seed']}" for one, _ in best
    ]
    assert [row[2] for row in found[:3]] == ["0.5", "", "1.5"]
    with (tmp_path / "pairs.csv").open() as file:
        _, *pairs = csv.reader(file)
    assert [row[1:] for row in pairs[:2]] == [["", "1.5"], ["", "1.2"]]
    (section,) = regions_section(tmp_path, rows, *TEXTS)
    header, *found = check_figure(tmp_path / "regions.png")
    assert header == ["driven", *ROIS]
    for name, line in zip(ROIS, found, strict=True):
        own = [entry["responses"] for one, entry in rows if one.settings["drive"] == [name]]
        assert line[0] == f"{name} (n = 3)"
        means = np.mean([[one[roi] for roi in ROIS] for one in own], axis=0)
        np.testing.assert_allclose([float(cell) for cell in line[1:]], means, rtol=1e-4, atol=1e-5)
    values = [entry["responses"]["PPA"] for one, entry in rows if one.settings["drive"] == ["FFA-1"]]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert section.parts[1].rows[1][:2] == ("FFA-1", "PPA")
    assert section.parts[1].rows[1][3] == f"{low:.3f} to {high:.3f}"

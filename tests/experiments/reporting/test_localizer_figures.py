"""A localizer's figures: bars with single images, sample stimuli, and small multiples over subjects."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import berg_jax
from berg_jax.experiments.localizer.bars import bars_part
from berg_jax.experiments.localizer.contrasts import design_of
from berg_jax.experiments.localizer.samples import samples_part
from berg_jax.experiments.reporting.multiples import draw_subjects
from berg_jax.experiments.reporting.page import Section, write_report
from berg_jax.stream.sources.arrays import ArraySource

from ...conftest import Golden
from .standing import check_figure

NAMES = [f"{'faces' if n % 2 else 'places'}/{n}.png" for n in range(24)]


def test_bars_have_every_image_and_its_category_s_mean(complement: Golden, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    design = design_of(NAMES)
    responses = random.normal(size=(24, 4)).astype(np.float32)
    subject = berg_jax.Subject(complement.folder, 2)
    (picture,) = bars_part(subject, design, responses, ["V1", "A", "B", "C"], NAMES, tmp_path, roi="V1")
    header, *rows = check_figure(picture.path)
    assert header == ["roi", "category", "shown", "image", "response", "low", "high", "images"]
    dots = {(row[0], row[3]): float(row[4]) for row in rows if row[2] == "image"}
    assert len(dots) == 4 * 24
    assert dots["B", "faces/3.png"] == pytest.approx(responses[3, 2], abs=1e-5)
    means = {(row[0], row[1]): list(map(float, row[4:])) for row in rows if row[2] == "mean"}
    faces = responses[1::2, 0].astype(float)
    mean, low, high, count = means["V1", "faces"]
    assert (mean, count) == (pytest.approx(faces.mean(), abs=1e-5), 12)
    sample = stats.bootstrap((faces,), np.mean, n_resamples=4000, method="BCa", rng=np.random.default_rng(1))
    np.testing.assert_allclose([low, high], sample.confidence_interval, atol=0.1 * faces.std())
    assert not bars_part(subject, design, responses[:, :0], [], NAMES, tmp_path, roi="V1")


def test_samples_are_of_their_categories(tmp_path: Path) -> None:
    grey = np.arange(24, dtype=np.uint8)[:, None, None, None] * np.ones((3, 32, 32), np.uint8)
    np.save(tmp_path / "images.npy", grey)
    design = design_of(NAMES)
    picture = samples_part(design, ArraySource(tmp_path / "images.npy"), tmp_path)
    with picture.path.with_suffix(".csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["category", "place", "image"]
    with Image.open(picture.path) as drawn:
        assert drawn.width == 1350
    assert [row[2] for row in rows if row[0] == "faces"] == ["1", "5", "9", "15", "19", "23"]
    assert "faces 12, places 12" in picture.caption


def test_a_folded_section_keeps_its_contents(tmp_path: Path) -> None:
    sections = [Section("Open", ["seen"]), Section("Subject 2", ["hidden"], folded=True)]
    options = {"lead": "", "command": "", "settings": {}, "provenance": {}, "synthetic": False}
    page = write_report(tmp_path, "Title", sections, **options).read_text()
    assert "<h2>Open</h2><p>seen</p>" in page
    assert "<details><summary>Subject 2</summary><p>hidden</p></details>" in page


@pytest.mark.nightly
def test_small_multiples_have_each_subject_s_values(demo: Path, tmp_path: Path) -> None:
    subjects = [berg_jax.Subject("demo", number) for number in (1, 2)]
    vertices = [subject.vertices("PPA") for subject in subjects]
    maps = [np.linspace(-1, 3, len(one)) for one in vertices]
    maps[1][:5] = np.nan
    texts = {"title": "Places", "label": "t (no unit)", "roi": "PPA", "images": 9}
    options = {**texts, "limit": (-3.0, 3.0)}
    (picture,) = draw_subjects(subjects, vertices, maps, tmp_path / "t.png", "caption", **options)
    header, *rows = check_figure(picture.path)
    assert header == ["subject", "hemisphere", "vertex", "value"]
    for subject, one, values in zip(("1", "2"), vertices, maps, strict=True):
        found = {(row[1], int(row[2])): float(row[3]) for row in rows if row[0] == subject}
        expected = {
            (side, int(vertex)): value
            for side, vertex, value in zip(
                ["lh"] * len(one.lh) + ["rh"] * len(one.rh), [*one.lh, *one.rh], values, strict=True
            )
            if np.isfinite(value) and vertex < 10_242
        }
        assert found.keys() == expected.keys()
        np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), rtol=1e-5, atol=1e-6)
    nothing = [np.full(len(one), np.nan) for one in vertices]
    assert not draw_subjects(subjects, vertices, nothing, tmp_path / "t.png", "caption", **options)
    assert not list(tmp_path.glob("t.*"))

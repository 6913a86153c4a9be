"""Figures of a synthesis: restarts' curves, starts and images, percentiles, and what each image drives."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import berg_jax
from berg_jax.experiments.synthesis.experiment import synthesize
from berg_jax.experiments.synthesis.judging.course import draw_course, draw_pairs, start_images
from berg_jax.experiments.synthesis.judging.crops import photograph_crops
from berg_jax.experiments.synthesis.judging.natural import Baseline, percentiles
from berg_jax.experiments.synthesis.parametrizations.fourier import fourier
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels
from berg_jax.experiments.synthesis.recipe import Recipe

from ...conftest import Golden
from ..reporting.standing import check_figure


def test_starts_are_those_of_the_optimization() -> None:
    first = np.random.default_rng(0).integers(0, 256, (3, 16, 16)).astype(np.uint8)
    found = start_images(pixels(16, start=first, noise=0), n=2, seed=0)
    assert np.abs(found.astype(int) - first).max() <= 1
    parametrization = fourier(16)
    key, _ = jax.random.split(jax.random.key(5))
    expected = np.asarray(parametrization.decode(parametrization.init(key, 3)))
    np.testing.assert_allclose(start_images(parametrization, n=3, seed=5), expected, atol=0.51)


def test_crops_of_photographs_are_the_same_each_time() -> None:
    crops, named = photograph_crops(each=1)
    assert (crops.shape, crops.dtype, named[:23]) == ((3, 3, 224, 224), np.uint8, "3 crops of 3 photograph")
    np.testing.assert_array_equal(crops, photograph_crops(each=1)[0])
    assert not np.array_equal(crops, photograph_crops(each=1, seed=1)[0])
    assert crops.std(axis=(1, 2, 3)).min() > 10


def test_percentiles_count_the_natural_images_below() -> None:
    random = np.random.default_rng(2)
    natural = Baseline({"V1": random.normal(size=50), "PPA": random.normal(size=50)}, "made up")
    scores = {"V1": np.array([0.3, 9.0]), "PPA": np.array([-0.2, 0.0]), "value": np.array([0.5, 1.0])}
    found = percentiles(scores, natural, {"V1": 1, "PPA": -1}, margin=1.0)
    values = np.minimum(natural.areas["V1"], 1) + np.minimum(-natural.areas["PPA"], 1)
    np.testing.assert_allclose(found["value percentile"], [100 * (values < own).mean() for own in scores["value"]])
    np.testing.assert_allclose(found["V1 percentile"], [100 * (natural.areas["V1"] < own).mean() for own in (0.3, 9)])


@pytest.mark.nightly
@pytest.mark.parametrize("count", [2, 12])
def test_curves_and_pairs_have_their_numbers(count: int, tmp_path: Path) -> None:
    history = np.random.default_rng(0).normal(size=(5, count))
    history[2, 1] = np.nan
    texts = {"subtitle": "subject 1 · V1", "note": "SYNTHETIC"}
    draw_course(history, tmp_path / "c.png", **texts)
    header, *rows = check_figure(tmp_path / "c.png")
    assert header == ["image", "step", "value"]
    values = np.array([float(row[2] or "nan") for row in rows]).reshape(count, 5).T
    np.testing.assert_allclose(values, history, rtol=1e-5)
    images = np.zeros((count, 3, 32, 32), np.uint8)
    draw_pairs(images, images, [(n, n + 0.5) for n in range(count)], tmp_path / "p.png", **texts)
    _, *rows = check_figure(tmp_path / "p.png")
    assert rows == [[f"image {n + 1}", str(n), f"{n + 0.5:g}"] for n in range(min(count, 8))]


@pytest.mark.nightly
def test_a_synthesis_says_what_each_image_drives(complement: Golden, tmp_path: Path) -> None:
    """Against the model's own responses to the files, and to the crops."""
    subject = berg_jax.Subject(complement.folder, 2)
    said = synthesize(
        *(subject, tmp_path),
        drive=["FFA-1"],
        suppress=["PPA"],
        recipe=Recipe(steps=4, jitter=0),
        n=2,
        show_progress=False,
    )
    header, *rows = check_figure(tmp_path / "regions.png")
    images = np.stack([np.asarray(Image.open(tmp_path / f"{n}.png")).transpose(2, 0, 1) for n in (1, 2)])
    crops, named = photograph_crops()
    natural = np.asarray(complement.model(crops))
    responses = np.asarray(complement.model(images))
    assert header[:3] == ["image", "FFA-1 *", "PPA *"]
    for place, name in enumerate(header[1:], 1):
        inside = subject.vertices(name.removesuffix(" *")).global_indices
        expected = responses[:, inside].mean(1)
        np.testing.assert_allclose([float(row[place]) for row in rows], expected, atol=1e-4)
    means = {roi: natural[:, subject.vertices(roi).global_indices].mean(1) for roi in ("FFA-1", "PPA")}
    with (tmp_path / "scores.csv").open() as file:
        scores = list(csv.DictReader(file))
    for row in scores:
        below = 100 * (means["FFA-1"] - means["PPA"] < float(row["value"])).mean()
        assert float(row["value percentile"]) == pytest.approx(below, abs=100 / len(crops) + 1e-6)  # a tie at most
    facts = json.loads((tmp_path / "synthesis.json").read_text())
    assert facts["natural images"] == named
    assert f"Against {named}" in said
    _, *pairs = check_figure(tmp_path / "pairs.png")
    begun = start_images(fourier(), n=2, seed=0)  # in any order, as the best comes first
    starts = np.asarray(complement.model(begun))
    starts = np.subtract(*(starts[:, subject.vertices(roi).global_indices].mean(1) for roi in ("FFA-1", "PPA")))
    np.testing.assert_allclose(sorted(float(row[1]) for row in pairs), sorted(starts), atol=1e-4)
    np.testing.assert_allclose([float(row[2]) for row in pairs], facts["scores"]["value"], rtol=1e-4, atol=1e-5)
    page = (tmp_path / "report.html").read_text()
    assert "What each image drives" in page

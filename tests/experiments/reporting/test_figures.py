"""Figures stand alone: whom they show and how many, units, sizes, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from berg_jax import Selection, Subject
from berg_jax.experiments.accuracy.reports import beside
from berg_jax.experiments.certificate.figures import Words, draw_histogram, draw_regions, draw_scatter
from berg_jax.experiments.control.pictures import Chosen, draw_quadrants, draw_sets
from berg_jax.experiments.control.report import map_limits
from berg_jax.experiments.explanation.pictures import draw_curves, draw_maps, draw_reading, layer_intervals
from berg_jax.experiments.explanation.pictures import map_limits as image_limits
from berg_jax.experiments.explanation.reading import Reading
from berg_jax.experiments.reporting import pictures
from berg_jax.experiments.reporting.brain_page import write_brain
from berg_jax.experiments.reporting.figures import about, new_figure, remove_figure, save_figure, where
from berg_jax.experiments.reporting.pictures import draw_brain, draw_table, shared_limits
from berg_jax.experiments.reporting.results import early_areas
from berg_jax.experiments.reporting.statistics import Interval
from berg_jax.experiments.synthesis.judging.sheets import contact_sheet
from berg_jax.surface.style import default_style
from berg_jax.vertices import Vertices

from .standing import check_figure

TEXTS: dict[str, Any] = {"title": "What it is", "subtitle": "subject 1 · V1 · n = 3 images", "note": "SYNTHETIC"}


def test_whom_a_figure_shows() -> None:
    assert about([1], None, images=1200) == "subject 1 · all vertices · n = 1,200 images"
    assert about([1, 3], "V1 - V1d", images=5, vertices=2) == "subjects 1, 3 · V1 - V1d · n = 5 images, 2 vertices"
    assert about([2], "V1") == "subject 2 · V1"
    assert where(Selection()) is None
    assert where(Selection(["V1", "PPA"], hemisphere="rh")) == "V1 + PPA, rh"
    assert where(Selection({"lh": [1]}, min_explained_variance=20)) == "given vertices, explained variance ≥ 20"


def test_every_file_of_a_figure(tmp_path: Path) -> None:
    def draw() -> None:
        with default_style():
            figure = new_figure(1, "A title " * 30, "subject 1", "small print " * 20)
            figure.subplots().set(xlabel="x (z)", ylabel="y (z)")
        save_figure(figure, tmp_path / "a.b.png", ("x", "y"), [(1, 0.5), (2, np.nan)])

    draw()
    assert {path.name for path in tmp_path.iterdir()} == {"a.b.png", "a.b.pdf", "a.b.csv"}
    assert check_figure(tmp_path / "a.b.png") == [["x", "y"], ["1", "0.5"], ["2", ""]]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    draw()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    remove_figure(tmp_path / "a.b.png")
    remove_figure(tmp_path / "a.b.png")
    assert not list(tmp_path.iterdir())


def kept(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[Figure]:
    """Figures that a module saves."""
    found: list[Figure] = []
    real = save_figure

    def save(figure: Figure, *rest: Any) -> None:
        found.append(figure)
        real(figure, *rest)

    monkeypatch.setattr(module, "save_figure", save)
    return found


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (0.33, 0.86, (0, 0.86)),
        (0.7, 0.9, (0.7, 0.9)),
        (-0.5, 1.7, (-1.7, 1.7)),
        (-0.1, 1.7, (-0.1, 1.7)),
        (0, 0, (0, 1)),
    ],
)
def test_tables_have_what_they_show(
    low: float, high: float, ends: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CSV has the cells' numbers; at least half of the scale is used; the unit is at the color bar."""
    figures_kept = kept(monkeypatch, pictures)
    values = np.linspace(low, high, 6).reshape(3, 2)
    values[1, 1] = np.nan
    draw_table(values, ["V1", "P_A $", "<b>"], ["faces", "x"], "r (z)", tmp_path / "t.png", corner="roi", **TEXTS)
    header, *rows = check_figure(tmp_path / "t.png")
    assert header == ["roi", "faces", "x"]
    assert [row[0] for row in rows] == ["V1", "P_A $", "<b>"]
    np.testing.assert_allclose([[float(cell or "nan") for cell in row[1:]] for row in rows], values, rtol=1e-5)
    (figure,) = figures_kept
    table, bar = figure.axes
    assert bar.get_ylabel() == "r (z)"
    np.testing.assert_allclose(table.images[0].get_clim(), ends)
    np.testing.assert_array_equal(np.ma.filled(table.images[0].get_array(), np.nan), values)
    assert figure.get_suptitle() == "What it is\nsubject 1 · V1 · n = 3 images"
    cells = [text for text in table.texts if text.get_text()]
    assert len(cells) == 5


def test_numbers_in_cells_are_as_long_as_there_is_room() -> None:
    values = np.array([[0.5, 1.0], [-0.25, np.nan]])
    assert pictures._cell_texts(values, 5) == {(0, 0): "0.50", (0, 1): "1.00", (1, 0): "-0.25"}
    assert pictures._cell_texts(values, 4) == {(0, 0): ".50", (0, 1): "1", (1, 0): "-.25"}
    assert pictures._cell_texts(values, 3) == {}
    assert pictures._cell_texts(values * np.nan, 3) == {}


@pytest.mark.nightly
def test_many_columns_have_no_numbers_but_all_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures_kept = kept(monkeypatch, pictures)
    values = np.random.default_rng(0).normal(size=(40, 40))
    names = [f"region {n}" for n in range(40)]
    draw_table(values, names, names, "r", tmp_path / "t.png", **TEXTS)
    check_figure(tmp_path / "t.png")
    (figure,) = figures_kept
    assert not figure.axes[0].texts
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == names


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject("demo", 1)


def test_brains_have_what_they_show(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures_kept = kept(monkeypatch, pictures)
    vertices = subject.vertices("V1", hemisphere="lh")
    values = np.linspace(-1, 2, len(vertices))
    values[3], values[5] = np.nan, np.inf
    (picture,) = draw_brain(
        *(subject, vertices, values, tmp_path / "v.png", "caption"),
        **{"roi": "V1, lh", "images": 20, "title": "Values", "label": "value (z)", "limit": (-2, 2)},
        **{"views": ("occipital",), "flat": False, "regions": early_areas(subject)},
    )
    assert picture.path == tmp_path / "v.png"
    header, *rows = check_figure(tmp_path / "v.png")
    assert header == ["hemisphere", "vertex", "value"]
    finite = np.isfinite(values)
    assert [(row[0], int(row[1])) for row in rows] == [("lh", vertex) for vertex in vertices.lh[finite]]
    np.testing.assert_allclose([float(row[2]) for row in rows], values[finite], rtol=1e-5)
    (figure,) = figures_kept
    said = {text.get_text() for text in figure.findobj(Text)}
    assert {"Values", f"subject 1 · V1, lh · n = 20 images, {finite.sum()} vertices drawn", "value (z)"} <= said
    assert {"V1d", "V2d", "V3d"} <= said
    bar = figure.axes[1]._colorbar
    assert (bar.vmin, bar.vmax) == (-2, 2)
    nothing = draw_brain(subject, vertices, values * np.nan, tmp_path / "v.png", "", roi=None)
    assert (nothing, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.nightly
def test_preferences_are_named_in_their_numbers(subject: Subject, tmp_path: Path) -> None:
    vertices = Vertices([1, 2], [7], 10_242)
    options: dict[str, Any] = {"labels": ["faces", "places"], "views": ("occipital",), "flat": False}
    draw_brain(subject, vertices, np.array([1.0, 0.0, 1.0]), tmp_path / "p.png", "", roi=None, **options)
    rows = [["lh", "1", "places"], ["lh", "2", "faces"], ["rh", "7", "places"]]
    assert check_figure(tmp_path / "p.png")[1:] == rows


def test_an_overview_shows_early_areas_where_there_are_values(subject: Subject) -> None:
    early, faces = subject.vertices("V1"), subject.vertices("EBA")
    shown = pictures.overview(subject, early, np.ones(len(early)))
    assert shown["views"][-1] == "occipital"
    assert {"V1d", "V2d", "V3d", "FFA-1"} <= set(shown["regions"])
    assert "V1" not in shown["regions"]
    for vertices, values in ((faces, np.ones(len(faces))), (early, np.full(len(early), np.nan))):
        shown = pictures.overview(subject, vertices, values)
        assert shown == {"views": ("lateral", "ventral", "medial"), "regions": pictures.OUTLINED}


@pytest.mark.nightly
def test_a_brain_to_turn_has_all_maps_and_a_link(subject: Subject, tmp_path: Path) -> None:
    vertices = subject.vertices("V1", hemisphere="lh")
    values = np.linspace(0, 1, len(vertices))
    maps = {"r²": values, "nothing": values * np.nan, "angle (°)": 360 * values - 180}
    (link,) = write_brain(subject, vertices, maps, tmp_path, "Maps", angles=["angle (°)", "nothing"])
    assert link.path == tmp_path / "brain.html"
    page = link.path.read_text()
    assert page.count('"method":"restyle"') == 2
    assert "SYNTHETIC" in page
    assert "V3d" in page
    assert write_brain(subject, vertices, {"nothing": values * np.nan}, tmp_path, "Maps") == []
    assert not list(tmp_path.iterdir())
    few = Vertices([1], [], 80)  # of no mesh that can be shown
    assert write_brain(subject, few, {"r": np.ones(1)}, tmp_path, "Maps") == []


def test_compared_maps_share_a_scale() -> None:
    assert shared_limits(np.array([0.0, 2, 2]), np.array([-1.0, np.nan, np.inf])) == (-2, 2)
    assert shared_limits(np.array([0.5, 2, 2])) == (0, 2)
    assert shared_limits(np.array([-0.5, -2, -2])) == (-2, 0)
    assert shared_limits(np.array([np.nan])) == (0, 1)
    assert shared_limits() == (0, 1)
    every = [{"a": np.array([1.0]), "a-synthesized": np.array([-9.0])}, {"a": np.full(9, -2.0)}]
    assert map_limits(every) == {False: (-2, 2), True: (-9, 0)}


def test_early_areas_are_outlined_by_halves(subject: Subject) -> None:
    assert early_areas(subject) == ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")


def _control(path: Path) -> None:
    means = np.random.default_rng(0).normal(size=(9, 2))
    rows = [Chosen("both up", means[:3], means[:1] + 9), Chosen("both down", means[5:])]
    draw_quadrants(means, ["FFA-1", "PPA"], rows, path, baseline=means.mean(0), **TEXTS)


def _sets(path: Path) -> None:
    rows = [Chosen("align", np.array([0.8]), interval=Interval(0.7, 0.9)), Chosen("disentangle", np.array([0.1]))]
    draw_sets(np.linspace(0.2, 0.6, 50), ["FFA-1", "PPA"], rows, path, **TEXTS)


def _beside(path: Path) -> None:
    facts = {"settings": {"images": 30}, "subject": 1, "synthetic": True}
    numbers = {"medians": {"V1": {"r": 0.5, "explained_variance": 50.0}, "V2": {}}, **facts}
    numbers["intervals"] = {"V1": {"r": [0.4, 0.6]}}
    beside._draw(path, [("in", numbers), ("out", numbers)], ["V1", "V2"])


def _scatter(path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 50))
    draw_scatter(values, values + 1e-4, path, Words("subject 1 · all vertices · n = 3 images", "SYNTHETIC"))


def _histogram(path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 50))
    ours = {("cpu", "float32"): values + 1e-6, ("cpu", "bfloat16"): values + 1e-2}
    draw_histogram(ours, values, 1e-4, path, Words("subject 1 · all vertices · n = 3 images"))


def _regions(path: Path) -> None:
    rows = [{"region": f"R_{n} $x$", "p999": 1e-6, "largest": 1e-5 * (n + 1)} for n in range(4)]
    draw_regions(rows, 1e-3, path, Words("subject 1 · all vertices · n = 3 images"))


def _explained(path: Path) -> None:
    random = np.random.default_rng(0)
    kinds = ("integrated-gradients", "smooth-grad", "places read out")
    maps = {name: random.normal(size=(2, 32, 32)) for name in kinds}
    own = {name: values[0] for name, values in maps.items()}
    draw_maps(random.uniform(0, 255, (3, 32, 32)), own, image_limits(maps), path, **TEXTS)


def _reading(path: Path) -> None:
    random = np.random.default_rng(0)
    layers = random.dirichlet(np.ones(3), 20)
    found = Reading(random.normal(size=(20, 2)), layers, (0, 2, 5), np.full((16, 16), 1 / 256), layers.mean(0))
    draw_reading(found, np.full(20, 1 / 20), path, **TEXTS)


def _curves(path: Path) -> None:
    random = np.random.default_rng(0)
    curves = {name: (random.normal(size=(4, 9)), random.normal(size=(4, 9))) for name in ("insertion", "deletion")}
    draw_curves(np.linspace(0, 1, 9), curves, path, unit="response of V1 (z)", **TEXTS)


def _sheet(path: Path) -> None:
    images = np.zeros((5, 3, 16, 16), np.uint8)
    scores = {"value": np.arange(5.0), "FFA-1 + FFA-2 over baseline": np.arange(5.0)}
    rows = zip(range(5), *scores.values(), strict=True)
    save_figure(contact_sheet(images, scores, True, "Synthesized images · subject 1"), path, ("image", *scores), rows)


LATER = [_sets, _beside, _scatter, _regions, _explained, _curves]
FIGURES = [_control, _histogram, _reading, _sheet, *(pytest.param(one, marks=pytest.mark.nightly) for one in LATER)]


@pytest.mark.parametrize("draw", FIGURES)
def test_figures_of_experiments_stand_alone(draw: Callable[[Path], None], tmp_path: Path) -> None:
    """Each is a PNG, a PDF a column wide with texts of 6 points and more, and a CSV."""
    draw(tmp_path / "x.png")
    check_figure(tmp_path / "x.png")


def test_layers_have_intervals_over_vertices() -> None:
    """Shares with a known spread: the interval is about as wide as the standard error says."""
    random = np.random.default_rng(0)
    layers = np.clip(random.normal(0.5, 0.1, (400, 1)), 0, 1)
    layers = np.concatenate([layers, 1 - layers], axis=1)
    found = Reading(np.zeros((400, 2)), layers, (0, 1), np.zeros((16, 16)), layers.mean(0))
    first, second = layer_intervals(found, np.full(400, 1 / 400))
    assert first.high - first.low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.1)
    assert second.low == pytest.approx(1 - first.high, abs=2e-3)
    alone = layer_intervals(found, np.eye(400)[0])
    assert np.isnan(alone[0].low)

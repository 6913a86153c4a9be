"""Control: the images chosen are those that go the farthest, sets beat random ones, planted preferences are found."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution
from berg_jax.cli.app import app
from berg_jax.convert.synthetic import natural_like_images
from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.experiments.control import experiment as control
from berg_jax.experiments.control.choosing import goals, judges
from berg_jax.experiments.control.experiment import control_regions
from berg_jax.experiments.control.report import file_name, goal_maps, images_sections, numbers_section
from berg_jax.experiments.control.uncertainty import alignment_interval, goal_p, shift_intervals
from berg_jax.experiments.reporting.results import write_numbers
from berg_jax.experiments.reporting.statistics import NO_INTERVAL, Interval
from berg_jax.experiments.representations.dissimilarity import dissimilarities
from berg_jax.experiments.synthesis.search.stored import control_among
from berg_jax.stream.sources.open import open_source

from ..conftest import Golden

ROIS = ("FFA-1", "PPA")
QUIET = Execution(batch_size=24, show_progress=False)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "images.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Images of a few kinds of contrast, on disk."""
    images = natural_like_images(24, 5, 64)
    images[::2] = 127 + (images[::2].astype(int) - 127) // 3
    path = tmp_path_factory.mktemp("control") / "images.npy"
    np.save(path, images)
    return path, images


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where responses are computed once."""
    return tmp_path_factory.mktemp("controlled")


@pytest.mark.nightly
def test_images_that_go_the_farthest_are_chosen(
    complement: Golden, shown: tuple[Path, np.ndarray], out: Path
) -> None:
    """Against responses and sums written out."""
    path, images = shown
    subject = berg_jax.Subject(complement.folder, 2)
    said = control_regions([subject], out, path, rois=ROIS, k=3, margin=0.01, execution=QUIET)
    assert "1 subject: 24 images" in said
    responses = np.asarray(complement.model(images))
    means = np.stack([responses[:, subject.vertices(roi).global_indices].mean(1) for roi in ROIS], 1)
    away = means - means.mean(0)
    results = json.loads((out / "results.json").read_text())
    assert results["subjects"][0]["settings"]["rois"] == list(ROIS)
    rows = rows_of(out)
    for entry, (goal, directions) in zip(results["goals"], goals(ROIS).items(), strict=True):
        ways = away * directions
        expected = [i for i in np.argsort(-ways.sum(1)) if (ways[i] >= 0.01).all()][:3]
        chosen = [row for row in rows if row["goal"] == goal]
        assert [int(row["image"]) for row in chosen] == expected
        assert entry["images"] == len(expected) > 0
        np.testing.assert_allclose(entry["ways"], [ways[expected].mean(0)], atol=1e-5)
        got = [[float(row[f"way in {roi}"]) for roi in ROIS] for row in chosen]
        np.testing.assert_allclose(got, ways[expected], atol=1e-5)
        inside = np.unique(np.concatenate([subject.vertices(roi).global_indices for roi in ROIS]))
        planted = np.full(160, np.nan)
        planted[inside] = (responses[expected].mean(0) - responses.mean(0))[inside]
        maps = berg_jax.surface.read(out / "subj02" / "maps" / f"{file_name(goal)}.func.gii", 80)
        np.testing.assert_allclose(maps, planted, atol=1e-5)
    with Image.open(out / "control.png") as picture:
        assert min(picture.size) > 500
    page, config = (out / "report.html").read_text(), json.loads((out / "config.json").read_text())
    assert page.count("<figure>") == 3 + 4  # of this size there are no brains
    assert page.count("<tr><td>") == 4
    assert (
        f"{path} --berg-dir {complement.folder} --subject 2 --output {out} --batch-size 24 --k 3 --margin 0.01"
        in config["command"]
    )
    assert config["provenance"]["subj02"]["settings"]["k"] == 3
    first = next(row for row in rows if row["goal"] == "FFA-1 up, PPA down")
    with Image.open(out / "chosen" / "FFA-1-up-PPA-down-1.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1), images[int(first["image"])])
    none = control_regions([subject], out, path, rois=ROIS, margin=9, execution=QUIET)
    assert none.count("no image passes the margin") == 4
    with pytest.raises(ResourceError, match=r"rois is \['FFA-1', 'PPA'\] there and \['PPA', 'FFA-1'\] now"):
        control_regions([subject], out, path, rois=ROIS[::-1], execution=QUIET)


@pytest.mark.nightly
def test_sets_beat_random_ones(complement: Golden, shown: tuple[Path, np.ndarray], out: Path) -> None:
    path, _ = shown
    options: dict[str, Any] = {
        "set_size": 5,
        "population": 20,
        "generations": 15,
        "execution": QUIET,
    }
    control_regions([berg_jax.Subject(complement.folder, 2)], out, path, rois=ROIS, kind="multivariate", **options)
    results = json.loads((out / "results.json").read_text())
    stored = berg_jax.open_responses(out / "subj02" / "responses.zarr")
    for entry in results["goals"]:
        chosen = [int(row["image"]) for row in rows_of(out) if row["goal"] == entry["goal"]]
        assert len(set(chosen)) == 5
        responses = [stored.sel(roi=roi).values[chosen] for roi in ROIS]
        expected = np.corrcoef(*(dissimilarities(one) for one in responses))[0, 1]
        np.testing.assert_allclose(entry["alignment"], [expected], atol=1e-4)
    aligned, disentangled = results["goals"]
    assert aligned["alignment"][0] > aligned["random sets"][0] + 0.2
    assert abs(disentangled["alignment"][0]) < 0.05
    for entry in (aligned, disentangled):
        assert len(entry["p"]) == 1
        assert 1 / 1001 <= entry["p"][0] < 0.05
        assert entry["random range"][0][0] < entry["random sets"][0] < entry["random range"][0][1]
        assert entry["intervals"][0][0] <= entry["alignment"][0] <= entry["intervals"][0][1]
    figures = ("control", "bars", "search", "responses", "dissimilarities")
    pages = {"report.html", "config.json", "chosen"}
    pages |= {f"{name}{suffix}" for name in figures for suffix in (".png", ".pdf", ".csv")}
    assert {path.name for path in out.iterdir()} == {"images.csv", "results.json", "subj02", *pages}
    assert {"align.lh.func.gii", "disentangle.rh.func.gii"} <= {p.name for p in (out / "subj02" / "maps").iterdir()}
    assert "<td>disentangle</td>" in (out / "report.html").read_text()


def test_others_choose() -> None:
    assert [x.tolist() for x in judges(1)] == [[True]]
    assert [x.tolist() for x in judges(3)] == [[False, True, True], [True, False, True], [True, True, False]]


def test_maps_are_of_the_chosen_less_all() -> None:
    responses = np.array([[1, 2], [3, 6], [np.nan, np.nan], [5, 10]], np.float32)
    chosen = {"both up": np.array([1, 3]), "A/B up, PPA down": np.array([], int)}
    maps = goal_maps(responses, chosen, {"both up": np.array([[10, 20]], np.float32)})
    np.testing.assert_allclose(maps["both-up"], [1, 2])
    np.testing.assert_allclose(maps["both-up-synthesized"], [7, 14])
    assert np.isnan(maps["A-B-up-PPA-down"]).all()


def test_a_page_shows_what_was_chosen(tmp_path: Path) -> None:
    np.save(
        tmp_path / "images.npy", np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((3, 32, 32), np.uint8)
    )
    source = open_source(tmp_path / "images.npy", "error")
    chosen = {"A/B up, C down": np.arange(30, 20, -1), "both up": np.array([], int)}
    made = {"A/B up, C down": np.full((2, 3, 32, 32), 99, np.uint8)}
    read = source.read
    source.read = lambda rows: read(rows) - np.float32(0.3)  # as of images of several sizes, not whole numbers
    one, none = images_sections("univariate", source, chosen, made, {"k": 10}, tmp_path)
    (gallery,) = one.parts
    assert [lines[0] for _, lines in gallery.tiles] == ["30", "29", "28", "27", "26", "25", *["synthesized"] * 2]
    assert [np.unique(Image.open(path))[-1] for path, _ in gallery.tiles] == [30, 29, 28, 27, 26, 25, 99, 99]
    assert (gallery.tiles[0][0].name, gallery.caption[:27]) == ("A-B-up-C-down-1.png", "6 of the 10 chosen images, ")
    assert (none.parts[0].tiles, none.parts[0].caption) == ([], "No image passes the margin.")
    assert len(list(tmp_path.glob("*/A-B-up-C-down-?.png"))) == 6 + 2
    write_numbers(tmp_path, {"goals": [{"goal": goal} for goal in chosen]})
    (tmp_path / "chosen" / "mine.png").touch()
    (spread,) = images_sections("multivariate", source, {"align": np.arange(35)}, {}, {}, tmp_path)
    assert [lines[0] for _, lines in spread.parts[0].tiles] == [str(2 * n) for n in range(18)]
    left = {path.name for path in tmp_path.rglob("*.png")}  # not what the run before had chosen
    assert left == {"mine.png", *(f"align-{n}.png" for n in range(1, 19))}
    rows = [{"goal": "both up", "counts": [3, 2], "ways": [(1, 2), (3, 4)], "synthesized": [(5, 6), (7, 8)]}]
    rows[0]["intervals"] = [[Interval(0.5, 1.5), Interval(1, 3)], [NO_INTERVAL] * 2]
    rows[0]["synthesized intervals"] = [[Interval(4, 6), Interval(5, 7)], [NO_INTERVAL] * 2]
    _, table = numbers_section("univariate", ["V1", "V2"], [1, 4], rows, {"synthesize": 2}, tmp_path).parts
    assert table.rows == [
        ("both up", 1, "3 chosen", 1, 2, "0.500 to 1.500", "1.000 to 3.000"),
        ("both up", 1, "2 synthesized", 5, 6, "4.000 to 6.000", "5.000 to 7.000"),
        ("both up", 4, "2 chosen", 3, 4, "–", "–"),
        ("both up", 4, "2 synthesized", 7, 8, "–", "–"),
        ("both up", "mean", "n = 2 subjects", 2, 3, "–", "–"),
    ]
    rows[0] |= {"counts": [3] * 3, "ways": [(1, 2), (2, 2), (3, 5)], "intervals": [[NO_INTERVAL] * 2] * 3}
    rows[0]["synthesized"] = rows[0]["ways"]
    rows[0]["synthesized intervals"] = rows[0]["intervals"]
    _, table = numbers_section("univariate", ["V1", "V2"], [1, 4, 5], rows, {"synthesize": 2}, tmp_path).parts
    low, high = stats.t.interval(0.95, 2, 2, stats.sem([1, 2, 3]))
    assert table.rows[-1][:6] == ("both up", "mean", "n = 3 subjects", 2, 3, f"{low:.3f} to {high:.3f}")


def test_a_chosen_set_has_a_p_against_random_sets() -> None:
    """99 random sets, some as good → (1 + these) / 100, for more alignment as for less of either sign."""
    random_sets = np.linspace(-0.5, 0.48, 99)
    assert goal_p("align", 0.9, random_sets) == 0.01
    assert goal_p("align", float(random_sets[-3]), random_sets) == 0.04
    assert goal_p("disentangle", -0.005, random_sets) == pytest.approx(0.02)  # 0, and itself
    assert goal_p("disentangle", 2, random_sets) == 1
    rows = [{"goal": "align", "images": 5, "alignment": [0.9], "random sets": [0.1], "p": [0.01]}]
    rows[0] |= {"intervals": [Interval(0.8, 0.95)], "random range": [(-0.4, 0.4)], "random count": 99}
    _, table = numbers_section("multivariate", ["V1", "V2"], [1], rows, {}, Path()).parts
    assert table.rows == [["align", 1, 5, 0.9, "0.800 to 0.950", 0.1, "-0.400 to 0.400", 0.01]]
    assert "99 random sets and this one" in table.caption
    assert "searched for by the responses that judge it" in table.caption
    rows[0] |= {name: rows[0][name] * 2 for name in ("alignment", "random sets", "p", "intervals", "random range")}
    _, table = numbers_section("multivariate", ["V1", "V2"], [1, 2], rows, {}, Path()).parts
    assert "searched for" not in table.caption


def test_intervals_of_control_are_of_images() -> None:
    random = np.random.default_rng(0)
    ways = random.normal([1, 2], 0.5, (40, 2))
    for column, (low, high) in enumerate(shift_intervals(ways)):
        expected = stats.t.interval(0.95, 39, ways[:, column].mean(), stats.sem(ways[:, column]))
        np.testing.assert_allclose([low, high], expected, atol=0.04)
    assert all(map(np.isnan, np.ravel(shift_intervals(ways[:4]))))
    causes = random.normal(size=(30, 6))
    both = np.hstack([causes @ random.normal(size=(6, 50)), causes @ random.normal(size=(6, 50))])
    first, second = np.repeat([[1, 0], [0, 1]], 50, axis=1)
    alignment = np.corrcoef(*(dissimilarities(both[:, w != 0]) for w in (first, second)))[0, 1]
    low, high = alignment_interval(both, first, second)
    assert 0 < low < alignment < high < 1
    assert np.isnan(alignment_interval(both[:4], first, second)).all()


def test_none_may_pass_and_a_missing_image_does_not() -> None:
    means = np.array([[3.0, 1], [np.nan, np.nan], [1, 3], [2, 2]])
    found = control_among(list("abcd"), means, (1, -1), margin=0.5)
    np.testing.assert_allclose(found.baseline, [2, 2])
    assert found.found.names == ["a"]
    np.testing.assert_allclose(found.shifts, [[1, 1]])
    assert len(control_among(list("abcd"), means, (1, 1), margin=0.5).shifts) == 0


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"rois": ["PPA"]}, InvalidParameterError, "of two ROIs"),
        ({"rois": ["PPA", "PPA"]}, InvalidParameterError, "of two ROIs"),
        ({"rois": ["PPA", "V9"]}, InvalidParameterError, "Invalid ROI"),
        ({"subjects": [2, 2]}, InvalidParameterError, "each once"),
        ({"kind": "other"}, InvalidParameterError, "must be one of"),
        ({"k": 0}, InvalidParameterError, "k and steps of at least 1"),
        ({"synthesize": 1, "steps": 0}, InvalidParameterError, "k and steps of at least 1"),
        ({"kind": "multivariate", "set_size": 2}, InvalidParameterError, "set_size must be at least 3, got 2"),
        ({"kind": "multivariate", "population": 1}, InvalidParameterError, "population must be at least 8, got 1"),
        ({"kind": "multivariate", "generations": 0}, InvalidParameterError, "generations must be at least 1, got 0"),
        ({"kind": "multivariate", "set_size": 13}, InvalidParameterError, "half of the 24 images, got 13"),
        ({"images": "nowhere"}, ModelNotFoundError, "nowhere"),
        ({"images": None}, InvalidParameterError, "Give images"),
    ],
)
def test_mistakes(
    options: dict[str, Any],
    kind: type[BERGError],
    said: str,
    complement: Golden,
    shown: tuple[Path, np.ndarray],
    tmp_path: Path,
) -> None:
    arguments = {"subjects": [2], "images": shown[0], "execution": QUIET, **options}
    arguments["subjects"] = [berg_jax.Subject(complement.folder, number) for number in arguments["subjects"]]
    with pytest.raises(kind, match=said):
        control_regions(output=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_set_of_too_many_drawings_leaves_no_folder(demo: Path, tmp_path: Path) -> None:
    """A set larger than half of the demo's drawings → refused, and no folder with drawings alone is left."""
    with pytest.raises(InvalidParameterError, match="half of the 300 images, got 151"):
        control_regions([berg_jax.Subject("demo", 1)], tmp_path / "out", kind="multivariate", set_size=151)
    assert not (tmp_path / "out").exists()


@pytest.mark.nightly
def test_planted_preferences_are_found(demo: Path, tmp_path: Path) -> None:
    """Places drive PPA against FFA-1, chosen by another subject; synthesized images go farther than any other."""
    command = ["control", "--berg-dir", "demo", "--subject", "1", "--subject", "2", "--output", str(tmp_path / "u")]
    result = CliRunner().invoke(app, [*command, "--k", "10", "--synthesize", "1", "--steps", "32"])
    assert result.exit_code == 0, result.output
    print(f"\n{result.output}")
    rows = rows_of(tmp_path / "u")
    places = range(control._NATURAL + 2 * control._EACH, control._NATURAL + 3 * control._EACH)
    chosen = [int(row["image"]) for row in rows if row["goal"] == "FFA-1 down, PPA up"]
    assert np.isin(chosen, places).mean() > 0.5  # 20 of 300 are
    opposite = [int(row["image"]) for row in rows if row["goal"] == "FFA-1 up, PPA down"]
    assert not np.isin(opposite, places).any()
    for entry in json.loads((tmp_path / "u" / "results.json").read_text())["goals"]:
        assert entry["images"] == 10
        assert np.min(entry["ways"]) > 0.1
        assert np.min(entry["synthesized"]) > 2
    assert len(list((tmp_path / "u" / "synthesized").iterdir())) == 4
    page = (tmp_path / "u" / "report.html").read_text()
    assert page.count("<figure>") == 4 + 4 + 2 * 8
    assert "FFA-1 up, PPA down: mean response to these images" in page
    assert "FFA-1 up, PPA down, synthesized images: mean response to these images" in page
    subject = berg_jax.Subject("demo", 2)
    size = subject.hemisphere_size
    ways = berg_jax.surface.read(tmp_path / "u" / "subj02" / "maps" / "FFA-1-down-PPA-up.func.gii", size)
    assert ways[subject.vertices("PPA").global_indices].mean() > 0.1
    assert ways[subject.vertices("FFA-1").global_indices].mean() < -0.1


@pytest.mark.nightly
def test_geometry_is_controlled_in_who_did_not_choose(demo: Path, tmp_path: Path) -> None:
    command = ["control", "--berg-dir", "demo", "--subject", "1", "--subject", "2", "--output", str(tmp_path)]
    command += ["--kind", "multivariate", "--generations", "100"]
    stopped = CliRunner().invoke(app, [*command, "--time-limit", "0"])
    assert stopped.exit_code == 75
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    print(f"\n{result.output}")
    aligned, disentangled = json.loads((tmp_path / "results.json").read_text())["goals"]
    assert np.min(aligned["alignment"]) > np.max(aligned["random sets"]) + 0.15
    assert np.max(np.abs(disentangled["alignment"])) < np.min(disentangled["random sets"]) - 0.15

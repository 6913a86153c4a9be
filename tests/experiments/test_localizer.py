"""Preferences: planted ones are found, tests agree with scipy's, and false discoveries stay few."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import ListedColormap
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

import berg_jax
from berg_jax import Execution, Selection, surface
from berg_jax.cli.app import app
from berg_jax.demo import images as drawings
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, Unfinished
from berg_jax.experiments.localizer import experiment as localizer
from berg_jax.experiments.localizer.contrasts import (
    design_of,
    largest_p,
    over_subjects,
    preferences,
    significance,
)
from berg_jax.experiments.localizer.experiment import localize, vertex_maps
from berg_jax.experiments.localizer.report import too_few
from berg_jax.experiments.localizer.rois import roi_preferences
from berg_jax.experiments.reporting.pictures import draw_table
from berg_jax.published.berg_dir import SubjectFiles
from berg_jax.stream import Process
from berg_jax.stream.reducers import GLM

from ..conftest import Golden
from .reporting.standing import check_figure

IDS = [f"{category}/{n}.png" for category in ("bodies", "faces", "places") for n in range(4)]


def glm(design: Any, responses: np.ndarray) -> dict[str, np.ndarray]:
    reducer = GLM(design.matrix, design.weights, responses.shape[1], names=design.names)
    indices, valid = jnp.arange(len(responses)), jnp.ones(len(responses), bool)
    state = jax.jit(reducer.update)(reducer.init(), jnp.asarray(responses, jnp.float32), indices, valid)
    return reducer.finalize(state)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """By its definition: the smallest level at which a hypothesis is rejected."""
    ordered = np.sort(p)
    levels = [min(len(p) * ordered[k:] / np.arange(k + 1, len(p) + 1)) for k in range(len(p))]
    return np.minimum(1, [levels[np.searchsorted(ordered, value)] for value in p])


def test_categories_and_contrasts(tmp_path: Path) -> None:
    design = design_of(IDS)
    assert design.categories == design.names == ["bodies", "faces", "places"]
    np.testing.assert_array_equal(design.labels, np.repeat([0, 1, 2], 4))
    np.testing.assert_allclose(design.weights[1], [-0.5, 1, -0.5])
    chosen = design_of(IDS, None, ["faces > places", "bodies + faces > places", "places"])
    np.testing.assert_allclose(chosen.weights, [[0, 1, -1], [0.5, 0.5, -1], [-0.5, -0.5, 1]])
    table = tmp_path / "t.csv"
    table.write_text("category,image\n" + "".join(f"{'ab'[n % 2]},{n}\n" for n in range(6)))
    design = design_of([str(n) for n in (5, 0, 2, 3)], table)
    assert [design.categories[label] for label in design.labels] == ["b", "a", "a", "b"]


@pytest.mark.parametrize(
    ("ids", "contrasts", "said"),
    [
        (["a/1", "a/2", "b/1"], [], "Category 'b' has 1 image; a t needs at least 2"),
        (["a/1", "a/2"], [], "All 2 images are of the category 'a': there is no contrast"),
        (["1.png", "2.png"], [], "'1.png' lies in no category's folder"),
        (IDS, ["faces > hands"], r"names \['hands'\]; the categories are \['bodies', 'faces', 'places'\]"),
        (IDS, ["faces > faces"], "must have categories at the left, and others at the right"),
        (IDS, ["bodies + faces + places"], "must have categories at the left, and others at the right"),
        (IDS, ["faces", "faces"], "given once"),
    ],
)
def test_designs_that_make_no_sense(ids: Sequence[str], contrasts: Sequence[str], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        design_of(ids, None, contrasts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,kind\n1,a\n", "columns image and category"),
        ("", "columns image and category"),
        ("image,category\n0,a\n", "no category for 1 images, such as '1'"),
        ("image,category\n0,a\n0,b\n", "line 3: image '0' must have one category"),
        ("image,category\n0,\n", "line 2: image '0' must have one category"),
    ],
)
def test_tables_that_make_no_sense(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InvalidParameterError, match=said):
        design_of(["0", "1"], tmp_path / "t.csv")
    with pytest.raises(ModelNotFoundError, match="no table"):
        design_of(["0"], tmp_path / "u.csv")


def test_tests_agree_with_scipy_s() -> None:
    random = np.random.default_rng(0)
    ids = [f"{'aab'[n % 3]}/{n}" for n in range(30)]
    design = design_of(ids)
    responses = random.normal(3, 1, (30, 50)).astype(np.float32)
    responses[design.labels == 0, :10] += 2
    maps = vertex_maps(design, glm(design, responses), 0.05)
    a, b = (responses[design.labels == k].astype(np.float64) for k in (0, 1))
    expected = stats.ttest_ind(a, b)
    np.testing.assert_allclose(maps["t_a"], expected.statistic, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(maps["t_b"], -maps["t_a"])
    np.testing.assert_allclose(maps["q_a"], benjamini_hochberg(expected.pvalue), rtol=1e-3, atol=1e-6)
    pooled = np.sqrt((19 * a.var(0, ddof=1) + 9 * b.var(0, ddof=1)) / 28)
    np.testing.assert_allclose(maps["d_a"], (a.mean(0) - b.mean(0)) / pooled, rtol=1e-4, atol=1e-5)
    differ = benjamini_hochberg(stats.f_oneway(a, b).pvalue) < 0.05
    np.testing.assert_array_equal(np.isnan(maps["preference"]), ~differ)
    assert (maps["preference"][:10] == 0).sum() >= 9
    np.testing.assert_allclose(maps["preference_q"], benjamini_hochberg(expected.pvalue), rtol=1e-3, atol=1e-6)


def test_what_does_not_vary_is_neither_significant_nor_in_the_way() -> None:
    t = np.array([[5.0, np.nan, 0.1, 0.2]])
    _, q = significance(t, 20)
    np.testing.assert_allclose(q[0, [0, 2, 3]], benjamini_hochberg(2 * stats.t.sf(t[0, [0, 2, 3]], 20)))
    assert np.isnan(q[0, 1])
    constant = preferences(np.zeros((2, 3)), np.zeros(3), np.array([5, 5]), 0.05)
    assert np.isnan(constant).all()


def test_paired_tests_over_subjects() -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(0.8, 1, (2, 8, 6))
    effects = left - right
    effects[3, 2] = np.nan
    effects[:7, 4] = np.nan
    effects[:, 5] = 0.25  # the same in everybody
    found = over_subjects(effects)
    for region in (0, 1, 3):
        expected = stats.ttest_rel(left[:, region], right[:, region])
        np.testing.assert_allclose([found["t"][region], found["p"][region]], expected, rtol=1e-10)
    kept = np.arange(8) != 3
    np.testing.assert_allclose(found["t"][2], stats.ttest_rel(left[kept, 2], right[kept, 2]).statistic)
    assert np.isnan(found["t"][[4, 5]]).all()
    np.testing.assert_array_equal(found["subjects"], [8, 8, 7, 8, 1, 8])
    np.testing.assert_allclose(found["q"][:4], benjamini_hochberg(found["p"][:4]))


def test_two_subjects_have_a_t_and_an_n_but_no_q() -> None:
    """Paired t over two subjects → n, t and p of one degree of freedom, no q, and a sentence that says so."""
    effects = np.array([[0.5, 0.2, 0.3], [0.6, 0.9, 0.2], [np.nan, np.nan, 0.4]])
    found = over_subjects(effects)
    np.testing.assert_array_equal(found["subjects"], [2, 2, 3])
    np.testing.assert_allclose(found["p"][:2], stats.ttest_1samp(effects[:2, :2], 0).pvalue)
    np.testing.assert_array_equal(np.isnan(found["q"]), [True, True, False])
    np.testing.assert_allclose(found["q"][2], found["p"][2])  # alone: those of two subjects are no tests beside it
    expected = stats.ttest_1samp(effects[:, 2], 0).confidence_interval()
    np.testing.assert_allclose([found["low"][2], found["high"][2]], expected)
    rows = [{key: values[index] for key, values in found.items()} for index in range(3)]
    assert too_few(rows[:2]).startswith("n = 2. A paired t over so few subjects")
    assert too_few(rows) is None


def test_a_maximum_among_near_equals_is_no_preference() -> None:
    """ROIs whose two best categories are alike, or all are → no preference is named; a clear best one is."""
    random = np.random.default_rng(0)
    design = design_of([f"{name}/{n}" for name in ("bodies", "faces", "places") for n in range(30)])
    means = np.array([[0, 1.0, 0], [1.0, 1.02, 0], [0.5, 0.5, 0.5]])  # of each ROI
    responses = means[:, design.labels].T + random.normal(0, 0.5, (90, 3))
    clear, near, none = roi_preferences(design, responses, ["FFA", "STS", "V1"], 0.05)
    assert (clear.preferred, clear.said, clear.images) == ("faces", "faces", 30)
    assert near.preferred is None
    assert set(near.alike) == {"bodies", "faces"}
    assert near.q_differ < 0.001 < 0.05 < near.q_largest
    assert near.said.startswith("none (")
    assert (none.preferred, len(none.alike)) == (None, 3)
    groups = [responses[design.labels == k, 0] for k in range(3)]
    f = [stats.f_oneway(*(responses[design.labels == k, roi] for k in range(3))).pvalue for roi in range(3)]
    np.testing.assert_allclose([one.q_differ for one in (clear, near, none)], benjamini_hochberg(np.array(f)))
    expected = groups[1].mean() - np.mean([groups[0].mean(), groups[2].mean()])
    assert clear.difference.low < expected < clear.difference.high
    np.testing.assert_allclose(clear.mean - clear.others, expected)
    assert np.isnan(roi_preferences(design_of(IDS), responses[:12], ["a", "b", "c"], 0.05)[0].difference.low)


@pytest.mark.nightly
def test_preferences_are_seldom_named_by_chance() -> None:
    """2,000 ROIs whose two best of four categories are the same → one of the two is named in about 5%."""
    random = np.random.default_rng(0)
    design = design_of([f"{'abcd'[n % 4]}/{n}" for n in range(80)])
    responses = np.array([1, 1, 0, 0])[design.labels][:, None] + random.normal(size=(80, 2000))
    counts, groups = np.bincount(design.labels), [responses[design.labels == k] for k in range(4)]
    variance = sum(group.var(0, ddof=1) * 19 for group in groups) / 76
    wrong = (largest_p(np.stack([group.mean(0) for group in groups]), variance, counts) < 0.05).mean()
    print("near-equals of which one is named", wrong)
    assert wrong < 0.065


def write_drawings(folder: Path, kinds: Sequence[str], each: int) -> None:
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for index, image in enumerate(drawings(kind, each, 33)):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / kind / f"{index}.png")


@pytest.mark.nightly
def test_the_command_finds_planted_preferences(demo: Path, tmp_path: Path) -> None:
    write_drawings(tmp_path / "images", ("faces", "bodies", "places"), 20)
    person = berg_jax.Subject("demo", 1)
    truth = np.full(20_484, np.nan)
    for roi, value in (("FFA-1", 9), ("PPA", -4), ("EBA", -5)):
        truth[person.vertices(roi).global_indices] = value
    surface.save(truth, tmp_path / "tval.mgz")
    command = ["localize", str(tmp_path / "images"), "--berg-dir", "demo", "--subject", "1"]
    command += ["--roi", "FFA-1 + PPA + EBA", "--contrast", "faces", "--measured", f"faces={tmp_path / 'tval.mgz'}"]
    result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "SYNTHETIC" in result.output
    folder = tmp_path / "out" / "subj01"
    maps, facts = dict(np.load(folder / "maps.npz")), json.loads((folder / "results.json").read_text())
    vertices = berg_jax.Vertices(maps["lh"], maps["rh"], 10_242)
    categories = facts["settings"]["categories"]
    for roi, category in (("FFA-1", "faces"), ("PPA", "places"), ("EBA", "bodies")):
        inside = np.isin(vertices.global_indices, person.vertices(roi).global_indices)
        assert (maps["preference"][inside] == categories.index(category)).mean() > 0.9
        assert facts["preferring"][roi][categories.index(category)] > 0.9
        if category == "faces":
            selective = (maps["q_faces"] < 0.05) & (maps["t_faces"] > 0)
            assert selective[inside].mean() > 0.95
            assert selective[~inside].mean() < 0.05
            assert (maps["d_faces"][inside] > 1).mean() > 0.95
    assert facts["measured"][0]["r"] > 0.8
    low, high = facts["measured"][0]["interval"]
    assert low < facts["measured"][0]["r"] < high < 1
    with (folder / "rois.csv").open() as file:
        rows = {row["roi"]: row for row in csv.DictReader(file)}
    assert float(rows["FFA-1"]["faces"]) > float(rows["FFA-1"]["places"]) + 0.8
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure>") == 9
    assert "<td>faces</td>" in page
    assert (
        "--contrast faces --measured faces=" in json.loads((tmp_path / "out" / "config.json").read_text())["command"]
    )
    for name in ("t_faces", "preference", "rois"):
        check_figure(folder / f"{name}.png")
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 300


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": 5}, "alpha must be between 0 and 1, got 5"),
        ({"subjects": []}, "one or more subjects"),
        ({"measured": {"hands": "x.npz"}}, r"measured names \['hands'\]"),
        ({"contrasts": ["hands > faces"]}, r"names \['hands'\]"),
        ({"table": "trials.csv"}, r"trials\.csv is of images that are given: give them, too"),
    ],
)
def test_mistakes(options: dict[str, Any], said: str, demo: Path, tmp_path: Path) -> None:
    if "measured" in options:
        surface.save(np.zeros(20_484), tmp_path / "x.npz")
        options = {"measured": {"hands": tmp_path / "x.npz"}}
    with pytest.raises(InvalidParameterError, match=said):
        localize(output=tmp_path / "out", **{"subjects": [berg_jax.Subject("demo", 1)], **options})
    assert not (tmp_path / "out").exists()


@pytest.fixture
def both(overlay: Golden, complement: Golden, golden_source: Path, tmp_path: Path) -> Path:
    """A folder with two converted subjects."""
    folder = tmp_path / "berg"
    shutil.copytree(golden_source, folder)
    for golden in (overlay, complement):
        shutil.copytree(golden.folder, SubjectFiles(folder, golden.subject).converted)
    return folder


def test_a_process_goes_on_with_the_next_subject(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though others still work on the first one, which gives no result yet."""
    write_drawings(tmp_path / "images", ("faces", "places"), 2)
    asked = []
    monkeypatch.setattr(localizer, "stream", lambda *_, **options: asked.append(options) or {})
    subjects = [berg_jax.Subject(both, number) for number in (1, 2)]
    with pytest.raises(Unfinished, match="done its share"):
        localize(subjects, tmp_path / "out", tmp_path / "images", execution=Execution(process=Process(1, 3)))
    assert [options["output"].parent.name for options in asked] == ["subj01", "subj02"]
    assert [options["execution"].process for options in asked] == [Process(1, 3)] * 2


@pytest.mark.nightly
def test_processes_share_the_work_of_every_subject(both: Path, tmp_path: Path) -> None:
    write_drawings(tmp_path / "images", ("faces", "places"), 4)
    options: dict[str, Any] = {
        "images": tmp_path / "images",
        "subjects": [berg_jax.Subject(both, number) for number in (1, 2)],
    }
    quiet = {"batch_size": 1, "show_progress": False}
    localize(output=tmp_path / "alone", execution=Execution(**quiet), **options)
    for index in range(2):
        execution = Execution(process=Process(index, 2), **quiet)
        last = contextlib.nullcontext() if index else pytest.raises(Unfinished, match="done its share")
        with last:
            localize(output=tmp_path / "shared", execution=execution, **options)
    for subject in ("subj01", "subj02"):
        for name, values in np.load(tmp_path / "alone" / subject / "maps.npz").items():
            found = np.load(tmp_path / "shared" / subject / "maps.npz")[name]
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_command_s_pairs(demo: Path, tmp_path: Path) -> None:
    command = ["localize", "--berg-dir", "demo", "--subject", "1", "--measured", "x", "--output", str(tmp_path / "o")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "--measured must be a name and a path" in result.output


def test_names_have_colors_of_their_own() -> None:
    """The left hemisphere is all of the first name, the right one of the third; no color of others is between."""
    values = np.repeat([0.0, 2.0], 10_242)
    values[3] = np.nan
    colormap = ListedColormap(["#ff0000", "#00ff00", "#0000ff"])
    figure = surface.plot(values, views=("lateral",), flat=False, labels=["a", "b", "c"], colormap=colormap)
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[60:420, 60:, :3].astype(int)
    middle = image.shape[1] // 2 + 15
    strongest = np.where(np.ptp(image, axis=-1) > 60, image.argmax(-1), -1)
    left, right = strongest[:, : middle - 30], strongest[:, middle + 30 :]
    assert ((left == 0).sum() > 50_000, (right == 2).sum() > 50_000) == (True, True)
    assert not np.isin(left, (1, 2)).any()
    assert not np.isin(right, (0, 1)).any()
    for options in ({"labels": ["a", "b"]}, {"labels": []}, {"labels": ["a", "b", "c"], "limit": 2}):
        with pytest.raises(InvalidParameterError, match="whole numbers from 0"):
            surface.plot(values, **options)
    with pytest.raises(InvalidParameterError, match="not both"):
        surface.plot(values, labels=["a", "b", "c"], wheel=True)


def test_tables_as_figures(tmp_path: Path) -> None:
    draw_table(
        [[1, np.nan], [-2, 0]], ["V1", "FFA"], ["faces", "places"], "z", tmp_path / "x.png", title="T", note="n"
    )
    with Image.open(tmp_path / "x.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[..., 0] - pixels[..., 2] > 60).any()  # red
    assert (pixels[..., 2] - pixels[..., 0] > 60).any()
    with pytest.raises(InvalidParameterError, match="2 rows and 1 columns"):
        draw_table(np.zeros((2, 2)), ["a", "b"], ["c"], "z", tmp_path / "y.png", title="T")


@pytest.mark.nightly
def test_false_discoveries_are_few() -> None:
    """200 simulations of 400 vertices: of none with a preference, and of half of them with one."""
    random = np.random.default_rng(0)
    design = design_of([f"{'abcd'[n % 4]}/{n}" for n in range(60)])
    reducer = GLM(design.matrix, design.weights, 400, names=design.names)
    update = jax.jit(reducer.update)
    counts, indices, valid = np.bincount(design.labels), jnp.arange(60), jnp.ones(60, bool)
    alone, among, wrong, power = [], [], [], []
    for _ in range(200):
        responses = random.normal(size=(60, 400)).astype(np.float32)
        for planted in (False, True):
            if planted:
                responses[design.labels == 0, :200] += 1.2
            found = reducer.finalize(update(reducer.init(), jnp.asarray(responses), indices, valid))
            _, q = significance(found["t"], int(found["degrees_of_freedom"]))
            if not planted:
                alone.append((q < 0.05).mean())
                preferred = preferences(found["betas"], found["residual_variance"], counts, 0.05)
                wrong.append((~np.isnan(preferred)).mean())
            else:
                among.append((q[0, 200:] < 0.05).sum() / max((q[0] < 0.05).sum(), 1))
                power.append((q[0, :200] < 0.05).mean())
    print(
        "null vertices called", np.mean(alone), np.mean(wrong), "false of discoveries", np.mean(among), np.mean(power)
    )
    assert np.mean(alone) <= 0.05
    assert np.mean(wrong) <= 0.05
    assert np.mean(among) <= 0.05
    assert np.mean(power) > 0.8


@pytest.mark.nightly
def test_the_demo_s_default_with_two_subjects(demo: Path, tmp_path: Path) -> None:
    subjects = [berg_jax.Subject("demo", number) for number in (1, 2)]
    said = localize(subjects, tmp_path, selection=Selection("nsdgeneral"), execution=Execution(show_progress=False))
    assert "Subject 2 (SYNTHETIC" in said
    for subject in (1, 2):
        planted = berg_jax.Subject("demo", subject).metadata.raw["planted"]["preferences"]
        with (tmp_path / f"subj{subject:02d}" / "rois.csv").open() as file:
            means = {row.pop("roi"): {k: float(v) for k, v in row.items()} for row in csv.DictReader(file)}
        assert len(planted) == 17
        for roi, category in planted.items():
            assert max(means[roi], key=means[roi].get) == category
    with (tmp_path / "contrasts.csv").open() as file:
        rows = {(row["roi"], row["contrast"]): row for row in csv.DictReader(file)}
    assert float(rows["FFA-1", "faces"]["t"]) > 3
    assert (rows["FFA-1", "faces"]["subjects"], rows["FFA-1", "faces"]["q"]) == ("2", "")
    assert "Over subjects: n = 2." in said
    facts = json.loads((tmp_path / "subj01" / "results.json").read_text())
    named = {one["roi"]: one["preferred"] for one in facts["preferences"]}
    planted = berg_jax.Subject("demo", 1).metadata.raw["planted"]["preferences"]
    assert {roi: named[roi] for roi in planted} == planted

"""Localizer beside measured responses, shares of vertices, effects: oracles by scipy, planted answers, null rates."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app
from berg_jax.demo import images as drawings
from berg_jax.errors import InvalidParameterError, ModelNotFoundError
from berg_jax.experiments.accuracy import Trials
from berg_jax.experiments.accuracy.measured import image_means
from berg_jax.experiments.localizer import design_of, localize
from berg_jax.experiments.localizer.effects import effects_of
from berg_jax.experiments.localizer.measured import fit, measured_localizer
from berg_jax.experiments.localizer.shares import share_of_vertices
from berg_jax.vertices import Vertices

from ..conftest import Golden

CATEGORIES = ("faces", "places", "words")
IDS = [f"{category}/{n}" for category in CATEGORIES for n in range(8)]
SIMULATIONS = 200
MOST = int(stats.binom.ppf(0.99, SIMULATIONS, 0.05))  # p below 0.05 among so many nulls, with 99% certainty


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_model_is_scipy_s() -> None:
    design = design_of(IDS, contrasts=["faces > places", "words > faces + places"])
    responses = np.random.default_rng(0).normal(size=(24, 5))
    responses[:, 4] = np.nan
    found = fit(design, responses)
    f = stats.f_oneway(*(responses[design.labels == k, 0] for k in range(3)))
    between = sum(8 * (found["betas"][k, 0] - responses[:, 0].mean()) ** 2 for k in range(3)) / 2
    assert between / found["residual_variance"][0] == pytest.approx(f.statistic)
    t = (found["betas"][2, 1] - found["betas"][:2, 1].mean()) / np.sqrt(found["residual_variance"][1] * 1.5 / 8)
    assert found["t"][1, 1] == pytest.approx(t)
    two = design_of(IDS[:16])
    t = stats.ttest_ind(responses[:8, 2], responses[8:16, 2]).statistic
    assert fit(two, responses[:16])["t"][0, 2] == pytest.approx(t)
    assert np.isnan(found["t"][:, 4]).all()


def test_trials_are_averaged_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    design, vertices = design_of(IDS), Vertices(np.arange(7), np.arange(6), 20)
    trials = Trials(random.normal(size=(72, 13)).astype(np.float32), np.tile(np.arange(24), 3))
    trials.responses[:, 3] = np.nan  # not measured
    regions = {"A": Vertices([0, 1, 3], [], 20), "B": Vertices([3], [], 20)}

    def read(part: slice) -> Trials:
        return Trials(trials.responses[:, part], trials.images)

    whole = measured_localizer(design, read, vertices, regions)
    mean = trials.responses.astype(float).reshape(3, 24, 13).mean(0)
    np.testing.assert_allclose(image_means(trials, 24), mean)
    np.testing.assert_allclose(whole.responses[:, 0], mean[:, [0, 1]].mean(1))
    assert np.isnan(whole.responses[:, 1]).all()
    assert whole.trials == 72
    monkeypatch.setattr("berg_jax.experiments.localizer.measured._AT_ONCE", 4)
    parts = measured_localizer(design, read, vertices, regions)
    for name, values in whole.glm.items():
        np.testing.assert_array_equal(parts.glm[name], values)
    np.testing.assert_allclose(parts.responses, whole.responses)
    with pytest.raises(InvalidParameterError, match="No vertex has measured responses"):
        measured_localizer(
            design, lambda part: Trials(np.full((24, 13), np.nan)[:, part], np.arange(24)), vertices, regions
        )


def test_shares_of_vertices() -> None:
    vertices = Vertices([0, 1, 2, 3], [5], 10)
    preferred = np.array([0.0, 1, 1, np.nan, 2])
    shares = share_of_vertices(
        preferred, vertices, {"A": Vertices([0, 1, 2, 3], [], 10), "B": Vertices([], [5], 10)}, 3
    )
    assert shares == {"A": [0.25, 0.5, 0], "B": [0, 0, 1]}


def test_effects_and_their_intervals() -> None:
    """A planted difference has an interval around it that scipy's bootstrap has, too; few images have none."""
    random = np.random.default_rng(2)
    ids = [f"{category}/{n}" for category in CATEGORIES for n in range(40)]
    design = design_of(ids, contrasts=["faces > places"])
    responses = random.normal(size=(120, 2))
    responses[:40, 0] += 1.5
    planted, null = effects_of(1, design, responses, ["A", "B"])
    assert planted.effect == pytest.approx(responses[:40, 0].mean() - responses[40:80, 0].mean())
    assert planted.images == 80
    expected = stats.bootstrap(
        (responses[:40, 0], responses[40:80, 0]),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=0,
    ).confidence_interval
    np.testing.assert_allclose(planted.over_images, expected, atol=0.08)
    assert null.over_images.low < 0 < null.over_images.high
    few = effects_of(1, design_of(IDS[:4] + IDS[8:12]), responses[:8], ["A", "B"])
    assert np.isnan(few[0].over_images.low)


@pytest.fixture(scope="module")
def study(complement: Golden, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Images of three categories with a table, and trials in which every vertex prefers the third."""
    folder = tmp_path_factory.mktemp("study")
    random = np.random.default_rng(3)
    np.save(folder / "images.npy", random.integers(0, 256, (24, 3, 224, 224), dtype=np.uint8))
    (folder / "categories.csv").write_text(
        "\n".join(["image,category", *(f"{n},{IDS[n].split('/')[0]}" for n in range(24))])
    )
    trials = np.tile(np.arange(24), 2)
    betas = random.normal(size=(48, 160)) + 3 * (trials >= 16)[:, None]
    np.save(folder / "betas.npy", betas)
    rows = [f"{image},{index // 24}" for index, image in enumerate(trials)]
    (folder / "trials.csv").write_text("\n".join(["image,session", *rows]))
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.nightly
def test_the_command_shows_both(study: dict[str, Path], complement: Golden, tmp_path: Path) -> None:
    command = ["localize", str(study["images"]), "--table", str(study["categories"]), "--subject", "2"]
    command += ["--berg-dir", str(complement.folder), "--output", str(tmp_path / "out"), "--contrast", "words"]
    command += ["--betas", str(study["betas"]), "--trials", str(study["trials"])]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "measured words: r = " in result.output
    folder = tmp_path / "out" / "subj02"
    maps = dict(np.load(folder / "maps.npz"))
    assert (maps["measured_preference"] == 2).mean() > 0.9
    betas = np.load(study["betas"]).reshape(2, 24, -1)
    mean = ((betas - betas.mean(1, keepdims=True)) / betas.std(1, keepdims=True)).mean(0)
    sides = mean[16:].mean(0) - (mean[:8].mean(0) + mean[8:16].mean(0)) / 2
    residual = sum(((mean[k : k + 8] - mean[k : k + 8].mean(0)) ** 2).sum(0) for k in (0, 8, 16)) / 21
    np.testing.assert_allclose(maps["measured_t_words"], sides / np.sqrt(residual * 1.5 / 8), rtol=1e-3)
    rows = {(row["roi"], row["category"], row["kind"]): row for row in table(folder / "beside.csv")}
    rois = {roi for roi, *_ in rows}
    for roi in rois:
        measured = {name: float(rows[roi, name, "measured"]["mean"]) for name in CATEGORIES}
        assert max(measured, key=measured.__getitem__) == "words"
        assert float(rows[roi, "words", "measured"]["low"]) > measured["faces"]
    for name in ("subj02/beside", "subj02/shares", "effects"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert min(picture.size) > 250
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Beside measured responses, subject 2" in page
    shares = table(folder / "shares.csv")
    assert {row["roi"] for row in shares} == rois
    assert all(sum(float(row[name]) for name in (*CATEGORIES, "none")) == pytest.approx(1) for row in shares)
    assert {row["roi"] for row in table(tmp_path / "out" / "effects.csv")} == rois


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"trials": "trials"}, InvalidParameterError, "give betas, too"),
        ({"zscored": True}, InvalidParameterError, "give betas, too"),
        ({"betas": "betas"}, InvalidParameterError, "needs a table"),
        ({"betas": "nothing", "trials": "trials"}, ModelNotFoundError, "no folder or file"),
        ({"betas": "images", "trials": "trials"}, InvalidParameterError, r"of shape \(48, vertices\)"),
    ],
)
def test_mistakes(
    options: dict[str, Any],
    kind: type[Exception],
    said: str,
    study: dict[str, Path],
    complement: Golden,
    tmp_path: Path,
) -> None:
    given = {name: study.get(value, value) if isinstance(value, str) else value for name, value in options.items()}
    subject = berg_jax.Subject(complement.folder, 2)
    with pytest.raises(kind, match=said):
        localize([subject], tmp_path / "out", study["images"], table=study["categories"], **given)
    assert not (tmp_path / "out").exists()


def write_drawings(folder: Path, kinds: dict[str, str], each: int) -> Path:
    """Drawings of some kinds under other names, such as places as large objects."""
    for name, kind in kinds.items():
        (folder / name).mkdir(parents=True)
        for index, image in enumerate(drawings(kind, each, 33)):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / name / f"{index}.png")
    return folder


def localized(folder: Path, output: Path, *options: str) -> None:
    command = ["localize", str(folder), "--berg-dir", "demo", "--output", str(output), *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output


@pytest.mark.nightly
def test_recipes_find_what_is_planted(demo: Path, tmp_path: Path) -> None:
    """The page's recipes with drawings under their names: food in FFA, a tripartite organization, sizes in PPA."""
    roi = ("--roi", "FFA-1 + PPA + EBA")
    food = {"food": "faces", "faces": "objects", "bodies": "bodies", "places": "places", "words": "words"}
    folder = write_drawings(tmp_path / "food_set", food, 10)
    contrast = "food > faces + bodies + places + words"
    localized(folder, tmp_path / "food", "--subject", "1", *roi, "--contrast", contrast)
    effects = {row["roi"]: row for row in table(tmp_path / "food" / "effects.csv")}
    assert float(effects["FFA-1"]["low"]) > 0
    assert float(effects["PPA"]["high"]) < float(effects["FFA-1"]["low"])
    three = {"animals": "bodies", "large": "places", "small": "faces"}
    localized(write_drawings(tmp_path / "photographs", three, 10), tmp_path / "three", "--subject", "1", *roi)
    shares = {row["roi"]: row for row in table(tmp_path / "three" / "subj01" / "shares.csv")}
    for region, name in (("EBA", "animals"), ("PPA", "large"), ("FFA-1", "small")):
        assert float(shares[region][name]) > 0.6
    sizes = write_drawings(tmp_path / "sizes", {"large": "places", "small": "faces"}, 10)
    subjects = ("--subject", "1", "--subject", "2", "--subject", "3")
    localized(sizes, tmp_path / "out", *subjects, "--roi", "FFA-1 + PPA", "--contrast", "large > small")
    group = {row["roi"]: row for row in table(tmp_path / "out" / "contrasts.csv")}
    assert (group["PPA"]["subjects"], float(group["PPA"]["q"]) < 0.05, float(group["PPA"]["low"]) > 0) == (
        "3",
        True,
        True,
    )
    assert float(group["FFA-1"]["high"]) < 0
    each = [float(row["effect"]) for row in table(tmp_path / "out" / "effects.csv") if row["roi"] == "PPA"]
    expected = stats.ttest_1samp(each, 0)
    assert float(group["PPA"]["t"]) == pytest.approx(expected.statistic, rel=1e-3)
    assert min(each) > 0


@pytest.mark.nightly
def test_effects_are_seldom_claimed_by_chance() -> None:
    """200 nulls → an interval over images without 0 at most as often as chance allows (99%)."""
    ids = [f"{category}/{n}" for category in CATEGORIES[:2] for n in range(40)]
    design = design_of(ids, contrasts=["faces > places"])
    false = 0
    for seed in range(SIMULATIONS):
        (row,) = effects_of(1, design, np.random.default_rng(seed).normal(size=(80, 1)), ["A"])
        false += not row.over_images.low <= 0 <= row.over_images.high
    print(f"\n{false} of {SIMULATIONS} effects by chance, at most {MOST}")
    assert false <= MOST

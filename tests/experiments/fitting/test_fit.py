"""A whole fit: a person from images and trials whom every command takes, refusals, kills, and planted truth."""

from __future__ import annotations

import json
import signal as signals
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import berg_jax
from berg_jax import BERG, Selection, Subject
from berg_jax.cli.app import app
from berg_jax.demo import images as drawings
from berg_jax.demo.geography import PREFERENCES
from berg_jax.demo.stimuli import CATEGORIES
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.experiments import ExperimentResult
from berg_jax.experiments.fitting import fit
from berg_jax.experiments.fitting.inputs.person import Person
from berg_jax.experiments.fitting.outputs.evaluation import evaluate, parse_sizes
from berg_jax.model.checkpoint import read_part
from berg_jax.published import MODEL_ID
from berg_jax.published.berg_dir import subjects_sentence
from berg_jax.published.metadata import noise_ceiling
from berg_jax.vertices import Vertices

from ...conftest import changed
from ...kills import Program
from ..reporting.standing import check_figure
from .people import IMAGES, ONE, REPEATS, Data, write_person


@pytest.fixture(scope="module")
def chosen(data: Data) -> np.ndarray:
    """Some vertices of each part, the two bad ones among them, global and ascending."""
    part1 = read_part(data.donor.folder, "part1").vertices
    return np.unique([3, 100, *part1[:5], *np.setdiff1d(np.arange(160), part1)[[1, 20, 50, 70]]])


@pytest.fixture(scope="module")
def fitted(data: Data, chosen: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    vertices = Vertices.from_global(chosen, data.donor.hemisphere_size)
    output = tmp_path_factory.mktemp("fitted") / "out"
    return data.fit(output, learning_curve=["all"], selection=Selection(vertices))


def test_the_person_is_a_subject(data: Data, chosen: np.ndarray, fitted: ExperimentResult) -> None:
    subject = Subject(fitted.output, 9)
    expected = np.setdiff1d(chosen, [3, 100])
    np.testing.assert_array_equal(subject.all_vertices.global_indices, expected)
    np.testing.assert_array_equal(subject.vertices().global_indices, expected)
    assert subject.description.synthetic == data.donor.description.synthetic
    assert sum(subject.description.rows.values()) == len(expected)
    assert subject.identity() != data.donor.identity(subject.all_vertices)

    pixels = np.load(data.folder / "shown.npy")
    model = berg_jax.load(fitted.output, 9)
    np.testing.assert_array_equal(model.vertices.global_indices, expected)
    test = subject.metadata.image_numbers("test")
    assert len(test) == 6
    trials = np.load(data.folder / "betas.npy")[:, expected].astype(np.float64)
    order, sessions = np.loadtxt(data.folder / "trials.csv", int, delimiter=",", skiprows=1).T
    for session in (0, 1):
        used = (sessions == session) & ~np.isin(order, test)
        trials[sessions == session] -= trials[used].mean(0)
        trials[sessions == session] /= trials[used].std(0)
    means = np.stack([trials[order == image].mean(0) for image in test])
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(np.asarray(model(pixels[test])).T, means.T, strict=True)]
    np.testing.assert_allclose(r, fitted.values["r"], atol=2e-3)  # the maps were kept in float16


def test_its_metadata_are_the_person_s(data: Data, chosen: np.ndarray, fitted: ExperimentResult) -> None:
    metadata = Subject(fitted.output, 9).metadata
    size, expected = metadata.hemisphere_size, np.setdiff1d(chosen, [3, 100])
    whole = np.concatenate([metadata.accuracy("correlation", h) for h in ("lh", "rh")])
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(whole)), expected)
    np.testing.assert_allclose(whole[expected], fitted.values["r"], rtol=1e-6)
    ncsnr = np.concatenate([metadata.ncsnr(h) for h in ("lh", "rh")])
    assert 0.6 < np.nanmedian(ncsnr) < 1.5
    assert metadata.raw["fit"]["rois"] == "the donor's"
    for hemisphere, first in (("lh", 0), ("rh", size)):
        for name, region in data.donor.metadata.rois[hemisphere].items():
            inside = np.intersect1d(region + first, expected)
            np.testing.assert_array_equal(metadata.rois[hemisphere][name] + first, inside)
    left_out = (fitted.output / "left_out.csv").read_text().split()
    assert left_out == ["hemisphere,vertex,reason", "lh,3,constant", f"rh,{100 - size},missing"]


def test_its_results(fitted: ExperimentResult) -> None:
    values = fitted.values
    expected = {"r", "r2", "r_donor", "explained_variance", "noise_ceiling", "q", "penalty", "ncsnr", "loo_r"}
    assert set(fitted.maps) == expected
    assert [row["images"] for row in values["learning_curve"]] == [54]
    np.testing.assert_allclose(values["learning_curve"][0]["r"], values["medians"]["all vertices"]["r"], atol=1e-5)
    assert values["shuffled"]["permutations"] == 20
    page = (fitted.output / "report.html").read_text()
    few = "too few for an interval (at least 10)"
    for words in (
        "For a Methods section",
        "Shuffled images",
        "Learning curve",
        "left_out.csv",
        f"n = 6 test images, {few}",
    ):
        assert words in page
    assert "no CI, for which 6 images are too few" in page
    assert f"6 test images: {few}" in fitted
    for name in ("rois", "learning_curve"):
        check_figure(fitted.output / f"{name}.png")
    config = json.loads((fitted.output / "config.json").read_text())
    assert config["settings"]["donor"] == 2
    assert "--donor 2" in config["command"]
    assert "--subject-id 9" in config["command"]


def test_its_folder_says_who_is_there_and_how_to_load_the_person(fitted: ExperimentResult) -> None:
    output = fitted.output
    assert subjects_sentence(output) == f"Subjects in {output}: 9."
    rule = r"^Subject must be one of \[1, 2, 3, 4, 5, 6, 7, 8\], got 9"
    with pytest.raises(InvalidParameterError, match=rule) as raised:
        BERG(output).get_encoding_model(MODEL_ID, subject=9)
    assert f"berg_jax.load('{output}', 9)" in str(raised.value)
    with pytest.raises(InvalidParameterError, match=r"got 10\. Give subject=1, for example\.$"):
        BERG(output).get_encoding_model(MODEL_ID, subject=10)


@pytest.mark.nightly
def test_the_command_and_every_other_one_with_the_person(data: Data, tmp_path: Path) -> None:
    output, runner = tmp_path / "out", CliRunner()
    common = ["--batch-size", "8", "--devices", "1"]
    shown, betas, table = (str(data.folder / name) for name in ("shown.npy", "betas.npy", "trials.csv"))
    words = ["fit", shown, "--betas", betas, "--trials", table, "--berg-dir", data.donor.berg_dir, "--donor", "2"]
    words += ["--subject-id", "9", "--output", str(output), "--hemisphere", "lh", "--min-ncsnr", "0.3", *common]

    def run(*arguments: str) -> str:
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    assert "60: 49 train, 5 validation, 6 test" in run(*words, "--dry-run")
    assert not output.exists()
    assert "shuffled images: mean r" in run(*words)
    subject = Subject(output, 9)
    assert len(subject.all_vertices.rh) == 0
    assert min(subject.metadata.ncsnr("lh")[subject.all_vertices.lh]) > 0.2  # by all trials; 0.3 by training's

    person = ["--berg-dir", str(output), "--subject", "9"]
    run("encode", shown, "--output", str(tmp_path / "responses"), *person, *common)
    stored = berg_jax.open_responses(tmp_path / "responses").data
    assert stored.shape == (IMAGES, len(subject.all_vertices))
    run("accuracy", *words[1:6], "--output", str(tmp_path / "accuracy"), *person, *common)
    assert "expl. var." in run("info", *person)
    config = ["fit", "--config", str(output), shown, "--output", str(tmp_path / "again")]
    run(*config)
    again = Subject(tmp_path / "again", 9)
    assert again.description.sources["fit"] == subject.description.sources["fit"]
    run(*words, "--stage", "selectors", "--epochs", "2")
    assert Subject(output, 9).description.sources["fit"] != subject.description.sources["fit"]
    run(*words[:-4], "--devices", "1", "--stage", "full", "--epochs", "1")  # with the batch size that was recorded
    run("encode", shown, "--output", str(tmp_path / "full"), *person, *common)


@pytest.mark.nightly
def test_the_same_call_again_changes_nothing_and_another_person_is_refused(data: Data, tmp_path: Path) -> None:
    data.fit(tmp_path / "out", selection=Selection(hemisphere="lh"))
    before = changed(tmp_path / "out" / "subj09")
    data.fit(tmp_path / "out", selection=Selection(hemisphere="lh"))
    after = changed(tmp_path / "out" / "subj09")
    assert after["subject.json"] == before["subject.json"]
    with pytest.raises(ResourceError, match="another person's fit: it holds subj09"):
        data.fit(tmp_path / "out", subject_id=8)
    with pytest.raises(ResourceError, match="the vertices, the responses differ"):
        data.fit(tmp_path / "out")
    with pytest.raises(ResourceError, match="the split of the images, the responses differ"):
        data.fit(tmp_path / "out", selection=Selection(hemisphere="lh"), seed=1)


def test_bad_input(data: Data, tmp_path: Path) -> None:
    output = tmp_path / "out"
    np.save(tmp_path / "few.npy", np.load(data.folder / "shown.npy")[:50])
    np.save(tmp_path / "twice.npy", np.load(data.folder / "shown.npy")[[*range(59), 0]])
    np.save(tmp_path / "other.npy", np.zeros((IMAGES * REPEATS, 200), np.float32))
    (tmp_path / "test.txt").write_text("0\n1\n2\n3\n4\n")
    shown, betas = data.folder / "shown.npy", data.folder / "betas.npy"

    def refused(error: type[Exception], words: str, images: Path = shown, betas: Path = betas, **given: Any) -> None:
        options = {"subject_id": 9, "table": data.folder / "trials.csv", "execution": ONE, **given}
        with pytest.raises(error, match=words):
            fit(data.donor, output, images, betas, **options)
        assert not output.exists()

    refused(InvalidParameterError, "names 10 images that are not there", images=tmp_path / "few.npy")
    refused(InvalidParameterError, "are the same picture", images=tmp_path / "twice.npy", test=tmp_path / "test.txt")
    refused(InvalidParameterError, "200 vertices", betas=tmp_path / "other.npy")
    refused(InvalidParameterError, "stage", stage="all")
    refused(InvalidParameterError, "1 to 99", subject_id=100)
    refused(InvalidParameterError, "Use min_ncsnr", selection=Selection(min_explained_variance=1.0))
    refused(InvalidParameterError, "from 20 to 49", learning_curve="10,all")
    refused(InvalidParameterError, "needs validation images", stage="selectors", validation=0.0)
    refused(InvalidParameterError, "stage 'full'", stage="selectors", teacher=tmp_path)
    refused(InvalidParameterError, "needs a table", table=None)
    refused(ModelNotFoundError, "no file .*none.txt", test=tmp_path / "none.txt")


def test_export_needs_the_donor_s_files(demo: Path, data: Data, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="needs the donor's PyTorch files"):
        data.fit(tmp_path / "out", export_pth=tmp_path / "pth")
    assert not (tmp_path / "out").exists()


def test_a_noise_vertex_is_not_called_predictable() -> None:
    random = np.random.default_rng(0)
    signal, noise = random.normal(size=(60, 300)), random.normal(size=(60, 100))
    measured = np.concatenate([signal + random.normal(size=signal.shape), noise], axis=1)
    predicted = np.concatenate([signal, random.normal(size=noise.shape)], axis=1)
    counts, ncsnr = np.full(60, 2), np.full(400, 1.0)
    found = evaluate(predicted, measured, counts, ncsnr, {"noise": np.arange(400) >= 300})
    assert (found.maps["q"][:300] < 0.05).mean() > 0.95
    assert (found.maps["q"][300:] < 0.05).sum() <= 10  # 5% of those that are called so, of 300
    np.testing.assert_allclose(found.maps["noise_ceiling"], noise_ceiling(ncsnr, 2))
    assert found.intervals["all vertices"]["r"].low < found.medians["all vertices"]["r"]


@pytest.mark.parametrize("text", ["30,x", "10", "1000", "-5"])
def test_learning_curves_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidParameterError):
        parse_sizes(text, 100)


KILLED = """
import sys
from pathlib import Path

import numpy as np

from berg_jax import Execution, Subject
from berg_jax.experiments.fitting import fit
from berg_jax.experiments.fitting import experiment, stages
from berg_jax.experiments.fitting.inputs import features
from tests.kills import at_call, die

donor, folder, output, module, name, call = sys.argv[1:]
if module != "none":
    at_call({"features": features, "stages": stages, "experiment": experiment}[module], name, int(call), die)
fit(
    Subject(donor, 2), output, Path(folder, "shown.npy"), Path(folder, "betas.npy"), subject_id=9,
    table=Path(folder, "trials.csv"), execution=Execution(batch_size=4, devices=1, show_progress=False),
)
"""
MOMENTS = (
    ("features", "write_whole", 4),  # a block of features; before it come two facts of each part, and a batch size
    ("stages", "write_whole", 2),  # the readouts of part 1
    ("stages", "write_whole", 4),  # of part 2
    ("experiment", "write_fitted", 1),
)


@pytest.mark.nightly
def test_a_killed_fit_goes_on_to_the_same_bits(data: Data, tmp_path: Path) -> None:
    def run(output: Path, *moment: object) -> int:
        with Program("-c", KILLED, data.donor.berg_dir, data.folder, output, *moment, patience=600) as program:
            return program.end()

    def made(output: Path) -> dict[str, bytes]:
        files = {name: data for name, data in changed(output).items() if name.endswith((".npz", ".npy"))}
        return {name: data for name, data in files.items() if "maps" not in name}

    assert run(tmp_path / "whole", "none", "", 0) == 0
    expected = Subject(tmp_path / "whole", 9)
    for number, moment in enumerate(MOMENTS):
        output = tmp_path / f"killed{number}"
        assert run(output, *moment) == -signals.SIGKILL
        assert not (output / "subj09").exists()
        assert run(output, "none", "", 0) == 0
        assert made(output) == made(tmp_path / "whole")
        assert Subject(output, 9).identity() == expected.identity()


@pytest.mark.nightly
def test_planted_responses_of_a_demo_person_are_found(demo: Path, tmp_path: Path) -> None:
    """Demo subject 2 as a new person of donor 1, from 300 training images: 85% of what noise allows."""
    person, donor = Subject("demo", 2), Subject("demo", 1)
    vertices = person.vertices("nsdgeneral")
    pixels = np.concatenate([drawings(kind, 60, seed=7) for kind in (*CATEGORIES, "natural")])
    model = person.model(vertices)
    responses = np.concatenate([np.asarray(model(pixels[start : start + 20])) for start in range(0, 360, 20)])
    preferring = np.isin(vertices.global_indices, person.vertices(list(PREFERENCES)).global_indices)
    noise = np.flatnonzero(~preferring)[::10]
    responses[:, noise] = np.random.default_rng(5).normal(size=(360, len(noise)))
    made = write_person(tmp_path / "person", donor, pixels, responses, 3)
    trials = np.load(tmp_path / "person" / "betas.npy")
    trials[:, noise] = np.random.default_rng(6).normal(size=(len(trials), len(noise)))  # no signal at all
    np.save(tmp_path / "person" / "betas.npy", trials)
    (tmp_path / "test.txt").write_text("".join(f"{number}\n" for number in range(0, 360, 6)))
    found = made.fit(tmp_path / "out", selection=Selection(vertices), test=tmp_path / "test.txt")
    r, ceiling = found.values["r"], np.sqrt(found.values["noise_ceiling"])
    assert found.values["images"] == {"train": 300, "validation": 0, "test": 60}
    reached = np.median(r[preferring]) / np.median(ceiling[preferring])
    predictable = found.values["q"] < 0.05
    shuffled, called = found.values["shuffled"], predictable[noise].mean()
    print(f"{reached:.3f} of the ceiling's r; shuffled images {shuffled}; {called:.3f} of the noise is predictable")
    assert reached > 0.85
    assert np.median(r[preferring]) > np.median(found.values["r_donor"][preferring])
    assert abs(found.values["shuffled"]["r"]) < 0.02
    assert predictable[preferring].mean() > 0.95
    assert predictable[noise].mean() < 0.1


def test_a_roi_of_which_the_selection_holds_a_part_is_no_row(data: Data) -> None:
    """Of ROIs that overlap, only those that a selection by name holds whole are shown; without names all are."""
    rois = {
        "lh": {"A": np.array([0, 1]), "B": np.array([1, 2, 3])},
        "rh": {"A": np.array([4]), "C": np.array([], int)},
    }
    size = data.donor.hemisphere_size
    chosen = Vertices(np.array([0, 1]), np.array([4]), size)
    fitted = Vertices(np.array([0, 1]), np.array([], int), size)  # a vertex was left out after
    blank = dict.fromkeys(Person._fields)
    for selection, names in (
        (Selection("A"), {"A"}),
        (Selection("A", hemisphere="lh"), {"A"}),
        (Selection(), {"A", "B"}),
    ):
        person = Person(**{**blank, "rois": rois, "vertices": fitted, "chosen": chosen, "selection": selection})
        assert set(person.regions) == names
        np.testing.assert_array_equal(person.regions["A"], [True, True])

"""``berg-jax explain``, ``metamer``, ``compete`` and ``vary``: from images to a report, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app
from berg_jax.errors import ResourceError
from berg_jax.experiments.explanation import disagreement
from berg_jax.experiments.reporting.command import Command
from berg_jax.experiments.reporting.earlier import require_same_run
from berg_jax.experiments.reporting.page import write_report
from berg_jax.experiments.synthesis.parametrizations.inputs import input_contents

from ...conftest import Golden
from ..reporting.standing import check_figure


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture that is wider than high."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).resize((90, 60)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def numbers(output: Path) -> dict:
    """What an output's JSON file holds."""
    (path,) = (path for path in output.glob("*.json") if path.name != "config.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.nightly
def test_an_explanation_has_maps_checks_and_a_report(complement: Golden, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    subject = ("--berg-dir", complement.folder, "--subject", complement.subject, "--roi", "V3v")
    methods = ("--method", "gradient-times-input")
    said = run("explain", picture, *subject, *methods, "--fit-images", "crop", "--output", output)
    assert "gradient-times-input: likeness to shuffled weights" in said
    with np.load(output / "attribution.npz") as maps:
        assert {"values", "places", "gradient-times-input"} == set(maps.files)
        assert np.isfinite(maps["gradient-times-input"]).all()
    facts = numbers(output)
    assert facts["settings"]["roi"] == "V3v"
    assert set(facts["checks"]) == {"gradient-times-input"}
    assert (output / "report.html").stat().st_size > 10_000
    assert facts["sum of the map minus change from grey"] == {}
    for name in ("image_1", "reading", "curves_gradient-times-input"):
        check_figure(output / f"{name}.png")
    header, *rows = check_figure(output / "image_1.png")
    with np.load(output / "attribution.npz") as maps:
        column = header.index("gradient-times-input")
        written = np.array([float(row[column]) for row in rows]).reshape(224, 224)
        np.testing.assert_allclose(written, maps["gradient-times-input"][0], rtol=1e-5, atol=1e-12)


@pytest.mark.nightly
def test_integrated_gradients_say_what_their_sum_lacks(complement: Golden, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    subject = (
        "--berg-dir",
        complement.folder,
        "--subject",
        complement.subject,
        "--roi",
        "V3v",
        "--fit-images",
        "crop",
    )
    run("explain", picture, *subject, "--method", "integrated-gradients", "--output", output)
    facts = numbers(output)
    model = berg_jax.Subject(complement.folder, complement.subject).model(roi="V3v")
    grey = float(np.asarray(model(np.full((1, 3, 224, 224), 127.5, np.float32))).mean())
    assert facts["response to grey"] == pytest.approx(grey, abs=1e-4)
    with np.load(output / "attribution.npz") as maps:
        lacking = maps["integrated-gradients"].sum() - (maps["values"][0] - grey)
    assert facts["sum of the map minus change from grey"]["integrated-gradients"] == pytest.approx(
        [lacking], abs=1e-3
    )
    run("explain", picture, "--config", output / "config.json", "--output", output)  # the same run again


@pytest.mark.nightly
def test_metamers_have_their_errors_and_a_report(complement: Golden, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    subject = ("--berg-dir", complement.folder, "--subject", complement.subject, "--roi", "V3v")
    run("metamer", picture, *subject, "--fit-images", "pad", "--n", 1, "--steps", 4, "--output", output)
    facts = numbers(output)
    assert len(facts["error"]) == len(facts["psnr"]) == 1
    rows = check_figure(output / "metamers.png")
    assert [float(cell) for cell in rows[1][1:]] == pytest.approx(
        [100 * facts["error"][0], 100 * facts["error in files"][0], facts["psnr"][0]], rel=1e-4
    )
    assert {"image.png", "metamer_1.png", "most_visible.png"} <= {path.name for path in output.glob("*.png")}
    assert (output / "report.html").exists()


@pytest.mark.nightly
def test_a_competition_has_four_images_and_a_report(
    complement: Golden, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    subject = ("--berg-dir", complement.folder, "--subject", complement.subject, "--roi", "V3v", "--against", "OFA")
    said = run("compete", picture, *subject, "--fit-images", "pad", "--steps", 8, "--step", 4, "--output", output)
    assert "Images that tell V3v from OFA: while" in said
    assert "What is held moves by at most 0." in said
    assert "NOT held" not in said
    facts = numbers(output)
    assert facts["images"] == ["start", "second_raised", "second_lowered", "first_raised", "first_lowered"]
    model = berg_jax.Subject(complement.folder, complement.subject)
    for side, roi in (("first", "V3v"), ("second", "OFA")):
        files = np.stack([np.asarray(Image.open(output / f"{stem}.png")) for stem in facts["images"]])
        means = np.asarray(model.model(roi=roi)(files.transpose(0, 3, 1, 2))).mean(axis=1)
        np.testing.assert_allclose(facts["responses"][side], means, atol=1e-4)
    first, second = (facts["responses"][side] for side in ("first", "second"))
    spread = np.ptp(first), np.ptp(second)
    assert np.ptp(first[:3]) < 0.05 * spread[0]
    assert np.ptp([second[0], *second[3:]]) < 0.05 * spread[1]
    assert second[1] > second[0] > second[2]
    assert first[3] > first[0] > first[4]
    rows = check_figure(output / "responses.png")
    assert [float(cell) for cell in rows[2][1:]] == pytest.approx([first[1], second[1]], rel=1e-4)
    check_figure(output / "images.png")
    assert (output / "report.html").exists()
    monkeypatch.setattr(disagreement, "_HELD", 0.0)  # so that any movement is too much
    assert "It is NOT held" in run("compete", "--config", output / "config.json", picture, "--output", output)


@pytest.mark.nightly
def test_a_strip_of_variations_has_a_report(picture: Path, demo: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    subject = ("--berg-dir", "demo", "--subject", 1, "--roi", "FFA-1")
    options = ("--fit-images", "crop", "--scale", -1, "--scale", 1, "--steps", 4)
    run("vary", picture, *subject, *options, "--output", output)
    assert len(numbers(output)["scales"]) >= 2
    assert len(check_figure(output / "strip.png")) == 1 + len(numbers(output)["scales"])
    assert (output / "report.html").exists()


def test_an_output_that_cannot_be_is_refused_before_work(
    complement: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is given as the output, or a folder within one → refused before any model is loaded."""
    monkeypatch.setattr(berg_jax.Subject, "model", None)
    image, file = tmp_path / "a.png", tmp_path / "file"
    Image.new("RGB", (8, 8)).save(image)
    file.write_text("")
    subject = ("--berg-dir", complement.folder, "--subject", complement.subject, "--roi", "V3v")
    for command, more in (("explain", ()), ("metamer", ()), ("vary", ()), ("compete", ("--against", "OFA"))):
        for output in (file, file / "deeper"):
            assert "is a file, so that" in refused(command, image, *subject, *more, "--output", output)


def test_what_cannot_be_explained_is_refused_before_work(complement: Golden, picture: Path, tmp_path: Path) -> None:
    subject = ("--berg-dir", complement.folder, "--subject", complement.subject, "--output", tmp_path / "out")
    assert "against itself" in refused("explain", picture, *subject, "--roi", "V3v", "--against", "V3v")
    assert "There is no file" in refused("explain", tmp_path / "none.png", *subject, "--roi", "V3v")
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    assert "One image is taken" in refused("metamer", folder, *subject, "--roi", "V3v")
    rival = ("compete", picture, *subject, "--fit-images", "pad", "--roi")
    assert "V3v of subject 2 cannot compete with itself: give --against" in refused(*rival, "V3v")
    assert "have the same vertices" in refused(*rival, "V3v", "--against", "V3v + V3v")
    assert "is subject 2, not 7" in refused(*rival, "V3v", "--against-subject", 7)
    for command in ("explain", "metamer", "compete", "vary"):
        said = refused(command, picture, *subject, "--roi", "V3v")
        assert "is not square: 90 × 60 pixels. Choose how to fit it: --fit-images crop, pad or stretch." in said
    start = ("--start", picture, "--images", "pixels", "--drive", "V3v")
    assert "is not square: 90 × 60 pixels" in refused("synthesize", *start, *subject)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["explain", "metamer", "vary"])
def test_a_folder_of_another_run_is_refused_before_work(command: str, complement: Golden, tmp_path: Path) -> None:
    """A finished experiment's folder is given with another image, ROI or command → refused, saying what differs."""
    image, other, output = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "out"
    for seed, path in enumerate((image, other)):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    subject = berg_jax.Subject(complement.folder, complement.subject)
    identity = subject.identity(subject.vertices("V3v"), "float32")
    contents = input_contents({"path": image})
    made = Command(command, {"roi": "V3v", "fit_images": "error"}, {})
    options: dict = {"lead": "", "command": made.line, "settings": made.settings, "synthetic": True}
    kept = {"inputs": contents, "identity": identity}
    write_report(output, "Earlier", [], provenance=kept, **options)
    require_same_run(output, made, contents, identity)
    with pytest.raises(ResourceError, match=r"belongs to another run: roi is 'V3v' there and 'V1' now\."):
        require_same_run(output, Command(command, {"roi": "V1"}, {}), contents, identity)
    with pytest.raises(ResourceError, match="the subject's weights or vertices are others"):
        require_same_run(output, made, contents, "another")
    with pytest.raises(ResourceError, match=f"it is of berg-jax {command}"):
        require_same_run(output, Command("localize", {}, {}), contents, identity)
    options["settings"] = {"roi": "V3v", "path": str(image)}
    write_report(output, "Earlier", [], provenance={"identity": identity}, **options)  # as version 0.1.0
    later = Command(command, {**options["settings"], "fit_images": "error"}, {"fit_images": "error"})
    require_same_run(output, later, contents, identity)
    with pytest.raises(ResourceError, match=r"path is '.*a\.png' there and '.*b\.png' now"):
        require_same_run(output, later._replace(settings={**later.settings, "path": str(other)}), {}, identity)
    write_report(output, "Earlier", [], provenance={**kept, "inputs": {"path": "others"}}, **options)
    given = ("--berg-dir", complement.folder, "--subject", complement.subject, "--roi", "V3v", "--output", output)
    before = (output / "config.json").read_bytes()
    assert "the images of path are others" in refused(command, other, *given)
    assert (output / "config.json").read_bytes() == before

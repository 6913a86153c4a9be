"""The command line: instant help, one message and exit code 2 for a user's mistake, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import pytest
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app, at_home
from berg_jax.machine import keep_compiled

from ..conftest import Golden


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_subject_from_nothing_to_responses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    berg, photos, store = tmp_path / "berg", tmp_path / "photos", tmp_path / "out.zarr"
    code, said = run("synthesize-subject", "--output", berg)
    assert (code, "Synthetic subject 1" in said) == (0, True)
    assert run("photographs", "--output", photos)[0] == 0
    code, said = run("convert", "--berg-dir", berg, "--subject", 1)
    assert code == 0
    assert "SYNTHETIC" in said
    assert "1284 vertices, layout overlay" in said
    assert [record.message.split()[0] for record in caplog.records] == ["Making"] * 2 + ["Converting"] * 3
    code, said = run("encode", photos, "--berg-dir", berg, "--subject", 1, "--fit", "crop", "--output", store)
    assert code == 0
    assert "china.jpg" in said
    assert store.is_dir()
    assert repr(berg_jax.open_responses(store)).startswith("Responses(subject ")
    assert "3 of 3 images done" in run("status", store)[1]


@pytest.mark.nightly
def test_the_option_that_a_refused_image_names_is_one_of_every_command(demo: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for kind in ("a", "b"):
        (photos / kind).mkdir(parents=True)
        Image.new("RGB", (9, 8)).save(photos / kind / "wide.png")
    for command in ("encode", "retinotopy", "localize", "rsa", "control"):
        roi = ("--roi", "V1", "--roi", "PPA") if command == "control" else ("--roi", "V1")
        given = (command, photos, "--berg-dir", "demo", "--subject", 1, *roi, "--output", tmp_path / "out")
        code, said = run(*given)
        assert (code, "9 × 8 pixels" in said, "--fit-images crop" in said) == (2, True, True)
        assert "No such option" not in run(*given, "--fit-images", "crop", "--subject", 9)[1]


def test_images_are_chosen_of_an_array_that_is_given(demo: Path, tmp_path: Path) -> None:
    for command in ("retinotopy", "localize", "rsa", "control"):
        given = ("--berg-dir", "demo", "--subject", 1, "--output", tmp_path / "out", "--images", "test")
        code, said = run(command, *given)
        assert (code, "--images test is of an array that is given: give it, too" in said) == (2, True)
        assert not (tmp_path / "out").exists()


def test_fetch(golden_source: Path, tmp_path: Path) -> None:
    options = ("--subject", 1, "--berg-dir", tmp_path / "b", "--mirror", golden_source.as_uri())
    code, said = run("fetch", *options, "--dry-run")
    assert code == 0
    assert "4 files" in said
    assert not (tmp_path / "b").exists()
    assert run("fetch", *options)[1].startswith("4 files fetched, 0 were there already")
    assert run("fetch", *options)[1].startswith("0 files fetched, 4 were there already")
    assert run("info", "--berg-dir", tmp_path / "b", "--subject", 1)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["convert", "--berg-dir", "nowhere", "--subject", "1"], "There is no folder nowhere"),
        (["convert", "--berg-dir", "{golden}", "--subject", "4"], "Subjects there: [1, 2]"),
        (["convert", "--berg-dir", "{golden}", "--subject", "1"], "--num-heads"),
        (["encode", "nowhere", "--berg-dir", "{golden}", "--subject", "1", "--output", "x"], "no folder nowhere"),
        (["synthesize-subject", "--output", "/proc/x"], "/proc/x"),
        (["fetch", "--subject", "1", "--mirror", "ftp://x"], "mirror must begin with"),
        (["fetch", "--subject", "1", "--berg-dir", "demo"], "built here"),
    ],
)
def test_mistakes_get_one_message(arguments: list[str], said: str, golden_source: Path, tmp_path: Path) -> None:
    arguments = [argument.format(golden=golden_source) for argument in arguments]
    command = [sys.executable, "-c", "from berg_jax.cli.app import main; main()"]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert not any(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--debug", "convert", "--berg-dir", str(tmp_path / "no"), "--subject", "1"])
    assert isinstance(result.exception, berg_jax.ModelNotFoundError)


def test_a_tilde_is_the_user_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = ["~/x", "--output=~/x", "--output", "a=~/x", "--roi=V1 ~ V2", "--contrast=a > b", "--output=", "-n"]
    assert [at_home(argument) for argument in given] == ["/home/me/x", "--output=/home/me/x", *given[2:]]


@pytest.mark.parametrize("code", ["import berg_jax", "from berg_jax.cli.app import app"])
def test_importing_is_light(code: str) -> None:
    program = (
        f"{code}\nimport sys\nprint([m for m in ('jax', 'flax', 'torch', 'orbax', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_shows_the_names_of_a_sweep_s_tables() -> None:
    """Square brackets in a help text are no markup."""
    said = " ".join(CliRunner().invoke(app, ["sweep", "--help"], env={"COLUMNS": "200"}).output.split())
    assert "tables [base], [grid], [zip], [random] and [launcher]" in said


def test_describe_and_help_need_no_jax() -> None:
    for arguments, said in ((["describe"], "fmri-nsd_fsaverage-huze"), (["--help"], "make-synthetic-subject")):
        program = (
            f"import sys\nfrom berg_jax.cli.app import app\napp({arguments!r}, standalone_mode=False)\n"
            "print('jax' in sys.modules)"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert said in result.stdout
        assert result.stdout.strip().endswith("False")


def test_env_tells_what_a_bug_report_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    code, said = run("env")
    assert code == 0
    for line in (f"berg_jax {berg_jax.__version__}", "devices cpu", "JAX_PLATFORMS=cpu", "nilearn ", "python 3."):
        assert line in said


def test_public_names_exist(golden: Golden) -> None:
    assert all(getattr(berg_jax, name) for name in berg_jax.__all__)
    assert {*berg_jax.__all__, "demo", "surface"} <= set(dir(berg_jax))
    assert callable(berg_jax.surface.plot)
    with pytest.raises(AttributeError, match="nothing"):
        _ = berg_jax.nothing


def test_programs_of_accelerators_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BERG_JAX_CACHE", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        keep_compiled()
        assert jax.config.jax_compilation_cache_dir is None  # on a CPU
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        keep_compiled()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")
        jax.config.update("jax_compilation_cache_dir", "elsewhere")
        keep_compiled()
        assert jax.config.jax_compilation_cache_dir == "elsewhere"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)

"""Commands that answer questions, options of all commands, and settings taken back from an earlier run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from berg_jax.cli.app import app, in_front
from berg_jax.cli.recorded import recorded_settings


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_short_help_is_the_help() -> None:
    assert run("encode", "-h") == run("encode", "--help")
    code, said = run("encode", "-h")
    assert (code, "--devices" in said, "(default: all)" in " ".join(said.split())) == (0, True, True)


def test_a_shell_completes_commands() -> None:
    program = "import sys; sys.argv[0] = 'berg-jax'; from berg_jax.cli.app import main; main()"
    asked = {"_BERG_JAX_COMPLETE": "complete_bash", "COMP_WORDS": "berg-jax enc", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["encode"]


def test_options_of_all_commands_stand_anywhere() -> None:
    given = ["encode", "x", "--quiet", "--", "--debug"]
    assert in_front(given) == ["--quiet", "encode", "x", "--", "--debug"]
    code, said = run("--quiet", "--verbose", "describe")
    assert (code, "not both" in said) == (2, True)


def test_describe_is_a_page_and_says_which_subjects_are_there() -> None:
    code, said = run("describe", "--berg-dir", "demo")
    assert code == 0
    assert "Subjects in demo: 1, 2, 3, 4 (synthetic" in said
    assert not [mark for mark in ("valid_values", "{", "model_id:") if mark in said]
    code, said = run("info", "--berg-dir", "nowhere")
    assert (code, "There is no folder nowhere" in said) == (2, True)


def recorded(path: Path, **settings: Any) -> Path:
    given = {
        **{"berg_dir": "demo", "subject": 1, "output": str(path.parent / "out"), "path": None, "roi": "V1"},
        **{"contrast": ["faces > places"], "measured": {"faces": "t.mgz"}, "alpha": 2.0, "batch_size": 8},
    }
    config = {"command": "berg-jax localize --berg-dir demo", "settings": {**given, **settings}}
    path.write_text(json.dumps(config))
    return path


@pytest.mark.nightly
def test_an_experiment_takes_its_own_settings_back(tmp_path: Path) -> None:
    config = recorded(tmp_path / "config.json")
    for place in (config, tmp_path):
        code, said = run("localize", "--config", place)
        assert (code, "alpha must be between 0 and 1, got 2.0" in said) == (2, True)
    code, said = run("localize", "--config", config, "--alpha", 3)
    assert (code, "alpha must be between 0 and 1, got 3.0" in said) == (2, True)
    recorded(tmp_path / "config.json", alpha=0.05)
    code, said = run("localize", "--config", config)
    assert (code, "t.mgz" in said) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["trials", "table"])
@pytest.mark.parametrize("command", ["accuracy", "compare", "fit"])
def test_the_table_of_trials_has_two_names(command: str, name: str, tmp_path: Path) -> None:
    """Settings with --table, as an earlier version called it, and with --trials are the same."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"command": f"berg-jax {command} x", "settings": {name: "t.csv"}}))
    parameters = get_command(app).commands[command].params
    assert recorded_settings(config, command, parameters) == {"table": "t.csv"}


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("rsa", None, "is of berg-jax localize, and this is berg-jax rsa"),
        ("localize", '{"a": 1}', "is no config.json of an experiment"),
        ("localize", '{"command": "berg-jax localize", "settings": {"odd": 1}}', "does not know: odd"),
    ],
)
def test_settings_of_something_else_are_refused(command: str, text: str | None, said: str, tmp_path: Path) -> None:
    config = recorded(tmp_path / "config.json")
    if text is not None:
        config.write_text(text)
    code, output = run(command, "--config", config)
    assert (code, said in " ".join(output.replace("│", " ").split())) == (2, True)


def test_a_folder_of_an_experiment_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("")
    code, said = run("show", tmp_path)
    assert (code, "is the folder of a finished experiment: open" in " ".join(said.split())) == (2, True)

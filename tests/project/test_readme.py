"""The README and the documentation's pages say what can be done: commands exist, links lead to files, Python runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import jax
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app

from ..conftest import ROOT
from .pages import PAGES, blocks, links, name_of

README = ROOT / "README.md"
MOST_LINES = 170
# Pages whose Python takes seconds, on demo subjects that other tests have made, too.
QUICK = ("README.md", "docs/moving-from-berg.md", "docs/how-to/responses.md", "docs/how-to/vertices.md")
_COMMAND = re.compile(r"(?:^|\s)berg-jax (.*)")


def _commands() -> list[str]:
    """What follows berg-jax on the lines of shell blocks, without comments and what a shell would do."""
    text = "\n".join(block for page in PAGES for block in blocks(page, "bash"))
    lines = text.replace("\\\n", " ").splitlines()
    ends = r"\s#|\s\|\||;|\s&(?:\s|$)|\s&&\s(?!berg)"
    found = [match[1] for line in lines if (match := _COMMAND.search(re.split(ends, line)[0]))]
    # A shell would put a number in place of these.
    return sorted({re.sub(r'"\$\(.*\)"|"\$\w+"|\$\w+', "1", command) for command in found})


@pytest.mark.parametrize("command", _commands())
def test_commands_exist_with_these_options(command: str) -> None:
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(command)
    if name.startswith("-"):
        group.make_context("berg-jax", [name, *arguments], resilient_parsing=True)
        return
    chosen = group.get_command(click.Context(group), name)
    assert chosen is not None, f"there is no berg-jax {name}"
    chosen.make_context(name, arguments)  # raises where an option is unknown, missing or of the wrong type


def test_shell_blocks_are_what_bash_can_read() -> None:
    text = "\n".join(f"{{\n{block}\n}}" for page in PAGES for block in blocks(page, "bash"))
    outcome = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert outcome.stderr == ""
    assert text.count("berg-jax") > 50


@pytest.mark.parametrize(
    ("code", "requeued", "ends"), [(0, [], 0), (75, ["requeue 100_3"], 75), (76, [], 0), (2, [], 2)]
)
def test_the_array_script_queues_its_own_task_again(
    code: int, requeued: list[str], ends: int, tmp_path: Path
) -> None:
    """The last task of an array, whose SLURM_JOB_ID is the array's → it queues itself again, and not its siblings."""
    (script,) = (block for block in blocks(ROOT / "docs" / "how-to" / "slurm.md", "bash") if "#SBATCH" in block)
    for name, text in (("srun", f"exit {code}"), ("scontrol", 'echo "$@" >>calls')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "calls").touch()
    slurm = {"SLURM_JOB_ID": "100", "SLURM_ARRAY_JOB_ID": "100", "SLURM_ARRAY_TASK_ID": "3"}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=False).returncode == ends
    assert (tmp_path / "calls").read_text().splitlines() == requeued


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    missing = [target for target in links(page) if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_the_readme_is_short_and_leads_to_the_pages() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert sum(target.startswith("docs/") for target in links(README)) > 20


def _pages_with_python() -> list[object]:
    pages = {name_of(page): page for page in PAGES if blocks(page, "python")}
    marks = {name: pytest.mark.docs if name in QUICK else pytest.mark.nightly for name in pages}
    return [pytest.param(page, id=name, marks=marks[name]) for name, page in pages.items()]


@pytest.mark.parametrize("page", _pages_with_python())
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: Path) -> None:
    """A page's blocks one after the other, as one session, with the demo subjects for real ones."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_images").mkdir()
    for name, image in zip("abc", berg_jax.demo.images("faces", 3), strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "my_images" / f"{name}.png")
    text = "\n".join(blocks(page, "python"))
    if '"responses.zarr"' in text:
        encode = ["encode", "my_images", "--berg-dir", "demo", "--subject", "1", "--output", "responses.zarr"]
        outcome = CliRunner().invoke(app, encode)
        assert outcome.exit_code == 0, outcome.output
    names: dict[str, object] = {}
    with jax.numpy_rank_promotion("allow"):  # as it is for users
        exec(compile(text.replace('"path/to/berg_dir"', '"demo"'), name_of(page), "exec"), names)
    assert names

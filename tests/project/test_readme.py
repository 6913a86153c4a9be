"""What the README says can be done: commands that exist, links that lead somewhere, Python that runs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import jax
import pytest
import typer
from PIL import Image

import berg_jax
from berg_jax.cli.app import app
from berg_jax.stream.encode import encode_images

from ..conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
_COMMAND = re.compile(r"(?:^|\s)berg-jax (.*)")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    """What follows berg-jax on the lines of shell blocks, without comments and what a shell would do."""
    lines = "\n".join(_blocks("bash")).replace("\\\n", " ").splitlines()
    found = [
        match[1] for line in lines if (match := _COMMAND.search(re.split(r"\s#|\s\|\||;|\s&&\s(?!berg)", line)[0]))
    ]
    return sorted(set(found))


@pytest.mark.parametrize("command", _commands())
def test_commands_exist_with_these_options(command: str) -> None:
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(command)
    chosen = group.get_command(click.Context(group), name)
    assert chosen is not None, f"there is no berg-jax {name}"
    chosen.make_context(name, arguments)  # raises where an option is unknown, missing or of the wrong type


def test_links_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#]+)", README)
    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


@pytest.mark.nightly
def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: Path) -> None:
    """Block after block, as one session, with the demo subjects for a real one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_images").mkdir()
    for name, image in zip("abc", berg_jax.demo.images("faces", 3), strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "my_images" / f"{name}.png")
    encode_images(berg_jax.Subject("demo", 1), "my_images", "responses.zarr")
    names: dict[str, object] = {}
    with jax.numpy_rank_promotion("allow"):  # as it is for users
        for block in _blocks("python"):
            exec(compile(block.replace('"path/to/berg_dir"', '"demo"'), "README.md", "exec"), names)
    assert (tmp_path / "brain.png").exists()
    shutil.rmtree(tmp_path / "mean.zarr")

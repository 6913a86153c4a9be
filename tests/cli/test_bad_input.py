"""What people get wrong as they begin with an experiment is refused before it starts, and the message says what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax import Selection, surface
from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.localizer.experiment import localize
from berg_jax.experiments.representations.experiment import compare_representations
from berg_jax.experiments.retinotopy.experiment import map_retinotopy

from ..conftest import Golden


def write_images(folder: Path, **counts: int) -> Path:
    for category, count in counts.items():
        (folder / category).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (20, 20), (index, 50, 90)).save(folder / category / f"{index}.png")
    return folder


def test_categories_that_are_too_few_or_too_small(complement: Golden, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for counts, said in (
        ({"faces": 3, "places": 1}, "Category 'places' has 1 image; a t needs at least 2"),
        ({"faces": 3}, "All 3 images are of the category 'faces': there is no contrast"),
    ):
        folder = write_images(tmp_path / str(len(counts)), **counts)
        command = ["localize", str(folder), "--berg-dir", str(complement.folder), "--subject", "2"]
        result = CliRunner().invoke(app, [*command, "--output", str(output)])
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())
    assert not output.exists()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (10_242, "10242 values for lh, which looks like a hemisphere of fsaverage5"),
        (163_842, "163842 values for lh, which looks like a hemisphere of fsaverage7"),
        (32_492, "32492 values for lh, which looks like a hemisphere of fs_LR 32k"),
        (81, "81 values for lh; expected 80"),
    ],
)
def test_maps_of_another_space(size: int, said: str, complement: Golden, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", faces=2, places=2)
    surface.save(np.zeros(2 * size), tmp_path / "t.npz")
    subject = berg_jax.Subject(complement.folder, 2)
    with pytest.raises(InvalidParameterError, match=said):
        localize([subject], tmp_path / "out", folder, measured={"faces": tmp_path / "t.npz"})
    assert not (tmp_path / "out").exists()


def test_masks_that_leave_no_vertex(complement: Golden, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", faces=2, places=2)
    subject = berg_jax.Subject(complement.folder, 2)
    given: dict[str, Any] = {"output": tmp_path / "out", "images": folder}
    strict = Selection(min_ncsnr=99)
    for call in (
        lambda: map_retinotopy(subject, selection=strict, **given),
        lambda: localize([subject], selection=strict, **given),
        lambda: compare_representations([subject], rois=["V1"], selection=strict, **given),
    ):
        with pytest.raises(InvalidParameterError, match=r"No vertex of .* passes the thresholds; \d+ were there"):
            call()
    with pytest.raises(InvalidParameterError, match="'V1 - V1' has no vertices"):
        localize([subject], selection=Selection("V1 - V1"), **given)
    assert not (tmp_path / "out").exists()


def test_values_that_are_no_choice_and_files_in_place_of_folders(complement: Golden, tmp_path: Path) -> None:
    """An option is misspelled, or the output is a file → said in plain words, not a library's."""
    images = write_images(tmp_path / "images", faces=2)
    command = ["encode", str(images), "--berg-dir", str(complement.folder), "--subject", "2", "--roi", "V3v"]
    (tmp_path / "mine.py").touch()
    for more, said in (
        (["--output", "x", "--hemisphere", "left"], "'--hemisphere': 'left' is not one of 'both', 'lh', 'rh'."),
        (["--output", str(tmp_path / "mine.py")], "(it is a file, and an output is a folder)"),
    ):
        result = CliRunner().invoke(app, [*command, *more])
        assert result.exit_code == 2
        assert said in " ".join(result.output.replace("│", " ").split())

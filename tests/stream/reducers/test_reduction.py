"""Only means of images on disk: their numbers, counts and names, and the tables of groups that are refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError, ResourceError, Unfinished
from berg_jax.stream import Execution, Selection, read_groups, reduce_images
from berg_jax.stream.execution import Process

from ...conftest import Golden
from ..calls import encode_images

GROUPS = {"a.png": "faces", "b.png": "places", "c.png": "faces", "d.png": "faces", "e.png": "places"}
V3V = Selection("V3v")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random, images = np.random.default_rng(0), tmp_path / "images"
    images.mkdir()
    for name in GROUPS:
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(images / name)
    return images


def table(path: Path, rows: dict[str, str] | list[tuple[str, str]]) -> Path:
    pairs = rows.items() if isinstance(rows, dict) else rows
    path.write_text("image,group\n" + "".join(f"{image},{group}\n" for image, group in pairs))
    return path


def execution(**settings: object) -> Execution:
    return Execution(batch_size=2, devices=1, show_progress=False, **settings)


def test_means_of_groups_are_the_means_of_the_stored_responses(
    complement: Golden, folder: Path, tmp_path: Path
) -> None:
    encode_images(folder, complement.folder, complement.subject, tmp_path / "all.zarr", roi="V3v")
    stored = berg_jax.open_responses(tmp_path / "all.zarr").data
    subject = berg_jax.Subject(complement.folder, complement.subject)
    groups = table(tmp_path / "groups.csv", dict(reversed(GROUPS.items())))
    output = tmp_path / "means.zarr"
    options = {"reduce": "group-means", "groups": groups, "selection": V3V}
    with pytest.raises(Unfinished):
        reduce_images(subject, folder, output, **options, execution=execution(process=Process(0, 2)))
    shown = CliRunner().invoke(app, ["show", str(output)])
    assert shown.exit_code == 0
    assert "unfinished: means are written when all images are done; the same command goes on" in shown.output
    said = reduce_images(subject, folder, output, **options, execution=execution(process=Process(1, 2)))
    assert re.search(r"^  faces +3 ", said, re.MULTILINE)
    assert re.search(r"^  places +2 ", said, re.MULTILINE)
    with np.load(output / "means.npz") as found:
        assert found["groups"].tolist() == ["faces", "places"]
        assert found["counts"].tolist() == [3, 2]
        vertices = subject.vertices("V3v")
        np.testing.assert_array_equal(np.concatenate([found["lh"], found["rh"]]), vertices.indices)
        for row, name in zip(found["means"], ("faces", "places"), strict=True):
            mine = stored.sel(image=[image for image, group in GROUPS.items() if group == name]).values
            np.testing.assert_allclose(row, mine.astype(np.float64).mean(0), atol=2e-6)
    again = reduce_images(subject, folder, output, **options, execution=execution())
    assert again == said

    moments = tmp_path / "moments.zarr"
    reduce_images(subject, folder, moments, reduce="moments", selection=V3V, execution=execution())
    with np.load(moments / "means.npz") as found:
        np.testing.assert_allclose(found["means"][0], stored.values.astype(np.float64).mean(0), atol=2e-6)
        np.testing.assert_allclose(found["variances"][0], stored.values.astype(np.float64).var(0, ddof=1), rtol=1e-4)
        assert found["counts"].tolist() == [5]

    shown = CliRunner().invoke(app, ["show", str(output)]).output
    assert re.search(r"^  faces +3 ", shown, re.MULTILINE)
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "all.zarr")]).output
    low, high = stored.values.min(), stored.values.max()
    assert f"5 images × {stored.shape[1]} vertices, float32, z units" in shown
    assert f"range: {low:.3f} to {high:.3f}, mean {stored.values.mean():.3f}" in shown

    moved = table(tmp_path / "moved.csv", {**GROUPS, "a.png": "places"})
    with pytest.raises(ResourceError, match="belongs to another run: groups's faces is 3 there and 2 now"):
        reduce_images(subject, folder, output, **{**options, "groups": moved}, execution=execution())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (list(GROUPS.items())[:4], r"no row for 1 of 5 images, such as 'e\.png'\. The images have names such as 'a"),
        ([*GROUPS.items(), ("z.png", "faces")], r"names 1 images that are not there, such as 'z\.png'"),
        ([*GROUPS.items(), ("b.png", "faces")], r"line 7: image 'b\.png' is there twice"),
        ([*GROUPS.items(), ("b.png", "places")], r"line 7: image 'b\.png' is there twice"),
        ([*list(GROUPS.items())[:4], ("e.png", " ")], r"line 6: image 'e\.png' has no group"),
    ],
)
def test_a_table_that_does_not_match_the_images_is_refused(
    rows: list[tuple[str, str]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        read_groups(table(tmp_path / "groups.csv", rows), list(GROUPS))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reduce", "group-means"], "group-means needs a table of groups"),
        (["--reduce", "mean", "--groups", "t.csv"], "A table of groups is for group-means"),
        (["--groups", "t.csv"], "--groups is for --reduce group-means"),
        (["--reduce", "mean", "--dtype", "float16"], "--dtype is of stored responses"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], said: str, complement: Golden, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    given = ["encode", str(folder), "--berg-dir", str(complement.folder), "--subject", "2", "--output", str(output)]
    result = CliRunner().invoke(app, [*given, *options])
    assert (result.exit_code, said in result.output) == (2, True)
    assert not output.exists()

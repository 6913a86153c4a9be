"""Conversion: right constants, done once, whole or not there."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax.convert.constants import positional_encoding, resize_position_embedding, vertex_tables
from berg_jax.convert.keys import TABLE, check_part, convert_part, tensors
from berg_jax.convert.subject import convert_subject, read_options
from berg_jax.errors import (
    IntegrityError,
    InvalidParameterError,
    ModelNotFoundError,
    ResourceError,
)
from berg_jax.files.torch_archive import read_torch
from berg_jax.model.checkpoint import is_converted, read_description, verify
from berg_jax.published.berg_dir import SubjectFiles

from ..conftest import Golden
from ..kills import HELD, Program
from .changes import rewrite


def test_constants_equal_the_reference(golden: Golden) -> None:
    files = SubjectFiles(golden.berg_dir, golden.subject)
    for part in ("part1", "part2"):
        state = read_torch(getattr(files, part))
        sizes = check_part(state, files.name, part)
        tree = convert_part(state, sizes, files.name, part)
        coordinates = tree["coordinates"]
        weights, centers = vertex_tables(coordinates, tree["layer_selector"], tree["retina_mapper"], 0.01, part)
        np.testing.assert_allclose(weights, golden.expected[f"{part}_layer_weights"], atol=2e-5)
        np.testing.assert_allclose(centers, golden.expected[f"{part}_receptive_field_xy"], atol=2e-5)
        if part == "part1":
            low = coordinates.min(0)
            encoding = positional_encoding(coordinates[:8], low, (coordinates.max(0) - low).max())
            np.testing.assert_allclose(encoding, golden.expected["part1_positional_encoding"], atol=2e-5)
            resized = resize_position_embedding(tree["pos_embed"])
            np.testing.assert_allclose(resized[1:], golden.expected["part1_position_embedding_16x16"], atol=2e-5)


def test_description_says_what_was_converted(golden: Golden) -> None:
    description = read_description(golden.folder)
    assert description.subject == golden.subject
    assert description.hemisphere_size == golden.hemisphere_size
    assert description.layout == {1: "overlay", 2: "complement"}[golden.subject]
    assert not description.layout_guessed
    assert description.origin == "unrecognized"
    assert description.parts["part1"].layers == {1: (2, 5, 8, 11), 2: (0, 2)}[golden.subject]
    vertices = np.load(golden.folder / "part1_vertices.npy")
    np.testing.assert_array_equal(vertices, golden.expected["part1_vertices"])
    assert set(description.sources) == {"part1", "part2", "part1_voxel_indices", "metadata"}
    path = SubjectFiles(golden.berg_dir, golden.subject).part1
    assert description.sources["part1"]["size"] == path.stat().st_size
    shutil.copyfile(golden.folder / "metadata.npy", golden.folder.parent / "copy.npy")
    assert (golden.folder.parent / "copy.npy").read_bytes() == SubjectFiles(
        golden.berg_dir, golden.subject
    ).metadata.read_bytes()


def test_checksums_can_be_checked_without_us(golden: Golden) -> None:
    command = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=golden.folder, check=True)


def test_the_author_s_files_are_recognized(berg_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = SubjectFiles(berg_dir, 1)
    from berg_jax.convert import subject
    from berg_jax.files.disk import sha256

    published = {path.name: sha256(path) for path in (files.part1, files.part2, files.indices)}
    monkeypatch.setattr(subject, "PUBLISHED", published)
    assert read_description(convert_subject(berg_dir, 1, num_heads=4)).origin == "published"


def test_default_output_is_where_loading_looks(berg_dir: Path, golden_source: Path) -> None:
    folder = convert_subject(berg_dir, 2, num_heads=3)
    assert folder == SubjectFiles(berg_dir, 2).converted
    model = berg_jax.load(berg_dir, 2)
    for path in SubjectFiles(berg_dir, 2).model.glob("encoding_models_weights/*"):
        path.unlink()
    images = np.zeros((1, 3, 96, 96), np.uint8)
    expected = np.asarray(model(images))
    # without its sources, from its own folder, and from a copy of it elsewhere
    for place in (berg_dir, folder, Path(shutil.copytree(folder, berg_dir.parent / "ein Ort/subj02"))):
        np.testing.assert_array_equal(np.asarray(berg_jax.load(place, 2)(images)), expected)
    with pytest.raises(ModelNotFoundError, match="is subject 2, not 1"):
        berg_jax.load(folder, 1)


def test_converting_again_does_nothing_unless_something_changed(berg_dir: Path) -> None:
    folder = convert_subject(berg_dir, 2, num_heads=3)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert convert_subject(berg_dir, 2, num_heads=3) == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(ResourceError, match="overwrite"):
        convert_subject(berg_dir, 2, num_heads=3, lora_scale=0.3)
    with pytest.raises(ResourceError, match=r"'part1': 3.*'part1': 6"):
        convert_subject(berg_dir, 2, num_heads=6)
    first = berg_jax.Subject(berg_dir, 2).identity()
    convert_subject(berg_dir, 2, num_heads=3, lora_scale=0.3, overwrite=True)
    assert read_description(folder).options["lora_scale"] == 0.3
    assert berg_jax.Subject(berg_dir, 2).identity() != first
    assert [path.name for path in folder.parent.iterdir()] == ["subj02"]


def test_a_changed_source_is_noticed(berg_dir: Path) -> None:
    convert_subject(berg_dir, 2, num_heads=3)
    files = SubjectFiles(berg_dir, 2)
    os.utime(files.part2)
    berg_jax.load(berg_dir, 2)  # touched, not changed
    rewrite(files.part2, lambda state: state["coord_dict.subj02"].__setitem__((0, 0), 3))
    with pytest.raises(IntegrityError, match=r"part2\.pth changed .* --overwrite"):
        berg_jax.load(berg_dir, 2)
    with pytest.raises(ResourceError, match="another part2"):
        convert_subject(berg_dir, 2, num_heads=3)


def test_first_use_converts(berg_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = berg_jax.load(berg_dir, 2, num_heads=3)
    assert is_converted(SubjectFiles(berg_dir, 2).converted)
    assert len(model.vertices) == 160
    with pytest.raises(InvalidParameterError, match="num-heads 6"):
        berg_jax.load(berg_dir, 2, num_heads=6)
    # beside sources that cannot be written to: into the cache
    monkeypatch.setenv("BERG_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    subject = berg_jax.Subject(berg_dir, 1, num_heads=4)
    assert subject.folder.is_relative_to(tmp_path / "cache")
    assert berg_jax.Subject(berg_dir, 1).folder == subject.folder


def test_a_guessed_layout_is_said(berg_dir: Path) -> None:
    for subject, layout in ((1, "overlay"), (2, "complement")):
        files = SubjectFiles(berg_dir, subject)
        files.metadata.unlink()
        description = read_description(convert_subject(berg_dir, subject, num_heads={1: 4, 2: 3}[subject]))
        assert (description.layout, description.layout_guessed) == (layout, True)
        assert "metadata" not in description.sources


def test_options_from_a_configuration_file(tmp_path: Path, berg_dir: Path) -> None:
    config = tmp_path / "config.yaml"
    text = """
    MODEL:
      BACKBONE: {LORA: {SCALE: %s}, LAYERS: [2, 8, 5, 11]}
      RETINA_MAPPER: {CONSTANT_SIGMA: 0.02}
    EXPERIMENTAL: {USE_LAYER_SELECTOR: true}
    """
    config.write_text(text % 0.4)
    options = read_options(config)
    assert (options.lora_scale, options.retina_sigma, options.layers) == (0.4, 0.02, (2, 5, 8, 11))
    folder = convert_subject(berg_dir, 1, num_heads=4, config=config)
    assert read_description(folder).options == {"lora_scale": 0.4, "retina_sigma": 0.02}
    with pytest.raises(InvalidParameterError, match=r"layers \[2, 5, 8, 11\].*\[0, 2\]"):
        convert_subject(berg_dir, 2, num_heads=3, config=config)
    with pytest.raises(InvalidParameterError, match=r"0\.2 by argument and 0\.4"):
        read_options(config, lora_scale=0.2)
    for bad, said in (
        ("[", "not a YAML file"),
        ("MODEL: {}", "lacks the entry of lora_scale"),
        ("MODEL: 3", "expected entries below MODEL"),
        (text % "high", "'high', expected a number"),
        ((text % 0.2).replace("SELECTOR: true", "SELECTOR: false"), "without layer selector"),
        ((text % 0.2).replace("[2, 8, 5, 11]", "all"), "'all', expected a list"),
    ):
        config.write_text(bad)
        with pytest.raises(InvalidParameterError, match=said):
            read_options(config)
    with pytest.raises(ModelNotFoundError):
        read_options(tmp_path / "none.yaml")


def test_odd_paths(berg_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / r"sp ace é日[1] #%20 {a}*? \x"
    berg_dir.rename(odd)
    model = berg_jax.load(odd, 2, num_heads=np.int64(3))
    assert len(model.vertices) == 160
    monkeypatch.setenv("HOME", str(tmp_path))
    assert berg_jax.Subject(f"~/{odd.name}", 2).hemisphere_size == 80
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ResourceError, match="current folder"):
        convert_subject(odd, 1, num_heads=4, output=".")


@pytest.mark.nightly
def test_two_processes_at_once(berg_dir: Path) -> None:
    """The first holds while it converts, until the second has said that it waits."""
    code = (
        "import sys, berg_jax; from berg_jax.model import checkpoint; from tests.kills import at_call, hold\n"
        "at_call(checkpoint, 'write_arrays', 1, hold)\n"
        "print(len(berg_jax.load(sys.argv[1], 2, num_heads=3).vertices))"
    )
    with Program("-c", code, berg_dir) as first:
        first.until(HELD)
        with Program("-c", code, berg_dir) as second:
            second.until("Another process is making")
            first.go_on()
            for process in (first, second):
                assert process.end() == 0, process.said
                assert process.said.splitlines()[-1] == "160"
            assert HELD not in second.said  # which converted nothing
    assert [path.name for path in SubjectFiles(berg_dir, 2).converted.parent.iterdir()] == ["subj02"]


# What is called, the how many-th time, and whether it dies before or after: the parts, checksums, and the name.
MOMENTS = [
    ("checkpoint", "write_arrays", 2, "before"),
    pytest.param("Path", "rename", 1, "before", marks=pytest.mark.nightly),
    pytest.param("checkpoint", "write_arrays", 1, "before", marks=pytest.mark.nightly),
    pytest.param("checkpoint", "write_arrays", 2, "after", marks=pytest.mark.nightly),
    pytest.param("checkpoint", "sha256_many", 1, "after", marks=pytest.mark.nightly),
    pytest.param("Path", "rename", 1, "after", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize(("owner", "name", "call", "when"), MOMENTS)
def test_a_killed_conversion_leaves_nothing_that_looks_finished(
    owner: str, name: str, call: int, when: str, berg_dir: Path, tmp_path: Path
) -> None:
    """Kill −9 at several moments; then what is there loads, or is not there; and converting works."""
    output = tmp_path / "out" / "subj02"
    code = (
        "import sys; from pathlib import Path; from berg_jax.convert.subject import convert_subject\n"
        "from berg_jax.model import checkpoint; from tests.kills import at_call, die\n"
        f"at_call({owner}, {name!r}, {call}, die, after={when == 'after'})\n"
        "convert_subject(sys.argv[1], 2, num_heads=3, output=sys.argv[2])"
    )

    with Program("-c", code, berg_dir, output) as process:
        assert process.end() == -signal.SIGKILL, process.said
    assert output.exists() == ((name, when) == ("rename", "after"))
    if output.exists():
        verify(output)
        shutil.rmtree(output)

    convert_subject(berg_dir, 2, num_heads=3, output=output)
    verify(output)
    assert [path.name for path in output.parent.iterdir()] == ["subj02"]


def test_every_tensor_of_the_table_is_used_once() -> None:
    from berg_jax.convert.synthetic import SIZES, _sizes

    named = tensors(_sizes(SIZES["published"], 7), "subj01")
    assert len(named) == 342  # as many as the published files hold
    paths = [key.path for key in TABLE if key.path]
    assert len(paths) == len(set(paths))
    assert all(not a.startswith(b + "/") for a, b in itertools.permutations(paths, 2))

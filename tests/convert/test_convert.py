"""Conversion: strict about keys, layouts and options; whole or not there; done once."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax.convert.constants import positional_encoding, resize_position_embedding, vertex_tables
from berg_jax.convert.keys import TABLE, check_part, convert_part, tensors
from berg_jax.convert.subject import convert_subject, read_options
from berg_jax.convert.torch_file import write_object, write_state_dict
from berg_jax.errors import (
    BERGError,
    IntegrityError,
    InvalidParameterError,
    ModelLoadError,
    ModelNotFoundError,
    ResourceError,
    UnsafeFileError,
)
from berg_jax.files.torch_archive import read_torch
from berg_jax.model.checkpoint import is_converted, load_model, read_description, verify
from berg_jax.published.berg_dir import SubjectFiles

from ..conftest import Golden, changed
from ..files.test_torch_archive import archive, pickle

State = dict[str, np.ndarray]


def rewrite(path: Path, change: Callable[[State], object]) -> None:
    state = {name: np.array(tensor) for name, tensor in read_torch(path).items()}
    change(state)
    path.unlink()
    write_state_dict(path, state)


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


KEY = "model.conv_blocks.blocks_dict.5.block.0.0.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.update(renamed=s.pop(KEY)), [rf"missing: {KEY} \(32, 32, 5, 5\)", "unexpected: renamed"]),
        (
            lambda s: s.update({KEY: s[KEY][:, :, :3], "model.x": s[KEY]}) or s.pop("coord_dict.subj01"),
            [
                rf"misshapen: {KEY} is \(32, 32, 3, 5\)",
                "unexpected: model.x",
                r"missing: coord_dict\.subj01 \(192, 3\)",
            ],
        ),
        (lambda s: s.update({KEY: np.full_like(s[KEY], np.nan)}), [rf"{KEY} holds NaN"]),
        (
            lambda s: s.update(
                {k.replace("blocks.3.", "blocks.99."): s.pop(k) for k in list(s) if "model.blocks.3." in k}
            ),
            ["unexpected: .*blocks.99", "missing: .*blocks.3"],
        ),
        (lambda s: s.update({KEY.replace("dict.5", "dict.50"): s.pop(KEY)}), [r"unexpected: .*dict\.50"]),
        (
            lambda s: s.update({"model.backbone.vision_model.blocks.0.block.mlp.w12.fc.weight": s[KEY]}),
            ["SwiGLU"],
        ),
        (lambda s: s.update({k.replace("subj01", "subj07"): s.pop(k) for k in list(s)}), ["unexpected: .*subj07"]),
        (lambda s: s.clear(), ["missing: .*cls_token"]),
        (lambda s: s.update({f"model.backbone.vision_model.blocks.{'1' * 5000}.x": s[KEY]}), ["unexpected: .*1111"]),
    ],
    ids=["renamed", "several", "nan", "block", "layer", "swiglu", "another subject", "empty", "huge number"],
)
def test_misfit_tensors_are_all_listed(change: Callable[[State], object], said: list[str], berg_dir: Path) -> None:
    files = SubjectFiles(berg_dir, 1)
    rewrite(files.part2, change)
    before = changed(berg_dir)
    with pytest.raises(ModelLoadError) as caught:
        convert_subject(berg_dir, 1, num_heads=4)
    for text in said:
        assert caught.match(text)
    assert caught.match(r"part2\.pth")
    assert changed(berg_dir) == before


def write_indices(berg_dir: Path, change: Callable[[np.ndarray], object]) -> None:
    path = SubjectFiles(berg_dir, 1).indices
    indices = {name: np.array(values) for name, values in read_torch(path).items()}
    indices["subj01"] = change(indices["subj01"])
    write_object(path, indices)


def set_first(values: np.ndarray, value: int) -> np.ndarray:
    values[0] = value
    return values


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: set_first(v, v[1]), "stand twice"),
        (lambda v: set_first(v, -1), "outside 0 to 191, such as -1"),
        (lambda v: set_first(v, 192), "outside 0 to 191, such as 192"),
        (lambda v: v[:-1], "63 vertices .* 64 rows"),
        (lambda v: v.astype(float), "float64"),
        (lambda v: v[None], "shape"),
    ],
)
def test_bad_indices(change: Callable[[np.ndarray], object], said: str, berg_dir: Path) -> None:
    write_indices(berg_dir, change)
    before = changed(berg_dir)
    with pytest.raises(ModelLoadError, match=said):
        convert_subject(berg_dir, 1, num_heads=4)
    assert changed(berg_dir) == before


def test_row_counts_that_fit_no_layout(berg_dir: Path) -> None:
    def shorten(state: State) -> None:
        for name in ("voxel_outs_weight.subj01.weight", "voxel_outs_weight.subj01.bias"):
            state["model." + name] = state["model." + name][:100]
        state["coord_dict.subj01"] = state["coord_dict.subj01"][:100]

    rewrite(SubjectFiles(berg_dir, 1).part2, shorten)
    with pytest.raises(ModelLoadError, match="192 vertices, part 1 has 64 rows and part 2 has 100"):
        convert_subject(berg_dir, 1, num_heads=4)


def test_missing_files_and_subjects(berg_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no folder"):
        convert_subject(tmp_path / "nowhere", 1)
    with pytest.raises(ModelNotFoundError, match=r"subj05_part1\.pth, subj05_part2\.pth.*\[1, 2\]"):
        convert_subject(berg_dir, 5)
    SubjectFiles(berg_dir, 1).indices.unlink()
    with pytest.raises(ModelNotFoundError, match=r"part1_voxel_indices\.pt"):
        convert_subject(berg_dir, 1)
    for subject in (0, -1, True, "1", 1.0, None):
        with pytest.raises(InvalidParameterError, match="subject must be a whole number from 1 to 99, got"):
            convert_subject(berg_dir, subject)


def test_damaged_sources_leave_nothing(berg_dir: Path) -> None:
    files = SubjectFiles(berg_dir, 1)
    content = files.part1.read_bytes()
    files.part1.write_bytes(content[:-1000])
    before = changed(berg_dir)
    with pytest.raises(ModelLoadError, match="truncated"):
        convert_subject(berg_dir, 1, num_heads=4)
    assert changed(berg_dir) == before
    archive(files.part1, b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(UnsafeFileError, match=r"os\.system"):
        convert_subject(berg_dir, 1, num_heads=4)
    archive(files.part1, pickle.dumps([1, 2]))
    with pytest.raises(ModelLoadError, match="expected a state dict"):
        convert_subject(berg_dir, 1, num_heads=4)


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no multiple of 64"),
        ({"num_heads": 5}, "does not divide into 5 heads"),
        ({"num_heads": 0}, "at least 1"),
        ({"num_heads": 4.0}, "must be an integer"),
        ({"num_heads": "4"}, "must be an integer"),
        ({"num_heads": 4, "lora_scale": "big"}, "lora_scale must be a number"),
        ({"num_heads": 4, "lora_scale": float("nan")}, "finite"),
        ({"num_heads": 4, "retina_sigma": 1.0}, r"\[0, 1\)"),
    ],
)
def test_bad_options(options: dict, said: str, berg_dir: Path) -> None:
    before = changed(berg_dir)
    with pytest.raises(InvalidParameterError, match=said):
        convert_subject(berg_dir, 1, **options)
    assert changed(berg_dir) == before


def test_outputs_that_cannot_be_written(berg_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/berg_jax")):
        with pytest.raises(ResourceError, match="output folder"):
            convert_subject(berg_dir, 2, num_heads=3, output=output)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ResourceError, match="not a converted subject"):
            convert_subject(berg_dir, 2, num_heads=3, output=tmp_path / "mine", overwrite=overwrite)
    assert changed(tmp_path / "mine") == {"thesis.tex": b"mine"}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("foreseen", [True, False])
def test_a_full_disk(foreseen: bool, berg_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disks can be mounted here")
    try:
        if not foreseen:  # as when somebody else fills the disk meanwhile
            monkeypatch.setattr("berg_jax.convert.subject.require_space", lambda *arguments: None)
        with pytest.raises(ResourceError, match=r"Make room|GB free"):
            convert_subject(berg_dir, 1, num_heads=4, output=disk / "subj01")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1e300),
        *(np.array(0x7D00, np.uint16).view("f2"), np.array(0x7FA00000, np.uint32).view("f4")),
        np.array(0x7FF4 << 48, np.uint64).view("f8"),
    ],
    ids=["overflow", "signaling f2", "signaling f4", "signaling f8"],
)
def test_weights_that_are_not_finite_in_float32(value: np.ndarray, berg_dir: Path) -> None:
    """Signaling NaNs make NumPy warn, where others do not."""
    path = SubjectFiles(berg_dir, 1).part1
    state = {name: np.array(tensor) for name, tensor in read_torch(path).items()}
    name = "model.voxel_outs_weight.subj01.bias"
    content = pickle.dumps(state | {name: np.full(64, value)}, protocol=2)
    archive(path, content)
    with pytest.raises(ModelLoadError, match=f"{name} holds NaN or infinity"):
        convert_subject(berg_dir, 1, num_heads=4)


def test_backbone_weights_that_overflow_in_what_is_made_of_them(berg_dir: Path) -> None:
    """Each is a float32. The embedding's are an edge, beside which a cubic resize makes larger numbers."""
    prefix, largest = "model.backbone.vision_model.", np.finfo(np.float32).max
    adapter = prefix + "blocks.1.block.mlp.fc1.fc_lora."

    def adapters(state: State) -> None:
        for name in ("down", "up"):
            state[f"{adapter}{name}.weight"][:] = 1e25

    def positions(state: State) -> None:
        patches = state[prefix + "pos_embed"][0, 1:]
        patches[:] = largest * np.where(np.arange(len(patches)) < len(patches) // 2, -1, 1)[:, None]

    files = SubjectFiles(berg_dir, 2)
    rewrite(files.part2, adapters)
    subject = berg_jax.Subject(convert_subject(berg_dir, 2, num_heads=3), 2)
    with pytest.raises(ModelLoadError, match=r"LoRA scale 0\.2, is too large for float32"):
        subject.model()
    with pytest.raises(ModelLoadError, match="is too large for bfloat16"):
        subject.model(precision="bfloat16")
    assert subject.model(fuse_lora=False).config.parts[1][1].vit.lora_rank > 0
    rewrite(files.part2, positions)
    shutil.rmtree(files.converted)
    with pytest.raises(ModelLoadError, match=r"part2\.pth: the position embedding, resized to 16 × 16, is too large"):
        convert_subject(berg_dir, 2, num_heads=3)
    assert not files.converted.exists()


def test_expanded_tensors_are_refused(berg_dir: Path) -> None:
    path = SubjectFiles(berg_dir, 1).part2
    state = {name: np.array(tensor) for name, tensor in read_torch(path).items()}
    from berg_jax.convert.keys import check_part

    state["coord_dict.subj01"] = np.broadcast_to(state["coord_dict.subj01"][:1], (192, 3))
    with pytest.raises(ModelLoadError, match=r"expanded from fewer elements: coord_dict\.subj01"):
        check_part(state, "subj01", "x")


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


def test_two_processes_at_once(berg_dir: Path) -> None:
    program = "import sys, berg_jax; print(len(berg_jax.load(sys.argv[1], 2, num_heads=3).vertices))"
    command = [sys.executable, "-c", program, berg_dir]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], answers
    assert [out.strip() for out, _ in answers] == [b"160"] * 3
    assert [path.name for path in SubjectFiles(berg_dir, 2).converted.parent.iterdir()] == ["subj02"]


@pytest.mark.parametrize(
    "change",
    [
        {"hemisphere_size": "80"},
        {"hemisphere_size": None},
        {"hemisphere_size": 10**12},
        {"sources": {"part1": {}}},
        {"sources": {"part1": 1}},
        {"sources": None},
        {"parts": []},
        {"more": 1},
    ],
    ids=str,
)
def test_damaged_descriptions(change: dict, complement: Golden, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(complement.folder, tmp_path / "copy"))
    fields = json.loads((folder / "subject.json").read_text())
    (folder / "subject.json").write_text(json.dumps(fields | change))
    for attempt in (lambda: load_model(folder), lambda: berg_jax.Subject(folder, 2)):
        with pytest.raises(IntegrityError):
            attempt()


def test_damage_is_an_error_without_the_check_too(complement: Golden, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(complement.folder, tmp_path / "copy"))
    for path in (folder / "part1" / "state").glob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(IntegrityError, match="part1 cannot be read"):
        load_model(folder, check=False)


def test_a_killed_conversion_leaves_nothing_that_looks_finished(berg_dir: Path, tmp_path: Path) -> None:
    """Kill −9 at several moments; then what is there loads, or is not there; and converting works."""
    output = tmp_path / "out" / "subj02"
    program = (
        "import sys; from berg_jax.convert.subject import convert_subject\n"
        "print('go', flush=True); convert_subject(sys.argv[1], 2, num_heads=3, output=sys.argv[2])"
    )
    seen = set()
    for delay in (0.05, 0.15, 0.25, 0.35):
        process = subprocess.Popen([sys.executable, "-c", program, berg_dir, output], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        seen.add(output.exists())
        if output.exists():
            verify(output)
            shutil.rmtree(output)
    convert_subject(berg_dir, 2, num_heads=3, output=output)
    verify(output)
    assert [path.name for path in output.parent.iterdir()] == ["subj02"]
    assert False in seen


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_anywhere_is_noticed(golden: Golden, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden.folder, tmp_path / "copy"))
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        original = path.read_bytes()
        for position in {0, len(original) // 2, len(original) - 1}:
            flip(path, position)
            with pytest.raises(BERGError, match=r"[Cc]onvert the subject again|converted subject|not hold|damaged"):
                load_model(folder)
            path.write_bytes(original)
    load_model(folder)


def test_missing_and_extra_files_are_noticed(golden: Golden, tmp_path: Path) -> None:
    for index, name in enumerate(("part2_vertices.npy", "part1/_CHECKPOINT_METADATA", "SHA256SUMS")):
        folder = Path(shutil.copytree(golden.folder, tmp_path / str(index)))
        (folder / name).unlink()
        with pytest.raises(BERGError):
            load_model(folder)
    folder = Path(shutil.copytree(golden.folder, tmp_path / "extra"))
    (folder / "part1" / "more").write_text("x")
    with pytest.raises(IntegrityError, match="unexpected"):
        load_model(folder)
    load_model(folder, check=False)


def test_other_formats_are_refused(golden: Golden, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden.folder, tmp_path / "copy"))
    fields = json.loads((folder / "subject.json").read_text())
    (folder / "subject.json").write_text(json.dumps(fields | {"format_version": 99}))
    with pytest.raises(ModelLoadError, match="in format 99"):
        berg_jax.Subject(folder, golden.subject)


def test_every_tensor_of_the_table_is_used_once() -> None:
    from berg_jax.convert.synthetic import SIZES, _sizes

    named = tensors(_sizes(SIZES["published"], 7), "subj01")
    assert len(named) == 342  # as many as the published files hold
    paths = [key.path for key in TABLE if key.path]
    assert len(paths) == len(set(paths))
    assert all(not a.startswith(b + "/") for a, b in itertools.permutations(paths, 2))

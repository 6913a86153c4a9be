"""Sources and options that cannot be converted: all that is wrong is said, and nothing is written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import berg_jax
from berg_jax.convert.subject import convert_subject
from berg_jax.convert.torch_file import write_object
from berg_jax.errors import (
    InvalidParameterError,
    ModelLoadError,
    ModelNotFoundError,
    ResourceError,
    UnsafeFileError,
)
from berg_jax.files.torch_archive import read_torch
from berg_jax.published.berg_dir import SubjectFiles

from ..conftest import changed
from ..files.test_torch_archive import archive, pickle
from .changes import KEY, State, rewrite


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

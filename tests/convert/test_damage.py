"""Converted subjects that were damaged: every flipped bit is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import berg_jax
from berg_jax.errors import (
    BERGError,
    IntegrityError,
    ModelLoadError,
)
from berg_jax.model.checkpoint import load_model

from ..conftest import Golden


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

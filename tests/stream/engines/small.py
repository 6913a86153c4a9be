"""Images for a small subject, the command that encodes them, and stores compared bit by bit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import zarr

from .cluster import program_environment

BATCH = 8  # images, by default


def write_images(path: Path, count: int) -> Path:
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))
    return path


def encode(images: Path, berg_dir: Path, subject_id: int, output: str | Path, *options: object) -> list[str]:
    """The command that encodes images."""
    command = ["berg-jax", "encode", images, "--berg-dir", berg_dir, "--subject", subject_id, "--output", output]
    return [str(word) for word in [*command, *options]]


def run(command: list[str], codes: tuple[int, ...] = (0,), **environment: str) -> str:
    """Run a command, which must end with one of these codes; what it printed."""
    done = subprocess.run(
        command, env=program_environment() | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode in codes, f"{done.returncode}: {done.stdout}"
    return done.stdout


def ledger(store: Path) -> dict[str, int]:
    """Number of images done in each recorded block."""
    return {path.stem: json.loads(path.read_text())["done"] for path in (store / "ledger").glob("*.json")}


def owners(store: Path) -> set[int]:
    """Numbers of the processes that have recorded anything."""
    return {json.loads(path.read_text())["process"] for path in (store / "ledger").glob("*.json")}


def assert_same_bits(store: Path, expected: Path) -> None:
    """Every file of the arrays, and what they hold, must be equal; only the ledger tells who did what."""
    files = {path.relative_to(expected) for path in expected.rglob("*") if path.is_file()}
    assert files == {path.relative_to(store) for path in store.rglob("*") if path.is_file()}
    for name in files:
        if name.parts[0] not in ("ledger", "zarr.json"):
            assert (store / name).read_bytes() == (expected / name).read_bytes(), name
    here, there = (zarr.open_group(path, mode="r") for path in (store, expected))
    assert here.attrs["complete"] is there.attrs["complete"] is True
    assert np.isfinite(here["responses"][:]).all()
    np.testing.assert_array_equal(here["responses"], there["responses"])

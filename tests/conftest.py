"""Hostile defaults (8 virtual devices, no implicit rank promotion) and the golden subjects.

The golden data are the published PyTorch package's own outputs on small synthetic subjects; see data/README.md.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 " + os.environ.get("XLA_FLAGS", "")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import pytest

import berg_jax
from berg_jax.convert.subject import convert_subject
from berg_jax.model import tuned

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"


@dataclass(frozen=True)
class Golden:
    """A golden subject: the reference's inputs and outputs, and our conversion of its files."""

    subject: int
    berg_dir: Path
    folder: Path
    expected: dict[str, np.ndarray]
    hemisphere_size: int
    model: berg_jax.EncodingModel

    @property
    def num_heads(self) -> int:
        return int(self.expected["num_heads"])


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder, which all its workers share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one worker or program of a test has compiled, others load; likewise runs that are given one folder."""
    folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_shared(tmp_path_factory) / "compiled"))
    seconds = os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(seconds))


@pytest.fixture(scope="session", autouse=True)
def _not_tuned() -> None:
    """What the developer's own ``berg-jax tune`` has found is not used."""
    tuned.FILE = "tuned_in_tests.json"


@pytest.fixture(scope="session")
def golden_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERG directory with the golden subjects' PyTorch files. Tests must not change it."""
    folder = tmp_path_factory.mktemp("golden") / "berg_dir"
    shutil.copytree(DATA / "golden", folder)
    return folder


def _golden(subject: int, source: Path, folders: pytest.TempPathFactory) -> Golden:
    expected = dict(np.load(DATA / f"subj{subject:02d}_expected.npz"))
    folder = folders.mktemp("converted") / "subject"
    convert_subject(source, subject, num_heads=int(expected["num_heads"]), output=folder)
    size = {1: 96, 2: 80}[subject]
    return Golden(subject, source, folder, expected, size, berg_jax.load(folder, subject))


@pytest.fixture(scope="session")
def overlay(golden_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Golden subject 1: 12 blocks, overlay."""
    return _golden(1, golden_source, tmp_path_factory)


@pytest.fixture(scope="session")
def complement(golden_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Golden subject 2: 3 blocks, complement; the one that compiles fast."""
    return _golden(2, golden_source, tmp_path_factory)


@pytest.fixture(scope="session", params=["overlay", "complement"])
def golden(request: pytest.FixtureRequest) -> Golden:
    """Each golden subject in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all workers share, so that a demo subject is built once."""
    folder = _shared(tmp_path_factory) / "cache"
    os.environ["BERG_JAX_CACHE"] = str(folder)
    return folder


@pytest.fixture
def berg_dir(tmp_path: Path) -> Path:
    """A BERG directory of one's own, with the golden subjects' PyTorch files."""
    return Path(shutil.copytree(DATA / "golden", tmp_path / "berg_dir"))


def changed(tree: Path) -> dict[str, bytes]:
    """Every file below a folder, to see whether anything was written."""
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}

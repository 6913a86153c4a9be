"""Whatever a file holds, reading it gives a right answer or a BERGError: no code, no crash, no hang, no flood."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from berg_jax.errors import BERGError, StimulusError
from berg_jax.experiments.synthesis.parametrizations import photographs
from berg_jax.files.matlab import read_matrices
from berg_jax.files.npy import read_npy, read_npz
from berg_jax.stream.sources.open import open_source

from ..conftest import ROOT
from .by_chance import Violation, guarded
from .hostile import CASES
from .hostile.case import PIPE, Hostile
from .targets import TARGETS


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("error::RuntimeWarning")  # numbers that went wrong on the way
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.target}: {case.attack}")
def test_hostile_files(case: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = TARGETS[case.target]
    monkeypatch.chdir(tmp_path)
    valid = target.seeds(tmp_path)[0]
    path = tmp_path / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(valid)
    target.read(path)  # which imports what is imported late, and shows that only the attack is refused
    path.unlink()
    contents = case.contents(path, valid) if callable(case.contents) else case.contents
    if contents == PIPE:
        os.mkfifo(path)
    elif contents is not None:
        path.write_bytes(contents)
    if case.said is None:
        with guarded(tmp_path):
            target.read(path)
    else:
        with pytest.raises(BERGError, match=case.said), guarded(tmp_path):
            target.read(path)
    assert not (tmp_path / "pwned").exists()


def _run(*arguments: str, timeout: float) -> str:
    command = [sys.executable, "-m", "tests.fuzz.by_chance", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_some_mutated_files_of_each_kind() -> None:
    """In a process of its own, so that a crash is a failure and not the end of the tests."""
    printed = _run("--inputs", "80", timeout=240)
    assert [line.split()[0] for line in printed.splitlines()] == ["target", *TARGETS]


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files(name: str) -> None:
    print(_run(name, "--inputs", "100000", timeout=7000))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["torch", "pickle", "npy", "metadata", "npz", "roi", "tar"])
def test_coverage_guided(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz.by_coverage", name, "--seconds", "240", "--corpus", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    print(done.stdout, done.stderr[-300:])


def test_the_guard_sees_what_must_not_be(tmp_path: Path) -> None:
    """Else all of the above would prove nothing."""
    outside = Path.home() / "berg-jax-tests-must-not-write-this"

    def swallowed() -> None:
        try:
            exec("1 + 1")
        except BaseException:
            return

    attacks = {
        "exec": lambda: eval("1 + 1"),
        "exec(": swallowed,
        "os.system": lambda: os.system("true"),
        "subprocess": lambda: subprocess.run(["true"], check=False),
        "open": lambda: outside.write_text("x"),
        "memory": lambda: np.ones(2**30),
        "more than": lambda: [None for _ in iter(int, 1)],
    }
    for said, attack in attacks.items():
        with pytest.raises(Violation, match=said.replace("(", r"\(")), guarded(tmp_path, seconds=1):
            attack()
    assert not outside.exists()


@pytest.mark.parametrize("name", ["x.eps", "x.png"])
def test_a_photograph_that_would_start_a_program(name: str, tmp_path: Path) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file's name."""
    path = tmp_path / name
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(StimulusError, match="cannot be read as an image"), guarded(tmp_path):
        photographs.read_squares(path)


def test_numpy_files_as_numpy_writes_them(tmp_path: Path) -> None:
    arrays = {
        "plain": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "scalar": np.array(3, np.uint8),
        "empty": np.empty((0, 4), np.float32),
        "text": np.array(["ab", "ü"]),
        "flags": np.array([True, False]),
    }
    for name, array in arrays.items():
        np.save(tmp_path / "x.npy", array)
        found = read_npy(tmp_path / "x.npy")
        assert (found.dtype, found.shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(found, array, err_msg=name)
    for save, compressed in ((np.savez, False), (np.savez_compressed, True)):
        save(tmp_path / "x.npz", **arrays)
        found = read_npz(tmp_path / "x.npz", compressed=compressed)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype, name
            np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert list(read_npz(tmp_path / "x.npz", ["text"], compressed)) == ["text"]


@pytest.mark.parametrize("chunks", [(2, 420, 420, 3), (1, 100, 420, 3)], ids=["large", "small"])
def test_large_compressed_images_are_what_was_written(chunks: tuple[int, ...], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 420, 420, 3), np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset(
            "imgBrick", data=images, chunks=chunks, compression="gzip", compression_opts=1, shuffle=True
        )
    found = open_source(tmp_path / "x.h5").read([4, 0, 3])
    np.testing.assert_array_equal(found, images[[4, 0, 3]].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_matrices_as_scipy_reads_them(dtype: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    tables = {
        "a": np.arange(12).reshape(3, 4).astype(dtype),
        "b": np.array([[3]], dtype),
        "text": "words",
        "c": {"d": 1},
    }
    savemat(path, tables, do_compression=compressed)
    expected = loadmat(path)
    for name, array in read_matrices(path, ["a", "b"]).items():
        assert array.dtype.newbyteorder("=") == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])

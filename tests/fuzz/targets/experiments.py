"""Files that experiments read: measured responses, tables, sweeps, maps."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from berg_jax import surface
from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.accuracy.trials import read_array, read_nsd, shown_images
from berg_jax.experiments.localizer.contrasts import design_of
from berg_jax.experiments.sweeps.spec import read_spec
from berg_jax.vertices import Vertices

from ..by_chance import Target
from .common import SIZE, npz_repaired


def _design_seeds(folder: Path) -> list[bytes]:
    random = np.random.default_rng(0)
    tables = {"masterordering": random.integers(1, 11, (1, 30)), "subjectim": random.integers(1, 100, (8, 10))}
    found = []
    for compressed in (False, True):
        memory = io.BytesIO()
        savemat(memory, tables, do_compression=compressed)
        found.append(memory.getvalue())
    return found


def mgh(values: np.ndarray) -> bytes:
    from nibabel import MGHImage

    return MGHImage(values, np.eye(4)).to_bytes()


_BETAS = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR/"
_DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"


def _betas_seeds(folder: Path) -> list[bytes]:
    (folder / _DESIGN).parent.mkdir(parents=True)
    ordering = {"masterordering": np.tile(np.arange(1, 11), 75)[None], "subjectim": np.arange(1, 81).reshape(8, 10)}
    savemat(folder / _DESIGN, ordering)
    values = np.random.default_rng(0).normal(size=(2, 1, 1, 750)).astype(np.float32)
    (folder / _BETAS).mkdir(parents=True)
    (folder / _BETAS / "rh.betas_session01.mgh").write_bytes(mgh(values))
    return [mgh(values)]


def _read_betas(path: Path) -> Any:
    root = next(parent for parent in path.parents if parent.name == "nsddata_betas").parent
    return read_nsd(root, 1, Vertices([0, 1], [1], 2), ["0", "3"])


def _table_seeds(folder: Path) -> list[bytes]:
    np.save(folder / "betas.npy", np.random.default_rng(0).normal(size=(4, 2 * SIZE)).astype(np.float32))
    return [b"image,session,category\na,1,x\nb,1,y\na,2,x\nb,2,y\n", b"session,image\n1,a\n1,b\n2,a\n2,b\n"]


def _read_table(path: Path) -> Any:
    with contextlib.suppress(InvalidParameterError):
        design_of(["a", "b"], path)
    return read_array(path.with_name("betas.npy"), path, Vertices([0, 1], [2], SIZE), ["a", "b"])


def _sweep_seeds(folder: Path) -> list[bytes]:
    first = """
[base]
berg_dir = "demo"
steps = 4
margin = 1.5
[grid]
subject = [1, 2]
images = ["fourier", "phases"]
[zip]
drive = ["FFA-1 + FFA-2", ["PPA", "RSC"]]
suppress = ["PPA", []]
[random]
trials = 2
axes = {learning_rate = {loguniform = [0.02, 0.1]}, jitter = {choice = [4, 8]}}
"""
    second = """
[base]
berg_dir = "x"
drive = "V1"
subject = 1
optimizer = "sgd"
[launcher]
kind = "slurm"
partition = "gpu"
time = 240
setup = ["module load cuda"]
extra = {account = "lab"}
"""
    return [first.encode(), second.encode()]


def _trials_seeds(folder: Path) -> list[bytes]:
    (folder / "table.csv").write_text("image,session\na,1\nb,1\na,2\nb,2\n")
    found = []
    for array in (np.random.default_rng(0).normal(size=(4, 2 * SIZE)), np.ones((4, 3), np.float32)):
        memory = io.BytesIO()
        np.save(memory, array)
        found.append(memory.getvalue())
    return found


def _read_trials(path: Path) -> Any:
    return read_array(path, path.with_name("table.csv"), Vertices([0, 1], [2], SIZE), ["a", "b"])


def _map_seeds(ending: str) -> Any:
    def seeds(folder: Path) -> list[bytes]:
        paths = surface.save(np.arange(2.0 * SIZE), folder / f"x{ending}")
        found = [paths[0].read_bytes()]
        if ending == ".mgz":
            found = [mgh(np.arange(float(SIZE), dtype=np.float32).reshape(-1, 1, 1))]
            (folder / "x.rh.mgh").write_bytes(found[0])
        elif ending == ".npz":
            memory = io.BytesIO()
            np.savez_compressed(memory, lh=np.arange(float(SIZE)), rh=np.arange(SIZE))
            found.append(memory.getvalue())
        elif ending == ".func.gii":
            from nibabel.gifti import GiftiDataArray, GiftiImage

            for encoding in ("ASCII", "B64BIN"):
                half = np.arange(float(SIZE), dtype=np.float32)
                array = GiftiDataArray(half, datatype="NIFTI_TYPE_FLOAT32", encoding=f"GIFTI_ENCODING_{encoding}")
                found.append(GiftiImage(darrays=[array]).to_bytes())
        return found

    return seeds


def _read_map(path: Path) -> Any:
    return surface.read(path.with_name(path.name.replace(".lh.", ".")), SIZE)


TARGETS = [
    Target("design", "nsd_expdesign.mat", _design_seeds, lambda path: shown_images(path, 1)),
    Target("betas", f"{_BETAS}lh.betas_session01.mgh", _betas_seeds, _read_betas),
    Target("trials", "betas.npy", _trials_seeds, _read_trials),
    Target("table", "table.csv", _table_seeds, _read_table, words=(b'"', b",", b"\n", b'""', b"x" * 200_000)),
    Target("gifti", "x.lh.func.gii", _map_seeds(".func.gii"), _read_map),
    Target("mgh", "x.lh.mgh", _map_seeds(".mgz"), _read_map),
    Target("npz", "x.npz", _map_seeds(".npz"), _read_map, npz_repaired),
    Target("sweep", "spec.toml", _sweep_seeds, read_spec, words=(b"[", b"inf", b"nan", b"9" * 5000, b"= [", b'"')),
]

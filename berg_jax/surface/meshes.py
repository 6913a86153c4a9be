"""Surfaces of fsaverage on this machine: fsaverage5 from nilearn's package, and finer meshes that it has fetched."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import ResourceError

SHOWN = 10_242  # vertices of a hemisphere of fsaverage5, the mesh of pictures
# Finer meshes: their name in nilearn, and the folder in nilearn's data that holds them.
FINER = {40_962: ("fsaverage6", "fsaverage6"), 163_842: ("fsaverage7", "fsaverage")}
_PARTS = ("area", "curv", "flat", "infl", "pial", "sphere", "sulc", "thick", "white")


def require(*packages: str) -> None:
    """Raise ResourceError unless these packages are installed."""
    for package in packages:
        try:
            _import(package)
        except ImportError as error:
            raise ResourceError(f"The cortical surface needs {package}: pip install 'berg_jax[plot]'.") from error


def _import(package: str) -> None:
    """Import a package, even where MPLBACKEND has a backend that matplotlib, which it may import, does not know."""
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        importlib.import_module(package)
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend and "matplotlib" in sys.modules:
        with contextlib.suppress(ValueError):
            sys.modules["matplotlib"].rcParams["backend"] = backend  # as matplotlib itself would have done


def is_here(size: int) -> bool:
    """Return whether the mesh with this number of vertices per hemisphere can be drawn without a network."""
    return size == SHOWN or (size in FINER and _folder(size) is not None)


@functools.cache
def fsaverage(hemisphere: str, name: str, size: int = SHOWN) -> Any:
    """Load a surface (coordinates in mm, faces) of a mesh on this machine, or its sulcal depth, from nilearn's files.

    Raises
    ------
    ResourceError
        nilearn is not installed, or the mesh is not on this machine.
    """
    require("nilearn")
    from nilearn import datasets, surface

    side = "left" if hemisphere == "lh" else "right"
    if size == SHOWN:
        path = datasets.fetch_surf_fsaverage("fsaverage5")[f"{name}_{side}"]
    elif (folder := _folder(size)) is not None:
        path = folder / f"{name}_{side}.gii.gz"
    else:
        raise ResourceError(how_to_get(size))
    return surface.load_surf_data(path) if name == "sulc" else surface.load_surf_mesh(path)


def how_to_get(size: int) -> str:
    """Return instructions for getting a missing mesh."""
    return (
        f"The surfaces of {FINER[size][0]} are not on this machine. Where there is a network, "
        f"nilearn.datasets.fetch_surf_fsaverage({FINER[size][0]!r}) fetches them once."
    )


def _folder(size: int) -> Path | None:
    """Return the folder in nilearn's data that has all files of a fetched mesh, or None."""
    require("nilearn")
    from nilearn.datasets import get_data_dirs

    needed = [f"{part}_{side}.gii.gz" for part in _PARTS for side in ("left", "right")]
    for data in get_data_dirs():
        folder = Path(data) / FINER[size][1]
        if all((folder / name).is_file() for name in needed):
            return folder
    return None

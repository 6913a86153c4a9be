"""The surfaces of fsaverage that are on this machine: fsaverage5 in nilearn's package, finer ones if it has them."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

from ..errors import ResourceError

SHOWN = 10_242  # vertices of a hemisphere of fsaverage5
# Finer meshes: what nilearn calls them, and the folder of its data that holds them.
FINER = {40_962: ("fsaverage6", "fsaverage6"), 163_842: ("fsaverage7", "fsaverage")}
_PARTS = ("area", "curv", "flat", "infl", "pial", "sphere", "sulc", "thick", "white")


def require(*packages: str) -> None:
    """Raise ResourceError unless these packages are installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ResourceError(f"The cortical surface needs {package}: pip install 'berg_jax[plot]'.") from error


def is_here(size: int) -> bool:
    """Whether the mesh of so many vertices a hemisphere can be drawn without a network."""
    return size == SHOWN or (size in FINER and _folder(size) is not None)


@functools.cache
def fsaverage(hemisphere: str, name: str, size: int = SHOWN) -> Any:
    """A surface (coordinates in mm, faces) of a mesh that is here, or its sulcal depth, from nilearn's own files.

    Raises
    ------
    ResourceError
        nilearn is not installed, or the mesh is not here.
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
    """What to do where a mesh is missing."""
    return (
        f"The surfaces of {FINER[size][0]} are not on this machine. Where there is a network, "
        f"nilearn.datasets.fetch_surf_fsaverage({FINER[size][0]!r}) fetches them once."
    )


def _folder(size: int) -> Path | None:
    """The folder in nilearn's data that has every file of a mesh, as once it was fetched; None if none has."""
    require("nilearn")
    from nilearn.datasets import get_data_dirs

    needed = [f"{part}_{side}.gii.gz" for part in _PARTS for side in ("left", "right")]
    for data in get_data_dirs():
        folder = Path(data) / FINER[size][1]
        if all((folder / name).is_file() for name in needed):
            return folder
    return None

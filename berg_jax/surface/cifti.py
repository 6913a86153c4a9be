"""CIFTI-2 dense scalars (``.dscalar.nii``) on fs_LR 32k, of maps that are there or are resampled to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ..files.disk import explained, readable
from ..files.gifti import check_gifti
from ..vertices import HEMISPHERES, Vertices
from .meshes import require
from .spaces import hint, whole_map

CIFTI = ".dscalar.nii"
FS_LR = 32_492  # vertices of a hemisphere
_STRUCTURES = {"lh": "CIFTI_STRUCTURE_CORTEX_LEFT", "rh": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
Spheres = Mapping[str, tuple[str | Path, str | Path]]


def save_cifti(
    values: Float[np.ndarray, " n"],
    path: str | Path,
    vertices: Vertices | None = None,
    *,
    spheres: Spheres | None = None,
) -> Path:
    """Write one value per vertex as CIFTI-2 dense scalars on fs_LR 32k.

    Parameters
    ----------
    values, vertices
        See :func:`berg_jax.surface.save`. Vertices whose value is NaN are left out of the file, such as the medial
        wall.
    path
        Path that ends in ``.dscalar.nii``.
    spheres
        For ``"lh"`` and ``"rh"`` two spherical surfaces (``.surf.gii``) in one registration: that of the values' mesh
        and fs_LR's, such as ``fsaverage_std_sphere.L.164k_fsavg_L.surf.gii`` and
        ``fs_LR-deformed_to-fsaverage.L.sphere.32k_fs_LR.surf.gii`` of the Human Connectome Project's standard meshes.
        Each fs_LR vertex takes the value of the vertex that is nearest to it on the sphere, and the file says so.

    Raises
    ------
    InvalidParameterError
        The values are in another space and there are no spheres, or these do not fit.
    ModelNotFoundError, ValidationError
        A sphere's file is missing, or cannot be read.
    ResourceError
        nibabel is not installed, or the file cannot be written.
    """
    require("nibabel")
    from nibabel import cifti2

    whole, size = whole_map(values, vertices)
    halves = dict(zip(HEMISPHERES, whole.reshape(2, size), strict=True))
    resampling = "none"
    if spheres is not None:
        halves = {h: half[_nearest(h, len(half), spheres)] for h, half in halves.items()}
        resampling = "nearest vertex on the sphere"
    elif size != FS_LR:
        raise InvalidParameterError(
            f"CIFTI files are written on fs_LR 32k, {FS_LR:,} vertices a hemisphere; the map has {size:,}"
            f"{hint(size)}. Give spheres, by which it is resampled."
        )
    kept = {h: ~np.isnan(half) for h, half in halves.items()}
    if not any(mask.any() for mask in kept.values()):
        raise InvalidParameterError("There is nothing to write: every value is NaN.")
    axes = [cifti2.BrainModelAxis.from_mask(kept[h], name=_STRUCTURES[h]) for h in HEMISPHERES if kept[h].any()]
    brain = axes[0] if len(axes) == 1 else axes[0] + axes[1]
    name = Path(path).name.removesuffix(CIFTI)
    scalars = cifti2.ScalarAxis([name], meta=[{"resampling": resampling}])
    data = np.concatenate([halves[h][kept[h]] for h in HEMISPHERES]).astype(np.float32)[None]
    image = cifti2.Cifti2Image(data, (scalars, brain))
    image.update_headers()
    with explained("write", Path(path)):
        image.to_filename(path)
    return Path(path)


def _nearest(hemisphere: str, size: int, spheres: Spheres) -> Int[np.ndarray, " 32492"]:
    """Return for each fs_LR vertex the nearest vertex of the values' mesh."""
    from scipy.spatial import cKDTree

    if hemisphere not in spheres:
        raise InvalidParameterError(f"spheres lack {hemisphere!r}. Give both hemispheres'.")
    source, target = (_directions(Path(path)) for path in spheres[hemisphere])
    for path, points, expected in zip(spheres[hemisphere], (source, target), (size, FS_LR), strict=True):
        if len(points) != expected:
            raise InvalidParameterError(
                f"{path} has {len(points):,} vertices{hint(len(points))}; expected {expected:,}. Give the sphere of "
                "the values' mesh, then that of fs_LR 32k."
            )
    return cKDTree(source).query(target)[1]


def _directions(path: Path) -> Float[np.ndarray, "n 3"]:
    import nibabel

    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Give a sphere's .surf.gii.")
    with readable(path, ValidationError, "Get the file again."):
        check_gifti(path)
        arrays: list[Any] = nibabel.load(path).get_arrays_from_intent("NIFTI_INTENT_POINTSET")
        points = np.asarray(arrays[0].data, np.float64)
        return points / np.linalg.norm(points, axis=1, keepdims=True)

"""Meshes of the cortex, recognized by their number of vertices, and resampling of values to the mesh of pictures.

The meshes of fsaverage are nested: the first vertices of a finer mesh are those of a coarser one, in the same order
(Fischl et al. 1999, High-resolution intersubject averaging and a coordinate system for the cortical surface, Human
Brain Mapping 8).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from ..errors import InvalidParameterError
from ..vertices import Vertices
from .meshes import SHOWN, fsaverage, is_here

MESHES = {642: "fsaverage3", 2_562: "fsaverage4", 10_242: "fsaverage5", 40_962: "fsaverage6", 163_842: "fsaverage"}
# Other numbers of values that maps have, and the spaces that have them.
_OTHERS = {
    32_492: "a hemisphere of fs_LR 32k",
    64_984: "both hemispheres of fs_LR 32k",
    59_412: "the cortical grayordinates of fs_LR 32k, without the medial wall",
    91_282: "all grayordinates of CIFTI 91k (fs_LR 32k and subcortical voxels)",
    29_696: "the left cortical grayordinates of fs_LR 32k",
    29_716: "the right cortical grayordinates of fs_LR 32k",
}


def looks_like(number: int) -> str:
    """Return the name of the space that has this number of values, or an empty string if none is known."""
    for size, name in MESHES.items():
        for count, what in ((size, "a hemisphere"), (2 * size, "both hemispheres")):
            if number == count:
                return f"{what} of {name}{'7' if name == 'fsaverage' else ''}"
    return _OTHERS.get(number, "")


def hint(number: int) -> str:
    """Return a clause that says which space has this number of values, or an empty string."""
    known = looks_like(number)
    return f", which looks like {known}" if known else ""


def whole_map(values: Any, vertices: Vertices | None) -> tuple[Float[np.ndarray, " n"], int]:
    """Return the values of all vertices, NaN where there is none, and the number of vertices of a hemisphere.

    Raises
    ------
    InvalidParameterError
        The values are neither finite numbers nor NaN, or do not fit the vertices.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim != 1 or not array.size:
        raise InvalidParameterError(
            f"values must be numbers of shape (n,), one for each vertex, got {array.dtype} of shape {array.shape}. "
            "If there are several images, show one, such as responses[0]."
        )
    if np.isinf(array).any():
        raise InvalidParameterError(
            f"{int(np.isinf(array).sum())} values are infinite. Set them to NaN to leave them out."
        )
    if vertices is None:
        if len(array) % 2:
            raise InvalidParameterError(
                f"values must be as many for the left as for the right hemisphere, got {len(array)} in all. If they "
                "are of chosen vertices, pass vertices=…, too, such as vertices=model.vertices."
            )
        return array.astype(np.float64), len(array) // 2
    if not isinstance(vertices, Vertices):
        raise InvalidParameterError(
            f"vertices must be berg_jax.Vertices, such as model.vertices or subject.vertices('V1'), got "
            f"{type(vertices).__name__}."
        )
    if len(array) != len(vertices):
        raise InvalidParameterError(
            f"There are {len(array)} values for {len(vertices)} vertices{hint(len(array))}; expected one for each."
        )
    whole = np.full(2 * vertices.hemisphere_size, np.nan)
    whole[vertices.global_indices] = array
    return whole, vertices.hemisphere_size


def to_fsaverage5(
    values: Shaped[np.ndarray, " n"], hemisphere_size: int
) -> tuple[Shaped[np.ndarray, " 10242"], Shaped[np.ndarray, " 10242"]]:
    """Return values on any mesh of fsaverage as values on fsaverage5, for the left and the right hemisphere.

    Finer meshes (40,962 and 163,842 vertices) have the vertices of fsaverage5 as the first 10,242 of a hemisphere;
    the other values are left out, not averaged. With coarser meshes (642 and 2,562), each fsaverage5 vertex takes the
    value of the vertex that is nearest to it on the sphere.

    Parameters
    ----------
    values
        (2 · hemisphere_size,) values of the left, then of the right hemisphere.
    hemisphere_size
        Number of vertices of one hemisphere of the mesh.

    Returns
    -------
    (10242,) values of the left and of the right hemisphere.

    Raises
    ------
    InvalidParameterError
        The mesh is not one of fsaverage, or the number of values does not fit it.
    ResourceError
        nilearn is not installed, and the mesh is coarser.

    Examples
    --------
    >>> left, right = to_fsaverage5(np.arange(2 * 163_842), 163_842)
    >>> len(left), right[0]
    (10242, np.int64(163842))
    """
    if hemisphere_size not in MESHES:
        sizes = ", ".join(f"{size} ({name})" for size, name in MESHES.items())
        raise InvalidParameterError(
            f"A picture needs a mesh of fsaverage, of one of these numbers of vertices a hemisphere: {sizes}; got "
            f"{hemisphere_size}{hint(hemisphere_size)}. For values of chosen vertices pass vertices=…, such as "
            "vertices=model.vertices; resample other values to one of them, or use save and another viewer."
        )
    values = np.asarray(values)
    if values.shape != (2 * hemisphere_size,):
        raise InvalidParameterError(f"values must have shape ({2 * hemisphere_size},), got {values.shape}.")
    left, right = values.reshape(2, hemisphere_size)
    if hemisphere_size >= SHOWN:
        return left[:SHOWN], right[:SHOWN]
    return left[_nearest("lh", hemisphere_size)], right[_nearest("rh", hemisphere_size)]


def to_shown(
    values: Shaped[np.ndarray, " n"], hemisphere_size: int
) -> tuple[Shaped[np.ndarray, " shown"], Shaped[np.ndarray, " shown"]]:
    """Return values as a picture shows them: on a finer mesh if it is on this machine, otherwise on fsaverage5.

    See Also
    --------
    to_fsaverage5 : Values on fsaverage5.
    """
    if hemisphere_size > SHOWN and hemisphere_size in MESHES and is_here(hemisphere_size):
        values = np.asarray(values)
        return values[:hemisphere_size], values[hemisphere_size:]
    return to_fsaverage5(values, hemisphere_size)


def resolution(size: int, shown: int) -> str:
    """Return small print about values of one mesh that are shown on another, or an empty string for the same mesh."""
    if size >= shown:
        return f"fsaverage5 subset of {MESHES[size]}" if size > shown else ""
    return f"{MESHES[size]}: at each fsaverage5 vertex the nearest of {size:,} a hemisphere"


@functools.cache
def _nearest(hemisphere: str, size: int) -> Int[np.ndarray, " 10242"]:
    """Return the nearest of the first ``size`` vertices on the sphere for each fsaverage5 vertex."""
    from scipy.spatial import cKDTree

    points = fsaverage(hemisphere, "sphere").coordinates
    return cKDTree(points[:size]).query(points)[1]

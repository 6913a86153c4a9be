"""Neighborhoods on the sphere: the nearest k vertices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from scipy.spatial import cKDTree

from ....errors import InvalidParameterError, ResourceError
from ....surface.meshes import SHOWN, fsaverage, how_to_get, is_here
from ....surface.spaces import MESHES, hint
from ....vertices import HEMISPHERES, Vertices


def neighborhoods(vertices: Vertices, k: int) -> Iterator[Int[np.ndarray, " k"]]:
    """Yield, for each vertex, the columns of the k chosen vertices nearest to it in its hemisphere, itself first.

    Distances are measured on fsaverage's sphere. Its meshes are nested, so fsaverage5's sphere serves all coarser
    meshes, and those vertices of finer meshes that fsaverage5 has, too. The other vertices of a finer mesh need that
    mesh, from nilearn, on this machine.

    Raises
    ------
    InvalidParameterError
        The mesh is not one of fsaverage's, or a hemisphere has fewer vertices than k.
    ResourceError
        The mesh is finer than fsaverage5 and not on this machine, and some vertices are not fsaverage5's.

    See Also
    --------
    searchable_vertices : The vertices for which this works.
    """
    size, counts = vertices.hemisphere_size, [len(vertices.lh), len(vertices.rh)]
    if size not in MESHES:
        raise InvalidParameterError(
            f"Searchlights need a mesh of fsaverage; this subject's hemispheres have {size} vertices{hint(size)}."
        )
    sphere = SHOWN if max(vertices.lh.max(initial=0), vertices.rh.max(initial=0)) < SHOWN else size
    if not is_here(sphere):
        raise ResourceError(how_to_get(size))
    if k < 2 or any(0 < count < k for count in counts):
        raise InvalidParameterError(f"A searchlight must have 2 vertices to as many as are chosen {counts}, got {k}.")
    first_column = 0
    for hemisphere, count in zip(HEMISPHERES, counts, strict=True):
        if count:
            points = fsaverage(hemisphere, "sphere", sphere).coordinates[getattr(vertices, hemisphere)]
            yield from first_column + cKDTree(points).query(points, k)[1]
        first_column += count


def searchable_vertices(vertices: Vertices) -> Vertices:
    """Return the vertices that can have a searchlight on this machine.

    These are all vertices, unless their mesh is finer than fsaverage5 and not on this machine; then they are those
    that fsaverage5 has.
    """
    if vertices.hemisphere_size <= SHOWN or is_here(vertices.hemisphere_size):
        return vertices
    lh = vertices.lh[vertices.lh < SHOWN]
    rh = vertices.rh[vertices.rh < SHOWN]
    return Vertices(lh=lh, rh=rh, hemisphere_size=vertices.hemisphere_size)

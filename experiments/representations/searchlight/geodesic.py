"""Neighborhoods along the surface: vertices within a distance over the mesh's edges, in mm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from ....errors import InvalidParameterError, ResourceError
from ....surface.meshes import SHOWN, fsaverage, how_to_get, is_here
from ....surface.spaces import MESHES, hint
from ....vertices import HEMISPHERES, Vertices

_AT_ONCE = 128  # vertices whose distances are computed together


def geodesic_neighborhoods(vertices: Vertices, radius: float) -> Iterator[Int[np.ndarray, " k"]]:
    """Yield, for each vertex, the columns of the chosen vertices within a distance along the surface, itself first.

    The distance is the shortest way over the edges of the mesh halfway between the white and the pial surface, which
    is longer than the true geodesic by some per cent. Ways over vertices that are not chosen count.

    Parameters
    ----------
    vertices
        Vertices of fsaverage5, or of a finer mesh that is on this machine.
    radius
        Largest distance in mm.

    Raises
    ------
    InvalidParameterError
        The mesh is not one of fsaverage's from fsaverage5 on, or the radius is not positive.
    ResourceError
        The mesh is not on this machine.

    See Also
    --------
    berg_jax.experiments.representations.searchlight.nearest.neighborhoods : The k nearest vertices on the sphere.
    """
    size = vertices.hemisphere_size
    if size not in MESHES or size < SHOWN:
        raise InvalidParameterError(
            f"Distances along the surface need fsaverage5 or a finer mesh; the hemispheres have {size} "
            f"vertices{hint(size)}."
        )
    if not is_here(size):
        raise ResourceError(how_to_get(size))
    if not (np.isfinite(radius) and radius > 0):
        raise InvalidParameterError(f"radius must be a positive number of mm, got {radius}.")
    first_column = 0
    for hemisphere in HEMISPHERES:
        chosen = getattr(vertices, hemisphere)
        if not len(chosen):
            continue
        column = np.full(size, -1)
        column[chosen] = first_column + np.arange(len(chosen))
        edges = _edges(hemisphere, size)
        for start in range(0, len(chosen), _AT_ONCE):
            distances = dijkstra(edges, indices=chosen[start : start + _AT_ONCE], limit=radius)
            for row in distances:
                near = np.flatnonzero(np.isfinite(row) & (column >= 0))
                yield column[near[np.argsort(row[near], kind="stable")]]
        first_column += len(chosen)


def _edges(hemisphere: str, size: int) -> sparse.csr_array:
    """Return the lengths of a mesh's edges, both ways."""
    white, pial = (fsaverage(hemisphere, name, size) for name in ("white", "pial"))
    points = (np.asarray(white.coordinates, np.float64) + pial.coordinates) / 2
    corners = np.asarray(white.faces)
    ends = np.unique(
        np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]]), axis=1), axis=0
    )
    lengths = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
    one_way = sparse.coo_array((lengths, (ends[:, 0], ends[:, 1])), shape=(size, size))
    return (one_way + one_way.T).tocsr()

"""Vertex arrays as pycortex takes them: fsaverage, left hemisphere first."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ..errors import InvalidParameterError
from ..vertices import Vertices
from .spaces import MESHES, hint, whole_map

FSAVERAGE = 163_842  # vertices of a hemisphere


def to_pycortex(values: Float[np.ndarray, " n"], vertices: Vertices | None = None) -> Float[np.ndarray, " 327684"]:
    """Return one value per vertex of fsaverage, for ``cortex.Vertex(array, "fsaverage")``.

    Parameters
    ----------
    values, vertices
        See :func:`berg_jax.surface.save`. Those of a coarser mesh of fsaverage, such as the demo subjects', are at
        the vertices that both meshes share, the first ones of each hemisphere; all others are NaN.

    Returns
    -------
    (327684,) float32, NaN where there is no value.

    Raises
    ------
    InvalidParameterError
        The mesh is not one of fsaverage.

    Examples
    --------
    >>> array = to_pycortex(np.ones(2 * 10_242))
    >>> array.shape, int(np.nansum(array))
    ((327684,), 20484)
    """
    whole, size = whole_map(values, vertices)
    if size not in MESHES:
        raise InvalidParameterError(
            f"pycortex's fsaverage has {FSAVERAGE:,} vertices a hemisphere; the map has {size:,}{hint(size)}. "
            "Resample it to a mesh of fsaverage."
        )
    shown = np.full((2, FSAVERAGE), np.nan, np.float32)
    with np.errstate(over="ignore"):
        shown[:, :size] = whole.reshape(2, size)
    if np.isinf(shown).any():
        raise InvalidParameterError("Some values are too large for float32. Scale them first.")
    return shown.ravel()

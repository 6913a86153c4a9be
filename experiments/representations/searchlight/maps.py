"""Maps of searchlights: how like a target the patterns around each vertex are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ....errors import InvalidParameterError
from ....surface.meshes import SHOWN, is_here
from ....vertices import Vertices
from ..measure import RDM, Measure
from .geodesic import geodesic_neighborhoods
from .nearest import neighborhoods

GEODESIC = "geodesic"


class Size(NamedTuple):
    """Size of a searchlight.

    Attributes
    ----------
    k
        Number of nearest vertices on the sphere, the center included; None with a radius.
    radius
        Largest distance along the surface in mm; None with a number of vertices.
    """

    k: int | None
    radius: float | None = None

    def __str__(self) -> str:
        return f"{self.k} vertices" if self.radius is None else f"{self.radius:g} mm"

    @property
    def described(self) -> str:
        """The searchlight in a sentence's words."""
        if self.radius is None:
            return f"the {self.k} vertices nearest to each vertex"
        return f"the vertices within {self.radius:g} mm of each vertex along the surface"

    def around(self, vertices: Vertices) -> Iterator[Int[np.ndarray, " k"]]:
        """Yield the columns in each vertex's searchlight, itself first."""
        if self.radius is None:
            return neighborhoods(vertices, int(self.k or 0))
        size = vertices.hemisphere_size
        if size > SHOWN and not is_here(size) and max(vertices.lh.max(initial=0), vertices.rh.max(initial=0)) < SHOWN:
            vertices = Vertices(vertices.lh, vertices.rh, SHOWN)  # the meshes are nested
        return geodesic_neighborhoods(vertices, self.radius)


def size_of(given: int | str) -> Size:
    """Return the size of a searchlight, such as ``100`` vertices or ``"geodesic:10"`` mm.

    Raises
    ------
    InvalidParameterError
        The text is no such size.

    Examples
    --------
    >>> size_of("100"), str(size_of("geodesic:7.5"))
    (Size(k=100, radius=None), '7.5 mm')
    """
    text = str(given).strip()
    kind, colon, number = text.rpartition(":")
    try:
        if colon and kind == GEODESIC:
            return Size(None, float(number))
        return Size(int(text))
    except ValueError as error:
        raise InvalidParameterError(
            f"A searchlight is a number of vertices, such as 100, or {GEODESIC}: and a distance in mm, such as "
            f"{GEODESIC}:10; got {text!r}."
        ) from error


def searchlights(
    responses: Float[np.ndarray, "images vertices"],
    vertices: Vertices,
    k: int | None,
    targets: Mapping[str, Float[np.ndarray, " pairs"]],
    *,
    radius: float | None = None,
    measure: Measure = RDM,
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Correlate the dissimilarities around each vertex with target matrices.

    Parameters
    ----------
    responses
        Responses of these vertices.
    vertices
        The columns' vertices.
    k
        Number of nearest vertices in a searchlight, the center included.
    targets
        Dissimilarity matrices by name, as upper triangles.
    radius
        Largest distance along the surface in mm, in place of ``k``, which is then None.
    measure
        Measure of similarity, of which the targets are triangles.

    Returns
    -------
    For each target, a map of similarities (Spearman's correlations); NaN where a vertex has no other within the
    radius.

    Raises
    ------
    InvalidParameterError, ResourceError
        As :func:`~berg_jax.experiments.representations.searchlight.nearest.neighborhoods` or
        :func:`~berg_jax.experiments.representations.geodesic_neighborhoods`; or both
        ``k`` and a radius are given, or neither.

    See Also
    --------
    berg_jax.experiments.representations.dissimilarities, berg_jax.experiments.representations.similarities
    """
    if (k is None) == (radius is None):
        raise InvalidParameterError("Give k, the number of vertices in a searchlight, or a radius in mm, not both.")
    units = np.stack([measure.unit(target) for target in targets.values()])
    found = [local @ units.T for local in local_units(responses, vertices, Size(k, radius), measure)]
    return dict(zip(targets, np.concatenate(found).T, strict=True))


def local_units(
    responses: Float[np.ndarray, "images vertices"],
    vertices: Vertices,
    size: Size,
    measure: Measure,
    at_once: int = 256,
) -> Iterator[Float[np.ndarray, "v pairs"]]:
    """Yield the scaled triangles around some vertices at a time; NaN where a vertex has no other within the radius.

    Parameters
    ----------
    responses, vertices, size, measure
        Responses of these vertices, the searchlights' size, and the measure that scales.
    at_once
        Number of vertices.
    """
    pairs = len(responses) * (len(responses) - 1) // 2
    some: list[np.ndarray] = []
    for columns in size.around(vertices):
        few = len(columns) < 2
        some.append(np.full(pairs, np.nan) if few else measure.unit(measure.triangle(responses[:, columns])))
        if len(some) == at_once:
            yield np.stack(some)
            some = []
    if some:
        yield np.stack(some)

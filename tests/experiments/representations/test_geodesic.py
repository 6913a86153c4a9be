"""Neighborhoods along the surface: shortest ways by another library, and searchlights that use them."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from berg_jax.errors import InvalidParameterError
from berg_jax.experiments.representations import dissimilarities, geodesic_neighborhoods, searchlights, similarities
from berg_jax.surface.meshes import fsaverage
from berg_jax.vertices import Vertices

SIZE, RADIUS = 10_242, 12.0


def test_neighbors_are_those_of_networkx() -> None:
    white, pial = (fsaverage("rh", name) for name in ("white", "pial"))
    points = (white.coordinates.astype(float) + pial.coordinates) / 2
    graph = networkx.Graph()
    for corners in white.faces:
        for one, other in ((0, 1), (1, 2), (0, 2)):
            ends = int(corners[one]), int(corners[other])
            graph.add_edge(*ends, weight=float(np.linalg.norm(points[ends[0]] - points[ends[1]])))
    centers = [0, 500, 10_241]
    around = {c: networkx.single_source_dijkstra_path_length(graph, c, RADIUS, weight="weight") for c in centers}
    chosen = sorted({vertex for found in around.values() for vertex in found} | {3000})
    vertices = Vertices([7, 8], chosen, SIZE)
    found = list(geodesic_neighborhoods(vertices, RADIUS))
    assert len(found) == len(vertices)
    for center in centers:
        columns = found[2 + chosen.index(center)]
        assert columns[0] == 2 + chosen.index(center)
        assert {chosen[column - 2] for column in columns} == set(around[center]) & set(chosen)
        lengths = [around[center][chosen[column - 2]] for column in columns]
        assert lengths == pytest.approx(sorted(lengths))


def test_searchlights_of_a_radius() -> None:
    vertices = Vertices(np.arange(0, 400), [9_000], SIZE)
    responses = np.random.default_rng(0).normal(size=(6, len(vertices)))
    target = dissimilarities(np.random.default_rng(1).normal(size=(6, 4)))
    found = searchlights(responses, vertices, None, {"t": target}, radius=60.0)["t"]
    around = list(geodesic_neighborhoods(vertices, 60.0))
    assert len(around[5]) > 2
    expected = similarities({"own": dissimilarities(responses[:, around[5]]), "t": target})[0, 1]
    assert found[5] == pytest.approx(expected)
    assert np.isnan(found[-1])  # alone in its hemisphere
    for k, radius in ((5, 3.0), (None, None)):
        with pytest.raises(InvalidParameterError, match="not both"):
            searchlights(responses, vertices, k, {"t": target}, radius=radius)
    with pytest.raises(InvalidParameterError, match="positive number of mm"):
        next(geodesic_neighborhoods(vertices, 0))
    with pytest.raises(InvalidParameterError, match="fsaverage5 or a finer mesh"):
        next(geodesic_neighborhoods(Vertices([1], [], 642), 5))

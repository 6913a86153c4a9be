"""Vertices: checked, ordered, comparable."""

from __future__ import annotations

import numpy as np
import pytest

from berg_jax.errors import InvalidParameterError
from berg_jax.rois import Vertices


def test_order_is_kept_and_left_comes_first() -> None:
    vertices = Vertices([5, 2], np.array([7, 0], np.int32), 10)
    assert vertices.global_indices.tolist() == [5, 2, 17, 10]
    assert vertices.indices.tolist() == [5, 2, 7, 0]
    assert vertices.hemispheres.tolist() == ["lh", "lh", "rh", "rh"]
    assert len(vertices) == 4
    assert Vertices.from_global(vertices.global_indices, 10) == vertices
    assert Vertices([2, 5], [7, 0], 10) != vertices
    assert len({vertices, Vertices([5, 2], [7, 0], 10), Vertices.all(10)}) == 2
    assert Vertices.all(3).global_indices.tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="read-only"):
        vertices.lh[0] = 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 1], [], 10), "lh holds 1 vertices more than once, such as 1"),
        (([], [10], 10), "rh must hold indices within the hemisphere, 0 to 9, got 10"),
        (([-1], [], 10), "got -1"),
        (([0.5], [], 10), "float64"),
        ((np.ones(10, bool), [], 10), "flatnonzero"),
        (([[1]], [], 10), "one-dimensional"),
        (([1], [], 0), "hemisphere_size"),
        (([1], [], 2.5), "hemisphere_size"),
    ],
)
def test_bad_vertices(arguments: tuple, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        Vertices(*arguments)

"""Placement of region names in a picture: inside the region, beside it with a line, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_CLEAR = 1.0  # mm between a name and anything that it must not touch
_FARTHEST, _STEP, _DIRECTIONS = 40.0, 2.5, 24  # places beside a region: distance and spacing in mm, directions


class Region(NamedTuple):
    """The visible part of a region in a picture, in mm: its vertices, and points along its outline."""

    vertices: Float[np.ndarray, "n 2"]
    outline: Float[np.ndarray, "m 2"]


class Name(NamedTuple):
    """The center of a region's name, and the end of its line if the name stands beside the region."""

    index: int
    middle: Float[np.ndarray, " 2"]
    target: Float[np.ndarray, " 2"] | None


def place_names(
    regions: Sequence[Region],
    sizes: Float[np.ndarray, "regions 2"],
    bounds: tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]],
) -> list[Name]:
    """Return places for the names of regions where no name covers another one or an outline, or is cut off.

    Parameters
    ----------
    regions
        Regions to name. Those with vertices get a name, beginning with the smallest, which has the least room.
    sizes
        Width and height of the names.
    bounds
        Lower left and upper right corner of the rectangle in which names must lie.

    Returns
    -------
    The names for which there is room.
    """
    all_outlines = np.concatenate([np.zeros((0, 2)), *(region.outline for region in regions)])
    placed: list[Name] = []
    boxes: list[Float[np.ndarray, " 4"]] = []
    for index in sorted(range(len(regions)), key=lambda index: len(regions[index].vertices)):
        region, half = regions[index], sizes[index] / 2 + _CLEAR
        if not len(region.vertices) or not len(region.outline):
            continue
        inner = _innermost(region)
        others = np.concatenate([np.zeros((0, 2)), *(r.outline for k, r in enumerate(regions) if k != index)])
        for middle in (inner, *_around(inner)):
            box = np.concatenate([middle - half, middle + half])
            if (box[:2] < bounds[0]).any() or (box[2:] > bounds[1]).any() or _inside(all_outlines, box).any():
                continue
            if any((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all() for other in boxes):
                continue
            target = None
            if middle is not inner:
                start = np.clip(region.outline, box[:2], box[2:])
                nearest = int(np.linalg.norm(region.outline - start, axis=1).argmin())
                target = region.outline[nearest]
                line = start[nearest] + np.linspace(0, 1, 20)[:, None] * (target - start[nearest])
                if _near(line, others) or any(_inside(line, other).any() for other in boxes):
                    continue
            placed.append(Name(index, middle, target))
            boxes.append(box)
            break
    return placed


def _innermost(region: Region) -> Float[np.ndarray, " 2"]:
    """Return the vertex that is farthest from the outline."""
    from scipy.spatial import cKDTree

    return region.vertices[int(cKDTree(region.outline).query(region.vertices)[0].argmax())]


def _around(middle: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "places 2"]:
    """Return places around a center, the nearest first."""
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (middle + np.arange(_STEP, _FARTHEST, _STEP)[:, None, None] * directions).reshape(-1, 2)


def _inside(points: Float[np.ndarray, "n 2"], box: Float[np.ndarray, " 4"]) -> np.ndarray:
    return ((points > box[:2]) & (points < box[2:])).all(1)


def _near(line: Float[np.ndarray, "n 2"], points: Float[np.ndarray, "m 2"]) -> bool:
    """Return whether a line comes close to any of the points."""
    return bool(len(points) and np.linalg.norm(line[:, None] - points, axis=2).min() < _CLEAR)

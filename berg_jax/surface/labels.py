"""Where the names of outlined regions stand in a picture: inside, else beside with a line, else nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_CLEAR = 1.0  # mm between a name and what it must not touch
_FARTHEST, _STEP, _DIRECTIONS = 40.0, 2.5, 24  # of places beside a region, from its middle: mm, mm, how many around


class Region(NamedTuple):
    """What is seen of a region in a picture, in mm: its vertices, and points along its outline."""

    vertices: Float[np.ndarray, "n 2"]
    outline: Float[np.ndarray, "m 2"]


class Name(NamedTuple):
    """The middle of a region's name, and where its line ends if it stands beside the region."""

    index: int
    middle: Float[np.ndarray, " 2"]
    target: Float[np.ndarray, " 2"] | None


def place_names(
    regions: Sequence[Region],
    sizes: Float[np.ndarray, "regions 2"],
    bounds: tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]],
) -> list[Name]:
    """Places for the names of regions, so that none covers another one or an outline, or is cut off.

    Parameters
    ----------
    regions
        Those with vertices get a name, the smallest first, as it has the least room.
    sizes
        Width and height of the names.
    bounds
        Lower left and upper right corner, within which names must be.

    Returns
    -------
    The names for which there is room.
    """
    every = np.concatenate([np.zeros((0, 2)), *(region.outline for region in regions)])
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
            if (box[:2] < bounds[0]).any() or (box[2:] > bounds[1]).any() or _inside(every, box).any():
                continue
            if any((box[:2] < there[2:]).all() and (there[:2] < box[2:]).all() for there in boxes):
                continue
            target = None
            if middle is not inner:
                start = np.clip(region.outline, box[:2], box[2:])
                nearest = int(np.linalg.norm(region.outline - start, axis=1).argmin())
                target = region.outline[nearest]
                line = start[nearest] + np.linspace(0, 1, 20)[:, None] * (target - start[nearest])
                if _near(line, others) or any(_inside(line, there).any() for there in boxes):
                    continue
            placed.append(Name(index, middle, target))
            boxes.append(box)
            break
    return placed


def _innermost(region: Region) -> Float[np.ndarray, " 2"]:
    """The vertex that is farthest from the outline."""
    from scipy.spatial import cKDTree

    return region.vertices[int(cKDTree(region.outline).query(region.vertices)[0].argmax())]


def _around(middle: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "places 2"]:
    """Places around a middle, the nearest first."""
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (middle + np.arange(_STEP, _FARTHEST, _STEP)[:, None, None] * ways).reshape(-1, 2)


def _inside(points: Float[np.ndarray, "n 2"], box: Float[np.ndarray, " 4"]) -> np.ndarray:
    return ((points > box[:2]) & (points < box[2:])).all(1)


def _near(line: Float[np.ndarray, "n 2"], points: Float[np.ndarray, "m 2"]) -> bool:
    """Whether a line comes close to points."""
    return bool(len(points) and np.linalg.norm(line[:, None] - points, axis=2).min() < _CLEAR)

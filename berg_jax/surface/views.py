"""Projections of fsaverage's hemispheres: the sides of the inflated cortex, the occipital close-up, the flat map."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .meshes import SHOWN, fsaverage

# Directions in space (x right, y front, z up) that point right and up in a picture of the left hemisphere. Pictures
# of the right one are mirror images. Lateral, ventral and dorsal rows share their horizontal axis.
_X, _Y, _Z = np.eye(3)
VIEWS = {
    "lateral": (-_Y, _Z),
    "medial": (_Y, _Z),
    "ventral": (-_Y, -_X),
    "dorsal": (-_Y, _X),
    "posterior": (_X, _Z),
    "anterior": (-_X, _Z),
}
OCCIPITAL, FLAT = "occipital", "flat"
_MIRROR = np.array([-1, 1, 1])
GYRI, SULCI = 0.82, 0.62  # grey of vertices without a value
COLUMN = 216.0  # width of a hemisphere in mm of a picture: an inflated one is as long
# The close-up is a part of the spherical surface, which shows V1 to hV4 whole, in front of each other nowhere.
_CENTERS = {"lh": (0.46, -0.70, -0.55), "rh": (-0.65, -0.45, -0.61)}  # directions on the sphere of the middle of V1
_ANGLE, _DIAMETER = np.radians(48), 180.0  # of the close-up: how far it reaches from there, and its size in mm


class Projection(NamedTuple):
    """A projected hemisphere: coordinates to the right, up and toward the viewer; the farthest faces first."""

    points: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "n 3"]
    light: Float[np.ndarray, " vertices"]
    grey: Float[np.ndarray, " vertices"]


def in_close_up(hemisphere: str, size: int = SHOWN) -> Float[np.ndarray, " vertices"]:
    """Return the vertices of a hemisphere that the occipital close-up shows."""
    return _from_center(hemisphere, size)[1] < _ANGLE


@functools.cache
def project(hemisphere: str, view: str, size: int = SHOWN) -> Projection:
    """Project the mesh of this size around the center of the picture, with only the faces turned to the viewer."""
    if view == OCCIPITAL:
        points, faces, light = _close_up(hemisphere, size)
    elif view == FLAT:
        points, faces = _mesh(hemisphere, "flat", size)
        points = points * np.array([1, 1, 0]) * COLUMN / np.ptp(points[faces, 0])
        light = np.ones(size)
    else:
        points, faces = _mesh(hemisphere, "infl", size)
        right, up = VIEWS[view]
        if hemisphere == "rh":
            right, up = -right * _MIRROR, up * _MIRROR
        points = points @ np.column_stack([right, up, np.cross(right, up)])
        # Light comes from the viewer and is dimmer only near the rim, which shows the shape and leaves colors
        # readable.
        light = 0.55 + 0.45 * np.clip(normals_of(points, faces)[:, 2], 0, 1) ** 0.6
    faces = faces[np.argsort(points[faces, 2].mean(1), kind="stable")]
    x, y, _ = np.moveaxis(points[faces] - points[faces[:, :1]], 2, 0)
    used = points[faces.ravel()]
    middle = (used.min(0) + used.max(0)) / 2
    grey = GYRI + (SULCI - GYRI) * np.clip(0.5 + 2.5 * fsaverage(hemisphere, "sulc", size), 0, 1)
    return Projection(points - middle, faces[x[:, 1] * y[:, 2] > x[:, 2] * y[:, 1]], light, grey)


def _mesh(hemisphere: str, name: str, size: int) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "m 3"]]:
    surface = fsaverage(hemisphere, name, size)
    return surface.coordinates.astype(np.float64), surface.faces


def _close_up(
    hemisphere: str, size: int
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "m 3"], Float[np.ndarray, " n"]]:
    """Return the occipital part of the sphere by its azimuthal equidistant projection, which keeps it up."""
    offset, angle = _from_center(hemisphere, size)
    _, faces = _mesh(hemisphere, "sphere", size)
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    flat = _DIAMETER / 2 * (angle / _ANGLE)[:, None] * np.divide(offset, length, where=length > 0, out=0 * offset)
    points = np.concatenate([flat, np.zeros((size, 1))], axis=1)
    return points, faces[(angle < _ANGLE)[faces].all(1)], np.ones(size)


def _from_center(hemisphere: str, size: int) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Return offsets to the right and up of the close-up's center on the sphere, and angles from it in radians."""
    points, _ = _mesh(hemisphere, "sphere", size)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    center = np.array(_CENTERS[hemisphere]) / np.linalg.norm(_CENTERS[hemisphere])
    up = _Z - center * center[2]
    up /= np.linalg.norm(up)
    return points @ np.column_stack([np.cross(up, center), up]), np.arccos(np.clip(points @ center, -1, 1))


def normals_of(points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the unit normals of vertices, the means of their faces' normals weighted by area."""
    first, second, third = points[faces].swapaxes(0, 1)
    normals = np.zeros_like(points)
    np.add.at(normals, faces, np.cross(second - first, third - first)[:, None])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)

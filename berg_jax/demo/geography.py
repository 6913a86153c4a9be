"""Areas of the demo subjects on fsaverage5, and receptive-field centers of their early visual areas.

The anatomy is schematic: early areas are strips along the calcarine sulcus in a polar plane, other areas are discs
around textbook locations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ..errors import ResourceError

HEMISPHERE_SIZE = 10_242  # fsaverage5
RADIUS = 100.0  # radius of fsaverage's sphere in mm

# Locations on the white surface in mm (x away from the midline, y front, z up).
_FOVEA, _CALCARINE, _DORSAL = (8, -98, -4), (13, -62, 6), (10, -88, 24)
_LENGTH = 56.0  # length of the early strips, from the fovea forward, in mm on the sphere
_LEAST, _MOST = 0.3, 4.1  # eccentricities at the ends of the strips, in degrees
# Early strips: their two borders (mm from the calcarine, dorsal positive), the polar angles there (degrees above the
# horizontal), and their length as a share of the longest.
_STRIPS = {
    "V1v": (0, -16, 0, 90, 1),
    "V1d": (0, 16, 0, -90, 1),
    "V2v": (-16, -27, 90, 0, 1),
    "V2d": (16, 27, -90, 0, 1),
    "V3v": (-27, -36, 0, 90, 0.8),
    "V3d": (27, 36, 0, -90, 0.8),
    "hV4": (-36, -50, 90, -90, 0.6),
}
# Discs: center and radius on the sphere, in mm. A vertex in two discs belongs to the first.
_DISCS = {
    "OFA": ((40, -78, -12), 10),
    "FFA-1": ((40, -62, -16), 9),
    "FFA-2": ((41, -44, -20), 9),
    "mTL-faces": ((40, -28, -24), 8),
    "aTL-faces": ((36, -8, -38), 7),
    "EBA": ((47, -72, 4), 15),
    "FBA-1": ((46, -52, -18), 9),
    "FBA-2": ((47, -34, -22), 9),
    "mTL-bodies": ((50, -16, -28), 9),
    "OPA": ((33, -84, 20), 12),
    "PPA": ((27, -44, -10), 13),
    "RSC": ((14, -52, 8), 10),
    "OWFA": ((38, -84, -10), 8),
    "VWFA-1": ((46, -62, -10), 8),
    "VWFA-2": ((46, -48, -14), 8),
    "mfs-words": ((34, -40, -18), 7),
    "mTL-words": ((54, -34, -14), 7),
}
_STREAMS = {
    "midventral": ((30, -72, -12), 15),
    "midlateral": ((40, -84, 2), 15),
    "midparietal": ((25, -82, 28), 15),
    "ventral": ((37, -48, -18), 26),
    "lateral": ((50, -62, 4), 28),
    "parietal": ((26, -64, 48), 26),
}
PREFERENCES = {
    **dict.fromkeys(("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"), "faces"),
    **dict.fromkeys(("EBA", "FBA-1", "FBA-2", "mTL-bodies"), "bodies"),
    **dict.fromkeys(("OPA", "PPA", "RSC"), "places"),
    **dict.fromkeys(("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"), "words"),
}
EARLY = tuple(_STRIPS)
LEFT_ONLY = ("mTL-words",)  # so that one ROI is empty in a hemisphere, as some are in the published metadata


@dataclass(frozen=True)
class Geography:
    """The areas of one hemisphere.

    Attributes
    ----------
    rois
        Vertices of each ROI, ascending.
    rf_center
        Receptive-field centers of vertices in early areas, in degrees, x right and y up; NaN elsewhere.
    """

    rois: dict[str, Int[np.ndarray, " roi"]]
    rf_center: Float[np.ndarray, "vertices 2"]


def geography(hemisphere: str) -> Geography:
    """Return the areas of ``"lh"`` or ``"rh"``.

    Raises
    ------
    ResourceError
        nilearn, whose package contains fsaverage5, is not installed.
    """
    white, sphere = _surfaces(hemisphere)
    outward = -1 if hemisphere == "lh" else 1

    def place(x: float, y: float, z: float) -> Float[np.ndarray, " 3"]:
        nearest = np.argmin(((white - (outward * x, y, z)) ** 2).sum(axis=1))
        return sphere[nearest]

    forward, up = _polar_plane(sphere, place(*_FOVEA), place(*_CALCARINE), place(*_DORSAL))
    rois, rf_center = {}, np.full((len(white), 2), np.nan)
    for name, (near, far, near_angle, far_angle, share) in _STRIPS.items():
        across = (up - near) / (far - near)
        inside = np.flatnonzero((across >= 0) & (across < 1) & (forward > -8) & (forward < share * _LENGTH))
        distance = np.clip(forward[inside] / (share * _LENGTH), 0, 1)
        eccentricity = _LEAST * (_MOST / _LEAST) ** distance
        angle = np.radians(near_angle + (far_angle - near_angle) * across[inside])
        # The left hemisphere sees the right half of the field.
        rf_center[inside, 0] = -outward * eccentricity * np.cos(angle)
        rf_center[inside, 1] = eccentricity * np.sin(angle)
        rois[name] = inside
    taken = ~np.isnan(rf_center[:, 0])
    early = np.flatnonzero(taken)
    for name, (center, radius) in _DISCS.items():
        if name in LEFT_ONLY and hemisphere == "rh":
            rois[name] = np.array([], np.int64)
            continue
        inside = ~taken & (_distance(sphere, place(*center)) < radius)
        rois[name] = np.flatnonzero(inside)
        taken |= inside
    streams = {"early": early[~np.isin(early, rois["hV4"])]}
    free = ~np.isin(np.arange(len(white)), early)
    for name, (center, radius) in _STREAMS.items():
        inside = free & (_distance(sphere, place(*center)) < radius)
        streams[name] = np.flatnonzero(inside)
        free &= ~inside
    rois |= streams
    rois["nsdgeneral"] = np.unique(np.concatenate(list(rois.values())))
    return Geography(rois, rf_center)


def _surfaces(hemisphere: str) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "vertices 3"]]:
    """Load the white surface and the sphere of fsaverage5."""
    try:
        from nilearn import datasets, surface
    except ImportError as error:
        raise ResourceError(
            "The demo subjects lie on nilearn's copy of fsaverage5, and nilearn is not installed: "
            "pip install 'berg_jax[demo]'."
        ) from error
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    side = {"lh": "left", "rh": "right"}[hemisphere]
    white, sphere = (surface.load_surf_mesh(files[f"{kind}_{side}"]).coordinates for kind in ("white", "sphere"))
    return white.astype(np.float64), sphere.astype(np.float64)


def _polar_plane(
    sphere: np.ndarray, fovea: np.ndarray, calcarine: np.ndarray, dorsal: np.ndarray
) -> tuple[Float[np.ndarray, " vertices"], Float[np.ndarray, " vertices"]]:
    """Return the arc lengths in mm from the fovea along the calcarine sulcus and across it."""
    middle = fovea / RADIUS
    along = calcarine - (calcarine @ middle) * middle
    along /= np.linalg.norm(along)
    across = np.cross(middle, along)
    across *= np.sign(across @ dorsal)
    unit = sphere / RADIUS
    up = RADIUS * np.arcsin(np.clip(unit @ across, -1, 1))
    forward = RADIUS * np.arctan2(unit @ along, unit @ middle)
    return forward, up


def _distance(sphere: np.ndarray, place: np.ndarray) -> Float[np.ndarray, " vertices"]:
    """Return the arc length in mm from a location on the sphere."""
    return RADIUS * np.arccos(np.clip(sphere @ place / RADIUS**2, -1, 1))

"""Maps of searchlights: each target's similarity around each vertex, and the layer that is most alike there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ....subject import Subject
from ....vertices import Vertices
from ...reporting.page import Picture
from ...reporting.pictures import draw_brain
from ..measure import Measure
from ..searchlight import Size
from .layers import COLORS

LAYER = "best_layer"
Map = Float[np.ndarray, " vertices"]


def layer_map(maps: Mapping[str, Map], layers: Sequence[str]) -> Map:
    """Return the number, from 0, of the layer that is most like each vertex's surroundings; NaN where none is alike.

    Parameters
    ----------
    maps
        Similarity with each layer.
    layers
        Names of the layers, from the first to the last.

    Examples
    --------
    >>> layer_map({"a": np.array([0.1, 0.3, -0.2]), "b": np.array([0.2, 0.1, -0.1])}, ["a", "b"])
    array([ 1.,  0., nan])
    """
    values = np.nan_to_num(np.stack([maps[name] for name in layers]), nan=-np.inf)
    return np.where(values.max(0) > 0, values.argmax(0).astype(np.float64), np.nan)


def searchlights_section(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, Map],
    size: Size,
    layers: Sequence[str],
    measure: Measure,
    made: Mapping[str, Any],
    folder: Path,
    *,
    roi: str | None,
    limits: tuple[float, float],
) -> list[Picture]:
    """Draw one subject's maps.

    Parameters
    ----------
    subject, vertices, maps
        The subject and its maps, of which :func:`layer_map` is one if there are layers.
    size, measure
        The searchlights' size, and the measure of similarity.
    layers
        Names of the layers.
    made
        Settings that made the maps.
    folder
        Folder for the pictures.
    roi
        Words for the vertices that are searched; None for all.
    limits
        Both ends of the scale that all targets' and subjects' maps share.
    """
    pictures = []
    for name, values in maps.items():
        if name == LAYER and layers:
            continue
        kind = "its dissimilarities with those" if measure.name == "rdm" else "its patterns with those"
        pictures += draw_brain(
            subject,
            vertices,
            values,
            folder / f"{name}.png",
            f"{name} in searchlights: {measure.similarity} of {kind} of {size.described}. All maps have this scale.",
            roi=roi,
            images=made["images"],
            settings=made,
            limit=limits,
            label=f"{measure.similarity} (no unit)",
            title=f"{name} in searchlights of {size}",
        )
    if layers and LAYER in maps:
        pictures += draw_brain(
            subject,
            vertices,
            maps[LAYER],
            folder / f"{LAYER}.png",
            f"The layer whose {measure.similarity} with {size.described} is largest; grey where none is above 0.",
            roi=roi,
            images=made["images"],
            settings={**made, "layers": list(layers)},
            label="layer most alike",
            labels=list(layers),
            colormap=COLORS,
            title=f"Layers in searchlights of {size}",
        )
    return pictures

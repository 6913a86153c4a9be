"""Interactive page of an experiment's maps: a brain that can be turned, with a menu to switch between the maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ... import surface
from ...subject import Subject
from ...surface.spaces import to_fsaverage5, whole_map
from ...vertices import Vertices
from .page import Link
from .results import can_draw, landmarks, note, outlined

NAME = "brain.html"


def write_brain(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, Float[np.ndarray, " vertices"]],
    folder: Path,
    title: str,
    *,
    angles: Collection[str] = (),
    limit: tuple[float, float] | None = None,
) -> list[Link]:
    """Write ``brain.html``, which opens on the side where the first map's values are, with outlines of areas.

    Where nothing can be shown, a page that an earlier run has left is removed.

    Parameters
    ----------
    subject
        The subject whose early visual areas, by halves, and category areas are outlined.
    vertices, maps
        Maps of these vertices by their names, with units; those of which fsaverage5 has no value are left out.
    folder
        Folder for the page.
    title
        Title above the brain.
    angles
        Names of the maps that are angles in degrees.
    limit
        Both ends of one scale of all maps; by default each has its own.

    Returns
    -------
    list of Link
        The link for the report; none where nothing can be shown.

    See Also
    --------
    berg_jax.surface.html : The page of any maps.
    """
    shown = {name: np.where(np.isfinite(values), values, np.nan) for name, values in maps.items()}
    if can_draw(vertices):
        shown = {
            name: values
            for name, values in shown.items()
            if not np.isnan(to_fsaverage5(*whole_map(values, vertices))).all()
        }
    if not shown or not can_draw(vertices):
        (folder / NAME).unlink(missing_ok=True)
        return []
    options = {"outlines": outlined(subject, landmarks(subject)), "note": note(subject), "limit": limit}
    options["angles"] = [name for name in angles if name in shown]
    surface.html(shown, vertices, title=title, output=folder / NAME, **options)
    words = "The maps on a brain that can be turned" + (
        ", with a menu to switch between them:" if len(shown) > 1 else ":"
    )
    return [Link(folder / NAME, words)]

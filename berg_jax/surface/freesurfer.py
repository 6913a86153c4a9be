"""FreeSurfer's annotations and labels of regions: ROIs, or the vertices that prefer each category."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from ..errors import InvalidParameterError
from ..files.disk import explained
from ..vertices import HEMISPHERES, Vertices
from .meshes import require

ANNOT = ".annot"
_TURN = 0.618034  # of the color circle from one region to the next, by which neighbors in the list differ


def save_annot(
    regions: Mapping[str, Vertices],
    path: str | Path,
    *,
    colors: Mapping[str, tuple[int, int, int]] | None = None,
    overlap: Literal["error", "first"] = "error",
) -> list[Path]:
    """Write regions as a FreeSurfer annotation of each hemisphere, and return the files' paths.

    Parameters
    ----------
    regions
        Vertices of each region, by its name.
    path
        Path that ends in ``.annot``: ``x.annot`` stands for ``lh.x.annot`` and ``rh.x.annot``.
    colors
        Red, green and blue from 0 to 255 of regions, by their names; the others' are chosen.
    overlap
        Treatment of vertices in several regions, of which an annotation holds one: ``"error"``, or ``"first"``, which
        takes the first region.

    Raises
    ------
    InvalidParameterError
        There is no region; regions overlap, have the same color, or are of different meshes; the path has another
        ending.
    ResourceError
        nibabel is not installed, or the files cannot be written.

    See Also
    --------
    save_labels : A file for each region, which may overlap.
    save : Values instead of regions.

    Examples
    --------
    >>> import tempfile
    >>> import berg_jax
    >>> subject = berg_jax.Subject("demo", 1)
    >>> regions = {name: subject.vertices(name) for name in ("FFA-1", "PPA")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [file.name for file in save_annot(regions, f"{folder}/rois.annot")]
    ['lh.rois.annot', 'rh.rois.annot']
    """
    path = Path(path)
    if not path.name.endswith(ANNOT):
        raise InvalidParameterError(f"An annotation's file must end in {ANNOT}, got {str(path)!r}.")
    if overlap not in ("error", "first"):
        raise InvalidParameterError(f"overlap must be 'error' or 'first', got {overlap!r}.")
    size = _size(regions)
    table = _colors(list(regions), colors or {})
    require("nibabel")
    from nibabel.freesurfer import write_annot

    whole = np.full(2 * size, -1)
    names = list(regions)
    for number, (name, vertices) in enumerate(regions.items()):
        taken = whole[vertices.global_indices] >= 0
        if taken.any() and overlap == "error":
            other = names[whole[vertices.global_indices[taken][0]]]
            raise InvalidParameterError(
                f"{name!r} and {other!r} share vertices, of which an annotation holds one region each. Leave one "
                "out, use overlap='first', or write labels."
            )
        whole[vertices.global_indices[~taken]] = number
    files = [path.with_name(f"{hemisphere}.{path.name}") for hemisphere in HEMISPHERES]
    for file, half in zip(files, whole.reshape(2, size), strict=True):
        with explained("write", file):
            write_annot(file, half.astype(np.int32), table, names, fill_ctab=True)
    return files


def save_labels(regions: Mapping[str, Vertices], folder: str | Path) -> list[Path]:
    """Write each region as FreeSurfer labels, ``lh.NAME.label`` and ``rh.NAME.label``, and return their paths.

    Vertices are given by their numbers; the coordinates in the files are 0, as FreeSurfer's tools take them from the
    surface. A hemisphere without vertices has no file.

    Parameters
    ----------
    regions
        Vertices of each region, by its name.
    folder
        Folder of the files, which is made.

    Raises
    ------
    InvalidParameterError
        There is no region, regions are of different meshes, or two names are the same file.
    ResourceError
        The files cannot be written.

    See Also
    --------
    save_annot : One file of all regions a hemisphere.
    """
    _size(regions)
    folder = Path(folder)
    stems = {name: re.sub(r"[^\w.+-]", "_", name) for name in regions}
    if len(set(stems.values())) < len(stems):
        raise InvalidParameterError(f"Two of the names {list(regions)} would be one file. Rename one.")
    files = []
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, vertices in regions.items():
            for hemisphere in HEMISPHERES:
                indices = getattr(vertices, hemisphere)
                if len(indices):
                    files.append(folder / f"{hemisphere}.{stems[name]}.label")
                    files[-1].write_text(_label(name, np.sort(indices)), encoding="utf-8")
    return files


def _label(name: str, indices: Int[np.ndarray, " n"]) -> str:
    rows = "".join(f"{index} 0.000 0.000 0.000 0.0000000000\n" for index in indices)
    return f"#!ascii label {name}\n{len(indices)}\n{rows}"


def _size(regions: Mapping[str, Vertices]) -> int:
    sizes = {vertices.hemisphere_size for vertices in regions.values()}
    if len(sizes) != 1:
        found = f"of {sorted(sizes)} vertices a hemisphere" if sizes else "none"
        raise InvalidParameterError(f"Regions must be of one mesh and at least one, got {found}.")
    return sizes.pop()


def _colors(names: list[str], given: Mapping[str, tuple[int, int, int]]) -> Int[np.ndarray, "regions 4"]:
    """Return red, green, blue and transparency (0) of each region."""
    if unknown := set(given) - set(names):
        raise InvalidParameterError(f"There are colors for {sorted(unknown)}, which are no regions: {names}.")
    table = np.zeros((len(names), 4), np.int32)
    for number, name in enumerate(names):
        chosen = colorsys.hsv_to_rgb(number * _TURN % 1, 0.8 - 0.3 * (number % 2), 0.95 - 0.05 * (number // 20 % 5))
        table[number, :3] = given.get(name, [round(255 * part) for part in chosen])
    if (table < 0).any() or (table > 255).any() or len(np.unique(table, axis=0)) < len(names):
        raise InvalidParameterError("Colors must be three numbers from 0 to 255 each, and differ between regions.")
    return table

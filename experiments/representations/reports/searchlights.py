"""Maps of searchlights: each target's similarity and its threshold, and the layer that is most alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ....errors import InvalidParameterError
from ....files.csv_tables import write_table
from ....subject import Subject
from ....vertices import Vertices
from ...reporting.brain_page import write_brain
from ...reporting.page import Section, SideBySide, Table
from ...reporting.pictures import draw_brain, overview, shared_limits
from ...reporting.results import regions_of
from ..measure import Measure
from ..searchlight import ALPHA, SearchlightMap, Size
from ..searchlight.permutation import CORRECTIONS
from .layers import COLORS

LAYER = "best_layer"
THRESHOLDED, CORRECTED = "_thresholded", {"max": "_p", "fdr": "_q"}  # what follows a map's name
TABLE, _SHOWN = "searchlights.csv", {"": "", ", where it passes": THRESHOLDED}
_COLUMNS = (
    *("target", "correction", "permutations", "vertices", "threshold", "passing", "share"),
    *("largest", "corrected_p_of_largest", "hemisphere", "vertex", "rois"),
)
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


def check_names(targets: Collection[str]) -> None:
    """Raise InvalidParameterError if a target has the name of a map that is written of another one."""
    written = {LAYER, *(f"{name}{end}" for name in (*targets, LAYER) for end in (THRESHOLDED, *CORRECTED.values()))}
    if clash := written.intersection(targets):
        raise InvalidParameterError(f"{min(clash)!r} is the name of a map that is written. Rename the features.")


class Searched(NamedTuple):
    """One subject's searchlights.

    Attributes
    ----------
    subject, vertices
        The subject, and the vertices that were searched.
    found
        Tested map of each target, and with layers of the one that is most alike.
    size, measure, layers
        The searchlights' size, the measure of similarity, and the names of the layers.
    """

    subject: Subject
    vertices: Vertices
    found: Mapping[str, SearchlightMap]
    size: Size
    measure: Measure
    layers: Sequence[str]

    def maps(self) -> dict[str, Map]:
        """Return the maps to write: each target's similarity, the same where it passes, and its corrected p."""
        maps = {name: one.values for name, one in self.found.items() if name != LAYER}
        if LAYER in self.found:
            maps[LAYER] = layer_map(maps, self.layers)
        for name, one in self.found.items():
            maps[f"{name}{THRESHOLDED}"] = np.where(one.passes, maps[name], np.nan)
            maps[f"{name}{CORRECTED[one.correction]}"] = one.corrected
        return maps

    def rows(self) -> list[dict[str, Any]]:
        """Return how many vertices of each map pass, and where it is largest."""
        regions = regions_of(self.subject, self.vertices)
        rows = []
        for name, one in self.found.items():
            known = ~np.isnan(one.values)
            cells: list[Any] = [name, one.correction, one.repetitions, int(known.sum()), one.threshold]
            cells += [int(one.passes.sum()), float(one.passes.sum() / max(known.sum(), 1))]
            if known.any():
                best = int(np.nanargmax(one.values))
                vertex = int(self.vertices.global_indices[best])
                inside = [roi for roi, region in regions.items() if vertex in region.global_indices]
                side, place = divmod(vertex, self.vertices.hemisphere_size)
                cells += [float(one.values[best]), float(one.corrected[best]), ("lh", "rh")[side], place]
                cells.append(" ".join(inside))
            else:
                cells += [np.nan, np.nan, "", -1, ""]
            rows.append(dict(zip(_COLUMNS, cells, strict=True)))
        return rows

    def lines(self) -> list[str]:
        """Return a line for each map that says how many vertices pass."""
        whose = f"subject {self.subject.description.subject}"
        return [
            f"Searchlights of {whose}: {name} passes in {int(one.passes.sum()):,} of "
            f"{int((~np.isnan(one.values)).sum()):,} vertices, {one.said}"
            for name, one in self.found.items()
        ]


def scale_of(every: Sequence[Searched]) -> tuple[float, float]:
    """Return both ends of one scale of all targets' maps, which reaches what passes, however little that is."""
    maps = [one for searched in every for name, one in searched.found.items() if name != LAYER]
    whole = shared_limits(*(one.values for one in maps))
    passing = (
        shared_limits(*(one.values[one.passes] for one in maps)) if any(one.passes.any() for one in maps) else whole
    )
    return min(whole[0], passing[0]), max(whole[1], passing[1])


def searchlights_section(
    searched: Searched,
    made: Mapping[str, Any],
    folder: Path,
    *,
    roi: str | None,
    limits: tuple[float, float],
) -> Section:
    """Draw one subject's maps, each where it passes and as it is, and write a table of them.

    Parameters
    ----------
    searched
        The subject's searchlights.
    made
        Settings that made the maps.
    folder
        Folder for the pictures and ``searchlights.csv``.
    roi
        Words for the vertices that are searched; None for all.
    limits
        Both ends of the scale that all targets' and subjects' maps share.
    """
    subject, size, measure, maps = searched.subject, searched.size, searched.measure, searched.maps()
    rows = searched.rows()
    write_table(folder / TABLE, _COLUMNS, [row.values() for row in rows])
    shown = {name: maps[name] for name in searched.found if name != LAYER}
    shown = {f"{name}{words}": maps[f"{name}{end}"] for name in shown for words, end in _SHOWN.items()}
    title = f"Searchlights of {size}, subject {subject.description.subject}: {measure.similarity}"
    parts: list[Any] = [_table(searched, rows)]
    parts += write_brain(subject, searched.vertices, shown, folder, title, limit=limits)
    kind = "its dissimilarities with those" if measure.name == "rdm" else "its patterns with those"
    for name, one in searched.found.items():
        if name == LAYER:
            caption = f"The layer whose {measure.similarity} with {size.described} is largest"
            options: dict[str, Any] = {
                "label": "layer most alike",
                "labels": list(searched.layers),
                "colormap": COLORS,
            }
            title, settings = f"Layers in searchlights of {size}", {**made, "layers": list(searched.layers)}
            as_it_is = f"{caption}; grey where none is above 0."
        else:
            caption = f"{name} in searchlights: {measure.similarity} of {kind} of {size.described}"
            options = {"label": f"{measure.similarity} (no unit)", "limit": limits}
            title, settings = f"{name} in searchlights of {size}", made
            as_it_is = f"{caption}. All maps have this scale."
        options |= {
            **overview(subject, searched.vertices, maps[name]),
            "roi": roi,
            "images": made["images"],
            "settings": settings,
        }
        passing = draw_brain(
            *(subject, searched.vertices, maps[f"{name}{THRESHOLDED}"], folder / f"{name}{THRESHOLDED}.png"),
            f"{caption}, where {one.said}; grey elsewhere.",
            title=f"{title}, {one.said}",
            **options,
        )
        whole = draw_brain(
            *(subject, searched.vertices, maps[name], folder / f"{name}.png", as_it_is),
            title=f"{title}, without a threshold",
            **options,
        )
        if not one.passes.any():
            parts.append(f"{name}: no vertex passes ({one.said}).")
        if passing or whole:
            parts.append(SideBySide([*passing, *whole]))
    return Section(f"Searchlights of subject {subject.description.subject}", parts)


def _table(searched: Searched, rows: Sequence[Mapping[str, Any]]) -> Table:
    one = next(iter(searched.found.values()))
    corrected = "p" if one.correction == "max" else "q"
    columns = ["target", "vertices", "pass", "share", "largest", f"{corrected} of the largest", "at", "in"]
    cells = [
        [
            *(row["target"], row["vertices"], row["passing"], row["share"]),
            *(row["largest"], row["corrected_p_of_largest"]),
            *(f"{row['hemisphere']} {row['vertex']}" if row["hemisphere"] else "–", row["rois"] or "–"),
        ]
        for row in rows
    ]
    if one.correction == "max":
        columns.insert(2, "passes above")
        for own, row in zip(cells, rows, strict=True):
            own.insert(2, row["threshold"])
    over = f"the {CORRECTIONS[one.correction]} over all vertices"
    return Table(
        f"Similarity ({searched.measure.similarity}) in searchlights of {searched.size}; a vertex "
        f"passes at {corrected} ≤ {ALPHA}, by {one.repetitions:,} permutations of the images, corrected by "
        f"{over} of a map",
        columns,
        cells,
    )

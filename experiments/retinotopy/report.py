"""What a retinotopic mapping found, as pictures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...subject import Subject
from ...vertices import Vertices
from ..reporting.page import Picture, Section, Table
from ..reporting.pictures import draw_brain
from ..reporting.results import EARLY, outlined

HOW = {"fit": "a Gaussian fit", "probe": "the best probe"}
_MIN_QUALITY = 0.1  # of what is drawn, with a fit


def sections(
    person: Subject,
    vertices: Vertices,
    maps: dict[str, np.ndarray],
    rows: list[dict[str, Any]],
    best: str,
    made: dict[str, Any],
    output: Path,
) -> list[Section]:
    """A report's sections: maps by the best way (``"fit"`` or ``"probe"``), drawn into a folder; their agreement."""
    return [
        Section("Maps", _draw(person, vertices, maps, best, made, output)),
        Section("Agreement", [_agreement(rows), *_sizes(person, vertices, maps)]),
    ]


def _draw(
    person: Subject, vertices: Vertices, maps: dict[str, np.ndarray], best: str, made: dict[str, Any], output: Path
) -> list[Picture]:
    shown, how = ~np.isnan(maps[f"{best}_angle"]), HOW[best]
    if best == "fit":
        shown = maps["fit_r2"] >= _MIN_QUALITY
        made = {**made, "shown where the fit's r² is at least": _MIN_QUALITY}
    drawn: dict[str, tuple[str, dict[str, Any]]] = {
        "angle": (
            "Polar angle of receptive fields, counterclockwise from the right horizontal meridian; the wheel is the "
            "visual field",
            {"label": f"polar angle in the visual field ({how})", "title": "Polar angle", "wheel": True},
        ),
        "eccentricity": (
            "Distance of receptive fields from the fovea",
            {"label": f"eccentricity (degrees, {how})", "title": "Eccentricity"},
        ),
    }
    if best == "fit":
        label = "receptive field's standard deviation (degrees)"
        drawn["size"] = ("Standard deviation of the Gaussian receptive fields", {"label": label, "title": "Size"})
    pictures = []
    for name, (caption, options) in drawn.items():
        pictures += draw_brain(
            person,
            vertices,
            np.where(shown, maps[f"{best}_{name}"], np.nan),
            output / f"{name}.png",
            f"{caption}, by {how}. Outlined are early visual areas; grey vertices have no receptive field.",
            regions=EARLY,
            settings=made,
            views=("medial", "ventral"),
            **options,
        )
    return pictures


def _agreement(rows: list[dict[str, Any]]) -> Table:
    return Table(
        "Correlation of receptive fields with others: circular for the angle, Pearson's for eccentricity",
        ("compared with", "region", "vertices", "angle", "eccentricity"),
        [[row[key] for key in ("with", "region", "vertices", "angle", "eccentricity")] for row in rows],
    )


def _sizes(person: Subject, vertices: Vertices, maps: dict[str, np.ndarray]) -> list[Table]:
    """With a fit, its medians in the early areas."""
    if "fit_size" not in maps:
        return []
    inside = {
        name: np.isin(vertices.global_indices, region.global_indices)
        for name, region in outlined(person, EARLY).items()
    }
    inside = {"all vertices": np.ones(len(vertices), bool), **inside}
    rows = [
        [
            name,
            int(there.sum()),
            *(float(np.median(maps[key][there])) for key in ("fit_eccentricity", "fit_size", "fit_r2")),
        ]
        for name, mask in inside.items()
        for there in [mask & ~np.isnan(maps["fit_size"])]
        if there.any()
    ]
    return [
        Table(
            "Gaussian fits: medians over vertices",
            ("region", "vertices", "eccentricity (°)", "size (°)", "r²"),
            rows,
        )
    ]

"""Report of a retinotopic mapping: maps on the brain, correlations with other estimates, receptive-field sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from ...subject import Subject
from ...surface.spaces import to_shown
from ...surface.views import in_close_up
from ...vertices import HEMISPHERES, Vertices
from ..reporting.page import Picture, Section, Table
from ..reporting.patches import median_interval, patches_of
from ..reporting.pictures import draw_brain
from ..reporting.results import EARLY, can_draw, early_areas, outlined

METHODS = {"fit": "a Gaussian fit", "probe": "the best probe"}
_MIN_R2 = 0.1  # vertices with a poorer fit are not drawn
_NEARLY = 0.98  # share of the vertices that the close-up shows, if other views are left out


def sections(
    subject: Subject,
    vertices: Vertices,
    maps: dict[str, np.ndarray],
    rows: list[dict[str, Any]],
    best: str,
    roi: str | None,
    settings: dict[str, Any],
    output: Path,
) -> list[Section]:
    """Draw a subject's maps into a folder, and return the report's sections.

    Parameters
    ----------
    subject, vertices
        The subject, and the vertices that were mapped.
    maps
        Values at these vertices, by the names of :func:`~berg_jax.experiments.retinotopy.experiment.map_retinotopy`.
    rows
        Agreement with other estimates: see :func:`~berg_jax.experiments.retinotopy.receptive_fields.agreement`.
    best
        The method whose maps are drawn, a key of ``METHODS``.
    roi
        ROI expression of the vertices.
    settings
        Settings to print below the pictures.
    output
        Folder for the pictures.
    """
    return [
        Section("Maps", _draw(subject, vertices, maps, best, roi, settings, output)),
        Section("Agreement", [_agreement(rows), *_sizes(subject, vertices, maps)]),
    ]


def _draw(
    subject: Subject,
    vertices: Vertices,
    maps: dict[str, np.ndarray],
    best: str,
    roi: str | None,
    settings: dict[str, Any],
    output: Path,
) -> list[Picture]:
    visible, method = ~np.isnan(maps[f"{best}_angle"]), METHODS[best]
    if best == "fit":
        visible = maps["fit_r2"] >= _MIN_R2
        settings = {**settings, "shown where the fit's r² is at least": _MIN_R2}
    captions_and_options: dict[str, tuple[str, dict[str, Any]]] = {
        "angle": (
            "Polar angle of receptive fields, counterclockwise from the right horizontal meridian; the wheel is the "
            "visual field",
            {"label": f"polar angle (°) in the visual field, by {method}", "title": "Polar angle", "wheel": True},
        ),
        "eccentricity": (
            "Distance of receptive fields from the fovea",
            {"label": f"eccentricity (°), by {method}", "title": "Eccentricity"},
        ),
    }
    if best == "fit":
        caption = "Standard deviation of the Gaussian receptive fields"
        options = {"label": "standard deviation (°)", "title": "Receptive-field size"}
        captions_and_options["size"] = (caption, options)
    near = _is_near(vertices, visible)
    views = {"views": ("occipital", "medial", "ventral", *([] if near else ["lateral"])), "flat": not near}
    pictures = []
    for name, (caption, options) in captions_and_options.items():
        pictures += draw_brain(
            subject,
            vertices,
            np.where(visible, maps[f"{best}_{name}"], np.nan),
            output / f"{name}.png",
            f"{caption}, by {method}. Outlines are early visual areas; grey vertices have no receptive field.",
            regions=early_areas(subject),
            roi=roi,
            images=settings["images"],
            settings=settings,
            **views,
            **options,
        )
    return pictures


def _is_near(vertices: Vertices, visible: Bool[np.ndarray, " vertices"]) -> bool:
    """Return whether the occipital close-up shows nearly all vertices with a receptive field."""
    size = vertices.hemisphere_size
    if not can_draw(vertices):
        return False
    mask = np.zeros(2 * size, bool)
    mask[vertices.global_indices[visible]] = True
    shown = to_shown(mask, size)
    inside = [half[in_close_up(h, len(half))].sum() for h, half in zip(HEMISPHERES, shown, strict=True)]
    return sum(inside) >= _NEARLY * sum(half.sum() for half in shown)


def _agreement(rows: list[dict[str, Any]]) -> Table:
    cells = [
        [
            *(row["with"], row["region"], row["vertices"], row["angle"], str(row["angle_interval"])),
            *(row["eccentricity"], str(row["eccentricity_interval"])),
        ]
        for row in rows
    ]
    return Table(
        "Correlation with other estimates of receptive fields over n vertices: circular for polar angle, Pearson's "
        "for eccentricity; 95% bootstrap intervals over patches of cortex of 13 mm",
        ("compared with", "region", "vertices", "angle", "95% of angle", "eccentricity", "95% of eccentricity"),
        cells,
    )


def _sizes(subject: Subject, vertices: Vertices, maps: dict[str, np.ndarray]) -> list[Table]:
    """Return a table of the fits' medians over all vertices and in the early areas, if there are fits."""
    if "fit_size" not in maps:
        return []
    masks, patches = {"all vertices": np.ones(len(vertices), bool)}, patches_of(vertices)
    for name, region in outlined(subject, EARLY).items():
        masks[name] = np.isin(vertices.global_indices, region.global_indices)
    rows = []
    for name, mask in masks.items():
        fitted = mask & ~np.isnan(maps["fit_size"])
        if fitted.any():
            cells = []
            for key in ("fit_eccentricity", "fit_size", "fit_r2"):
                values = maps[key][fitted]
                cells += [float(np.median(values)), str(median_interval(values, patches[fitted]))]
            rows.append([name, int(fitted.sum()), *cells])
    names = ("eccentricity (°)", "size (°)", "r²")
    columns = ("region", "vertices", *(column for name in names for column in (name, "95%")))
    caption = "Gaussian fits: medians over n vertices; 95% bootstrap intervals over patches of cortex of 13 mm"
    return [Table(caption, columns, rows)]

"""Report of a retinotopic mapping: maps on the brain, correlations with other estimates, receptive-field sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from ...subject import Subject
from ...surface.spaces import to_shown
from ...surface.views import in_close_up
from ...vertices import HEMISPHERES, Vertices
from ..reporting.brain_page import write_brain
from ..reporting.figures import about, remove_figure
from ..reporting.page import Link, Picture, Section, Table
from ..reporting.pictures import draw_brain
from ..reporting.results import can_draw, early_areas, note
from .areas import MIN_R2, Area, area_sections
from .figures import Pair, Texts, draw_agreement
from .receptive_fields import Estimate

OWN, PLANTED, WHOLE = "the model's own", "planted", "all vertices"
SCATTERS = {"measured": "agreement_measured.png", PLANTED: "agreement_planted.png", OWN: "agreement_model.png"}
METHODS = {"fit": "a Gaussian fit", "probe": "the best probe"}
_NEARLY = 0.98  # share of the vertices that the close-up shows, if other views are left out


def sections(
    subject: Subject,
    vertices: Vertices,
    maps: dict[str, np.ndarray],
    rows: list[dict[str, Any]],
    others: Mapping[str, Estimate],
    areas: Mapping[str, Area],
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
    others
        These estimates, by name.
    areas
        Receptive fields of areas: see :func:`~berg_jax.experiments.retinotopy.areas.areas_of`.
    best
        The method whose maps are drawn, a key of ``METHODS``.
    roi
        ROI expression of the vertices.
    settings
        Settings to print below the pictures.
    output
        Folder for the pictures.
    """
    words = {"subject": subject, "roi": roi, "output": output}
    drawn = {"subject": subject, "vertices": vertices, "maps": maps, "output": output}
    found = [
        Section("Maps", [*_draw(subject, vertices, maps, best, roi, settings, output), *_brain(best=best, **drawn)]),
        Section("Agreement", [_agreement(rows), *_scatters(vertices, maps, rows, others, best, **words)]),
    ]
    return [*found, *area_sections(subject, vertices, maps, areas, roi, output)]


def _draw(
    subject: Subject,
    vertices: Vertices,
    maps: dict[str, np.ndarray],
    best: str,
    roi: str | None,
    settings: dict[str, Any],
    output: Path,
) -> list[Picture]:
    visible, method = ~np.isnan(maps[f"{best}_eccentricity"]), METHODS[best]
    if best == "fit":
        visible = maps["fit_r2"] >= MIN_R2
        settings = {**settings, "shown where the fit's r² is at least": MIN_R2}
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
        # Of a fit there are practically none, as of a grid without a window at the center.
        at_center = name == "angle" and (visible & np.isnan(maps[f"{best}_angle"])).any()
        central = ", or one at the center of the visual field, where there is no angle" if at_center else ""
        pictures += draw_brain(
            subject,
            vertices,
            np.where(visible, maps[f"{best}_{name}"], np.nan),
            output / f"{name}.png",
            f"{caption}, by {method}. Outlines are early visual areas; grey: no receptive field{central}.",
            regions=early_areas(subject),
            roi=roi,
            images=settings["images"],
            settings=settings,
            **views,
            **options,
        )
    return pictures


def _brain(subject: Subject, vertices: Vertices, maps: dict[str, np.ndarray], best: str, output: Path) -> list[Link]:
    """Write the interactive page of the maps."""
    visible = maps["fit_r2"] >= MIN_R2 if best == "fit" else ~np.isnan(maps[f"{best}_eccentricity"])
    names = {"eccentricity (°)": "eccentricity", "polar angle (°)": "angle"} | (
        {"size (°)": "size"} if best == "fit" else {}
    )
    shown = {words: np.where(visible, maps[f"{best}_{name}"], np.nan) for words, name in names.items()}
    title = f"Receptive fields of subject {subject.description.subject}, by {METHODS[best]}"
    return write_brain(subject, vertices, shown, output, title, angles=["polar angle (°)"])


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


def _scatters(
    vertices: Vertices,
    maps: Mapping[str, np.ndarray],
    rows: list[dict[str, Any]],
    others: Mapping[str, Estimate],
    best: str,
    *,
    subject: Subject,
    roi: str | None,
    output: Path,
) -> list[Picture]:
    """Draw fitted receptive fields against each other estimate; the model's own only where none is planted."""
    numbers = {row["with"]: row for row in rows if row["region"] == WHOLE}
    places = [("lh", index) for index in vertices.lh.tolist()] + [("rh", index) for index in vertices.rh.tolist()]
    pictures = []
    for name, file in SCATTERS.items():
        if name not in others or (name == OWN and PLANTED in others) or numbers[name]["vertices"] < 3:
            remove_figure(output / file)  # of an earlier run
            continue
        other, row = others[name], numbers[name]
        kept = other.known & ~np.isnan(maps[f"{best}_x"]) & ~np.isnan(maps[f"{best}_y"])
        most = other.max_eccentricity
        pairs = [
            Pair("polar angle", other.angle[kept], maps[f"{best}_angle"][kept], row["angle"], row["angle_interval"]),
            Pair(
                "eccentricity",
                np.minimum(other.eccentricity[kept], most),
                np.minimum(maps[f"{best}_eccentricity"][kept], most),
                row["eccentricity"],
                row["eccentricity_interval"],
            ),
        ]
        subtitle = about([subject.description.subject], roi, vertices=int(kept.sum()))
        texts = Texts(f"Receptive fields by {METHODS[best]} against {_named(name)}", subtitle, note(subject))
        draw_agreement(pairs, name, [places[index] for index in np.flatnonzero(kept)], output / file, texts)
        clipped = "" if np.isinf(most) else f" Eccentricities are clipped at {most:g}°."
        caption = (
            f"Receptive fields by {METHODS[best]} against {_named(name)}, a dot for each of {kept.sum():,} vertices; "
            "the line is where both are equal. Angles are drawn within half a turn of each other; r with its 95% "
            f"bootstrap interval over patches of cortex.{clipped}"
        )
        pictures.append(Picture(output / file, caption, {"subject": subject.description.subject}))
    return pictures


def _named(other: str) -> str:
    return other if other == OWN else f"{other} ones"

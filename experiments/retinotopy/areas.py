"""Receptive fields of areas: size against eccentricity, coverage of the visual field; numbers and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...subject import Subject
from ...vertices import Vertices
from ..reporting.figures import about, remove_figure
from ..reporting.page import Picture, Section, Table
from ..reporting.patches import median_interval, patches_of
from ..reporting.results import EARLY, OUTLINED, note, outlined
from ..reporting.statistics import Interval
from .coverage import HALF, Coverage, covered
from .figures import Texts, draw_coverage, draw_sizes
from .receptive_fields import LARGEST
from .sizes import SizeLine, size_line

SIZES, COVERAGE = "size_eccentricity.png", "coverage.png"
MIN_R2 = 0.1  # vertices with a poorer fit are not drawn
_FEWEST = 10  # vertices of an area whose receptive fields are drawn


def _at_bound(maps: Mapping[str, np.ndarray]) -> Bool[np.ndarray, " vertices"]:
    return np.nan_to_num(maps["fit_size"]) >= 0.999 * LARGEST


class Area(NamedTuple):
    """Receptive fields of an area's vertices whose fit explains at least 0.1 of the variance.

    Attributes
    ----------
    inside
        Mask of these vertices among all that were mapped.
    eccentricity, size
        Their eccentricities and sizes in degrees.
    line
        Size against eccentricity.
    coverage
        Coverage of the visual field by each hemisphere's part.
    """

    inside: Bool[np.ndarray, " vertices"]
    eccentricity: Float[np.ndarray, " n"]
    size: Float[np.ndarray, " n"]
    line: SizeLine
    coverage: list[Coverage]


def areas_of(subject: Subject, vertices: Vertices, maps: Mapping[str, np.ndarray]) -> dict[str, Area]:
    """Return the receptive fields of each early visual and category area with at least 10 of them, by name.

    Those whose size is at the fit's bound are left out.

    Parameters
    ----------
    subject, vertices
        The subject, and the vertices of the maps.
    maps
        Maps by their names in ``maps.npz``; without those of a fit there are no areas.
    """
    if "fit_size" not in maps:
        return {}
    found, patches = {}, patches_of(vertices)
    fitted = (np.nan_to_num(maps["fit_r2"]) >= MIN_R2) & ~np.isnan(maps["fit_size"]) & ~np.isnan(maps["fit_x"])
    fitted &= ~_at_bound(maps)
    left = np.arange(len(vertices)) < len(vertices.lh)
    centers = np.stack([maps["fit_x"], maps["fit_y"]], axis=1)
    for name, region in outlined(subject, (*EARLY, *(name for name in OUTLINED if name not in EARLY))).items():
        inside = fitted & np.isin(vertices.global_indices, region.global_indices)
        if inside.sum() < _FEWEST:
            continue
        halves = {"lh": inside & left, "rh": inside & ~left}
        coverage = [
            covered(name, hemisphere, centers[half], maps["fit_size"][half], patches[half])
            for hemisphere, half in halves.items()
            if half.any()
        ]
        eccentricity, size = maps["fit_eccentricity"][inside], maps["fit_size"][inside]
        line = size_line(eccentricity, size, patches[inside])
        found[name] = Area(inside, eccentricity, size, line, coverage)
    return found


def area_numbers(areas: Mapping[str, Area]) -> dict[str, Any]:
    """Return the numbers of all areas for ``results.json``: lines, bins and coverage with their intervals."""
    lines = []
    for name, area in areas.items():
        numbers = {key: value for key, value in area.line._asdict().items() if key not in ("at", "band", "bins")}
        lines.append({"area": name, **numbers, "bins": [one._asdict() for one in area.line.bins]})
    coverage = [
        {key: value for key, value in one._asdict().items() if key not in ("field", "centers")}
        for area in areas.values()
        for one in area.coverage
    ]
    return {"size over eccentricity": lines, "coverage": coverage}


def area_sections(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, np.ndarray],
    areas: Mapping[str, Area],
    roi: str | None,
    output: Path,
) -> list[Section]:
    """Draw sizes and coverage into a folder, and return the report's sections; none where no area has a fit.

    Parameters
    ----------
    subject, vertices, maps, areas
        The subject, and its maps and areas: see :func:`areas_of`.
    roi
        ROI expression of the vertices.
    output
        Folder for the pictures.
    """
    tables = _medians(subject, vertices, maps)
    if not areas:
        for name in (SIZES, COVERAGE):
            remove_figure(output / name)  # of an earlier run
        why = "They need a fit (--fit)." if not tables else f"No area has {_FEWEST} vertices with an r² of {MIN_R2}."
        return [Section("Receptive-field size and visual-field coverage", [why, *tables])]
    whose = subject.description.subject
    count = int(np.any([area.inside for area in areas.values()], axis=0).sum())
    subtitle = about([whose], roi, vertices=count, areas=len(areas))
    kept = f"Vertices whose fit has an r² of at least {MIN_R2}; their number is in parentheses."
    if bound := int((_at_bound(maps) & (np.nan_to_num(maps["fit_r2"]) >= MIN_R2)).sum()):
        kept += f" {bound} vertices are left out, as their size is at the fit's bound of {LARGEST:g}°."

    lines = {name: area.line for name, area in areas.items()}
    dots = {name: (area.eccentricity, area.size) for name, area in areas.items()}
    title = "Receptive-field size against eccentricity"
    beyond = draw_sizes(lines, dots, output / SIZES, Texts(title, subtitle, note(subject)))
    sizes = (
        "Size (standard deviation of the Gaussian) against eccentricity. Black: means in bins of 0.5° with 95% "
        "intervals; red: least-squares line over vertices with its 95% interval, whose slope (°/°) stands above. "
        f"Intervals are bootstraps over patches of cortex of 13 mm. {kept}"
        f"{f' {beyond} dots are above the axis; the CSV has them.' if beyond else ''}"
    )
    draw_coverage(
        [one for area in areas.values() for one in area.coverage],
        output / COVERAGE,
        Texts("Visual-field coverage", subtitle, note(subject)),
    )
    coverage = (
        "Largest receptive field at each place of the image (8.4° wide), each with a maximum of 1; white line: "
        f"where it is {HALF}; dots: centers; rings: 1° to 4° of eccentricity. {kept}"
    )
    pictures = [
        Picture(output / name, caption, {"subject": whose})
        for name, caption in ((SIZES, sizes), (COVERAGE, coverage))
    ]
    return [
        Section("Receptive-field size", [pictures[0], _lines(lines), *tables]),
        Section("Visual-field coverage", [pictures[1], _shares(areas)]),
    ]


def _lines(lines: Mapping[str, SizeLine]) -> Table:
    rows = [
        [name, one.vertices, one.slope, str(one.slope_interval), one.intercept, str(one.intercept_interval)]
        for name, one in lines.items()
    ]
    columns = ("area", "vertices", "slope (°/°)", "95% of slope", "intercept (°)", "95% of intercept")
    return Table("Line of size over eccentricity; 95% bootstrap intervals over patches of cortex", columns, rows)


def _shares(areas: Mapping[str, Area]) -> Table:
    rows = [
        [
            *(one.region, one.hemisphere, one.vertices, 100 * one.share),
            *(100 * one.contralateral, _percent(one.contralateral_interval)),
            *(100 * one.upper, _percent(one.upper_interval)),
        ]
        for area in areas.values()
        for one in area.coverage
    ]
    columns = ("area", "hemisphere", "vertices", "covered (% of image)", "contralateral centers (%)", "95%")
    return Table(
        f"Coverage of at least {HALF}, and where centers are; 95% bootstrap intervals over patches of cortex. A "
        "maximum grows with n, so that the covered share has no interval",
        (*columns, "upper centers (%)", "95%"),
        rows,
    )


def _percent(interval: Interval) -> str:
    return "–" if np.isnan(interval.low) else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _medians(subject: Subject, vertices: Vertices, maps: Mapping[str, np.ndarray]) -> list[Table]:
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

"""Report of a localizer: maps of t and of preferences, ROIs' mean responses, and tables of key numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...subject import Subject
from ...vertices import Vertices
from ..reporting.figures import about
from ..reporting.multiples import draw_subjects
from ..reporting.page import Picture, Table
from ..reporting.pictures import draw_brain, draw_table, shared_limits
from ..reporting.results import note
from ..reporting.statistics import FEWEST_SUBJECTS
from .contrasts import Design
from .rois import RoiPreference


def draw(
    subject: Subject,
    vertices: Vertices,
    design: Design,
    results: Mapping[str, np.ndarray],
    means: Mapping[str, Float[np.ndarray, " c"]],
    alpha: float,
    roi: str | None,
    limits: tuple[float, float],
    folder: Path,
) -> list[Picture]:
    """Draw maps of significant t, maps of preferences, and ROIs' means into a folder.

    Parameters
    ----------
    subject, vertices
        The subject, and the vertices that were encoded.
    design
        Categories and contrasts.
    results
        Maps by name: see :func:`~berg_jax.experiments.localizer.experiment.vertex_maps`.
    means
        Each ROI's mean response to each category, in z units.
    alpha
        False discovery rate.
    roi
        ROI expression of the vertices.
    limits
        Both ends of the scale of t, which the maps of all contrasts and subjects share: see :func:`t_limits`.
    folder
        Folder for the pictures.
    """
    count = len(design.labels)
    pictures, settings = [], {"images": len(design.labels), "false discovery rate": alpha}
    for name, key in zip(design.names, t_map_names(results), strict=True):
        title = name if ">" in name else f"{name} > other categories"
        pictures += draw_brain(
            subject,
            vertices,
            _significant(results, key, alpha),
            folder / f"{key}.png",
            f"{title}: t of a general linear model, where q (false discovery rate over vertices) is below {alpha:g}; "
            "red where responses are larger, blue where they are smaller. All such maps share the scale.",
            roi=roi,
            images=count,
            settings={"contrast": name, **settings},
            label=f"t (no unit), where q < {alpha:g}",
            limit=limits,
            title=title,
        )
    pictures += draw_brain(
        subject,
        vertices,
        np.where(results["preference_q"] < alpha, results["preference"], np.nan),
        folder / "preference.png",
        "The category that a vertex responds to most, where categories differ and the largest mean differs from the "
        "second.",
        roi=roi,
        images=count,
        settings={"categories": design.categories, **settings},
        labels=design.categories,
        label="preferred category",
        title="Preferences",
    )
    if means:
        path = folder / "rois.png"
        values = np.array(list(means.values()))
        draw_table(
            *(values, list(means), design.categories, "mean response (z)", path),
            title="Mean responses of ROIs to categories",
            subtitle=about([subject.description.subject], roi, images=count),
            corner="roi",
            note=note(subject),
        )
        pictures.append(Picture(path, "Mean response of each ROI to each category, in z units.", settings))
    return pictures


def draw_over_subjects(
    subjects: Sequence[Subject],
    vertices: Sequence[Vertices],
    design: Design,
    results: Sequence[Mapping[str, np.ndarray]],
    alpha: float,
    roi: str | None,
    limits: tuple[float, float],
    output: Path,
) -> list[Picture]:
    """Draw the maps of :func:`draw` as small multiples over subjects, one picture for each contrast.

    Parameters
    ----------
    subjects, vertices, results
        The subjects, and each one's vertices and maps.
    design, alpha, roi, limits
        See :func:`draw`.
    output
        Folder for the pictures.
    """
    options: dict[str, Any] = {"roi": roi, "images": len(design.labels)}
    pictures = []
    for name, key in zip(design.names, t_map_names(results[0]), strict=True):
        title = name if ">" in name else f"{name} > other categories"
        pictures += draw_subjects(
            *(subjects, vertices, [_significant(maps, key, alpha) for maps in results], output / f"{key}.png"),
            f"{title}: t of each subject where q is below {alpha:g}, as flat maps; larger pictures stand below.",
            title=title,
            label=f"t (no unit), where q < {alpha:g}",
            limit=limits,
            settings={"contrast": name, "false discovery rate": alpha},
            **options,
        )
    preferred = [np.where(maps["preference_q"] < alpha, maps["preference"], np.nan) for maps in results]
    pictures += draw_subjects(
        *(subjects, vertices, preferred, output / "preference.png"),
        "The category that a vertex responds to most, where one is told apart from all others.",
        title="Preferences",
        label="preferred category",
        labels=design.categories,
        settings={"false discovery rate": alpha},
        **options,
    )
    return pictures


def t_limits(results: Sequence[Mapping[str, np.ndarray]], alpha: float) -> tuple[float, float]:
    """Return both ends of one scale of the significant t of all contrasts, in the maps of all subjects."""
    return shared_limits(*(_significant(maps, key, alpha) for maps in results for key in t_map_names(maps)))


def _significant(results: Mapping[str, np.ndarray], key: str, alpha: float) -> Float[np.ndarray, " vertices"]:
    return np.where(results[key.replace("t_", "q_", 1)] < alpha, results[key], np.nan)


def key_numbers(
    design: Design,
    results: Mapping[str, np.ndarray],
    preferred: Sequence[RoiPreference],
    shares: Mapping[str, list[float]],
    measured: Sequence[Mapping[str, Any]],
    alpha: float,
) -> list[Table]:
    """Return tables of the number of selective vertices, ROIs' preferences, and agreement with measured maps.

    Parameters
    ----------
    design, results, alpha
        See :func:`draw`.
    preferred
        Preference of each ROI.
    shares
        Share of each ROI's vertices that prefer each category.
    measured
        Correlation of each contrast's map with the measured one: ``contrast``, ``vertices``, ``r`` and ``interval``.
    """
    counts = [
        (name, count_selective(results, key, alpha), len(results[key]))
        for name, key in zip(design.names, t_map_names(results), strict=True)
    ]
    tables = [Table(f"Vertices with t > 0 and q < {alpha:g}", ("contrast", "vertices", "of"), counts)]
    if preferred:
        columns = ("ROI", "prefers", "largest mean (z)", "95%", "images", "other categories (z)", "95%")
        rows = []
        for one in preferred:
            share = shares[one.roi][design.categories.index(one.largest)]
            means = (one.mean, str(one.mean_interval), one.images, one.others, str(one.others_interval))
            rows.append((one.roi, one.said, *means, str(one.difference), one.q_differ, one.q_largest, share))
        tables.append(
            Table(
                "Preferred category of each ROI, where categories differ (F) and the largest mean differs from the "
                f"second (t), both at q < {alpha:g} over ROIs; bootstrap intervals over images; share of the ROI's "
                "vertices that respond most to the category",
                (*columns, "95% of difference", "q of F", "q of t", "share of its vertices"),
                rows,
            )
        )
    if measured:
        rows = [[row["contrast"], row["vertices"], row["r"], str(row["interval"])] for row in measured]
        caption = "Correlation with measured t maps over n vertices; bootstrap over patches of cortex of 13 mm"
        tables.append(Table(caption, ("contrast", "vertices", "r", "95% of r"), rows))
    return tables


def over_subjects_table(group: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of effects over subjects, one row for each ROI and contrast."""
    columns = list(group[0]) if group else ["roi", "contrast"]
    return Table(
        "Effects over subjects: mean of a contrast of ROI means (z) with its 95% interval by Student's t, t and p of "
        f"a paired test, q over all rows of {FEWEST_SUBJECTS} or more subjects",
        columns,
        [list(row.values()) for row in group],
    )


def too_few(group: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the sentence that says that there are too few subjects for a claim over subjects, if so."""
    most = max((int(row["subjects"]) for row in group), default=FEWEST_SUBJECTS)
    if most >= FEWEST_SUBJECTS:
        return None
    return (
        f"n = {most}. A paired t over so few subjects is no basis for a claim about others, so that no q is given; "
        "read the effects of each subject instead."
    )


def t_map_names(results: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the maps of t, in the order of the contrasts."""
    return [key for key in results if key.startswith("t_")]


def count_selective(results: Mapping[str, np.ndarray], key: str, alpha: float) -> int:
    """Count the vertices whose t is positive and significant at a false discovery rate, in one map of t."""
    q = results[key.replace("t_", "q_", 1)]
    return int(((q < alpha) & (results[key] > 0)).sum())

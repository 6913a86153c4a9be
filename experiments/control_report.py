"""What control found, as maps, tables and a report's sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..rois import Vertices
from ..subject import Subject
from .pictures import draw_brain
from .report import Picture, Section, Table

PICTURE = "control.png"
_CAPTIONS = {
    "univariate": "Every image's response in one region against that in the other, the chosen ones in color; at the "
    "right the first of those chosen for each goal.",
    "multivariate": "How alike the regions represent random sets of images (grey) and the chosen ones, which are "
    "shown at the right: the correlation of the regions' dissimilarities.",
}


def file_name(goal: str) -> str:
    """A goal as part of a file's name: ``FFA-1-up-PPA-down``."""
    return goal.replace(", ", " ").replace(" ", "-").replace("/", "-")


def goal_maps(
    responses: Float[np.ndarray, "images vertices"],
    chosen: Mapping[str, Int[np.ndarray, " n"]],
    made: Mapping[str, Float[np.ndarray, "n vertices"]],
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """By goal each vertex' mean response to the chosen images, and to synthesized ones, less that to all images.

    Of a goal that no image passes the map is NaN.
    """
    usual = np.nanmean(responses, axis=0, dtype=np.float64)
    shown = {file_name(goal): responses[indices] for goal, indices in chosen.items()}
    shown |= {f"{file_name(goal)}-synthesized": answers for goal, answers in made.items()}
    return {
        name: rows.mean(axis=0, dtype=np.float64) - usual if len(rows) else np.full_like(usual, np.nan)
        for name, rows in shown.items()
    }


def sections(
    kind: str,
    rois: Sequence[str],
    numbers: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    made: Mapping[str, Any],
    output: Path,
) -> list[Section]:
    """What was chosen, and how far it goes in each subject.

    Parameters
    ----------
    kind, rois
        As for :func:`~berg_jax.experiments.control.control_regions`.
    numbers
        The subjects'.
    rows
        Of each goal what came out.
    made, output
        The settings that made it, and the folder that holds its picture.
    """
    picture = Picture(output / PICTURE, _CAPTIONS[kind], made)
    table = _ways(rois, numbers, rows) if kind == "univariate" else _alignments(rois, numbers, rows)
    return [Section("Images" if kind == "univariate" else "Sets of images", [picture, table])]


def draw_maps(
    person: Subject,
    vertices: Vertices,
    maps: Mapping[str, Float[np.ndarray, " vertices"]],
    rois: Sequence[str],
    made: Mapping[str, Any],
    folder: Path,
) -> list[Picture]:
    """Draw a subject's maps, each by its name, into a folder."""
    pictures = []
    for name, values in maps.items():
        title = name.replace("-synthesized", ", synthesized images")
        pictures += draw_brain(
            person,
            vertices,
            values,
            folder / f"{name}.png",
            f"{title}: mean response to these images less that to all images, at the regions' vertices; others are "
            "grey.",
            regions=tuple(rois),
            settings=made,
            label="response to these − to all images (z)",
            title=title,
        )
    return pictures


def _ways(rois: Sequence[str], numbers: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Table:
    synthesized = any("synthesized" in row for row in rows)
    columns = ["goal", "subject", "images", *(f"{name} (z)" for name in rois)]
    columns += [f"{name}, synthesized (z)" for name in rois if synthesized]
    missing = [(np.nan, np.nan)] * len(numbers)
    cells = [
        [row["goal"], number, count, *way, *(own if synthesized else ())]
        for row in rows
        for number, count, way, own in zip(
            numbers, row["counts"], row["ways"], row.get("synthesized", missing), strict=True
        )
    ]
    return Table("How far the chosen images go the wanted way: mean response less that to all images", columns, cells)


def _alignments(rois: Sequence[str], numbers: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("goal", "subject", "chosen set", "random sets, mean")
    cells = [
        [row["goal"], number, reached, usual]
        for row in rows
        for number, reached, usual in zip(numbers, row["alignment"], row["random sets"], strict=True)
    ]
    return Table(f"Correlation of {rois[0]}'s and {rois[1]}'s dissimilarities", columns, cells)

"""What a localizer found, as pictures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...subject import Subject
from ...vertices import Vertices
from ..reporting.page import Picture, Table
from ..reporting.pictures import draw_brain, draw_table
from ..reporting.results import note
from .contrasts import Design


def draw(
    person: Subject,
    vertices: Vertices,
    design: Design,
    results: Mapping[str, np.ndarray],
    means: Mapping[str, Float[np.ndarray, " c"]],
    alpha: float,
    folder: Path,
) -> list[Picture]:
    """Draw maps of t where significant, preferences, and ROIs' means, into a folder."""
    pictures, made = [], {"images": len(design.labels), "false discovery rate": alpha}
    for name, key in zip(design.names, keys_of(results), strict=True):
        title = name if ">" in name else f"{name} > other categories"
        pictures += draw_brain(
            person,
            vertices,
            np.where(results[key.replace("t_", "q_", 1)] < alpha, results[key], np.nan),
            folder / f"{key}.png",
            f"{title}: t of a general linear model, where its false discovery rate over vertices is below {alpha:g}; "
            "red where responses are larger, blue where they are smaller.",
            settings={"contrast": name, **made},
            label=f"t, where q < {alpha:g}",
            title=title,
        )
    pictures += draw_brain(
        person,
        vertices,
        results["preference"],
        folder / "preference.png",
        "The category that a vertex responds to most, where categories differ.",
        settings={"categories": design.categories, **made},
        labels=design.categories,
        label="preferred category",
        title="Preferences",
    )
    if means:
        path = folder / "rois.png"
        values = np.array(list(means.values()))
        draw_table(values, list(means), design.categories, "mean response (z)", path, note=note(person))
        pictures.append(Picture(path, "Mean response of each ROI to each category, in z units.", made))
    return pictures


def key_numbers(
    design: Design,
    results: Mapping[str, np.ndarray],
    means: Mapping[str, Float[np.ndarray, " c"]],
    shares: Mapping[str, list[float]],
    measured: Sequence[Mapping[str, Any]],
    alpha: float,
) -> list[Table]:
    """How many vertices are selective, what ROIs prefer, and agreement with measured maps."""
    counts = [
        (name, selective(results, key, alpha)) for name, key in zip(design.names, keys_of(results), strict=True)
    ]
    tables = [Table(f"Vertices with t > 0 and q < {alpha:g}", ("contrast", "vertices"), counts)]
    if means:
        columns = ("ROI", "prefers", "mean (z)", "other categories (z)", "share of its vertices")
        tables.append(Table("What ROIs prefer", columns, preferred(design, means, shares)))
    if measured:
        rows = [[row["contrast"], row["vertices"], row["r"]] for row in measured]
        tables.append(Table("Correlation with measured t maps", ("contrast", "vertices", "r"), rows))
    return tables


def over_subjects_table(group: Sequence[Mapping[str, Any]]) -> Table:
    """Of each ROI and contrast, as a report shows it."""
    columns = list(group[0]) if group else ["roi", "contrast"]
    return Table(
        "Effects over subjects: mean of a contrast of ROI means (z), t and p of a paired test, q over all rows",
        columns,
        [list(row.values()) for row in group],
    )


def keys_of(results: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the maps of t, in the order of the contrasts."""
    return [key for key in results if key.startswith("t_")]


def selective(results: Mapping[str, np.ndarray], key: str, alpha: float) -> int:
    """How many vertices respond more to a contrast, at this false discovery rate."""
    return int(((results[key.replace("t_", "q_", 1)] < alpha) & (results[key] > 0)).sum())


def preferred(
    design: Design, means: Mapping[str, Float[np.ndarray, " c"]], shares: Mapping[str, list[float]]
) -> list[tuple[str, str, float, float, float]]:
    """Of each ROI the category with the largest mean, that mean, the others', and the share of its vertices."""
    rows = []
    for name, values in means.items():
        best = int(values.argmax())
        others = float(np.delete(values, best).mean())
        rows.append((name, design.categories[best], float(values[best]), others, shares[name][best]))
    return rows

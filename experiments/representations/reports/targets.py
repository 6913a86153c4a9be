"""Similarity of each ROI with features, embeddings and matrices: bars with intervals, under the noise ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....files.csv_tables import write_table
from ....surface.style import default_style
from ...reporting.page import Picture, Section, Table
from ...reporting.panels import panels, save_panels
from ...reporting.statistics import FEWEST_SUBJECTS
from ..ceiling import NoiseCeiling, noise_ceiling
from ..uncertainty import Squares, TargetSimilarity, target_similarities
from .study import MOST_LINES, Part, Study

PICTURE = "targets.png"
_PANELS = 5  # in a row


def targets_section(study: Study, squares: Sequence[Squares]) -> Part:
    """Compare each ROI with each target; draw bars under the noise ceiling over subjects.

    Parameters
    ----------
    study
        What is compared.
    squares
        Its matrices of each subject, ready for resampling.
    """
    rows = target_similarities(squares, study.rois, list(study.targets))
    several = len(study.subjects) > 1
    ceilings = {roi: noise_ceiling(study.of_region(roi), study.measure) for roi in study.rois} if several else {}
    _write(study.output / "targets.csv", rows, ceilings)
    path = study.output / PICTURE
    title = f"ROIs and targets, {study.said}"
    _draw(rows, list(study.targets), ceilings, path, study.measure.similarity, title, study.note)
    caption = f"{study.measure.similarity} of each ROI with each target; bars: 95% bootstrap intervals over images."
    caption += (
        " Grey: noise ceiling, the lower and upper bound of the mean over subjects that the best model could reach."
        if several
        else " A noise ceiling needs two or more subjects."
    )
    picture = Picture(path, caption, {"images": study.images, "measure": study.measure.name})
    numbers = {
        "similarities": [{**row._asdict(), **_ends(row)} for row in rows],
        "noise ceilings": {roi: ceiling._asdict() for roi, ceiling in ceilings.items()},
    }
    return Part(
        Section("Features, embeddings and matrices", [picture, _table(study, rows, ceilings)]),
        numbers,
        _lines(rows, ceilings),
    )


def _ends(row: TargetSimilarity) -> dict[str, Any]:
    return {"over_images": list(row.over_images), "over_subjects": list(row.over_subjects)}


def _write(path: Path, rows: Sequence[TargetSimilarity], ceilings: Mapping[str, NoiseCeiling]) -> None:
    columns = (
        "roi",
        "target",
        "similarity",
        "low",
        "high",
        "images",
        "subjects",
        "p",
        "q",
        "ceiling_low",
        "ceiling_high",
    )
    cells = []
    for row in rows:
        low, high, _ = ceilings.get(row.roi, NoiseCeiling(np.nan, np.nan, 1))
        ends = (*row.over_images, row.images, row.subjects)
        cells.append((row.roi, row.target, row.similarity, *ends, row.p, row.q, low, high))
    write_table(path, columns, cells)


def _table(study: Study, rows: Sequence[TargetSimilarity], ceilings: Mapping[str, NoiseCeiling]) -> Table:
    columns = ["ROI", "target", "similarity", "95% over images", "p", "q"]
    cells: list[list[Any]] = [
        [row.roi, row.target, row.similarity, str(row.over_images), row.p, row.q] for row in rows
    ]
    if rows[0].subjects >= FEWEST_SUBJECTS:
        columns.insert(4, "95% over subjects")
        for own, row in zip(cells, rows, strict=True):
            own.insert(4, str(row.over_subjects))
    if ceilings:
        columns.append("noise ceiling")
        for own, row in zip(cells, rows, strict=True):
            own.append(_range(ceilings[row.roi]))
    return Table(
        f"Similarity of ROIs and targets ({study.measure.similarity}); {study.said}; bootstrap intervals over "
        "images, p by permutation of images, q over all rows",
        columns,
        cells,
    )


def _range(ceiling: NoiseCeiling) -> str:
    return f"{ceiling.lower:.3f} to {ceiling.upper:.3f}"


def _lines(rows: Sequence[TargetSimilarity], ceilings: Mapping[str, NoiseCeiling]) -> list[str]:
    if len(rows) > MOST_LINES:
        return [f"Similarity with {len(rows)} pairs of a ROI and a target: targets.csv"]
    wide = max(len(row.target) for row in rows)
    lines = ["Similarity of ROIs and targets, 95% intervals over images, q over all rows:"]
    for row in rows:
        line = f"  {row.roi:<14}{row.target:<{wide}}{row.similarity:>8.3f}   {row.over_images!s:<17} q {row.q:.3f}"
        lines.append(line + (f"   ceiling {_range(ceilings[row.roi])}" if ceilings else ""))
    return lines


@default_style()
def _draw(
    rows: Sequence[TargetSimilarity],
    targets: Sequence[str],
    ceilings: Mapping[str, NoiseCeiling],
    path: Path,
    label: str,
    title: str,
    note: str | None,
) -> None:
    """Draw a panel of horizontal bars for each ROI."""
    rois = list(dict.fromkeys(row.roi for row in rows))
    size = {"height": 0.55 + 0.24 * len(targets), "beside": 0.5 + 0.075 * max(map(len, targets))}
    figure, axes = panels(len(rois), _PANELS, width=1.75, **size)
    for axis, roi in zip(axes, rois, strict=True):
        if roi in ceilings:
            low, high, _ = ceilings[roi]
            axis.axvspan(low, high, color="0.85", lw=0, label="noise ceiling over subjects")
        for place, row in enumerate(some for some in rows if some.roi == roi):
            axis.barh(place, row.similarity, color=f"C{place % 10}", height=0.7)
            axis.plot(row.over_images, [place] * 2, "-", color="black", lw=1.2)
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_title(roi, size=9)
    axes[0].set_yticks(range(len(targets)), targets)
    axes[0].invert_yaxis()
    save_panels(figure, path, title=title, label=label, note=note, named=True)

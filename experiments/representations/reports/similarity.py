"""Similarity of ROIs, features and matrices with each other: matrix of all pairs, and each one's most alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ....files.disk import explained
from ...reporting.figures import about
from ...reporting.page import Picture, Section, Table
from ...reporting.pictures import draw_table
from ...reporting.results import counted
from ...reporting.statistics import FEWEST_SUBJECTS
from ..dissimilarity import similarities
from ..uncertainty import MostAlike, Squares, with_uncertainty
from .study import Part, Study

PICTURE = "similarities.png"


def similarity_section(study: Study, squares: Sequence[Squares]) -> Part:
    """Write the matrix of similarities into a file and a figure, and return what is most alike.

    Parameters
    ----------
    study
        What is compared.
    squares
        Its matrices of each subject, ready for resampling.
    """
    unit, labels = study.measure.unit, [*study.rois, *study.targets]
    mean = np.mean([similarities({**found, **study.targets}, unit) for found in study.own], axis=0)
    subjects_of = {
        name: similarities({str(i): found[name] for i, found in enumerate(study.own)}, unit) for name in study.rois
    }
    between = np.stack(list(subjects_of.values()), axis=-1)
    path = study.output / "similarities.npz"
    with explained("write", path):
        np.savez(path, matrix=mean, names=np.array(labels), subjects=between, rois=np.array(list(study.rois)))
    ids = [subject.description.subject for subject in study.subjects]
    draw_table(
        *(mean, labels, labels, f"{study.measure.similarity} (no unit)", study.output / PICTURE),
        title="Similarity of representations",
        subtitle=about(ids, f"{len(study.rois)} ROIs", images=study.images),
        corner="name",
        note=study.note,
    )
    rows = with_uncertainty(_nearest(mean, labels, subjects_of), squares)
    several = len(study.subjects) > 1
    caption = f"{study.measure.similarity} of {study.measure.of} of the images"
    caption += f", mean over {len(study.subjects)} subjects." if several else "."
    picture = Picture(study.output / PICTURE, caption, {"images": study.images})
    section = Section("Similarity", [picture, _table(study, rows)])
    return Part(section, [row.as_json() for row in rows], _lines(study, rows))


def _nearest(
    mean: Float[np.ndarray, "n n"], labels: Sequence[str], subjects_of: Mapping[str, Float[np.ndarray, "p p"]]
) -> list[tuple[str, str, str | None, float, float | None]]:
    """Return for each ROI or target its nearest and second, the first's correlation, and its own between subjects."""
    others = np.nan_to_num(mean - 2 * np.eye(len(labels)), nan=-2)
    rows = []
    for index, name in enumerate(labels):
        nearest, second = int(others[index].argmax()), None
        if len(labels) > 2:
            rest = others[index].copy()
            rest[nearest] = -np.inf
            second = labels[int(rest.argmax())]
        pairs = np.triu_indices(len(subjects_of.get(name, ())), 1)
        between = float(subjects_of[name][pairs].mean()) if len(pairs[0]) else None
        rows.append((name, labels[nearest], second, float(mean[index, nearest]), between))
    return rows


def _table(study: Study, rows: Sequence[MostAlike]) -> Table:
    columns = ["representation", "most like", "correlation", "95% over images", "p"]
    cells = [[row.name, row.said, row.correlation, str(row.over_images), row.p] for row in rows]
    subjects = rows[0].subjects
    if subjects >= FEWEST_SUBJECTS:
        columns.append("95% over subjects")
        cells = [[*own, str(row.over_subjects)] for own, row in zip(cells, rows, strict=True)]
    if subjects > 1:
        columns += ["between subjects", "95% over images of that"]
        ends = ["–" if row.between is None else str(row.between_over_images) for row in rows]
        cells = [
            [*own, np.nan if row.between is None else row.between, end]
            for own, row, end in zip(cells, rows, ends, strict=True)
        ]
    return Table(
        f"What is most alike ({study.measure.similarity}); n = {rows[0].images:,} images, {subjects} subject"
        f"{'s' * (subjects > 1)}; bootstrap intervals over images, p by permutation of images; ≈: not told apart",
        columns,
        cells,
    )


def _lines(study: Study, rows: Sequence[MostAlike]) -> list[str]:
    lines = [
        f"Representations of {rows[0].images:,} images in {counted(study.subjects)}; {study.measure.similarity} of "
        f"{'dissimilarities' if study.measure.name == 'rdm' else 'patterns'}, 95% intervals over images"
    ]
    for row in rows:
        line = f"  {row.name:<14}most like {row.said:<14}{row.correlation:>7.3f}   {row.over_images!s:<16}"
        lines.append(line.rstrip() if row.between is None else f"{line}   between subjects {row.between:.3f}")
    return lines

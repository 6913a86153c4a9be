"""Effects of contrasts in ROIs: each subject's with a bootstrap interval over images, and the mean over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...files.csv_tables import write_table
from ...subject import Subject
from ...surface.style import default_style
from ..reporting.page import Picture, Table
from ..reporting.panels import panels, save_panels
from ..reporting.results import counted, note
from ..reporting.statistics import FEWEST, NO_INTERVAL, Interval, bootstrap, resample
from .contrasts import Design

_PANELS = 5  # in a row


class Effect(NamedTuple):
    """Effect of a contrast in one subject's ROI.

    Attributes
    ----------
    subject, roi, contrast
        Number of the subject, and names.
    effect, over_images
        Difference of mean responses in z units, and its 95% bootstrap interval over the images of each category.
    images
        Number of images of the contrast's categories.
    """

    subject: int
    roi: str
    contrast: str
    effect: float
    over_images: Interval
    images: int


def effects_of(
    subject_id: int, design: Design, responses: Float[np.ndarray, "images rois"], names: Sequence[str]
) -> list[Effect]:
    """Return the effect of each contrast in each ROI of a subject with its interval over images.

    Parameters
    ----------
    subject_id
        Number of the subject.
    design
        Categories and contrasts.
    responses
        Mean response of each ROI to each image, in z units.
    names
        Names of the ROIs.
    """
    responses, matrix = responses.astype(np.float64), design.matrix
    counts = np.bincount(design.labels)
    draws = resample(len(responses), groups=design.labels)
    rows = []
    for index, name in enumerate(names):
        values = responses[:, index]
        for contrast, weights in zip(design.names, design.weights, strict=True):
            used = weights != 0

            def effect(
                drawn: Float[np.ndarray, "rows images"],
                values: np.ndarray = values,
                weights: np.ndarray = weights,
                used: np.ndarray = used,
            ) -> Float[np.ndarray, " rows"]:
                totals = drawn @ matrix[:, used]
                return ((drawn * values) @ matrix[:, used] / totals) @ weights[used]

            ends = bootstrap(effect, draws) if counts[used].min() >= FEWEST else NO_INTERVAL
            estimate = float(effect(np.ones((1, len(values))))[0])
            rows.append(Effect(subject_id, name, contrast, estimate, ends, int(counts[used].sum())))
    return rows


def effects_part(
    subjects: Sequence[Subject],
    effects: Sequence[Effect],
    group: Sequence[Mapping[str, Any]],
    output: Path,
) -> list[Picture | Table]:
    """Draw each subject's effects and their mean, and write them into ``effects.csv``; nothing without ROIs.

    Parameters
    ----------
    subjects
        The subjects.
    effects
        Effects of all subjects.
    group
        Means over subjects with their intervals: rows of ``contrasts.csv``.
    output
        Folder of the picture and the table.
    """
    if not effects:
        return []
    columns = ("subject", "roi", "contrast", "effect", "low", "high", "images")
    write_table(
        output / "effects.csv",
        columns,
        ((one.subject, one.roi, one.contrast, one.effect, *one.over_images, one.images) for one in effects),
    )
    path, images = output / "effects.png", max(one.images for one in effects)
    _draw(effects, group, path, f"Effects, n = {images:,} images, {counted(subjects)}", note(subjects[0]))
    caption = "Effect of each contrast in each ROI: dots are subjects with 95% bootstrap intervals over images" + (
        ", the diamond is the mean over subjects with its 95% interval by Student's t." if len(subjects) > 1 else "."
    )
    table = Table(
        "Effect of each contrast in each subject's ROIs (z), with 95% bootstrap intervals over the images of each "
        "category",
        ("subject", "ROI", "contrast", "effect (z)", "95% over images", "images"),
        [(one.subject, one.roi, one.contrast, one.effect, str(one.over_images), one.images) for one in effects],
        folded=True,
    )
    return [Picture(path, caption, {"subjects": [subject.description.subject for subject in subjects]}), table]


@default_style()
def _draw(
    effects: Sequence[Effect], group: Sequence[Mapping[str, Any]], path: Path, title: str, note: str | None
) -> None:
    """Draw a panel for each contrast, with a row for each ROI."""
    contrasts = list(dict.fromkeys(one.contrast for one in effects))
    rois = list(dict.fromkeys(one.roi for one in effects))
    numbers = list(dict.fromkeys(one.subject for one in effects))
    figure, axes = panels(len(contrasts), _PANELS, width=2.2, height=0.6 + 0.26 * len(rois), beside=1.4)
    step = 0.5 / max(len(numbers), 2)
    for axis, contrast in zip(axes, contrasts, strict=True):
        for one in effects:
            if one.contrast == contrast:
                number = numbers.index(one.subject)
                place = rois.index(one.roi) + (number - (len(numbers) - 1) / 2) * step
                label = f"subject {one.subject}" if one.roi == rois[0] else None
                axis.plot(one.over_images, [place] * 2, "-", color=f"C{number % 10}", lw=1)
                axis.plot(one.effect, place, "o", color=f"C{number % 10}", ms=3.5, label=label)
        if len(numbers) > 1:
            for row in group:
                if row["contrast"] == contrast:
                    place = rois.index(row["roi"]) + 0.4
                    axis.plot([row["low"], row["high"]], [place] * 2, "-", color="black", lw=1.2)
                    axis.plot(
                        row["mean"], place, "D", color="black", ms=4, label="mean" if row["roi"] == rois[0] else None
                    )
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_title(contrast if len(contrast) < 30 else contrast.replace(" > ", "\n> "), size=8)
    axes[0].set_yticks(range(len(rois)), rois)
    axes[0].invert_yaxis()
    save_panels(figure, path, title=title, label="effect (z)", note=note, named=True)

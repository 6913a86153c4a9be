"""Figures of a sweep: a curve for each trial, starts beside images, and what images of each ROI drive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from ...files.disk import explained
from ..reporting.figures import remove_figure
from ..reporting.page import Picture, Section, Table
from ..reporting.pictures import draw_table
from ..reporting.statistics import mean_interval
from ..synthesis.judging.course import CURVES, MOST_PAIRS, PAIRS, draw_course, draw_pairs
from .program import start_image
from .records import IMAGES, Entry
from .spec import format_value, join_rois
from .trial import Trial, kind_of, value_of

REGIONS = "regions.png"
_MOST = 60  # curves
_FEWEST = 2  # steps of a curve, and ROIs of a table

Row = tuple[Trial, Entry]


def course_section(
    output: Path, done: Sequence[Row], varied: Sequence[str], subtitle: str, note: str | None
) -> list[Section]:
    """Draw the best trials' curves, and gradient ascent's images beside what they started from; nothing of one step.

    Parameters
    ----------
    output
        The sweep's folder.
    done
        Trials that are done, with their entries.
    varied
        Names of the settings in which trials differ.
    subtitle, note
        Texts below the titles and below the figures.
    """
    best = sorted(done, key=lambda row: -row[1]["value"])[:_MOST]
    longest = max(len(entry["history"]) for _, entry in best)
    if longest < _FEWEST:
        remove_figure(output / CURVES)
        remove_figure(output / PAIRS)
        return []
    history = np.full((longest, len(best)), np.nan)
    for place, (_, entry) in enumerate(best):
        history[: len(entry["history"]), place] = np.array(entry["history"], float)
    value = value_of([trial for trial, _ in done])
    texts = {"subtitle": subtitle, "note": note}
    names = [_named(trial, varied) for trial, _ in best]
    draw_course(history, output / CURVES, names=names, label=value, title="A curve for each trial", **texts)
    shown = f"the best {len(best)} of {len(done):,}" if len(best) < len(done) else f"{len(done):,}"
    caption = f"{value.capitalize()} at each step, of {shown} trials; with jitter under each step's random shift."
    pictures = [Picture(output / CURVES, caption, {"trials": len(best), "steps": longest})]
    few = [(trial, entry) for trial, entry in best if kind_of(trial.settings) == "synthesize"][:MOST_PAIRS]
    if few:
        starts = np.stack([start_image(trial.settings) for trial, _ in few])
        ends = np.stack([_image(output / IMAGES / f"{trial.id}.png") for trial, _ in few])
        values = [(None, float(entry["value"])) for _, entry in few]
        names = [_named(trial, varied) for trial, _ in few]
        draw_pairs(starts, ends, values, output / PAIRS, names=names, **texts)
        caption = f"The best trials' images, with their {value}, beside what they started from."
        pictures.append(Picture(output / PAIRS, caption, {"images": len(few)}))
    else:
        remove_figure(output / PAIRS)
    return [Section("Course", pictures)]


def _named(trial: Trial, varied: Sequence[str]) -> str:
    """Return the settings in which a trial differs from others, or its id."""
    return ", ".join(format_value(trial.settings[name]) for name in varied) or trial.id


def regions_section(output: Path, done: Sequence[Row], subtitle: str, note: str | None) -> list[Section]:
    """Draw the mean response of each ROI to the images that drive each ROI; nothing where there is one ROI.

    Parameters
    ----------
    output, done, subtitle, note
        See :func:`course_section`.
    """
    done = [(trial, entry) for trial, entry in done if kind_of(trial.settings) != "explain"]  # of one photograph
    rois = list(dict.fromkeys(roi for _, entry in done for roi in entry["responses"]))
    groups: dict[str, list[Entry]] = {}
    for trial, entry in done:
        if trial.settings["drive"]:
            groups.setdefault(join_rois(trial.settings["drive"]), []).append(entry)
    if len(rois) < _FEWEST or not groups:
        remove_figure(output / REGIONS)
        return []
    values = {
        name: np.array([[entry["responses"].get(roi, np.nan) for roi in rois] for entry in entries], float)
        for name, entries in groups.items()
    }
    means = np.stack([_means(own) for own in values.values()])
    rows = [f"{name} (n = {len(own)})" for name, own in values.items()]
    draw_table(
        *(means, rows, rois, "mean response (z)", output / REGIONS),
        title="What images that drive a ROI (rows) drive (columns)",
        subtitle=subtitle,
        corner="driven",
        note=note,
    )
    cells = [
        (name, roi, float(mean), str(mean_interval(own[:, place])), int(np.isfinite(own[:, place]).sum()))
        for (name, own), line in zip(values.items(), means, strict=True)
        for place, (roi, mean) in enumerate(zip(rois, line, strict=True))
    ]
    picture = Picture(
        output / REGIONS,
        "Mean response of each ROI to the images that drive each ROI, over all trials, whatever else they suppress.",
        {"trials": len(done)},
    )
    table = Table(
        "Mean responses (z) with 95% intervals over trials by Student's t",
        ("driven", "ROI", "mean response", "95%", "trials"),
        cells,
        folded=True,
    )
    return [Section("What each image drives", [picture, table])]


def _means(values: Float[np.ndarray, "trials rois"]) -> Float[np.ndarray, " rois"]:
    """Return means over trials, of those that have the ROI; NaN where none has."""
    known = np.isfinite(values)
    count = known.sum(0)
    return np.where(count, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _image(path: Path) -> np.ndarray:
    with explained("read", path), Image.open(path) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)

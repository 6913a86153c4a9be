"""Report of accuracy: maps, correlations of ROIs, and a table of medians with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....subject import Subject
from ....vertices import Vertices
from ...reporting.brain_page import write_brain
from ...reporting.figures import about
from ...reporting.page import Link, Picture, Table
from ...reporting.pictures import draw_brain, draw_table, overview
from ...reporting.results import note, origin
from ...reporting.statistics import NO_INTERVAL, Interval
from ..trials import Trials
from ..uncertainty import too_few

# Correlations that the table of ROIs draws, of what with what.
COLUMNS = {
    "r": "model, mean",
    "r_in_silico": "model, trial",
    "r_one_trial": "trial, trial",
    "r_two_trials": "2 trials, trial",
}
CEILINGS = {"trials": "the given trials' repetitions", "metadata": "the metadata's ncsnr"}
Rows = Mapping[str, Mapping[str, Any]]
Intervals = Mapping[str, Mapping[str, Interval]]


def draw(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, np.ndarray],
    medians: Rows,
    made: Mapping[str, Any],
    roi: str | None,
    output: Path,
) -> list[Picture | Link]:
    """Draw maps of r and of explained variance, and the ROIs' correlations.

    Parameters
    ----------
    subject, vertices
        The subject and the vertices of the maps.
    maps
        See :func:`~berg_jax.experiments.accuracy.vertex_accuracy`.
    medians
        Medians of each row of the table, by the maps' names.
    made
        The experiment's settings, of which the images, the betas and the noise ceiling are printed.
    roi
        ROI expression of the vertices.
    output
        Folder of the pictures.
    """
    ceiling = CEILINGS[made["noise_ceiling"]]
    made = {name: made[name] for name in ("images", "betas", "noise_ceiling")}
    pictures: list[Picture | Link] = []
    for name, title, label, limit, caption in (
        (
            *("r", "Correlation of predicted and measured responses", "r over images (no unit)", None),
            "Correlation over images of the prediction with the mean over an image's trials.",
        ),
        (
            *("explained_variance", f"Explained variance, noise ceiling from {ceiling}", "% of noise ceiling", 100.0),
            f"r² as a share of what noise allows by {ceiling}, in per cent; 0 where r is negative, and clipped "
            f"at 100 in {medians['all vertices']['clipped']:,} vertices.",
        ),
    ):
        options: dict[str, Any] = {"label": label, "title": title, "limit": limit, "settings": made}
        options |= {"roi": roi, "images": made["images"], **overview(subject, vertices, maps[name])}
        pictures += draw_brain(subject, vertices, maps[name], output / f"{name}.png", caption, **options)
    shown = [name for name in COLUMNS if name in maps]
    draw_table(
        np.array([[row.get(key, np.nan) for key in shown] for row in medians.values()]),
        list(medians),
        [COLUMNS[name] for name in shown],
        "median r over vertices (no unit)",
        output / "correlations.png",
        title="Correlations of the model and of trials",
        subtitle=about([subject.description.subject], roi, images=made["images"]),
        corner="roi",
        note=note(subject),
    )
    caption = (
        "Medians over each ROI's vertices of correlations: of the model with the mean over trials, and of a single "
        "trial with the model, with another trial, and with the mean of two others. Their intervals are in the table."
    )
    shown = {"r over images": maps["r"], "r² (share of variance)": maps["r2"]}
    shown |= {"noise ceiling (share of variance)": maps["noise_ceiling"]}
    shown |= {"explained variance (% of ceiling)": maps["explained_variance"]}
    links = write_brain(subject, vertices, shown, output, f"Accuracy of subject {subject.description.subject}")
    return [*pictures, *links, Picture(output / "correlations.png", caption, made)]


def key_numbers(medians: Rows, intervals: Intervals, images: int, ceiling: str) -> Table:
    """Return the table of medians, each with its interval over images.

    Parameters
    ----------
    medians, intervals
        Medians of each row by the maps' names, and their intervals.
    images
        Number of images.
    ceiling
        Where the noise ceiling comes from, ``"trials"`` or ``"metadata"``.
    """
    titles = titles_of(medians["all vertices"])
    few, counted = too_few(images), f"n = {images:,} images"
    columns = [name for title in titles.values() for name in (title, f"95% of {title}")]
    rows = []
    for name, row in medians.items():
        cells = [
            cell for key in titles for cell in (row.get(key, np.nan), str(intervals[name].get(key, NO_INTERVAL)))
        ]
        rows.append([name, row["vertices"], *cells, row["clipped"]])
    return Table(
        f"Correlations (r), explained variance in per cent of the noise ceiling from {CEILINGS[ceiling]}; "
        f"{f'{counted}, {few}' if few else f'95% bootstrap intervals over {counted}'}; number of vertices whose "
        "explained variance was clipped at 100",
        ("ROI", "vertices", *columns, "clipped at 100"),
        rows,
    )


def agreement_table(agreement: Mapping[str, Any]) -> Table:
    """Return the table that compares the trials' ncsnr with the metadata's."""
    return Table(
        "Signal-to-noise ratio (ncsnr) of the trials and of the metadata",
        ("vertices", "correlation", "median of trials", "median of metadata", "ratio of medians"),
        [list(agreement.values())],
    )


def titles_of(there: Mapping[str, Any]) -> dict[str, str]:
    """Return the headline numbers' titles by the maps' names, as far as there are such maps."""
    titles = {"r": "r", "explained_variance": "expl. var. %"} | {key: COLUMNS[key] for key in list(COLUMNS)[1:]}
    return {key: title for key, title in titles.items() if key in there}


def summary(
    subject: Subject,
    maps: Mapping[str, np.ndarray],
    medians: Rows,
    intervals: Intervals,
    trials: Trials,
    ncsnr: Mapping[str, Any],
    output: Path,
) -> str:
    """Return the medians in a few lines, with the intervals of r and explained variance."""
    images = trials.images.max() + 1
    lines = [
        f"Accuracy of subject {subject.description.subject}{origin(subject)}, {images} images, {len(trials.images)} "
        "trials; medians",
        f"Noise ceiling from {CEILINGS[ncsnr['source']]}.",
    ]
    if agreement := ncsnr["agreement"]:
        lines[-1] += (
            f" ncsnr, median: trials {agreement['trials']:.3f}, metadata {agreement['metadata']:.3f}; correlation "
            f"{agreement['correlation']:.3f}."
        )
    shown = titles_of(maps)
    lines.append(f"  {'':<14}{'vertices':>9}" + "".join(f"{title:>17}" for title in shown.values()))
    for name, row in medians.items():
        values = "".join(f"{row.get(key, np.nan):>17.3f}" for key in shown)
        lines.append(f"  {name:<14}{row['vertices']:>9}{values}")
        if row["clipped"]:
            lines[-1] += f"   ({row['clipped']} of {row['vertices']} vertices clipped at 100)"
    first = intervals["all vertices"]
    if few := too_few(images):
        lines.append(f"  {images} images: {few}")
    elif "r" in first:
        lines.append(
            f"  95% intervals over {images} images, all vertices: r {first['r']}, explained variance "
            f"{first['explained_variance']} %; of ROIs in rois.csv"
        )
    return "\n".join([*lines, f"Maps, table, pictures and report.html: {output}"])

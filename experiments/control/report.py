"""Report of control: maps of responses to chosen images, their pictures, and tables of key numbers."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from PIL import Image

from ...files.disk import explained, read_small
from ...stream.sources.image_files import Source
from ...subject import Subject
from ...vertices import Vertices
from ..reporting.page import Gallery, Picture, Section, Table
from ..reporting.pictures import draw_brain, shared_limits
from ..reporting.results import NUMBERS, counted
from ..reporting.statistics import FEWEST_SUBJECTS, NO_INTERVAL, Interval, mean_interval
from .bars import PICTURE as BARS
from .curves import PICTURE as CURVES
from .matrices import DISSIMILARITIES, RESPONSES

PICTURE = "control.png"
SELF_JUDGED = "The set was searched for by the responses that judge it, so that p is of the search alone."
_CHOSEN, _SYNTHESIZED = "chosen", "synthesized"  # folders
_MADE = "-synthesized"  # end of the names of maps of synthesized images
_SHOWN = {"univariate": 6, "multivariate": 18}  # chosen images shown for each goal
_CAPTIONS = {
    "univariate": "Mean response to each image in one region against the other; chosen images are in color.",
    "multivariate": "Alignment of the two regions, the correlation of their dissimilarities, for random sets of "
    "images (grey) and for the chosen sets.",
}

FIGURES = {  # further figures of each kind, as far as they are there
    BARS: {
        "univariate": "Change of each region's mean response in the wanted direction, with 95% bootstrap intervals "
        "over images; the mean over subjects in black, of three or more with Student's t.",
        "multivariate": "Alignment of each chosen set with its 95% bootstrap interval over images, and the mean of "
        "random sets with the range of 95% of them.",
    },
    CURVES: {
        "univariate": "The objective of each synthesized image at each step, the best image first.",
        "multivariate": "Best and mean alignment of each generation's sets, in the subjects that choose.",
    },
    DISSIMILARITIES: {
        "multivariate": "Both regions' dissimilarity matrices of each chosen set, of the first subject; images in "
        "the order of the first region's clusters."
    },
    RESPONSES: dict.fromkeys(
        ("univariate", "multivariate"),
        "Responses of each vertex of both regions to the chosen images less its mean over all images, of the first "
        "subject; rows are images.",
    ),
}


def file_name(goal: str) -> str:
    """Return a goal as part of a file name: ``FFA-1-up-PPA-down``."""
    return goal.replace(", ", " ").replace(" ", "-").replace("/", "-")


def goal_maps(
    responses: Float[np.ndarray, "images vertices"],
    chosen: Mapping[str, Int[np.ndarray, " n"]],
    synthesized: Mapping[str, Float[np.ndarray, "n vertices"]],
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Return maps of each vertex's mean response to a goal's images minus its mean response to all images.

    Parameters
    ----------
    responses
        Responses to all images, z units.
    chosen
        Indices of the images chosen for each goal.
    synthesized
        Responses to the images synthesized for each goal.

    Returns
    -------
    Maps by the goal's :func:`file_name`, with ``-synthesized`` appended for synthesized images. The map of a goal
    without images is NaN.
    """
    baseline = np.nanmean(responses, axis=0, dtype=np.float64)
    goal_responses = {file_name(goal): responses[indices] for goal, indices in chosen.items()}
    goal_responses |= {f"{file_name(goal)}{_MADE}": rows for goal, rows in synthesized.items()}
    return {
        name: rows.mean(axis=0, dtype=np.float64) - baseline if len(rows) else np.full_like(baseline, np.nan)
        for name, rows in goal_responses.items()
    }


def map_limits(
    every: Sequence[Mapping[str, Float[np.ndarray, " vertices"]]],
) -> dict[bool, tuple[float, float]]:
    """Return both ends of one scale of all maps of chosen images (False), and of those of synthesized ones (True)."""
    maps: dict[bool, list[np.ndarray]] = {}
    for name, values in (pair for own in every for pair in own.items()):
        maps.setdefault(name.endswith(_MADE), []).append(values)
    return {made: shared_limits(*those) for made, those in maps.items()}


def numbers_section(
    kind: str,
    rois: Sequence[str],
    subject_ids: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    output: Path,
) -> Section:
    """Return the section with the figure and the table of each subject's numbers.

    Parameters
    ----------
    kind, rois
        See :func:`~berg_jax.experiments.control.experiment.control_regions`.
    subject_ids
        Numbers of the subjects.
    rows
        Results of each goal, as ``numbers.json`` has them.
    settings
        Settings to print below the figure.
    output
        Folder that holds the figure.
    """
    picture = Picture(output / PICTURE, _CAPTIONS[kind], settings)
    more = [
        Picture(output / name, caption[kind], settings)
        for name, caption in FIGURES.items()
        if (output / name).is_file() and kind in caption
    ]
    if kind == "univariate":
        table = _shifts(rois, subject_ids, rows, settings["synthesize"])
        return Section("Responses", [picture, *more, table])
    return Section("Alignment", [picture, *more, _alignments(rois, subject_ids, rows)])


def images_sections(
    kind: str,
    source: Source,
    chosen: Mapping[str, Int[np.ndarray, " n"]],
    synthesized: Mapping[str, UInt8[np.ndarray, "n 3 h w"]],
    settings: Mapping[str, Any],
    output: Path,
    z: tuple[Sequence[str], Float[np.ndarray, "images 2"], Mapping[str, Float[np.ndarray, "n 2"]]] | None = None,
) -> list[Section]:
    """Write PNG files of each goal's synthesized images and some of its chosen ones, and return sections of them.

    Images of an earlier run in the same folder are removed. Below each image stand its name and, where ``z`` has
    them, the first subject's mean responses: names of the regions, means of all images, and of the synthesized ones.
    """
    rois, means, made = z or ((), np.zeros((len(source), 0)), {})
    for goal in {*_earlier_goals(output), *chosen}:
        for path in output.glob(f"*/{glob.escape(file_name(goal))}-*.png"):
            if path.parent.name in (_CHOSEN, _SYNTHESIZED):
                path.unlink(missing_ok=True)
    sections = []
    for goal, chosen_indices in chosen.items():
        indices = chosen_indices[_shown_positions(len(chosen_indices), kind)]
        tiles, caption = [], "No image passes the margin."
        if len(indices):
            names = [[str(source.ids[index]), *_values(rois, means[index])] for index in indices]
            tiles += zip(_saved(source.read(indices), output / _CHOSEN, goal), names, strict=True)
            order = "the strongest first" if kind == "univariate" else "in their order among all images"
            caption = f"{len(indices)} of the {len(chosen_indices)} chosen images, {order}."
        if goal in synthesized:
            paths = _saved(synthesized[goal], output / _SYNTHESIZED, goal)
            values = made.get(goal, np.zeros((len(paths), 0)))
            tiles += [(path, ["synthesized", *_values(rois, own)]) for path, own in zip(paths, values, strict=True)]
        sections.append(Section(f"Images: {goal}", [Gallery(tiles, caption, settings)]))
    return sections


def draw_maps(
    subject: Subject,
    vertices: Vertices,
    maps: Mapping[str, Float[np.ndarray, " vertices"]],
    rois: Sequence[str],
    goals: Iterable[str],
    limits: Mapping[bool, tuple[float, float]],
    settings: Mapping[str, Any],
    folder: Path,
) -> list[Picture]:
    """Draw a subject's maps into a folder, one for each goal.

    Parameters
    ----------
    subject, vertices
        The subject, and the vertices of the maps.
    maps
        From :func:`goal_maps`.
    rois
        Regions to outline.
    goals
        Names of the goals.
    limits
        From :func:`map_limits`.
    settings
        Settings to print below the pictures.
    folder
        Folder for the pictures.
    """
    titles = {file_name(goal): goal for goal in goals}
    pictures = []
    for name, values in maps.items():
        base = name.removesuffix(_MADE)
        title = titles[base] + (", synthesized images" if base != name else "")
        pictures += draw_brain(
            subject,
            vertices,
            values,
            folder / f"{name}.png",
            f"{title}: mean response to these images minus mean response to all images, at the regions' vertices; "
            "other vertices are grey. All goals and subjects have this scale.",
            roi=" and ".join(rois),
            images=settings["images"],
            limit=limits[base != name],
            regions=tuple(rois),
            views=(),
            settings=settings,
            label="response to these − to all images (z)",
            title=title,
        )
    return pictures


def judged(subjects: Sequence[Any]) -> str:
    """Return the words that say who chose the images and who judges them."""
    return "judged by the one who chose" if len(subjects) == 1 else "chosen by all but one, judged by that one"


def summary(
    subjects: Sequence[Subject], rois: Sequence[str], rows: Sequence[dict[str, Any]], images: int, output: Path
) -> str:
    """Return how far the images drive or suppress each region, or how alike sets are represented, in lines."""
    lines = [f"Control of {rois[0]} and {rois[1]} in {counted(subjects)}: {images} images, {judged(subjects)}"]
    for row in rows:
        if "ways" not in row:
            text = f"alignment {np.mean(row['alignment']):.3f}, of random sets {np.mean(row['random sets']):.3f}; "
            text += f"p {', '.join(f'{p:.3g}' for p in row['p'])} against {row['random count']:,} of them"
        elif not row["images"]:
            text = "no image passes the margin"
        else:
            ways = np.nanmean(row["ways"], axis=0)
            text = f"{row['images']:>3} images, by {ways[0]:.2f} and {ways[1]:.2f} z"
            if len(subjects) == 1:
                text += f" (95% {row['intervals'][0][0]}; {row['intervals'][0][1]})"
        if "synthesized" in row:
            own = row["synthesized"][0]
            text += f"; synthesized ones by {own[0]:.2f} and {own[1]:.2f} z"
        lines.append(f"  {row['goal']:<28}{text}")
    if "p" in rows[0] and len(subjects) == 1:
        lines.append(f"  {SELF_JUDGED}")
    return "\n".join([*lines, f"Maps, pictures, numbers and report.html: {output}"])


def _earlier_goals(output: Path) -> list[str]:
    """Return the goals of an earlier run that wrote into this folder, if there was one."""
    try:
        return [str(row["goal"]) for row in json.loads(read_small(output / NUMBERS))["goals"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _shown_positions(count: int, kind: str) -> Int[np.ndarray, " n"]:
    """Return which of the chosen images are shown: the first, which are the best, or some spread over a whole set."""
    most = min(_SHOWN[kind], count)
    return np.arange(most) if kind == "univariate" else np.linspace(0, count - 1, most).astype(int)


def _values(rois: Sequence[str], means: Float[np.ndarray, " rois"]) -> list[str]:
    return [f"{roi} {value:.2f} z" for roi, value in zip(rois, means, strict=False)]


def _saved(images: Num[np.ndarray, "n 3 h w"], folder: Path, goal: str) -> list[Path]:
    """Save images in 0–255, which are not whole numbers if their source has images of several sizes."""
    paths = [folder / f"{file_name(goal)}-{number}.png" for number in range(1, len(images) + 1)]
    with explained("write", folder):
        folder.mkdir(exist_ok=True)
        for path, image in zip(paths, images.round().clip(0, 255).astype(np.uint8), strict=True):
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return paths


def _shifts(
    rois: Sequence[str], subject_ids: Sequence[int], rows: Sequence[Mapping[str, Any]], n_synthesized: int
) -> Table:
    cells = []
    for row in rows:
        for index, subject_id in enumerate(subject_ids):
            ends = [str(one) for one in row["intervals"][index]]
            cells.append((row["goal"], subject_id, f"{row['counts'][index]} chosen", *row["ways"][index], *ends))
            if "synthesized" in row:
                ends = [str(one) for one in row["synthesized intervals"][index]]
                cells.append(
                    (row["goal"], subject_id, f"{n_synthesized} synthesized", *row["synthesized"][index], *ends)
                )
    if len(subject_ids) > 1:
        for row in rows:
            means = np.array(row["ways"])
            ends = [str(_over_subjects(way)) for way in means.T]
            cells.append((row["goal"], "mean", f"n = {len(subject_ids)} subjects", *np.nanmean(means, axis=0), *ends))
    return Table(
        "Change of each region's mean response in the wanted direction, relative to all images (z), with 95% "
        "bootstrap intervals over n images, where they are five or more; of three or more subjects the mean's by "
        "Student's t",
        ("goal", "subject", "images", *rois, *(f"95% of {roi}" for roi in rois)),
        cells,
    )


def _over_subjects(values: Float[np.ndarray, " subjects"]) -> Interval:
    return mean_interval(values) if np.isfinite(values).sum() >= FEWEST_SUBJECTS else NO_INTERVAL


def _alignments(rois: Sequence[str], subject_ids: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("goal", "subject", "images", "chosen set", "95% of it", "random sets, mean", "95% of them", "p")
    cells = [
        [
            *(row["goal"], subject_id, row["images"], row["alignment"][index], str(row["intervals"][index])),
            *(row["random sets"][index], str(Interval(*row["random range"][index])), row["p"][index]),
        ]
        for row in rows
        for index, subject_id in enumerate(subject_ids)
    ]
    caption = (
        f"Correlation of {rois[0]}'s and {rois[1]}'s dissimilarities; bootstrap intervals over a set's images; p: "
    )
    caption += f"share of {rows[0]['random count']:,} random sets and this one that are at least as good"
    return Table(caption + (f". {SELF_JUDGED}" if len(subject_ids) == 1 else ""), columns, cells)

"""What control found, as maps, tables and a report's sections."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from ...files.disk import explained, read_small
from ...stream.sources.image_files import Source
from ...subject import Subject
from ...vertices import Vertices
from ..reporting.page import Gallery, Picture, Section, Table
from ..reporting.pictures import draw_brain
from ..reporting.results import NUMBERS

PICTURE = "control.png"
_CHOSEN, _SYNTHESIZED = "chosen", "synthesized"  # folders
_SHOWN = {"univariate": 6, "multivariate": 18}  # of the images chosen for a goal
_CAPTIONS = {
    "univariate": "Every image's response in one region against that in the other, the chosen ones in color.",
    "multivariate": "How alike the regions represent random sets of images (grey) and the chosen ones: the "
    "correlation of the regions' dissimilarities.",
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


def numbers_section(
    kind: str,
    rois: Sequence[str],
    numbers: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    made: Mapping[str, Any],
    output: Path,
) -> Section:
    """How far the chosen images, or sets, go in each subject.

    Parameters
    ----------
    kind, rois
        As for :func:`~berg_jax.experiments.control.experiment.control_regions`.
    numbers
        The subjects'.
    rows
        Of each goal what came out.
    made, output
        The settings that made it, and the folder that holds its picture.
    """
    picture = Picture(output / PICTURE, _CAPTIONS[kind], made)
    if kind == "univariate":
        return Section("Responses", [picture, _ways(rois, numbers, rows, made["synthesize"])])
    return Section("Alignment", [picture, _alignments(rois, numbers, rows)])


def images_sections(
    kind: str,
    source: Source,
    chosen: Mapping[str, Int[np.ndarray, " n"]],
    synthesized: Mapping[str, UInt8[np.ndarray, "n 3 h w"]],
    made: Mapping[str, Any],
    output: Path,
) -> list[Section]:
    """Write some images chosen, and those synthesized, for each goal as PNGs into a folder, and show them.

    Those of an earlier run in the same folder are removed.
    """
    for goal in {*_earlier_goals(output), *chosen}:
        for path in output.glob(f"*/{glob.escape(file_name(goal))}-*.png"):
            if path.parent.name in (_CHOSEN, _SYNTHESIZED):
                path.unlink(missing_ok=True)
    sections = []
    for goal, every in chosen.items():
        indices = every[_places(len(every), kind)]
        tiles, caption = [], "No image passes the margin."
        if len(indices):
            names = [[str(source.ids[index])] for index in indices]
            tiles += zip(_saved(source.read(indices), output / _CHOSEN, goal), names, strict=True)
            which = "those that go the farthest first" if kind == "univariate" else "in their order among all images"
            caption = f"{len(indices)} of the {len(every)} chosen images, {which}."
        if goal in synthesized:
            paths = _saved(synthesized[goal], output / _SYNTHESIZED, goal)
            tiles += [(path, ["synthesized"]) for path in paths]
        sections.append(Section(f"Images: {goal}", [Gallery(tiles, caption, made)]))
    return sections


def draw_maps(
    person: Subject,
    vertices: Vertices,
    maps: Mapping[str, Float[np.ndarray, " vertices"]],
    rois: Sequence[str],
    goals: Iterable[str],
    made: Mapping[str, Any],
    folder: Path,
) -> list[Picture]:
    """Draw a subject's maps (see :func:`goal_maps`), each under its goal's name, into a folder."""
    titles = {file_name(goal): goal for goal in goals}
    pictures = []
    for name, values in maps.items():
        base = name.removesuffix("-synthesized")
        title = titles[base] + (", synthesized images" if base != name else "")
        pictures += draw_brain(
            person,
            vertices,
            values,
            folder / f"{name}.png",
            f"{title}: mean response to these images less that to all images, at the regions' vertices; others are "
            "grey.",
            regions=tuple(rois),
            views=(),
            settings=made,
            label="response to these − to all images (z)",
            title=title,
        )
    return pictures


def _earlier_goals(output: Path) -> list[str]:
    """The goals of the run that has written into this folder before, if any."""
    try:
        return [str(row["goal"]) for row in json.loads(read_small(output / NUMBERS))["goals"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _places(count: int, kind: str) -> Int[np.ndarray, " n"]:
    """Places of those that are shown: the best, which come first, or of a set some from its first to its last."""
    most = min(_SHOWN[kind], count)
    return np.arange(most) if kind == "univariate" else np.linspace(0, count - 1, most).astype(int)


def _saved(images: UInt8[np.ndarray, "n 3 h w"], folder: Path, goal: str) -> list[Path]:
    paths = [folder / f"{file_name(goal)}-{number}.png" for number in range(1, len(images) + 1)]
    with explained("write", folder):
        folder.mkdir(exist_ok=True)
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return paths


def _ways(rois: Sequence[str], numbers: Sequence[int], rows: Sequence[Mapping[str, Any]], synthesize: int) -> Table:
    cells = []
    for row in rows:
        for index, number in enumerate(numbers):
            cells.append((row["goal"], number, f"{row['counts'][index]} chosen", *row["ways"][index]))
            if "synthesized" in row:
                cells.append((row["goal"], number, f"{synthesize} synthesized", *row["synthesized"][index]))
    return Table(
        "How far images go the wanted way: their mean response less that to all images (z)",
        ("goal", "subject", "images", *rois),
        cells,
    )


def _alignments(rois: Sequence[str], numbers: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("goal", "subject", "chosen set", "random sets, mean")
    cells = [
        [row["goal"], number, reached, usual]
        for row in rows
        for number, reached, usual in zip(numbers, row["alignment"], row["random sets"], strict=True)
    ]
    return Table(f"Correlation of {rois[0]}'s and {rois[1]}'s dissimilarities", columns, cells)

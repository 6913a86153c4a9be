"""Page of a synthesis: the images with their scores, how they came about, and what each of them drives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ....subject import Subject
from ...reporting.command import Command
from ...reporting.page import Gallery, Picture, Section, Table, write_report
from ...reporting.results import origin
from ...reporting.statistics import mean_interval
from .sheets import score_text

_TILES = 60  # images that the report shows


def write_page(
    output: Path,
    command: Command,
    scores: dict[str, Float[np.ndarray, " n"]],
    history: Float[np.ndarray, "steps n"],
    facts: dict[str, Any],
    subject: Subject,
    judged: Section,
    figures: Sequence[Picture | Table],
    regions: Sequence[Picture | Table],
) -> None:
    """Write ``report.html`` of a synthesis.

    Parameters
    ----------
    output
        Folder of the synthesis, which holds the images.
    command
        The command that repeats it.
    scores, history
        Scores of the images, and the objective's value at each step.
    facts
        Contents of ``synthesis.json``.
    subject
        The subject.
    judged
        What the images are worth.
    figures, regions
        Figures of the course, and of what each image drives.
    """
    settings = command.settings
    count = len(next(iter(scores.values())))
    tiles = [
        (output / file, [f"{number + 1}", *(score_text(name, values[number]) for name, values in scores.items())])
        for number, file in enumerate(list(facts["images"])[:_TILES])
    ]
    caption = "Images, the best first, with the objective's value and the mean responses of the ROIs (z)"
    caption += ", and percentiles among natural images" * any(name.endswith(" percentile") for name in scores)
    caption += f": {len(tiles)} of {count:,}." if len(tiles) < count else "."
    made = {name: settings[name] for name in ("drive", "suppress", "images", "steps", "seed")}
    table = Table(
        "Responses to the images in the files: the objective's value, and ROIs' means (z)",
        ("image", *scores),
        [(number + 1, *(float(values[number]) for values in scores.values())) for number in range(count)],
    )
    steps = (
        sorted({round(share * (len(history) - 1)) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)}) if len(history) else []
    )
    course = Table(
        f"How it went: the objective's value, of the n = {count:,} images as they are optimized; 95% interval of the "
        "mean by Student's t",
        ("step", "best image", "mean", "95% of mean"),
        [
            (step + 1, *map(float, (np.nanmax(own), np.nanmean(own))), str(mean_interval(own.astype(np.float64))))
            for step, own in ((step, history[step]) for step in steps)
        ],
    )
    told = {name: facts[name] for name in ("weights", "identity", "vertices", "spectrum of", "devices")}
    told["environment"] = dict(line.split(" ", 1) for line in facts["environment"] if " " in line)
    write_report(
        output,
        "Stimulus synthesis",
        [
            Section("Images", [Gallery(tiles, caption, made), table]),
            judged,
            Section("Course", [*figures, course]),
            *([Section("What each image drives", regions)] if regions else []),
        ],
        lead=f"{count} images by {'guided diffusion' if settings['prior'] else 'gradient ascent'} "
        f"through the model of subject {subject.description.subject}"
        f"{origin(subject)}"
        + (f"; driven: {', '.join(settings['drive'])}" if settings["drive"] else "")
        + (f"; suppressed: {', '.join(settings['suppress'])}" if settings["suppress"] else "")
        + ".",
        command=command.line,
        settings=settings,
        provenance=told,
        synthetic=subject.description.synthetic,
    )

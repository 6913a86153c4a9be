"""Accuracies side by side: this run's numbers and those of finished ones, such as in and out of distribution."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....errors import InvalidParameterError, ModelNotFoundError
from ....files.disk import read_small
from ....surface.style import default_style
from ...reporting.figures import about, legend_below, new_figure, save_figure
from ...reporting.page import Picture, Section, Table
from ...reporting.results import SYNTHETIC

_RESULTS = "results.json"
_SHOWN = {"r": "r (no unit)", "explained_variance": "expl. var. (%)"}
_LARGEST = 1 << 26  # bytes
Numbers = Mapping[str, Any]


def read_numbers(folder: str | Path) -> tuple[str, Numbers]:
    """Return a finished accuracy's name and numbers.

    Raises
    ------
    ModelNotFoundError
        There is no result in the folder.
    InvalidParameterError
        The result is not one of ``berg-jax accuracy``.
    """
    path = Path(folder) / _RESULTS
    if not path.is_file():
        raise ModelNotFoundError(f"There is no {path}. Give the folder of a finished berg-jax accuracy.")
    try:
        numbers = json.loads(read_small(path, _LARGEST))
        if numbers["settings"]["experiment"] != "accuracy":
            raise KeyError("experiment")
        numbers["medians"]["all vertices"]["r"], numbers["intervals"]["all vertices"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidParameterError(
            f"{path} is no result of berg-jax accuracy ({type(error).__name__}: {error}). Give the folder of one."
        ) from error
    return Path(folder).name, numbers


def side_by_side(output: Path, own: Numbers, others: Sequence[tuple[str, Numbers]]) -> list[Section]:
    """Return the section that compares this run with others, row by row of the regions that all have; none alone.

    Parameters
    ----------
    output
        Folder of this run, in which the picture is drawn.
    own
        This run's numbers: ``medians``, ``intervals`` and ``settings``.
    others
        Names and numbers of finished runs.
    """
    if not others:
        return []
    runs = [(output.name, own), *others]
    regions = [name for name in own["medians"] if all(name in numbers["medians"] for _, numbers in others)]
    columns = [f"{title}, {name}" for title in _SHOWN.values() for name, _ in runs]
    rows = [[region, *(_cell(numbers, region, key) for key in _SHOWN for _, numbers in runs)] for region in regions]
    counted = "; ".join(f"{name}: n = {numbers['settings']['images']:,} images" for name, numbers in runs)
    caption = f"Medians over vertices with 95% intervals over images, side by side ({counted})"
    path = output / "beside.png"
    _draw(path, runs, regions)
    picture = Picture(path, caption, {"runs": [name for name, _ in runs]})
    return [Section("Side by side", [picture, Table(caption, ("ROI", *columns), rows)])]


def _cell(numbers: Numbers, region: str, key: str) -> str:
    median = _median(numbers, region, key)
    if math.isnan(median):
        return "–"
    low, high = _interval(numbers, region, key)
    return f"{median:.3g}" if math.isnan(low) else f"{median:.3g} ({low:.3g} to {high:.3g})"


def _interval(numbers: Numbers, region: str, key: str) -> tuple[float, float]:
    ends = numbers["intervals"].get(region, {}).get(key, (None, None))
    low, high = (math.nan if end is None else float(end) for end in ends)
    return low, high


@default_style()
def _draw(path: Path, runs: Sequence[tuple[str, Numbers]], regions: Sequence[str]) -> None:
    """Draw each region's r and explained variance, a point with an interval for each run."""
    counts = ", ".join(f"{numbers['settings']['images']:,} ({name})" for name, numbers in runs)
    subjects = list(dict.fromkeys(numbers["subject"] for _, numbers in runs))
    subtitle = about(subjects, f"{len(regions)} regions", images=counts)
    note = SYNTHETIC if any(numbers.get("synthetic") for _, numbers in runs) else None
    title = "Medians over vertices, 95% intervals over images"
    figure = new_figure(1.0 + 0.13 * len(regions) * max(1, len(runs) / 2), title, subtitle, note)
    axes = figure.subplots(1, len(_SHOWN), sharey=True, squeeze=False)[0]
    step = 0.6 / len(runs)
    table = []
    for axis, (key, words) in zip(axes, _SHOWN.items(), strict=True):
        for index, (name, numbers) in enumerate(runs):
            medians = [_median(numbers, region, key) for region in regions]
            ends = [_interval(numbers, region, key) for region in regions]
            heights = [row + (index - (len(runs) - 1) / 2) * step for row in range(len(regions))]
            axis.plot(medians, heights, "o", color=f"C{index}", markersize=2.5, label=name)
            axis.hlines(heights, *zip(*ends, strict=True), color=f"C{index}", linewidth=1)
            parts = zip(regions, medians, ends, strict=True)
            table += [(region, name, key, median, *end) for region, median, end in parts]
        axis.set_xlabel(f"median {words}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(regions)), regions)
    axes[0].set_ylim(len(regions) - 0.5, -0.5)
    legend_below(axes[0], len(runs), center=1.05)
    save_figure(figure, path, ("roi", "run", "value", "median", "low", "high"), table)


def _median(numbers: Numbers, region: str, key: str) -> float:
    median = numbers["medians"][region].get(key)
    return math.nan if median is None else float(median)

"""Accuracies side by side: this run's numbers and those of finished ones, such as in and out of distribution."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import InvalidParameterError, ModelNotFoundError
from ...files.disk import read_small
from ..reporting.page import Picture, Section, Table

_RESULTS = "results.json"
_SHOWN = {"r": "r", "explained_variance": "explained variance (%)"}
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
    median = numbers["medians"][region].get(key)
    if median is None or math.isnan(median):
        return "–"
    low, high = _interval(numbers, region, key)
    return f"{median:.3g}" if math.isnan(low) else f"{median:.3g} ({low:.3g} to {high:.3g})"


def _interval(numbers: Numbers, region: str, key: str) -> tuple[float, float]:
    ends = numbers["intervals"].get(region, {}).get(key, (None, None))
    low, high = (math.nan if end is None else float(end) for end in ends)
    return low, high


def _draw(path: Path, runs: Sequence[tuple[str, Numbers]], regions: Sequence[str]) -> None:
    """Draw each region's r and explained variance, a point with an interval for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.4 + 0.3 * len(regions)), layout="constrained")
    axes = figure.subplots(1, len(_SHOWN), sharey=True, squeeze=False)[0]
    step = 0.6 / len(runs)
    for axis, (key, title) in zip(axes, _SHOWN.items(), strict=True):
        for index, (name, numbers) in enumerate(runs):
            for row, region in enumerate(regions):
                median = numbers["medians"][region].get(key)
                if median is None or math.isnan(median):
                    continue
                height = row + (index - (len(runs) - 1) / 2) * step
                label = name if row == 0 else None
                axis.plot([median], [height], "o", color=f"C{index}", markersize=4, label=label)
                axis.plot(_interval(numbers, region, key), [height] * 2, "-", color=f"C{index}", linewidth=1.5)
        axis.set_xlabel(f"median {title}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(regions)), regions)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(runs), frameon=False)
    figure.savefig(path, dpi=150)

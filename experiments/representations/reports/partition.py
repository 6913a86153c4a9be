"""Variance partitioning of ROIs among targets: own and common shares with intervals, as a figure and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import InvalidParameterError
from ....files.csv_tables import write_table
from ....surface.style import default_style
from ...reporting.page import Picture, Section, Table
from ...reporting.panels import panels, save_panels
from ...reporting.statistics import REPETITIONS, fdr
from ..partition import MOST_TARGETS, Partition, Subset, partition_variance
from ..uncertainty import MOST_PERMUTED
from .study import MOST_LINES, Part, Study

_MOST_PANELS = 3  # targets of which all common shares are drawn
_PANELS = 4  # in a row


def parse_partition(text: str, targets: Sequence[str]) -> list[str]:
    """Return the names of a partition such as ``"layer5 + behavior"``.

    Raises
    ------
    InvalidParameterError
        There are fewer than two names or more than five, one stands twice, or is no target's.

    Examples
    --------
    >>> parse_partition("layer5 + behavior", ["behavior", "layer5", "words"])
    ['layer5', 'behavior']
    """
    names = [name.strip() for name in text.split(" + ")]
    if unknown := [name for name in names if name not in targets]:
        raise InvalidParameterError(
            f"The partition {text!r} names {unknown}; there are {list(targets)}. Join names by ' + '."
        )
    if not 2 <= len(names) <= MOST_TARGETS or len(set(names)) < len(names):
        raise InvalidParameterError(f"A partition is of 2 to {MOST_TARGETS} different targets, got {text!r}.")
    return names


def partition_section(study: Study, partitions: Sequence[Sequence[str]]) -> Part:
    """Partition each ROI's variance among targets, once for each given list of their names."""
    parts, numbers, lines = [], [], []
    for index, names in enumerate(partitions):
        targets = {name: study.targets[name] for name in names}
        repetitions = REPETITIONS if study.images <= MOST_PERMUTED else 0
        found = {
            roi: partition_variance(
                study.of_region(roi), targets, repetitions=repetitions, resamples=REPETITIONS, measure=study.measure
            )
            for roi in study.rois
        }
        q = _q(found, names)
        stem = "partition" if len(partitions) == 1 else f"partition{index + 1}"
        subsets: list[Subset] = [(), *next(iter(found.values())).shares]
        _write(study.output / f"{stem}.csv", study, found, q, subsets)
        path = study.output / f"{stem}.png"
        drawn = subsets if len(names) <= _MOST_PANELS else subsets[: 1 + len(names)]
        _draw(study, found, q, drawn, path)
        caption = (
            f"Share of the variance of each ROI's {'ranked ' * (study.measure.name == 'rdm')}matrix that targets "
            "explain: all together, each alone, and what only these have in common (∩), with 95% bootstrap intervals "
            "over images. A dot: the own share has q < 0.05."
        )
        parts += [Picture(path, caption, {"images": study.images, "targets": list(names)})]
        parts += [_table(study, found, q, names), _all_shares(found, subsets)]
        numbers.append({"targets": list(names), "ROIs": {roi: _plain(one) for roi, one in found.items()}, "q": q})
        lines += _lines(found, q, names, stem)
    return Part(Section("Variance partitioning", parts), numbers, lines)


def _q(found: Mapping[str, Partition], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return q of each ROI's own shares, over all ROIs and targets."""
    q = fdr(np.array([one.p[name] for one in found.values() for name in names])).reshape(len(found), -1)
    return {roi: dict(zip(names, map(float, row), strict=True)) for roi, row in zip(found, q, strict=True)}


def _said(subset: Subset) -> str:
    return " ∩ ".join(subset) if subset else "total"


def _share(found: Partition, subset: Subset) -> float:
    return found.shares[subset] if subset else found.total


def _plain(found: Partition) -> dict[str, Any]:
    return {
        "total": found.total,
        "shares": {_said(subset): share for subset, share in found.shares.items()},
        "intervals": {_said(subset): list(ends) for subset, ends in found.intervals.items()},
        "p": found.p,
    }


def _write(
    path: Path,
    study: Study,
    found: Mapping[str, Partition],
    q: Mapping[str, Mapping[str, float]],
    subsets: Sequence[Subset],
) -> None:
    rows = []
    for roi, one in found.items():
        for subset in subsets:
            own = subset[0] if len(subset) == 1 else ""
            tests = (one.p.get(own, np.nan), q[roi].get(own, np.nan))
            ends = one.intervals[subset]
            rows.append((roi, _said(subset), _share(one, subset), *ends, study.images, len(study.subjects), *tests))
    write_table(path, ("roi", "share", "variance", "low", "high", "images", "subjects", "p", "q"), rows)


def _table(
    study: Study, found: Mapping[str, Partition], q: Mapping[str, Mapping[str, float]], names: Sequence[str]
) -> Table:
    columns = ["ROI", "total", "95% of total"]
    for name in names:
        columns += [f"{name} alone", "95%", "q"]
    rows = []
    for roi, one in found.items():
        cells: list[Any] = [roi, one.total, str(one.intervals[()])]
        for name in names:
            cells += [one.shares[name,], str(one.intervals[name,]), q[roi][name]]
        rows.append(cells)
    return Table(
        f"Variance (R²) that {', '.join(names)} explain together, and each alone; {study.said}; bootstrap intervals "
        "over images, p by permutation of images, q over ROIs and targets",
        columns,
        rows,
    )


def _all_shares(found: Mapping[str, Partition], subsets: Sequence[Subset]) -> Table:
    columns = ["ROI", *(name for subset in subsets for name in (_said(subset), "95%"))]
    rows = [
        [roi, *(cell for subset in subsets for cell in (_share(one, subset), str(one.intervals[subset])))]
        for roi, one in found.items()
    ]
    return Table("All shares, also those in common", columns, rows, folded=True)


def _lines(
    found: Mapping[str, Partition], q: Mapping[str, Mapping[str, float]], names: Sequence[str], stem: str
) -> list[str]:
    lines = [f"Variance partitioning among {', '.join(names)}; own shares with 95% intervals: {stem}.csv"]
    if len(found) > MOST_LINES:
        return lines
    for roi, one in found.items():
        own = "   ".join(
            f"{name} {one.shares[name,]:.3f} ({one.intervals[name,]}) q {q[roi][name]:.3f}" for name in names
        )
        lines.append(f"  {roi:<14}total {one.total:.3f}   {own}")
    return lines


@default_style()
def _draw(
    study: Study,
    found: Mapping[str, Partition],
    q: Mapping[str, Mapping[str, float]],
    subsets: Sequence[Subset],
    path: Path,
) -> None:
    """Draw a panel of bars over ROIs for each share."""
    figure, axes = panels(len(subsets), _PANELS, width=2.1, height=0.7 + 0.22 * len(found), beside=1.2)
    for index, (axis, subset) in enumerate(zip(axes, subsets, strict=True)):
        color = "0.5" if not subset else f"C{index - 1}" if len(subset) == 1 else "0.75"
        most = max(one.intervals[subset].high for one in found.values())
        for place, (roi, one) in enumerate(found.items()):
            axis.barh(place, _share(one, subset), color=color, height=0.7)
            axis.plot(one.intervals[subset], [place] * 2, "-", color="black", lw=1.2)
            if len(subset) == 1 and q[roi][subset[0]] < 0.05:
                axis.plot(np.nanmax([most, _share(one, subset)]) * 1.08, place, "o", color="black", ms=3)
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_title(_said(subset) if len(subset) != 1 else f"{subset[0]} alone", size=9)
    axes[0].set_yticks(range(len(found)), list(found))
    axes[0].invert_yaxis()
    title = f"Variance partitioning, {study.said}"
    save_panels(figure, path, title=title, label="share of variance (R²)", note=study.note)

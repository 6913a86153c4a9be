"""Report of a sweep: images, best trials, failures, and the dependence of the trials' value on each setting."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...surface.style import default_style
from ..reporting.figures import about, new_figure, save_figure
from ..reporting.page import Gallery, Picture, Section, Table, write_report
from ..reporting.results import SYNTHETIC
from ..reporting.statistics import mean_interval
from .figures import course_section, regions_section
from .records import IMAGES, SPEC, Entry
from .spec import Spec, describe_settings, format_value, varying
from .trial import Trial, value_of

PLOT = "scores.png"
_BEST, _FAILED = 20, 10  # rows of the tables of best and of failed trials
_ROIS = 6  # columns of ROIs
_LONG = 200  # letters of an error
_MOST, _BINS = 12, 6  # groups of an axis, at most; groups of numbers if there are more values
_LABEL, _LINE, _DOTS = 22, 44, 1000  # letters beside a row of the plot and below it, and dots in a row, at most

Row = tuple[Trial, Entry]


class Axis(NamedTuple):
    """A setting in which trials differ.

    Attributes
    ----------
    name
        Name of the setting.
    groups
        Trials by the setting's value, or by a range of values.
    note
        A sentence on groups that are left out, if there are such.
    """

    name: str
    groups: Mapping[str, Sequence[Row]]
    note: str = ""


def write_page(output: Path, spec: Spec, rows: Sequence[Row], best: Sequence[Row], note: str) -> Path:
    """Write ``report.html``, ``config.json`` and ``scores.png``, and return the page's path.

    Parameters
    ----------
    output, spec
        The sweep's folder and specification.
    rows
        The trials that are done or failed, with their entries, in the specification's order.
    best, note
        The trials whose images are shown, and a sentence on how they were chosen.
    """
    done = [row for row in rows if not row[1]["failed"]]
    failed = [row for row in rows if row[1]["failed"]]
    synthetic = any(entry["synthetic"] for _, entry in rows)
    names = varying(spec)
    subjects = dict.fromkeys(str(trial.settings["subject"]) for trial in spec.trials)
    sections = []
    if done:
        tiles = [
            (
                output / IMAGES / f"{trial.id}.png",
                [f"value {entry['value']:.3f}", *describe_settings(trial.settings, names)],
            )
            for trial, entry in best
        ]
        base = _json_safe(spec.raw.get("base", {}))
        rois = dict.fromkeys(roi for _, entry in done for roi in entry["responses"])
        texts = about(list(map(int, subjects)), ", ".join(rois), trials=len(done)), SYNTHETIC if synthetic else None
        sections += [
            Section("Best trials", [_best(names, done)]),
            *_by_axis(output, axes_of(names, rows), done, list(map(int, subjects)), synthetic),
            *regions_section(output, done, *texts),
            *course_section(output, done, names, *texts),
            Section("Images", [Gallery(tiles, note, base)]),
        ]
    if failed:
        sections.append(Section("Failures", [_failures(names, failed)]))
    return write_report(
        output,
        "Sweep",
        sections,
        lead=f"Images made for subject{'s' * (len(subjects) > 1)} {', '.join(subjects)}"
        f"{' (SYNTHETIC weights)' * synthetic}: {len(done):,} of {len(spec.trials):,} trials are done, "
        f"{len(failed):,} failed, {len(spec.trials) - len(rows):,} are left.",
        command=shlex.join(["berg-jax", "sweep", str(output / SPEC), "--output", str(output)]),
        settings=_json_safe(spec.raw),
        provenance=_provenance([entry for _, entry in rows]),
        synthetic=synthetic,
    )


def axes_of(names: Sequence[str], rows: Sequence[Row]) -> list[Axis]:
    """Group trials by each of the named settings.

    If a setting has many values, numbers are put together into ranges, and of other values those with the best trials
    are kept.
    """
    axes = []
    for name in names:
        values = {repr(trial.settings[name]): trial.settings[name] for trial, _ in rows}
        labels = {key: format_value(value) for key, value in values.items()}
        note = ""
        if all(type(value) in (int, float) for value in values.values()):
            ordered = sorted(values, key=values.__getitem__)
            labels = {key: labels[key] for key in ordered}
            if len(values) > _MOST:
                ranges = [ordered[part[0] : part[-1] + 1] for part in np.array_split(range(len(ordered)), _BINS)]
                labels = {key: f"{labels[keys[0]]} to {labels[keys[-1]]}" for keys in ranges for key in keys}
        groups: dict[str, list[Row]] = {label: [] for label in labels.values()}
        for row in rows:
            groups[labels[repr(row[0].settings[name])]].append(row)
        if len(groups) > _MOST:
            note = f"The {_MOST} values of {name} with the best trials are shown, out of {len(groups)}."
            best = sorted(groups, key=lambda label: -max(_values(groups[label]), default=-math.inf))[:_MOST]
            groups = {label: groups[label] for label in best}
        axes.append(Axis(name, groups, note))
    return axes


def _values(rows: Sequence[Row]) -> list[float]:
    return [entry["value"] for _, entry in rows if not entry["failed"]]


def _best(names: Sequence[str], done: Sequence[Row]) -> Table:
    rois = list(dict.fromkeys(roi for _, entry in done for roi in entry["responses"]))[:_ROIS]
    measures = list(dict.fromkeys(name for _, entry in done for name in entry.get("measures", {})))
    best = sorted(done, key=lambda row: -row[1]["value"])[:_BEST]
    title = f"The best {len(best)} of {len(done):,} trials" if len(best) < len(done) else "Trials, the best first"
    ranked = [roi for roi in rois if any(roi in entry.get("percentiles", {}) for _, entry in best)]
    cells = []
    for trial, entry in best:
        settings = [format_value(trial.settings[name]) for name in names]
        responses = [entry["responses"].get(roi) for roi in rois]
        shares = [entry.get("percentiles", {}).get(roi) for roi in ranked]
        own = [entry.get("measures", {}).get(name) for name in measures]
        cells.append((trial.id, entry["value"], *settings, *responses, *shares, *own))
    return Table(
        f"{title}: {value_of([trial for trial, _ in done])}, and ROIs' mean responses (z), for the image in its file"
        + "; percentiles among crops of photographs (%)" * bool(ranked),
        ("trial", "value", *names, *rois, *(f"{roi} percentile" for roi in ranked), *measures),
        cells,
    )


def _by_axis(
    output: Path, axes: Sequence[Axis], done: Sequence[Row], subjects: Sequence[int], synthetic: bool
) -> list[Section]:
    if not axes:
        return []
    rois = dict.fromkeys(roi for _, entry in done for roi in entry["responses"])
    subtitle = about(subjects, ", ".join(rois), trials=len(done))
    value = value_of([trial for trial, _ in done])
    _draw(axes, output / PLOT, value, subtitle, SYNTHETIC if synthetic else None)
    notes = [axis.note for axis in axes if axis.note]
    caption = (
        f"Each trial's {value} (dots), and the mean with its 95% interval by Student's t over trials, "
        "by each setting in which trials differ; the other settings vary within a row."
    )
    rows = [_summary(axis.name, label, group) for axis in axes for label, group in axis.groups.items()]
    columns = ("setting", "is", "done", "failed", "mean", "95% of mean", "best")
    table = Table(f"{value.capitalize()} by each setting; 95% intervals over trials by Student's t", columns, rows)
    return [
        Section("By setting", [Picture(output / PLOT, " ".join([caption, *notes]), {"trials": len(done)}), table])
    ]


def _summary(name: str, label: str, rows: Sequence[Row]) -> tuple[Any, ...]:
    values = _values(rows)
    mean = float(np.mean(values)) if values else None
    interval = str(mean_interval(np.array(values, float)))
    return name, label, len(values), len(rows) - len(values), mean, interval, max(values, default=None)


@default_style()
def _draw(axes: Sequence[Axis], path: Path, value: str, subtitle: str, note: str | None) -> None:
    """Draw a row of dots for each group, with the mean and its interval; rows leave room for long names."""
    heights = [len(axis.groups) + 1.8 for axis in axes]
    figure = new_figure(0.15 * sum(heights) + 0.3, "Trials' value by each setting", subtitle, note)
    panels = figure.subplots(len(axes), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    cells = []
    for axis, panel in zip(axes, panels, strict=True):
        labels = []
        for row, (name, trials) in enumerate(axis.groups.items()):
            values = np.sort(_values(trials))
            labels.append(f"{_short(name)} (n = {len(values)})")
            if not len(values):
                continue
            dots = values[:: -(-len(values) // _DOTS)]
            jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(dots))
            low, high = mean_interval(values)
            panel.scatter(dots, row + jitter, s=4, alpha=0.4, color="tab:blue", linewidths=0)
            panel.plot(values.mean(), row, "|", color="black", markersize=7, markeredgewidth=1)
            panel.hlines(row, low, high, color="black", linewidth=0.8)
            cells += [(axis.name, name, "trial", float(value), np.nan, np.nan) for value in values]
            cells.append((axis.name, name, "mean", float(values.mean()), low, high))
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.5, -0.5)
        panel.set_title(axis.name, loc="left", fontweight="bold")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", color="0.9")
        panel.set_axisbelow(True)
    panels[-1].set_xlabel(f"{textwrap.fill(value, _LINE)}\nmean, 95% interval over trials")
    save_figure(figure, path, ("setting", "is", "shown", "value", "low", "high"), cells)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"


def _failures(names: Sequence[str], failed: Sequence[Row]) -> Table:
    caption = "Trials that failed" + f": the first {_FAILED} of {len(failed):,}" * (len(failed) > _FAILED)
    return Table(
        caption,
        ("trial", *names, "why"),
        [
            (trial.id, *(format_value(trial.settings[name]) for name in names), entry["error"][:_LONG])
            for trial, entry in failed[:_FAILED]
        ],
    )


def _provenance(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the provenance of the trials, each fact once."""
    newest = max(entries, key=lambda entry: entry["time"])
    distinct = {
        name: list(dict.fromkeys(entry[key] for entry in entries if key in entry))
        for name, key in (("weights", "weights"), ("identity", "identity"), ("versions", "versions"), ("on", "host"))
    }
    return {
        **distinct,
        "vertices": {name: count for entry in entries for name, count in entry.get("vertices", {}).items()},
        "last trial": datetime.fromtimestamp(newest["time"], UTC).isoformat(timespec="seconds"),
        "environment": dict(line.split(" ", 1) for line in newest["environment"] if " " in line),
    }


def _json_safe(value: Any) -> Any:
    """Return a specification with infinity as a word, because JSON has no number for it."""
    if isinstance(value, Mapping):
        return {name: _json_safe(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json_safe(item) for item in value]
    return "inf" if value == math.inf else value

"""What a sweep found, as a page: the images, the best trials, and how the value depends on each axis."""

from __future__ import annotations

import io
import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files.disk import explained, write_whole
from ..reporting.page import Gallery, Picture, Section, Table, write_report
from ..reporting.results import SYNTHETIC
from .records import IMAGES, SPEC, Entry
from .spec import Spec, shown, told, varying
from .trial import Trial

PLOT = "scores.png"
_BEST, _FAILED, _ROIS, _LONG = 20, 10, 6, 200  # rows of tables; columns of ROIs; letters of an error
_MOST, _BINS = 12, 6  # values that an axis is summed up by; groups of numbers, where there are more
_LABEL, _DOTS = 28, 1000  # letters beside a row of the plot; dots in it

Row = tuple[Trial, Entry]


class Axis(NamedTuple):
    """A setting in which trials differ, trials by what it is, and what is left out."""

    name: str
    groups: Mapping[str, Sequence[Row]]
    note: str = ""


def write_page(output: Path, spec: Spec, rows: Sequence[Row], best: Sequence[Row], note: str) -> Path:
    """Write ``report.html``, ``config.json`` and ``scores.png`` of what is recorded; the page's path.

    Parameters
    ----------
    output, spec
        The sweep's folder and specification.
    rows
        The trials that are done or failed, with what is recorded, in the specification's order.
    best, note
        Those that are shown, and how they were chosen.
    """
    done = [row for row in rows if not row[1]["failed"]]
    failed = [row for row in rows if row[1]["failed"]]
    synthetic = any(entry["synthetic"] for _, entry in rows)
    names = varying(spec)
    subjects = dict.fromkeys(str(trial.settings["subject"]) for trial in spec.trials)
    sections = []
    if done:
        tiles = [
            (output / IMAGES / f"{trial.id}.png", [f"value {entry['value']:.3f}", *told(trial.settings, names)])
            for trial, entry in best
        ]
        base = _spelled(spec.raw.get("base", {}))
        sections += [
            Section("Best trials", [_best(names, done)]),
            *_by_axis(output, axes_of(names, rows), len(done), synthetic),
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
        settings=_spelled(spec.raw),
        provenance=_provenance([entry for _, entry in rows]),
        synthetic=synthetic,
    )


def axes_of(names: Sequence[str], rows: Sequence[Row]) -> list[Axis]:
    """Trials by each of these settings: many numbers put together, of many other values the best."""
    axes = []
    for name in names:
        values = {repr(trial.settings[name]): trial.settings[name] for trial, _ in rows}
        labels = {key: shown(value) for key, value in values.items()}
        note = ""
        if all(type(value) in (int, float) for value in values.values()):
            ordered = sorted(values, key=values.__getitem__)
            labels = {key: labels[key] for key in ordered}
            if len(values) > _MOST:
                parts = [ordered[part[0] : part[-1] + 1] for part in np.array_split(range(len(ordered)), _BINS)]
                labels = {key: f"{labels[part[0]]} to {labels[part[-1]]}" for part in parts for key in part}
        groups: dict[str, list[Row]] = {label: [] for label in labels.values()}
        for row in rows:
            groups[labels[repr(row[0].settings[name])]].append(row)
        if len(groups) > _MOST:
            note = f"Of {name} the {_MOST} with the best trials are shown, of {len(groups)}."
            kept = sorted(groups, key=lambda label: -max(_values(groups[label]), default=-math.inf))[:_MOST]
            groups = {label: groups[label] for label in kept}
        axes.append(Axis(name, groups, note))
    return axes


def _values(rows: Sequence[Row]) -> list[float]:
    return [entry["value"] for _, entry in rows if not entry["failed"]]


def _best(names: Sequence[str], done: Sequence[Row]) -> Table:
    rois = list(dict.fromkeys(roi for _, entry in done for roi in entry["responses"]))[:_ROIS]
    best = sorted(done, key=lambda row: -row[1]["value"])[:_BEST]
    many = f"The best {len(best)} of {len(done):,} trials" if len(best) < len(done) else "Trials, the best first"
    return Table(
        f"{many}: the objective's value, and ROIs' mean responses (z), to the image in its file",
        ("trial", "value", *names, *rois),
        [
            (trial.id, entry["value"], *(shown(trial.settings[n]) for n in names), *map(entry["responses"].get, rois))
            for trial, entry in best
        ],
    )


def _by_axis(output: Path, axes: Sequence[Axis], done: int, synthetic: bool) -> list[Section]:
    if not axes:
        return []
    _draw(axes, output / PLOT, SYNTHETIC if synthetic else None)
    notes = [axis.note for axis in axes if axis.note]
    caption = (
        "The objective's value of each trial (dots) and its mean (bar), by each setting in which trials differ; all "
        "others vary within a row."
    )
    rows = [_summed(axis.name, label, group) for axis in axes for label, group in axis.groups.items()]
    table = Table("The objective's value by each setting", ("setting", "is", "done", "failed", "mean", "best"), rows)
    return [Section("By setting", [Picture(output / PLOT, " ".join([caption, *notes]), {"trials": done}), table])]


def _summed(name: str, label: str, rows: Sequence[Row]) -> tuple[Any, ...]:
    values = _values(rows)
    mean = float(np.mean(values)) if values else None
    return name, label, len(values), len(rows) - len(values), mean, max(values, default=None)


def _draw(axes: Sequence[Axis], path: Path, note: str | None) -> None:
    """A row of dots for each group, below each other, so that long names have room and a phone shows them."""
    import matplotlib
    from matplotlib.figure import Figure

    heights = [len(axis.groups) + 1.2 for axis in axes]
    with matplotlib.rc_context({"text.parse_math": False}):  # names are names, whatever signs are in them
        figure = Figure(figsize=(5.6, 0.24 * sum(heights) + 0.7), layout="constrained", dpi=150)
        panels = figure.subplots(len(axes), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axis, panel in zip(axes, panels, strict=True):
            for place, rows in enumerate(axis.groups.values()):
                values = np.sort(_values(rows))
                if not len(values):
                    continue
                dots = values[:: -(-len(values) // _DOTS)]
                away = np.random.default_rng(0).uniform(-0.25, 0.25, len(dots))
                panel.scatter(dots, place + away, s=14, alpha=0.4, color="tab:blue", linewidths=0)
                panel.plot(values.mean(), place, "|", color="black", markersize=13, markeredgewidth=2)
            labels = [label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…" for label in axis.groups]
            panel.set_yticks(range(len(labels)), labels, fontsize=9)
            panel.set_ylim(len(labels) - 0.5, -0.5)
            panel.set_title(axis.name, loc="left", fontsize=10, fontweight="bold")
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(axis="x", color="0.9")
            panel.set_axisbelow(True)
        panels[-1].set_xlabel("the objective's value (z units)", fontsize=10)
        if note:
            figure.supxlabel(note, fontsize=8, color="0.4")
        memory = io.BytesIO()
        figure.savefig(memory, format="png")
    with explained("write", path):
        write_whole(path, memory.getvalue())  # which another worker may be reading


def _failures(names: Sequence[str], failed: Sequence[Row]) -> Table:
    caption = "Trials that failed" + f": the first {_FAILED} of {len(failed):,}" * (len(failed) > _FAILED)
    return Table(
        caption,
        ("trial", *names, "why"),
        [
            (trial.id, *(shown(trial.settings[name]) for name in names), entry["error"][:_LONG])
            for trial, entry in failed[:_FAILED]
        ],
    )


def _provenance(entries: Sequence[Entry]) -> dict[str, Any]:
    """What made the trials, each thing once."""
    newest = max(entries, key=lambda entry: entry["time"])
    every = {
        name: list(dict.fromkeys(entry[key] for entry in entries if key in entry))
        for name, key in (("weights", "weights"), ("identity", "identity"), ("versions", "versions"), ("on", "host"))
    }
    return {
        **every,
        "vertices": {name: count for entry in entries for name, count in entry.get("vertices", {}).items()},
        "last trial": datetime.fromtimestamp(newest["time"], UTC).isoformat(timespec="seconds"),
        "environment": dict(line.split(" ", 1) for line in newest["environment"] if " " in line),
    }


def _spelled(value: Any) -> Any:
    """A specification with infinity as a word, for which JSON has no number."""
    if isinstance(value, Mapping):
        return {name: _spelled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    return "inf" if value == math.inf else value

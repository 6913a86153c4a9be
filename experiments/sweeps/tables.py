"""Results of a sweep: one Parquet table of all trials, contact sheets of the best, and a report."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import UInt8
from PIL import Image

from ...files.disk import explained, write_whole
from ..reporting.figures import about, remove_figure, save_figure
from ..synthesis.judging.sheets import SYNTHETIC, draw_sheet
from .records import IMAGES, Entry
from .report import write_page
from .spec import Spec, describe_settings, format_value, join_rois, varying
from .trial import SETTINGS, Trial, is_used, value_of

TABLE, SHEET = "sweep.parquet", "contact_sheet"
_PAGE, _PAGES = 60, 5  # images on a contact sheet, and sheets, at most
_SIDE = 168  # of an image on a contact sheet, in pixels

_TYPES = {
    **dict.fromkeys(("subject", "k", "steps", "jitter", "draws", "seed"), pa.int64()),
    **dict.fromkeys(("margin", "min_ncsnr", "radius", "learning_rate", "momentum", "total_variation"), pa.float64()),
    **dict.fromkeys(("guidance", "strength", "apart"), pa.float64()),
}


def write_results(output: Path, spec: Spec, entries: Mapping[str, Entry]) -> list[str]:
    """Write ``sweep.parquet``, contact sheets and a report of all recorded trials.

    The table has a row for each trial that is done or failed, in the specification's order. Its columns are ``id``;
    ``error`` (null, or the reason of a failure); ``value`` (for the image in its file); the settings (several ROIs as
    ``FFA-1; PPA``; null where the trial's experiment does not use it); ``response: ROI`` for every ROI that the sweep
    asks of the subject, in z units; ``percentile: ROI``, its percentile among crops of photographs; ``measure: …``
    for what else an experiment measures, such as a variation's pixel distance; ``history`` (the value that was
    maximized, by step); ``image`` (the file) and the ``sha256`` of its pixels; and its provenance. The table's
    metadata hold the specification as JSON, under ``berg_jax.sweep``.

    Parameters
    ----------
    output, spec
        The sweep's folder and specification.
    entries
        Entries of the recorded trials, by id.

    Returns
    -------
    Lines that name the files; none if nothing is recorded.
    """
    rows = [(trial, entries[trial.id]) for trial in spec.trials if trial.id in entries]
    if not rows:
        return []
    memory = io.BytesIO()
    pyarrow.parquet.write_table(_table(spec, rows), memory, compression="zstd")
    with explained("write", output):
        write_whole(output / TABLE, memory.getvalue())
        best, notes = choose_best(spec, rows)
        sheets = _write_sheets(output, spec, best, notes)
    others = " More of them are on the other contact sheets." * (len(sheets) > 1)
    page = write_page(output, spec, rows, best[:_PAGE], notes[0] + others)
    return [f"Table: {output / TABLE}", *(f"Contact sheet: {sheet}" for sheet in sheets), f"Report: {page}"]


def _table(spec: Spec, rows: Sequence[tuple[Trial, Entry]]) -> pa.Table:
    rois = list(
        dict.fromkeys(roi for trial in spec.trials for name in ("drive", "suppress") for roi in trial.settings[name])
    )
    columns = {"id": [trial.id for trial, _ in rows], "error": pa.array([e["error"] for _, e in rows], pa.string())}
    columns["value"] = pa.array([entry.get("value") for _, entry in rows], pa.float64())
    for name in SETTINGS:
        values = [trial.settings[name] if is_used(name, trial.settings) else None for trial, _ in rows]
        values = [join_rois(value) if isinstance(value, list) else value for value in values]
        columns[name] = pa.array(values, _TYPES.get(name, pa.string()))
    for roi in rois:
        responses = [entry.get("responses", {}).get(roi) for _, entry in rows]
        columns[f"response: {roi}"] = pa.array(responses, pa.float64())
    for roi in (roi for roi in rois if any(roi in entry.get("percentiles", {}) for _, entry in rows)):
        shares = [entry.get("percentiles", {}).get(roi) for _, entry in rows]
        columns[f"percentile: {roi}"] = pa.array(shares, pa.float64())
    for name in dict.fromkeys(name for _, entry in rows for name in entry.get("measures", {})):
        measured = [entry.get("measures", {}).get(name) for _, entry in rows]
        columns[f"measure: {name}"] = pa.array(measured, pa.float64())
    for name, kind in _FACTS.items():
        columns[name] = pa.array([entry.get(name) for _, entry in rows], kind)
    images = [None if entry["failed"] else f"{IMAGES}/{trial.id}.png" for trial, entry in rows]
    columns["image"] = pa.array(images, pa.string())
    metadata = {"berg_jax.sweep": json.dumps(spec.raw, ensure_ascii=False)}
    return pa.table(columns).replace_schema_metadata(metadata)


_FACTS = {
    "best_step": pa.int64(),
    "skipped_steps": pa.int64(),
    "history": pa.list_(pa.float32()),
    "sha256": pa.string(),
    "weights": pa.string(),
    "identity": pa.string(),
    "versions": pa.string(),
    "host": pa.string(),
    "process": pa.int64(),
    "time": pa.float64(),
}


def _write_sheets(output: Path, spec: Spec, rows: Sequence[tuple[Trial, Entry]], notes: Sequence[str]) -> list[Path]:
    pages = [rows[start : start + _PAGE] for start in range(0, len(rows), _PAGE)]
    names = varying(spec)
    paths = []
    for number, page in enumerate(pages, start=1):
        pixels = np.stack([_thumbnail(output / IMAGES / f"{trial.id}.png") for trial, _ in page])
        lines = [
            [f"value {entry['value']:.3f}", *describe_settings(trial.settings, names), trial.id]
            for trial, entry in page
        ]
        warning = [SYNTHETIC] * any(entry["synthetic"] for _, entry in page)
        foot = [*notes, f"Page {number} of {len(pages)}.", *warning]
        paths.append(_sheet_path(output, number))
        columns = ("trial", "value", *names)
        cells = [
            (trial.id, float(entry["value"]), *(format_value(trial.settings[name]) for name in names))
            for trial, entry in page
        ]
        save_figure(draw_sheet(pixels, lines, foot, _title(page)), paths[-1], columns, cells)
    for number in range(len(pages) + 1, _PAGES + 1):
        remove_figure(_sheet_path(output, number))
    return paths


def _title(page: Sequence[tuple[Trial, Entry]]) -> str:
    ids = sorted({trial.settings["subject"] for trial, _ in page})
    rois = dict.fromkeys(roi for _, entry in page for roi in entry["responses"])
    value = value_of([trial for trial, _ in page])
    return f"Images of a sweep · {about(ids, ', '.join(rois), images=len(page))}; value: {value}"


def _thumbnail(path: Path) -> UInt8[np.ndarray, "3 side side"]:
    with explained("read", path), Image.open(path) as image:
        return np.asarray(image.resize((_SIDE, _SIDE))).transpose(2, 0, 1)


def _sheet_path(output: Path, number: int) -> Path:
    return output / (f"{SHEET}.png" if number == 1 else f"{SHEET}-{number}.png")


def choose_best(spec: Spec, rows: Sequence[tuple[Trial, Entry]]) -> tuple[list[tuple[Trial, Entry]], list[str]]:
    """Choose the trials that contact sheets show.

    Trials that differ only in their seeds and random draws form a group. The best trials of each group are shown, as
    many as fill one page altogether; if there are more groups than the pages hold, the first groups are shown.

    Returns
    -------
    The trials, and sentences that explain the choice.
    """
    random_names = ["seed", *spec.axes["random"]]
    names = [name for name in varying(spec) if name not in random_names]
    groups: dict[str, list[tuple[Trial, Entry]]] = {}
    for trial, entry in rows:
        if not entry["failed"]:
            groups.setdefault(repr([trial.settings[name] for name in names]), []).append((trial, entry))
    per_group = max(_PAGE // max(len(groups), 1), 1)
    most_groups = _PAGE * _PAGES // per_group
    best_by_group = [sorted(group, key=lambda row: -row[1]["value"])[:per_group] for group in groups.values()]
    best = [row for group in best_by_group[:most_groups] for row in group]
    n_failed = sum(entry["failed"] for _, entry in rows)
    n_done = len(rows) - n_failed
    counts = f"{n_done} of {len(spec.trials)} trials done, {n_failed} failed."
    if len(best) == n_done:
        return best, [f"{counts} All that are done are shown."]
    which = f"the best {per_group}" if per_group > 1 else "the best"
    of_each = f" of each {', '.join(names)}" if names else ""
    limit = f", for the first {most_groups} of {len(groups)} of these" if len(groups) > most_groups else ""
    return best, [f"{counts} Shown are {which}{of_each}{limit}; {TABLE} has all."]

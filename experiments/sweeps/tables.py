"""What a sweep found: one Parquet table of all trials, contact sheets of the best, and a page."""

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
from ..synthesis.judging.sheets import SYNTHETIC, draw_sheet
from .records import IMAGES, Entry
from .report import write_page
from .spec import Spec, joined, told, varying
from .trial import SETTINGS, Trial

TABLE, SHEET = "sweep.parquet", "contact_sheet"
_PAGE, _PAGES = 60, 5  # images on a sheet, and sheets at most
_WIDEST, _SIDE = 10, 168  # images in a row, and their side in pixels

_TYPES = {
    **dict.fromkeys(("subject", "k", "steps", "jitter", "draws", "seed"), pa.int64()),
    **dict.fromkeys(("margin", "min_ncsnr", "radius", "learning_rate", "momentum", "total_variation"), pa.float64()),
}


def write_results(output: Path, spec: Spec, entries: Mapping[str, Entry]) -> list[str]:
    """Write ``sweep.parquet``, contact sheets and a report of what is recorded; lines that say where they are.

    The table has a row for each trial that is done or failed, in the specification's order: ``id``, ``error`` (null,
    or why it failed), ``value`` (the objective of the image as it is in its file), the settings (several ROIs as
    ``FFA-1; PPA``), ``response: ROI`` of every ROI that the sweep asks of the subject (z units), ``history`` (what
    was maximized, by step), ``image`` (the file), ``sha256`` of its pixels, and what made it. Its metadata's
    ``berg_jax.sweep`` is the specification as JSON.
    """
    rows = [(trial, entries[trial.id]) for trial in spec.trials if trial.id in entries]
    if not rows:
        return []
    memory = io.BytesIO()
    pyarrow.parquet.write_table(_table(spec, rows), memory, compression="zstd")
    with explained("write", output):
        write_whole(output / TABLE, memory.getvalue())
        best, notes = chosen(spec, rows)
        pages = _write_sheets(output, spec, best, notes)
    others = " More of them are on the other contact sheets." * (len(pages) > 1)
    page = write_page(output, spec, rows, best[:_PAGE], notes[0] + others)
    return [f"Table: {output / TABLE}", *(f"Contact sheet: {sheet}" for sheet in pages), f"Report: {page}"]


def _table(spec: Spec, rows: Sequence[tuple[Trial, Entry]]) -> pa.Table:
    rois = list(
        dict.fromkeys(roi for trial in spec.trials for name in ("drive", "suppress") for roi in trial.settings[name])
    )
    columns = {"id": [trial.id for trial, _ in rows], "error": pa.array([e["error"] for _, e in rows], pa.string())}
    columns["value"] = pa.array([entry.get("value") for _, entry in rows], pa.float64())
    for name in SETTINGS:
        values = [trial.settings[name] for trial, _ in rows]
        values = [joined(value) if isinstance(value, list) else value for value in values]
        columns[name] = pa.array(values, _TYPES.get(name, pa.string()))
    for roi in rois:
        responses = [entry.get("responses", {}).get(roi) for _, entry in rows]
        columns[f"response: {roi}"] = pa.array(responses, pa.float64())
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


def _write_sheets(output: Path, spec: Spec, shown: Sequence[tuple[Trial, Entry]], notes: Sequence[str]) -> list[Path]:
    pages = [shown[at : at + _PAGE] for at in range(0, len(shown), _PAGE)]
    names = varying(spec)
    paths = []
    for number, page in enumerate(pages, start=1):
        pixels = np.stack([_small(output / IMAGES / f"{trial.id}.png") for trial, _ in page])
        lines = [[f"value {entry['value']:.3f}", *told(trial.settings, names), trial.id] for trial, entry in page]
        small_print = [SYNTHETIC] * any(entry["synthetic"] for _, entry in page)
        memory = io.BytesIO()
        draw_sheet(pixels, lines, [*notes, f"Page {number} of {len(pages)}.", *small_print], _WIDEST).save(
            memory, "PNG"
        )
        paths.append(_page(output, number))
        write_whole(paths[-1], memory.getvalue())
    for number in range(len(pages) + 1, _PAGES + 1):
        _page(output, number).unlink(missing_ok=True)
    return paths


def _small(path: Path) -> UInt8[np.ndarray, "3 side side"]:
    with explained("read", path), Image.open(path) as image:
        return np.asarray(image.resize((_SIDE, _SIDE))).transpose(2, 0, 1)


def _page(output: Path, number: int) -> Path:
    return output / (f"{SHEET}.png" if number == 1 else f"{SHEET}-{number}.png")


def chosen(spec: Spec, rows: Sequence[tuple[Trial, Entry]]) -> tuple[list[tuple[Trial, Entry]], list[str]]:
    """The trials that the sheets show, and what they say of the choice.

    A group is of trials that differ in seeds and random draws only. Of each group the best are shown, as many as make
    one page, and of more groups than the pages hold the first.
    """
    drawn = ["seed", *spec.axes["random"]]
    names = [name for name in varying(spec) if name not in drawn]
    groups: dict[str, list[tuple[Trial, Entry]]] = {}
    for trial, entry in rows:
        if not entry["failed"]:
            groups.setdefault(repr([trial.settings[name] for name in names]), []).append((trial, entry))
    each = max(_PAGE // max(len(groups), 1), 1)
    best = [sorted(group, key=lambda row: -row[1]["value"])[:each] for group in groups.values()]
    shown = [row for group in best[: _PAGE * _PAGES // each] for row in group]
    failures = sum(entry["failed"] for _, entry in rows)
    done = len(rows) - failures
    said = f"{done} of {len(spec.trials)} trials done, {failures} failed."
    if len(shown) == done:
        return shown, [f"{said} All that are done are shown."]
    which = f"the best {each}" if each > 1 else "the best"
    of_each = f" of each {', '.join(names)}" if names else ""
    most = _PAGE * _PAGES // each
    limit = f", for the first {most} of {len(groups)} of these" if len(groups) > most else ""
    return shown, [f"{said} Shown are {which}{of_each}{limit}; {TABLE} has all."]

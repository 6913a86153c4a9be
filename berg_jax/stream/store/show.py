"""Contents of an output in a few lines: subject, vertices, images, ranges, and a table of ROIs or groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray

from ..reducers import states
from .layout import RESPONSES
from .output import Output
from .places import Place, find_place
from .remote_zarr import zarr_store
from .status import skipped_text, status_text

_MOST = 64  # images whose responses are read
_ROIS, _GROUPS, _IMAGES = 40, 20, 5  # rows of the tables


def show_text(path: str | Place) -> str:
    """Return what an output holds, in a few lines: subject, ROI, images, vertices, range of the responses.

    Of more than 64 images, 64 evenly spaced ones are read for the range and the table.

    Parameters
    ----------
    path
        Folder of the output, or its URL.

    Raises
    ------
    ModelNotFoundError, ResourceError, IntegrityError
        There is no such output; there is something else at this path, such as an experiment's folder, of which the
        message names the report; a file is damaged.

    See Also
    --------
    berg_jax.stream.status_text : How much of an output is done.
    berg_jax.open_responses : Read the stored responses.
    """
    place = find_place(path)
    output = Output.existing(place)
    facts = output.attributes
    lines = [_heading(facts), f"  {status_text(place).splitlines()[0]}", *skipped_text(output)]
    if output.stores_responses:
        with xarray.open_zarr(zarr_store(place), chunks=None) as data:
            lines += _responses(data, output)
    elif output.complete:
        for name in facts.get("run", {}).get("reducers", {}):
            lines += _reduced(name, states.read_results(output.reducers, name), facts.get("groups") or {})
    else:
        names = ", ".join(facts.get("run", {}).get("reducers", {}))
        lines.append(f"  unfinished: {names} are written when all images are done; the same command goes on")
    return "\n".join(lines)


def _heading(facts: dict[str, Any]) -> str:
    selection = facts.get("selection") if isinstance(facts.get("selection"), dict) else {}
    roi = selection.get("roi") or "all vertices"
    words = [
        f"Subject {facts.get('subject', '?')}{' (SYNTHETIC weights)' if facts.get('synthetic') else ''}",
        roi if isinstance(roi, str) else " + ".join(map(str, roi)),
    ]
    if selection.get("hemisphere") in ("lh", "rh"):
        words.append(selection["hemisphere"])
    words += [
        f"{name} at least {selection[key]:g}"
        for name, key in (("ncsnr", "min_ncsnr"), ("explained variance", "min_explained_variance"))
        if selection.get(key) is not None
    ]
    words += [str(facts[name]) for name in ("precision", "reduce") if facts.get(name)]
    return ", ".join(words)


def _responses(data: xarray.Dataset, output: Output) -> list[str]:
    images, vertices = data[RESPONSES].shape
    done = np.zeros(images, bool)
    for block, count in output.ledger.done().items():
        start, _ = output.ledger.range(block)
        done[start : start + count] = True
    there = np.flatnonzero(done)
    lines = [f"  {images:,} images × {vertices:,} vertices, {data[RESPONSES].dtype}, z units"]
    names = [str(name) for name in data.image.values[:_IMAGES]]
    lines.append(f"  images: {', '.join(names)}{', …' if images > len(names) else ''}")
    if not len(there):
        return [*lines, "  no responses yet"]
    rows = there[np.unique(np.linspace(0, len(there) - 1, min(len(there), _MOST)).astype(int))]
    values = data[RESPONSES].isel(image=rows).values.astype(np.float32)
    values = values[~np.isnan(values).all(axis=1)]  # without images that were skipped
    if not len(values):
        return [*lines, "  no image could be read"]
    sample = f" ({len(values)} of {images:,} images)" if len(values) < images else ""
    lines.append(
        f"  range{sample}: {np.nanmin(values):.3f} to {np.nanmax(values):.3f}, mean {np.nanmean(values):.3f}, "
        f"standard deviation {np.nanstd(values):.3f}"
    )
    if "membership" in data:
        lines += _rois(data, values)
    return lines


def _rois(data: xarray.Dataset, values: np.ndarray) -> list[str]:
    inside = {str(name): row for name, row in zip(data.roi.values, data.membership.values, strict=True) if row.any()}
    lines = [f"  {'ROI':<16}{'vertices':>9}{'mean':>8}{'lowest image':>14}{'highest image':>15}"] if inside else []
    for name, row in list(inside.items())[:_ROIS]:
        means = values[:, row].mean(axis=1)
        lines.append(f"  {name:<16}{row.sum():>9,}{means.mean():>8.3f}{means.min():>14.3f}{means.max():>15.3f}")
    return lines + ([f"  … and {len(inside) - _ROIS} more ROIs"] if len(inside) > _ROIS else [])


def _reduced(name: str, results: dict[str, np.ndarray], groups: dict[str, int]) -> list[str]:
    """Return a table of groups' means, or the names and shapes of another reducer's results."""
    if "means" in results and "counts" in results and len(groups) == len(results["counts"]):
        lines = [f"  {'group':<24}{'images':>8}{'mean':>8}"]
        table = list(zip(groups, results["counts"], results["means"], strict=True))
        lines += [f"  {group:<24}{int(count):>8,}{means.mean():>8.3f}" for group, count, means in table[:_GROUPS]]
        return lines + ([f"  … and {len(table) - _GROUPS} more groups"] if len(table) > _GROUPS else [])
    shapes = ", ".join(f"{key} {values.shape}" for key, values in results.items())
    return [f"  reducers/{name}.npz: {shapes}"]

"""Results of an experiment on disk: maps and numbers, each with its provenance."""

from __future__ import annotations

import importlib.metadata
import json
import os
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Num

from ... import surface
from ...files.disk import explained, write_whole
from ...rois import UNIONS
from ...stream.selection import Selection
from ...subject import Subject
from ...surface.maps import GIFTI
from ...surface.meshes import require
from ...surface.spaces import MESHES
from ...vertices import HEMISPHERES, Vertices
from .command import plain
from .figures import remove_figure

NUMBERS, MAPS = "results.json", "maps.npz"
SYNTHETIC = "SYNTHETIC weights: no finding about brains"
EARLY = ("V1", "V2", "V3", "hV4")
_EARLY_HALVES = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")  # ventral and dorsal
OUTLINED = ("V1", "FFA-1", "FFA-2", "OFA", "EBA", "PPA", "OPA", "RSC", "VWFA-1")


def provenance(subject: Subject, vertices: Vertices, precision: str, **settings: Any) -> dict[str, Any]:
    """Return the provenance of a result: subject, weights, vertices, settings, versions, devices, time."""
    return {
        "subject": subject.description.subject,
        "weights": subject.description.origin,
        "synthetic": subject.description.synthetic,
        "identity": subject.identity(vertices, precision),
        "vertices": len(vertices),
        "hemisphere_size": vertices.hemisphere_size,
        "precision": precision,
        "settings": settings,
        "versions": {name: importlib.metadata.version(name) for name in ("berg_jax", "jax", "flax", "numpy")},
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.local_devices()],
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def require_reporting(*more: str) -> None:
    """Raise ResourceError unless what maps and pictures are written with is installed, before work starts.

    Parameters
    ----------
    more
        Further packages, such as ``"plotly"`` for pages with a brain that can be turned.
    """
    require("matplotlib", "nibabel", "nilearn", *more)


def note(subject: Subject) -> str | None:
    """Return the small print of a picture: that weights are synthetic, if they are."""
    return SYNTHETIC if subject.description.synthetic else None


def origin(subject: Subject) -> str:
    """Return the words that follow a subject's number in a sentence if its weights are synthetic."""
    return " (SYNTHETIC weights)" if subject.description.synthetic else ""


def counted(subjects: Sequence[Subject]) -> str:
    """Return the number of subjects in words, and that their weights are synthetic, if they are."""
    return f"{len(subjects)} subject{'s' * (len(subjects) > 1)}{origin(subjects[0])}"


def folder_of(output: Path, subject: Subject) -> Path:
    """Return the folder of one subject in the output of an experiment on several."""
    return output / f"subj{subject.description.subject:02d}"


def can_draw(vertices: Vertices) -> bool:
    """Return whether this surface can be drawn. Maps are written of any surface."""
    return vertices.hemisphere_size in MESHES


def write_results(
    folder: Path, vertices: Vertices, maps: Mapping[str, Num[np.ndarray, " vertices"]], facts: Mapping[str, Any]
) -> None:
    """Write maps and numbers.

    ``maps.npz`` has each map by name, a value for each of the vertices, and which those are: ``lh``, ``rh`` (within
    the hemisphere, in this order) and ``hemisphere_size``. ``results.json`` has the numbers and what made them. For
    other programs each map is there as GIFTI, too: ``maps/<name>.lh.func.gii`` and ``maps/<name>.rh.func.gii``.
    Other maps that an earlier run has left in the folder, and pictures of the same names, are removed.

    Raises
    ------
    ResourceError
        The folder cannot be written, or nibabel is not installed.
    """
    write_numbers(folder, facts)
    _forget(folder, maps)
    with explained("write", folder):
        (folder / "maps").mkdir(exist_ok=True)
        size = np.array(vertices.hemisphere_size)
        np.savez(folder / MAPS, **maps, lh=vertices.lh, rh=vertices.rh, hemisphere_size=size)
    for name, values in maps.items():
        surface.save(np.where(np.isinf(values), np.nan, values), folder / "maps" / f"{name}{GIFTI}", vertices)


def write_numbers(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``results.json`` alone: see :func:`write_results`."""
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / NUMBERS, (json.dumps(plain(facts), indent=2, ensure_ascii=False) + "\n").encode())


def _forget(folder: Path, kept: Collection[str]) -> None:
    """Remove the files of other maps that an earlier run has left, by the names in its ``maps.npz``."""
    try:
        with zipfile.ZipFile(folder / MAPS) as there:
            names = {name.removesuffix(".npy") for name in there.namelist()} - {*HEMISPHERES, "hemisphere_size"}
    except (OSError, ValueError, zipfile.BadZipFile):
        return
    with explained("write", folder):
        for name in (name for name in names.difference(kept) if Path(name).name == name):
            remove_figure(folder / f"{name}.png")
            for hemisphere in HEMISPHERES:
                (folder / "maps" / f"{name}.{hemisphere}{GIFTI}").unlink(missing_ok=True)


def outlined(subject: Subject, names: tuple[str, ...]) -> dict[str, Vertices]:
    """Return the vertices of those ROIs, by name, that the subject has, for outlines."""
    found = {}
    for name in names:
        parts = [name, *UNIONS.get(name, ())]
        if any(len(rois.get(part, ())) for rois in subject.metadata.rois.values() for part in parts):
            found[name] = subject.vertices(name)
    return found


def early_areas(subject: Subject) -> tuple[str, ...]:
    """Return the early visual areas to outline: their ventral and dorsal halves, or whole if there are no halves."""
    return tuple(found) if len(found := outlined(subject, _EARLY_HALVES)) > 1 else EARLY


def landmarks(subject: Subject) -> tuple[str, ...]:
    """Return the areas to outline on a map of the whole cortex: early visual areas by halves, and category areas."""
    return (*early_areas(subject), *(name for name in OUTLINED if name not in EARLY))


def regions_of(subject: Subject, vertices: Vertices, selection: Selection | None = None) -> dict[str, Vertices]:
    """Return the subject's ROIs as far as they are among these vertices, without those that are then empty.

    Parameters
    ----------
    subject, vertices
        The subject, and some of its vertices.
    selection
        What chose the vertices. Where it names ROIs, other ROIs of which these hold only a part are left out, because
        a part is not that ROI. Where that leaves none, the expression itself is the region.
    """
    within = None
    if selection is not None and isinstance(selection.roi, str | list | tuple):
        within = replace(selection, roi=None).of(subject)  # what ROIs are without the expression
    regions = {}
    for name in subject.rois:
        left, right = subject.metadata.roi(name)
        kept = np.intersect1d(left, vertices.lh), np.intersect1d(right, vertices.rh)
        if not any(map(len, kept)):
            continue
        if within is not None:
            whole = np.intersect1d(left, within.lh), np.intersect1d(right, within.rh)
            if any(len(one) < len(all_) for one, all_ in zip(kept, whole, strict=True)):
                continue
        regions[name] = Vertices(*kept, vertices.hemisphere_size)
    if within is not None and not regions:
        return {selection.roi if isinstance(selection.roi, str) else " + ".join(map(str, selection.roi)): vertices}
    return regions

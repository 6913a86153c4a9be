"""Converted subject of a fit: the donor's network with the fitted tables, and metadata of the new person."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ....errors import ResourceError
from ....files.disk import explained
from ....model.checkpoint import Description, is_converted, read_description, read_part, write_converted
from ....model.encoding_model import Part
from ....published.berg_dir import check_subject_id
from ....published.metadata import ACCURACIES
from ....subject import Subject
from ....vertices import HEMISPHERES, Vertices
from ..inputs.labels import Rois
from ..inputs.splits import Split
from ..tables import VertexTables

FIT = "fit"  # name of the fit among a subject's sources


class FittedPart(NamedTuple):
    """What a fit has made of one part of the donor.

    Attributes
    ----------
    vertices
        Global vertex of each row.
    tables
        The fitted tables.
    network
        Weights that were trained too, with ``vit`` and ``heads`` as the donor's part has them; None if they are the
        donor's.
    coordinates
        Coordinate networks that were trained, ``layer_selector`` and ``retina_mapper``; None if none were.
    """

    vertices: Int[np.ndarray, " rows"]
    tables: VertexTables
    network: Mapping[str, Any] | None = None
    coordinates: Mapping[str, Any] | None = None


def folder_of(output: Path, subject_id: int) -> Path:
    """Return the folder of the fitted subject in a fit's output, where ``--berg-dir`` finds it."""
    return output / f"subj{check_subject_id(subject_id):02d}"


def require_own(output: Path, subject_id: int) -> None:
    """Raise ResourceError if an output holds another person than this one, or something else than a fit's subject."""
    folder = folder_of(output, subject_id)
    others = [path.name for path in output.glob("subj[0-9][0-9]") if path != folder and is_converted(path)]
    if others:
        raise ResourceError(
            f"{output} is the output of another person's fit: it holds {', '.join(sorted(others))}. Choose another "
            "output."
        )
    if not folder.exists():
        return
    fitted = is_converted(folder) and FIT in read_description(folder).sources
    if not fitted or read_description(folder).subject != subject_id:
        raise ResourceError(f"{folder} exists and is no fitted subject {subject_id}. Choose another output.")


def write_fitted(
    donor: Subject, subject_id: int, parts: Mapping[str, FittedPart], metadata: Mapping[str, Any], output: Path
) -> Path:
    """Write a fitted subject, which appears complete or not at all and replaces that of an earlier stage.

    Parameters
    ----------
    donor
        The donor, whose network the subject has as far as a part brings none of its own.
    subject_id
        ID of the new person, 1 to 99.
    parts
        Fitted parts by name. Parts of the donor that are not among them keep their network and get no rows.
    metadata
        Metadata of the new person: see :func:`fitted_metadata`.
    output
        Folder of the fit; the subject is written to ``subjNN`` in it.

    Returns
    -------
    The subject's folder.

    Raises
    ------
    ResourceError
        The folder cannot be written.
    """
    description, folder = donor.description, folder_of(output, subject_id)
    digest = hashlib.sha256()
    size = 0
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {len(part.vertices)} {subject_id}".encode())
        arrays = [part.vertices.astype("<i8"), *(table.astype("<f4") for table in part.tables)]
        if part.network is not None:
            arrays += [np.asarray(leaf, "<f4") for _, leaf in sorted(_leaves(part.network))]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
            size += array.nbytes
    sources = {f"donor {name}": source for name, source in description.sources.items() if name != "metadata"}
    sources[FIT] = {
        "name": f"subject {subject_id}, fitted with donor {description.subject}",
        "size": size,
        "sha256": digest.hexdigest(),
        "mtime_ns": 0,
    }
    fitted = Description(
        subject=subject_id,
        hemisphere_size=description.hemisphere_size,
        parts=description.parts,
        rows={name: len(parts[name].vertices) if name in parts else 0 for name in description.parts},
        layout="complement",
        layout_guessed=False,
        options=description.options,
        sources=sources,
        origin="synthetic" if description.synthetic else "fitted",
        versions={name: importlib.metadata.version(name) for name in ("berg_jax", "jax", "orbax-checkpoint")},
    )
    file = output / ".metadata.npy"
    with explained("write", file):
        output.mkdir(parents=True, exist_ok=True)
        np.save(file, dict(metadata), allow_pickle=True)
    try:
        write_converted(folder, fitted, ((name, _part(donor, name, parts)) for name in fitted.parts), file, True)
    finally:
        file.unlink(missing_ok=True)
    return folder


def _part(donor: Subject, name: str, parts: Mapping[str, FittedPart]) -> Part:
    """Return a part of the new subject. A part without rows has no readout, because nothing reads it."""
    part = read_part(donor.folder, name)
    weights = dict(part.weights() if callable(part.weights) else part.weights)
    weights.pop("readout")
    if name not in parts:
        return Part(part.config, weights, np.array([], np.int32))
    fitted = parts[name]
    if fitted.network is not None:
        weights |= fitted.network
    weights["readout"] = {key: np.asarray(table, np.float32) for key, table in fitted.tables._asdict().items()}
    return Part(part.config, weights, fitted.vertices)


def _leaves(tree: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in tree.items():
        found += _leaves(value, f"{path}/{key}") if isinstance(value, Mapping) else [(f"{path}/{key}", value)]
    return found


def fitted_metadata(
    donor: Subject,
    vertices: Vertices,
    maps: Mapping[str, Float[np.ndarray, " vertices"]],
    split: Split,
    numbers: Int[np.ndarray, " images"],
    rois: Rois | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return metadata of a fitted subject, under the published keys; NaN at vertices that were not fitted.

    Parameters
    ----------
    donor
        The donor, whose ROIs are taken if no others are given.
    vertices
        The fitted vertices.
    maps
        ``ncsnr``, and ``r``, ``r2``, ``noise_ceiling`` and ``explained_variance`` on the test images.
    split
        Split of the images.
    numbers
        Number of each image, counted from 0: NSD's, or its place among the images that were given.
    rois
        ROIs of the person; by default the donor's. Either as far as their vertices were fitted.
    facts
        What else is said of the fit, under ``"fit"``.
    """
    size = vertices.hemisphere_size
    given = rois if rois is not None else donor.metadata.rois
    whole = {name: np.full(2 * size, np.nan, np.float32) for name in ("ncsnr", *ACCURACIES)}
    names = {"ncsnr": "ncsnr", "correlation": "r"} | {name: name for name in ACCURACIES[1:]}
    for name, source in names.items():
        whole[name][vertices.global_indices] = maps[source]
    fmri: dict[str, Any] = {}
    accuracy: dict[str, Any] = {
        f"{name}_img_num": numbers[images] for name, images in zip(("train", "val", "test"), split, strict=True)
    }
    for hemisphere, half in zip(HEMISPHERES, (slice(0, size), slice(size, None)), strict=True):
        own = np.sort(getattr(vertices, hemisphere))
        fmri[f"{hemisphere}_ncsnr"] = whole["ncsnr"][half]
        fmri[f"{hemisphere}_fitted_vertices"] = own
        fmri[f"{hemisphere}_fsaverage_rois"] = {
            name: np.intersect1d(region, own) for name, region in given[hemisphere].items()
        }
        accuracy |= {f"{hemisphere}_{name}_nsdcore": whole[name][half] for name in ACCURACIES}
    origin = {"donor": donor.description.subject, "rois": "given" if rois is not None else "the donor's"}
    made = {"fmri": fmri, "encoding_models": accuracy, FIT: {**origin, **(facts or {})}}
    if "synthetic" in donor.metadata.raw:
        made["synthetic"] = f"fit with {donor.metadata.raw['synthetic']}"
    return made

"""PyTorch files of a fitted subject, in the published layout: the donor's files with what was fitted in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....convert.keys import check_part, replace_tensors
from ....convert.subject import SYNTHETIC_RECORD
from ....convert.torch_file import write_object, write_state_dict
from ....errors import InvalidParameterError, ModelNotFoundError, ResourceError
from ....files.disk import explained, require_space
from ....files.torch_archive import read_torch, torch_record
from ....model.checkpoint import read_part
from ....published.berg_dir import SubjectFiles
from ....subject import Subject
from .subject_folder import FittedPart


def require_torch_files(donor: Subject, folder: Path, subject_id: int) -> None:
    """Raise unless the donor's PyTorch files are there, and the folder has no such files of this ID yet.

    Raises
    ------
    ModelNotFoundError
        The donor exists in converted form only, as the demo subjects do.
    ResourceError
        The folder has files of this subject.
    """
    files = SubjectFiles(Path(donor.berg_dir), donor.description.subject)
    if files.is_demo or not all(path.is_file() for path in (files.part1, files.part2, files.indices)):
        raise ModelNotFoundError(
            "--export-pth needs the donor's PyTorch files, whose coordinate networks it writes, and "
            f"{donor.berg_dir} has none of subject {donor.description.subject}. Give the berg_dir that holds them, "
            "or leave it out."
        )
    new = SubjectFiles(folder, subject_id)
    for path in (new.part1, new.part2, new.metadata):
        if path.exists():
            raise ResourceError(f"{path} exists. Choose another folder or another subject ID.")


def export_subject(
    donor: Subject, subject_id: int, parts: Mapping[str, FittedPart], metadata: Mapping[str, Any], folder: Path
) -> None:
    """Write a fitted subject as PyTorch files in BERG's layout.

    Coordinates of all of the donor's vertices stay, because layer weights and receptive-field centers are functions
    of them together. Vertices that were not fitted have zero weights, and so predict 0.

    Parameters
    ----------
    donor
        The donor, whose PyTorch files are there.
    subject_id
        ID of the new person.
    parts
        The fitted parts. Layer weights and centers are the donor's, or of trained coordinate networks.
    metadata
        The new person's metadata.
    folder
        BERG directory to write to. Other subjects in it are kept.

    Raises
    ------
    InvalidParameterError
        A part has other layer weights or centers than the donor, and no coordinate networks of them are known.
    ModelNotFoundError, ResourceError
        The donor's files are not there; the folder cannot be written.
    """
    require_torch_files(donor, folder, subject_id)
    old = SubjectFiles(Path(donor.berg_dir), donor.description.subject)
    new = SubjectFiles(folder, subject_id)
    require_space(folder, old.part1.stat().st_size + old.part2.stat().st_size, "The PyTorch files")
    states = {}
    for name, path in (("part1", old.part1), ("part2", old.part2)):
        state = {key: np.array(value, np.float32) for key, value in read_torch(path).items()}
        readout = f"model.voxel_outs_weight.{old.name}"
        weight, bias = (np.zeros_like(state[f"{readout}.{kind}"]) for kind in ("weight", "bias"))
        if name in parts:
            part = read_part(donor.folder, name)
            row_of = {int(vertex): row for row, vertex in enumerate(part.vertices)}
            rows = np.array([row_of[int(vertex)] for vertex in parts[name].vertices])
            fitted = parts[name]
            if fitted.coordinates is None:
                _require_the_donor_s(part.weights, fitted, rows)
            weight[rows], bias[rows] = fitted.tables.weight, fitted.tables.bias
            trained = {**(fitted.network or {}), **(fitted.coordinates or {})}
            state = replace_tensors(state, trained, check_part(state, old.name, str(path)), old.name)
        state[f"{readout}.weight"], state[f"{readout}.bias"] = weight, bias
        states[name] = {_renamed(key, old.name, new.name): value for key, value in state.items()}
    indices = dict(read_torch(new.indices)) if new.indices.is_file() else {}
    indices[new.name] = np.asarray(read_torch(old.indices)[old.name])
    synthetic = donor.description.synthetic
    with explained("write", folder):
        for path in (new.part1, new.metadata):
            path.parent.mkdir(parents=True, exist_ok=True)
        for name, source, path in (("part1", old.part1, new.part1), ("part2", old.part2, new.part2)):
            record = torch_record(source, SYNTHETIC_RECORD) if synthetic else None
            note = {SYNTHETIC_RECORD: record or b"fitted with a synthetic donor\n"} if synthetic else {}
            write_state_dict(path, states[name], note)
        write_object(new.indices, dict(sorted(indices.items())))
        np.save(new.metadata, dict(metadata), allow_pickle=True)


def _require_the_donor_s(weights: Any, fitted: FittedPart, rows: np.ndarray) -> None:
    readout = (weights() if callable(weights) else weights)["readout"]
    same = all(
        np.array_equal(np.asarray(readout[name])[rows], getattr(fitted.tables, name))
        for name in ("layer_weights", "rf_center")
    )
    if not same:
        raise InvalidParameterError(
            "The published layout holds coordinate networks, and this stage has changed layer weights or centers at "
            "single vertices. Fit with selectors='coordinates', or leave --export-pth out."
        )


def _renamed(key: str, old: str, new: str) -> str:
    """Return a tensor's name with another subject's name in it."""
    return ".".join(new if part == old else part for part in key.split("."))

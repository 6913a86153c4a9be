"""Trials of any data set by a table: which image each trial showed, in which session, and in which file it lies.

image,session,file
face_01.png,ses-01,sub-01/ses-01/sub-01_ses-01_hemi-{hemi}_betas.mgz
house_07.png,ses-01,sub-01/ses-01/sub-01_ses-01_hemi-{hemi}_betas.mgz

A row of the table is a trial; those of one file are its trials, in their order. ``{hemi}`` stands for ``lh`` and
``rh``, or ``L`` and ``R``; without it, a file holds both hemispheres, the left one first. Files are ``.npy``,
``.h5``, ``.hdf5`` or ``.zarr`` (trials, vertices), FreeSurfer's ``.mgh`` and ``.mgz`` (vertices, 1, 1, trials), or
GIFTI ``.gii`` with an array for each trial. Several files, such as runs, may belong to a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ...errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ...files.csv_tables import read_table
from ...files.disk import readable
from ...files.gifti import check_gifti
from ...surface.meshes import require
from ...surface.spaces import hint
from ...vertices import Vertices
from .arrays import ARRAYS, TrialArray, is_array
from .trials import (
    Trials,
    complete_trials,
    finite_betas,
    gathered,
    images_of_trials,
    read_mgh_session,
    warn_unless_z,
    z_scored,
)

_HEMI = "{hemi}"
_NAMES = (("lh", "rh"), ("L", "R"))


def read_sessions(
    folder: str | Path,
    table: str | Path,
    vertices: Vertices,
    images: Sequence[str],
    zscored: bool = False,
    part: slice = slice(None),
    known: Sequence[str] | None = None,
    raw: bool = False,
) -> Trials:
    """Read all trials of the given images from the files that a table names.

    Parameters
    ----------
    folder
        Folder that the files' paths start from.
    table
        A ``.csv`` file with the columns ``image``, ``session`` and ``file`` and a row for each trial; other columns,
        such as ``run``, are not read.
    vertices, images, zscored, part, known, raw
        See :func:`~berg_jax.experiments.accuracy.read_array`.

    Raises
    ------
    ModelNotFoundError
        A file is not there.
    InvalidParameterError
        The table lacks a column, or names an image that is not known; an image was never shown; a file is of no kind
        that is read.
    ValidationError
        A file cannot be read, or has other trials or vertices than it should.
    """
    folder = Path(folder)
    rows = read_table(table, ("image", "session", "file"))
    image_of = images_of_trials([row["image"] for row in rows], images, known, table, quiet=bool(part.start))
    files_of: dict[str, dict[str, list[int]]] = {}
    for trial, row in enumerate(rows):
        files_of.setdefault(row["session"], {}).setdefault(row["file"], []).append(trial)
    responses, image_indices, session_indices = [], [], []
    for number, (session, files) in enumerate(files_of.items()):
        betas = np.concatenate([_read(folder, name, len(rows_of), vertices, part) for name, rows_of in files.items()])
        if zscored and not part.start:
            warn_unless_z(betas, table, session)
        found = [image_of[trial] for rows_of in files.values() for trial in rows_of]
        wanted = [index for index, image in enumerate(found) if image is not None]
        responses.append((betas if raw or zscored else z_scored(betas))[wanted])
        image_indices += [found[index] for index in wanted]
        session_indices += [number] * len(wanted)
    trials = gathered(responses, image_indices, session_indices)
    return complete_trials(trials, images, f"the first trial is of {rows[0]['image']!r}")


def _read(
    folder: Path, name: str, trials: int, vertices: Vertices, part: slice
) -> Float[np.ndarray, "trials vertices"]:
    """Return one file's trials, or those of its two hemispheres, at a part of the vertices."""
    size, chosen = vertices.hemisphere_size, vertices.global_indices[part]
    if _HEMI not in name:
        path = folder / name
        if not is_array(path):
            raise InvalidParameterError(
                f"{name} is one file for both hemispheres, which must end in {', '.join(ARRAYS)}. Write {_HEMI} "
                "where the name says lh and rh, or L and R."
            )
        array = TrialArray(path)
        _check(path, array.shape, (trials, 2 * size))
        return finite_betas(array.read(np.arange(trials), chosen), path)
    halves = []
    for side, rows in enumerate((chosen[chosen < size], chosen[chosen >= size] - size)):
        paths = [folder / name.replace(_HEMI, names[side]) for names in _NAMES]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise ModelNotFoundError(f"There is neither {paths[0]} nor {paths[1]}. The table's file is {name!r}.")
        halves.append(_hemisphere(path, trials, size, rows))
    return np.hstack(halves)


def _hemisphere(
    path: Path, trials: int, size: int, rows: Int[np.ndarray, " vertices"]
) -> Float[np.ndarray, "trials vertices"]:
    suffix = path.suffix.lower()
    if is_array(path):
        array = TrialArray(path)
        _check(path, array.shape, (trials, size))
        return finite_betas(array.read(np.arange(trials), rows), path)
    if suffix in (".mgh", ".mgz"):
        return read_mgh_session(path, trials, size, rows).T
    if suffix != ".gii":
        raise InvalidParameterError(f"{path} is of no kind that is read: {', '.join(ARRAYS)}, .mgh, .mgz, .gii.")
    require("nibabel")
    import nibabel

    with readable(path, ValidationError, "Get the file again."):
        check_gifti(path)
        arrays = [np.asarray(array.data, np.float32).ravel() for array in nibabel.load(path).darrays]
    _check(path, (len(arrays), len(arrays[0]) if arrays else 0), (trials, size))
    if {len(array) for array in arrays} != {size}:
        raise ValidationError(f"{path} has arrays of different lengths, expected {size} vertices each.")
    return finite_betas(np.stack(arrays)[:, rows], path)


def _check(path: Path, shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    if shape != expected:
        raise ValidationError(
            f"{path} has the shape {shape}{hint(shape[-1]) if shape else ''}; expected {expected}: trials that the "
            "table names, and vertices."
        )

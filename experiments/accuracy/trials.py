"""Measured responses: NSD's own files, or an array of trials; z-scored within each session.

Of NSD's folder are read ``nsddata/experiments/nsd/nsd_expdesign.mat``, which says what was shown when, and
``nsddata_betas/ppdata/subjXX/fsaverage/betas_fithrf_GLMdenoise_RR/{lh,rh}.betas_sessionYY.mgh``, per cent signal
change (Allen et al. 2022, A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence,
Nature Neuroscience 25, 116–126).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ...files.csv_tables import read_table
from ...files.disk import readable
from ...files.matlab import read_matrices
from ...files.npy import read_npy
from ...surface.meshes import require
from ...surface.spaces import hint
from ...vertices import Vertices

DESIGN = Path("nsddata/experiments/nsd/nsd_expdesign.mat")
BETAS = "nsddata_betas/ppdata/subj{:02d}/fsaverage/betas_fithrf_GLMdenoise_RR"
SESSION = 750  # trials
_TOLERANCE = 0.05  # of the standard deviation of what is said to be z-scored
_log = logging.getLogger(__name__)


class Trials(NamedTuple):
    """Single-trial responses in z units, and the place of each trial's image in the list that was asked for."""

    responses: Float[np.ndarray, "trials vertices"]
    images: Int[np.ndarray, " trials"]


def read_nsd(
    folder: str | Path, subject: int, vertices: Vertices, images: Sequence[str], part: slice = slice(None)
) -> Trials:
    """The trials of these images, of all sessions that are there, from NSD's own files.

    Parameters
    ----------
    folder
        NSD's.
    subject
        1 to 8.
    vertices
        Which of the surface's; other vertices are left out as they are read.
    images
        Image numbers, from 0.
    part
        Which of these vertices. Files are read only there, so that parts take little memory.

    Raises
    ------
    ModelNotFoundError
        A file is not there.
    ValidationError
        A file cannot be read, or has other trials or vertices than it should.
    InvalidParameterError
        An image was never shown.
    """
    folder = Path(folder)
    shown = shown_images(folder / DESIGN, subject)
    place = {name: index for index, name in enumerate(images)}
    chosen, size = vertices.global_indices[part], vertices.hemisphere_size
    of_halves = (chosen[chosen < size], chosen[chosen >= size] - size)
    responses, numbers = [], []
    for session, paths in _sessions(folder / BETAS.format(subject)):
        shown_then = shown[(session - 1) * SESSION : session * SESSION]
        wanted = np.flatnonzero([str(image) in place for image in shown_then])
        halves = [_session(path, len(shown_then), size, kept) for path, kept in zip(paths, of_halves, strict=True)]
        responses.append(z_scored(np.concatenate(halves).T)[wanted])
        numbers += [place[str(image)] for image in shown_then[wanted]]
    return _complete(Trials(np.concatenate(responses), np.array(numbers, np.int64)), images)


def shown_images(path: Path, subject: int) -> Int[np.ndarray, " trials"]:
    """The image of each trial of a subject, counted from 0, from ``nsd_expdesign.mat``, which counts from 1.

    Raises
    ------
    ModelNotFoundError, ValidationError, InvalidParameterError
        There is no such file; it is none; there is no such subject in it.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Give NSD's folder, or an array of betas.")
    names = ["masterordering", "subjectim"]
    with readable(path, ValidationError, "Get the file again."):
        design = read_matrices(path, names)
        order, of_subjects = (_counted_from_1(design[name]) for name in names)
        if not 1 <= subject <= len(of_subjects):
            wrong = f"{path} has subjects 1 to {len(of_subjects)}, not {subject}."
        else:
            return of_subjects[subject - 1, order[0] - 1] - 1
    raise InvalidParameterError(wrong)


def read_array(
    betas: str | Path,
    table: str | Path,
    vertices: Vertices,
    images: Sequence[str],
    zscored: bool = False,
    part: slice = slice(None),
) -> Trials:
    """The trials of these images from an array.

    Parameters
    ----------
    betas
        A ``.npy`` file of (trials, vertices): those of the surface, left hemisphere first, or the chosen ones.
    table
        A ``.csv`` file with the columns ``image`` and ``session``, a row for each trial.
    vertices, images, part
        As for :func:`read_nsd`; images are names as the table has them.
    zscored
        The betas are z-scored within each session already, and are taken as they are. If they do not look so, a
        warning says what their standard deviation is, of the first part.

    Raises
    ------
    ModelNotFoundError, InvalidParameterError, ValidationError
        A file is not there; it does not fit; it cannot be read.
    """
    for path in (Path(betas), Path(table)):
        if not path.is_file():
            raise ModelNotFoundError(f"There is no file {path}.")
    with readable(betas, ValidationError, "Get the file again."):
        array = read_npy(Path(betas))
    rows = read_table(table, ("image", "session"))
    size = 2 * vertices.hemisphere_size
    if array.ndim != 2 or array.dtype.kind not in "fiu" or len(array) != len(rows):
        raise InvalidParameterError(
            f"{betas} must be numbers of shape ({len(rows)}, vertices), a row for each of {table}; got {array.dtype} "
            f"of shape {array.shape}."
        )
    if array.shape[1] not in (size, len(vertices)):
        raise InvalidParameterError(
            f"{betas} has {array.shape[1]} vertices{hint(array.shape[1])}; expected {size}, both hemispheres, or the "
            f"{len(vertices)} that are chosen."
        )
    columns = (vertices.global_indices if array.shape[1] == size else np.arange(len(vertices)))[part]
    place = {name: index for index, name in enumerate(images)}
    sessions: dict[str, list[int]] = {}
    for trial, row in enumerate(rows):
        sessions.setdefault(row["session"], []).append(trial)
    responses, numbers = [], []
    for session, trials in sessions.items():
        inside = np.array(trials)
        with np.errstate(over="ignore", invalid="ignore"):  # of what becomes infinite, and of signaling NaNs
            of_session = _finite(np.asarray(array[np.ix_(inside, columns)], np.float32), betas)
        if zscored and not part.start:
            _warn_unless_z(of_session, betas, session)
        wanted = [row for row, trial in enumerate(inside) if rows[trial]["image"] in place]
        responses.append((of_session if zscored else z_scored(of_session))[wanted])
        numbers += [place[rows[trial]["image"]] for trial in inside[wanted]]
    return _complete(Trials(np.concatenate(responses), np.array(numbers, np.int64)), images)


def z_scored(betas: Float[np.ndarray, "trials vertices"]) -> Float[np.ndarray, "trials vertices"]:
    """Each vertex' betas of a session less their mean, by their standard deviation, NaN left out.

    A vertex that does not vary is NaN.
    """
    there = ~np.isnan(betas)
    count = there.sum(0)
    filled = np.where(there, betas, 0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(there, filled - filled.sum(0) / count, np.nan)
        scale = np.sqrt((np.where(there, deviations, 0) ** 2).sum(0) / count)
        return (deviations / np.where(scale > 0, scale, np.nan)).astype(np.float32)


def _warn_unless_z(betas: Float[np.ndarray, "trials vertices"], path: str | Path, session: str) -> None:
    there = ~np.isnan(betas).all(0)
    spread = float(np.median(np.nanstd(betas[:, there], axis=0))) if there.any() else float("nan")
    if not abs(spread - 1) < _TOLERANCE:
        _log.warning(
            "%s is said to be z-scored, but the median standard deviation of vertices in session %s is %.3g, not 1.",
            *(path, session, spread),
        )


def _sessions(folder: Path) -> Iterator[tuple[int, list[Path]]]:
    found = sorted(folder.glob("lh.betas_session*.mgh"))
    if not found:
        raise ModelNotFoundError(f"There are no sessions lh.betas_session01.mgh, … in {folder}.")
    for left in found:
        number = left.name.removeprefix("lh.betas_session").removesuffix(".mgh")
        right = left.with_name(left.name.replace("lh.", "rh.", 1))
        if not right.is_file() or not number.isdigit():
            raise ModelNotFoundError(f"There is {left}, but not {right}. Get both hemispheres.")
        yield int(number), [left, right]


def _session(
    path: Path, trials: int, hemisphere_size: int, kept: Int[np.ndarray, " vertices"]
) -> Float[np.ndarray, "vertices trials"]:
    """The betas of some vertices. Between the first and the last of them the file is read, and not elsewhere."""
    require("nibabel")
    from nibabel import MGHImage

    with readable(path, ValidationError, "Get the file again."), path.open("rb") as file:
        image = MGHImage.from_stream(file)  # nibabel.load would leave it open
        rows, *rest = map(int, image.shape)  # from numbers of 32 bits, whose product would overflow
        shape = rows, math.prod(rest)
        first, last = (int(kept.min()), int(kept.max()) + 1) if len(kept) else (0, 1)
        values = np.asanyarray(image.dataobj[first:last]) if shape == (hemisphere_size, trials) else None
    if values is None:
        raise ValidationError(
            f"{path} has {shape[0]} vertices{hint(shape[0])}, and {shape[1]} trials; expected {hemisphere_size} and "
            f"{trials}."
        )
    return _finite(values.reshape(last - first, trials)[kept - first], path)


def _finite(betas: Float[np.ndarray, "a b"], path: str | Path) -> Float[np.ndarray, "a b"]:
    """The betas, which may be NaN but not infinite."""
    if np.isinf(betas).any():
        raise ValidationError(f"{path} has values that are infinite, or too large for float32. Set them to NaN.")
    return betas


def _counted_from_1(values: Any) -> Int[np.ndarray, "a b"]:
    numbers = np.asarray(values)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iuf" or not (numbers == np.floor(numbers)).all():
        raise ValueError(f"a table that is {numbers.dtype} of shape {numbers.shape}, expected whole numbers")
    if not numbers.size or not 1 <= numbers.min() <= numbers.max() < 2**31:
        raise ValueError("a table that does not count from 1")
    return numbers.astype(np.int64)


def _complete(trials: Trials, images: Sequence[str]) -> Trials:
    counts = np.bincount(trials.images, minlength=len(images))
    if (counts == 0).any():
        missing = [images[index] for index in np.flatnonzero(counts == 0)]
        raise InvalidParameterError(
            f"{len(missing)} of the {len(images)} images were never shown in these sessions, such as {missing[0]!r}. "
            "Leave them out, or give more sessions."
        )
    return trials

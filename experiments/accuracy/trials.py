"""Measured single-trial responses, z-scored within each session: from NSD's own files, or from an array of trials.

Two kinds of files are read from NSD's folder: ``nsddata/experiments/nsd/nsd_expdesign.mat``, which says which image
each trial showed, and
``nsddata_betas/ppdata/subjXX/fsaverage/betas_fithrf_GLMdenoise_RR/{lh,rh}.betas_sessionYY.mgh``, betas in per cent
signal change (Allen et al. 2022, A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial
intelligence, Nature Neuroscience 25, 116–126).
"""

from __future__ import annotations

import gzip
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
from ...files.names import NameIndex
from ...stream.sources.image_files import natural
from ...surface.meshes import require
from ...surface.spaces import hint
from ...vertices import Vertices
from .arrays import TrialArray
from .image_names import image_numbers

DESIGN = Path("nsddata/experiments/nsd/nsd_expdesign.mat")
BETAS = "nsddata_betas/ppdata/subj{:02d}/fsaverage/betas_fithrf_GLMdenoise_RR"
SESSION = 750  # trials in a session
_TOLERANCE = 0.05  # distance from 1 of the standard deviation of betas that are said to be z-scored
_log = logging.getLogger(__name__)


class Trials(NamedTuple):
    """Single-trial responses to a list of images.

    Attributes
    ----------
    responses
        Responses in z units, or as they are in the files if they were asked for raw; NaN where a vertex has none.
    images
        Index of each trial's image in the list that was asked for.
    sessions
        Index of each trial's session among those that were read, in their order; None where it is not known.
    """

    responses: Float[np.ndarray, "trials vertices"]
    images: Int[np.ndarray, " trials"]
    sessions: Int[np.ndarray, " trials"] | None = None


def read_nsd(
    folder: str | Path,
    subject_id: int,
    vertices: Vertices,
    images: Sequence[str],
    part: slice = slice(None),
    raw: bool = False,
) -> Trials:
    """Read all trials of the given images from NSD's own files, from every session that is there.

    Parameters
    ----------
    folder
        NSD's folder.
    subject_id
        NSD subject, 1 to 8.
    vertices
        Vertices of the surface to read; all others are left out.
    images
        The images' names, from which their numbers are read: see
        :func:`~berg_jax.experiments.accuracy.image_names.image_numbers`. Those of an array's rows are NSD image
        numbers, counted from 0.
    part
        Slice of ``vertices`` to read. Only this part of each file is read, so that parts take little memory.
    raw
        Return the betas as they are in the files, instead of z-scored within each session.

    Raises
    ------
    ModelNotFoundError
        A file is not there.
    ValidationError
        A file cannot be read, or has other trials or vertices than it should.
    InvalidParameterError
        An image was never shown, or a name has no number.

    See Also
    --------
    read_array : Read trials from an array instead.
    """
    folder = Path(folder)
    shown = shown_images(folder / DESIGN, subject_id)
    sessions = dict(_sessions(folder / BETAS.format(subject_id)))
    images_of = {number: shown[(number - 1) * SESSION : number * SESSION] for number in sessions}
    numbers = nsd_image_numbers(folder, subject_id, images)
    index_of = {number: index for index, number in enumerate(numbers)}
    chosen, size = vertices.global_indices[part], vertices.hemisphere_size
    chosen_by_hemisphere = (chosen[chosen < size], chosen[chosen >= size] - size)
    responses, image_indices, session_indices = [], [], []
    for index, (session, paths) in enumerate(sessions.items()):
        session_images = images_of[session]
        wanted = np.flatnonzero([int(image) in index_of for image in session_images])
        halves = [
            read_mgh_session(path, len(session_images), size, rows)
            for path, rows in zip(paths, chosen_by_hemisphere, strict=True)
        ]
        betas = np.concatenate(halves).T
        responses.append((betas if raw else z_scored(betas))[wanted])
        image_indices += [index_of[int(image)] for image in session_images[wanted]]
        session_indices += [index] * len(wanted)
    example = f"the first trial showed image {shown[0]}, counted from 0"
    return complete_trials(gathered(responses, image_indices, session_indices), images, example)


def nsd_image_numbers(folder: Path, subject_id: int, images: Sequence[str]) -> list[int]:
    """Return the NSD image number, counted from 0, of each image that was shown in the sessions that are there."""
    shown = shown_images(folder / DESIGN, subject_id)
    sessions = [number for number, _ in _sessions(folder / BETAS.format(subject_id))]
    seen = np.concatenate([shown[(number - 1) * SESSION : number * SESSION] for number in sessions])
    return image_numbers(images, seen, _shared(folder / DESIGN))


def shown_images(path: Path, subject_id: int) -> Int[np.ndarray, " trials"]:
    """Return the image that each trial of a subject showed, counted from 0, as ``nsd_expdesign.mat`` records it.

    The file itself counts from 1.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError
        The file is not an NSD design.
    InvalidParameterError
        The design has no such subject.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Give NSD's folder, or an array of betas.")
    names = ["masterordering", "subjectim"]
    with readable(path, ValidationError, "Get the file again."):
        design = read_matrices(path, names)
        order, subject_images = (counted_from_1(design[name]) for name in names)
        if not 1 <= subject_id <= len(subject_images):
            problem = f"{path} has subjects 1 to {len(subject_images)}, not {subject_id}."
        else:
            return subject_images[subject_id - 1, order[0] - 1] - 1
    raise InvalidParameterError(problem)


def _shared(path: Path) -> Int[np.ndarray, " shared"] | None:
    """Return the shared images in their order, counted from 1, if the design has them."""
    with readable(path, ValidationError, "Get the file again."):
        try:
            return counted_from_1(read_matrices(path, ["sharedix"])["sharedix"])[0]
        except KeyError:
            return None


def read_array(
    betas: str | Path,
    table: str | Path,
    vertices: Vertices,
    images: Sequence[str],
    zscored: bool = False,
    part: slice = slice(None),
    known: Sequence[str] | None = None,
    raw: bool = False,
) -> Trials:
    """Read all trials of the given images from an array.

    Parameters
    ----------
    betas
        An array of (trials, vertices): ``.npy``, HDF5 (``x.h5::betas`` names one of several data sets) or zarr. The
        vertices are all of the surface's, left hemisphere first, or only the chosen ones.
    table
        A ``.csv`` file with the columns ``image`` and ``session`` and a row for each trial. Accents in names may be
        in another form (NFC, NFD) than in the images' names. Trials of other images are left out.
    vertices, part
        See :func:`read_nsd`.
    images
        The images' names, as the table has them.
    zscored
        Take the betas as they are, because they are already z-scored within each session. A warning gives their
        standard deviation if they do not look so; only the first part is checked.
    known
        Names of all images that there are, of which ``images`` may be some. A table that names another one is
        refused, because it may count from 1. By default such trials are left out, with a warning.
    raw
        Return the betas as they are in the array, z-scored or not.

    Raises
    ------
    ModelNotFoundError
        A file is not there.
    InvalidParameterError
        The array fits neither the table nor the vertices, or the table names an image that is not known.
    ValidationError
        A file cannot be read.

    See Also
    --------
    read_nsd : Read trials from NSD's own files.
    """
    array = TrialArray(betas)
    if not Path(table).is_file():
        raise ModelNotFoundError(f"There is no file {table}.")
    rows = read_table(table, ("image", "session"))
    size = 2 * vertices.hemisphere_size
    if len(array.shape) != 2 or array.dtype.kind not in "fiu" or array.shape[0] != len(rows):
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
    image_of = images_of_trials([row["image"] for row in rows], images, known, table, quiet=bool(part.start))
    trials_by_session: dict[str, list[int]] = {}
    for trial, row in enumerate(rows):
        trials_by_session.setdefault(row["session"], []).append(trial)
    responses, image_indices, session_indices = [], [], []
    for number, (session, trial_list) in enumerate(trials_by_session.items()):
        trials = np.array(trial_list)
        session_betas = finite_betas(array.read(trials, columns), betas)
        if zscored and not part.start:
            warn_unless_z(session_betas, betas, session)
        wanted = [index for index, trial in enumerate(trials) if image_of[trial] is not None]
        responses.append((session_betas if raw or zscored else z_scored(session_betas))[wanted])
        image_indices += [image_of[trial] for trial in trials[wanted]]
        session_indices += [number] * len(wanted)
    example = f"the first trial is of {rows[0]['image']!r}"
    return complete_trials(gathered(responses, image_indices, session_indices), images, example)


def gathered(
    responses: Sequence[Float[np.ndarray, "_ vertices"]], images: Sequence[int | None], sessions: Sequence[int]
) -> Trials:
    """Return the trials of several sessions as one."""
    return Trials(np.concatenate(responses), np.array(images, np.int64), np.array(sessions, np.int64))


def images_of_trials(
    trials: Sequence[str], images: Sequence[str], known: Sequence[str] | None, table: str | Path, quiet: bool
) -> list[int | None]:
    """Return the position of each trial's image among the images, None if it is not one of them."""
    index = NameIndex(images)
    found = [index.find(name) for name in trials]
    others = [name for name, position in zip(trials, found, strict=True) if position is None]
    if known is not None:
        all_names = NameIndex(known)
        if unknown := sorted({name for name in others if all_names.find(name) is None}, key=natural):
            raise InvalidParameterError(
                f"{table} names {len(unknown)} images that are not there, such as {unknown[-1]!r}; there are "
                f"{known[0]!r} to {known[-1]!r}. Images are counted from 0: if the table counts from 1, subtract 1."
            )
    elif others and not quiet:
        _log.warning(
            "%s has %d of %d trials of images that are not given, such as %r; they are left out.",
            *(table, len(others), len(trials), others[0]),
        )
    return found


def z_scored(betas: Float[np.ndarray, "trials vertices"]) -> Float[np.ndarray, "trials vertices"]:
    """Scale each vertex's betas to mean 0 and standard deviation 1 over the trials of a session.

    NaN is left out of mean and standard deviation. A vertex that does not vary becomes NaN.

    Examples
    --------
    >>> z_scored(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, nan], [1.0, nan]]
    """
    known = ~np.isnan(betas)
    count = known.sum(0)
    filled = np.where(known, betas, 0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(known, filled - filled.sum(0) / count, np.nan)
        scale = np.sqrt((np.where(known, deviations, 0) ** 2).sum(0) / count)
        return (deviations / np.where(scale > 0, scale, np.nan)).astype(np.float32)


def warn_unless_z(betas: Float[np.ndarray, "trials vertices"], path: str | Path, session: str) -> None:
    """Warn of a session's betas that are said to be z-scored and do not look so."""
    known = ~np.isnan(betas).all(0)
    spread = float(np.median(np.nanstd(betas[:, known], axis=0))) if known.any() else float("nan")
    if not abs(spread - 1) < _TOLERANCE:
        _log.warning(
            "%s is said to be z-scored, but the median standard deviation of vertices in session %s is %.3g, not 1.",
            *(path, session, spread),
        )


def _sessions(folder: Path) -> Iterator[tuple[int, list[Path]]]:
    """Yield each session's number, and the files of its left and right hemisphere."""
    left_files = sorted(folder.glob("lh.betas_session*.mgh"))
    if not left_files:
        raise ModelNotFoundError(f"There are no sessions lh.betas_session01.mgh, … in {folder}.")
    for left in left_files:
        number = left.name.removeprefix("lh.betas_session").removesuffix(".mgh")
        right = left.with_name(left.name.replace("lh.", "rh.", 1))
        if not right.is_file() or not number.isdigit():
            raise ModelNotFoundError(f"There is {left}, but not {right}. Get both hemispheres.")
        yield int(number), [left, right]


def read_mgh_session(
    path: Path, n_trials: int, hemisphere_size: int, rows: Int[np.ndarray, " vertices"]
) -> Float[np.ndarray, "vertices trials"]:
    """Return the betas of some vertices; the file is read only from the first of them to the last."""
    require("nibabel")
    from nibabel import MGHImage

    opened = gzip.open if path.suffix.lower() == ".mgz" else open
    with readable(path, ValidationError, "Get the file again."), opened(path, "rb") as file:
        image = MGHImage.from_stream(file)  # nibabel.load would leave the file open
        first_axis, *other_axes = map(int, image.shape)  # from 32-bit numbers, whose product would overflow
        shape = first_axis, math.prod(other_axes)
        start, stop = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 1)
        values = np.asanyarray(image.dataobj[start:stop]) if shape == (hemisphere_size, n_trials) else None
    if values is None:
        raise ValidationError(
            f"{path} has {shape[0]} vertices{hint(shape[0])}, and {shape[1]} trials; expected {hemisphere_size} and "
            f"{n_trials}."
        )
    return finite_betas(values.reshape(stop - start, n_trials)[rows - start], path)


def finite_betas(betas: Float[np.ndarray, "a b"], path: str | Path) -> Float[np.ndarray, "a b"]:
    """Return the betas, or raise if one is infinite; NaN is allowed."""
    if np.isinf(betas).any():
        raise ValidationError(f"{path} has values that are infinite, or too large for float32. Set them to NaN.")
    return betas


def counted_from_1(values: Any) -> Int[np.ndarray, "a b"]:
    """Return a table of whole numbers that count from 1, or raise ValueError."""
    numbers = np.asarray(values)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iuf" or not (numbers == np.floor(numbers)).all():
        raise ValueError(f"a table that is {numbers.dtype} of shape {numbers.shape}, expected whole numbers")
    if not numbers.size or not 1 <= numbers.min() <= numbers.max() < 2**31:
        raise ValueError("a table that does not count from 1")
    return numbers.astype(np.int64)


def complete_trials(trials: Trials, images: Sequence[str], example: str) -> Trials:
    """Return the trials, or raise if an image has none; the example shows how trials name their images."""
    counts = np.bincount(trials.images, minlength=len(images))
    if (counts == 0).any():
        missing = [images[index] for index in np.flatnonzero(counts == 0)]
        raise InvalidParameterError(
            f"{len(missing)} of the {len(images)} images were never shown in these sessions, such as {missing[0]!r}; "
            f"{example}. Leave them out, give more sessions, or give images the trials' names."
        )
    return trials

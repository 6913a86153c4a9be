"""Measured trials from whatever a user has: NSD's folder, NSD-synthetic, BERG's prepared data, arrays, a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError, ModelNotFoundError
from ...stream.sources.arrays import ArraySource, split_name
from ...stream.sources.image_files import Source
from ...stream.sources.subset import Subset
from ...subject import Subject
from ...vertices import Vertices
from .arrays import is_array
from .image_names import image_numbers
from .nsd_synthetic import read_nsd_synthetic
from .prepared import prepared_folder, prepared_metadata, read_prepared, shown_in_prepared
from .sessions import read_sessions
from .trials import Trials, nsd_image_numbers, read_array, read_nsd

Dataset = Literal["nsdcore", "nsdsynthetic"]
Reader = Callable[[slice], Trials]


def trial_reader(
    betas: str | Path,
    subject_id: int,
    vertices: Vertices,
    images: Sequence[str],
    *,
    table: str | Path | None = None,
    zscored: bool = False,
    known: Sequence[str] | None = None,
    dataset: Dataset = "nsdcore",
    raw: bool = False,
) -> Reader:
    """Return the function that reads a part of the vertices' trials of the given images.

    Parameters
    ----------
    betas
        With a ``table``: an array (``.npy``, HDF5, zarr), or the folder of the files that the table names. Without
        one: NSD's folder, or the folder of BERG's prepared data.
    subject_id, vertices, images
        The subject, the vertices, and the images' names.
    table, zscored, known
        See :func:`~berg_jax.experiments.accuracy.read_array` and
        :func:`~berg_jax.experiments.accuracy.read_sessions`.
    dataset
        ``"nsdcore"``, or ``"nsdsynthetic"`` for the trials of NSD-synthetic in NSD's folder.
    raw
        Whether betas are returned as they are in the files, instead of z-scored within sessions. BERG's prepared
        data are z-scored in the files.

    Returns
    -------
    Slice of ``vertices`` → trials, which :func:`~berg_jax.experiments.accuracy.read_nsd` and the others read.

    Raises
    ------
    ModelNotFoundError
        There is nothing at the path.
    InvalidParameterError
        An array has no table, or there is no such data set.
    """
    if dataset not in get_args(Dataset):
        raise InvalidParameterError(f"dataset must be one of {list(get_args(Dataset))}, got {dataset!r}.")
    place = split_name(betas)[0]
    if not place.exists():
        raise ModelNotFoundError(f"There is no folder or file {place}. Give NSD's folder, or an array of betas.")
    if is_array(betas) or not place.is_dir():
        if table is None:
            raise InvalidParameterError(
                f"An array of betas, {betas}, needs a table of its trials' images and sessions."
            )
        return lambda part: read_array(betas, table, vertices, images, zscored, part, known, raw)
    if table is not None:
        return lambda part: read_sessions(place, table, vertices, images, zscored, part, known, raw)
    if dataset == "nsdsynthetic":
        return lambda part: read_nsd_synthetic(place, subject_id, vertices, images, part, raw)
    prepared = prepared_folder(place, subject_id)
    if prepared is not None:
        return lambda part: read_prepared(prepared, subject_id, vertices, images, part)
    return lambda part: read_nsd(place, subject_id, vertices, images, part, raw)


def readers_of(
    subjects: Sequence[Subject],
    vertices: Sequence[Vertices],
    source: Source,
    betas: str | Path,
    *,
    table: str | Path | None = None,
    zscored: bool = False,
) -> list[Reader]:
    """Return for each subject the function that reads trials of the images of a source.

    One vertex is read at once, so that what is wrong is found before work starts.

    Parameters
    ----------
    subjects, vertices
        The subjects, and the vertices of each.
    source
        The images.
    betas, table, zscored
        See :func:`trial_reader`.

    Raises
    ------
    BERGError
        Something is wrong with the betas, or a table is given for several subjects.
    """
    if table is not None and len(subjects) > 1:
        raise InvalidParameterError(f"{betas} with a table of trials is of one subject, got {len(subjects)}.")
    whole = source.whole if isinstance(source, Subset) else source
    known = whole.ids if isinstance(whole, ArraySource) else None  # of a folder, a table may name others
    readers = [
        trial_reader(
            *(betas, subject.description.subject, chosen, source.ids), table=table, zscored=zscored, known=known
        )
        for subject, chosen in zip(subjects, vertices, strict=True)
    ]
    for read in readers:
        read(slice(0, 1))
    return readers


def image_means(trials: Trials, images: int) -> Float[np.ndarray, "images vertices"]:
    """Return the mean over each image's trials."""
    totals = np.zeros((images, trials.responses.shape[1]))
    np.add.at(totals, trials.images, trials.responses.astype(np.float64))
    return totals / np.bincount(trials.images, minlength=images)[:, None]


def nsd_numbers(
    betas: str | Path, subject_id: int, images: Sequence[str], *, table: str | Path | None = None
) -> list[int] | None:
    """Return each image's NSD number, counted from 0; None unless the betas are NSD's or BERG's prepared ones.

    Parameters
    ----------
    betas, subject_id, images, table
        See :func:`trial_reader`.

    Raises
    ------
    ModelNotFoundError, ValidationError, InvalidParameterError
        A file is not there or cannot be read; an image was never shown, or a name has no number.
    """
    place = split_name(betas)[0]
    if table is not None or is_array(betas) or not place.is_dir():
        return None
    prepared = prepared_folder(place, subject_id)
    if prepared is not None:
        return image_numbers(images, shown_in_prepared(prepared_metadata(prepared, subject_id)))
    return nsd_image_numbers(place, subject_id, images)

"""Trials in BERG's prepared training data: NSD's betas on fsaverage, z-scored within sessions, all in one array.

model_training_datasets/train_dataset-nsd_fsaverage/
    metadata_subject-1.npy             img_presentation_order: the image of each trial, counted from 0; splits; ncsnr
    lh_betas_subject-1.h5, and of rh   data set betas (trials, vertices of a hemisphere) float32
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ...errors import ValidationError
from ...files.torch_archive import read_pickled_npy
from ...surface.spaces import hint
from ...vertices import HEMISPHERES, Vertices
from .arrays import TrialArray
from .image_names import image_numbers
from .trials import SESSION, Trials, complete_trials, finite_betas

PREPARED = Path("model_training_datasets/train_dataset-nsd_fsaverage")


def prepared_folder(folder: Path, subject_id: int) -> Path | None:
    """Return the folder of a subject's prepared betas, this one or one in it; None if there is none."""
    for place in (folder, folder / PREPARED, folder / PREPARED.name):
        if (place / _name("lh", subject_id)).is_file():
            return place
    return None


def read_prepared(
    folder: Path, subject_id: int, vertices: Vertices, images: Sequence[str], part: slice = slice(None)
) -> Trials:
    """Read all trials of the given images from BERG's prepared files, as they are: z-scored within each session.

    Parameters
    ----------
    folder
        The folder of ``lh_betas_subject-1.h5``.
    subject_id, vertices, images, part
        See :func:`~berg_jax.experiments.accuracy.read_nsd`.

    Raises
    ------
    ModelNotFoundError
        A file is not there.
    ValidationError
        A file cannot be read, or has other trials or vertices than it should.
    InvalidParameterError
        An image was never shown, or a name has no number.
    """
    shown = shown_in_prepared(prepared_metadata(folder, subject_id))
    numbers = image_numbers(images, shown)
    index_of = {number: index for index, number in enumerate(numbers)}
    wanted = np.flatnonzero(np.isin(shown, numbers))
    chosen, size = vertices.global_indices[part], vertices.hemisphere_size
    halves = []
    for hemisphere, columns in zip(HEMISPHERES, (chosen[chosen < size], chosen[chosen >= size] - size), strict=True):
        path = folder / _name(hemisphere, subject_id)
        array = TrialArray(f"{path}::betas")
        if array.shape != (len(shown), size) or array.dtype.kind != "f":
            given = array.shape[-1] if array.shape else 0
            raise ValidationError(
                f"{path} is {array.dtype} of shape {array.shape}{hint(given)}; expected floats of shape "
                f"({len(shown)}, {size}), a row for each trial of the metadata."
            )
        halves.append(finite_betas(array.read(wanted, columns), path))
    image_indices = np.array([index_of[int(image)] for image in shown[wanted]], np.int64)
    found = Trials(np.hstack(halves), image_indices, wanted // SESSION)
    return complete_trials(found, images, f"the first trial showed image {shown[0]}, counted from 0")


def prepared_metadata(folder: Path, subject_id: int) -> Path:
    """Return the path of a subject's prepared metadata."""
    return folder / f"metadata_subject-{subject_id}.npy"


def shown_in_prepared(path: Path) -> Int[np.ndarray, " trials"]:
    """Return the image of each trial, counted from 0, that the prepared metadata record.

    Raises
    ------
    ModelNotFoundError, ModelLoadError
        There is no such file, or it cannot be read.
    ValidationError
        The file does not say which images were shown.
    """
    metadata = read_pickled_npy(path)
    shown = metadata.get("img_presentation_order") if isinstance(metadata, dict) else None
    if not isinstance(shown, np.ndarray) or shown.ndim != 1 or shown.dtype.kind not in "iu" or not len(shown):
        raise ValidationError(
            f"{path} lacks img_presentation_order, the image of each trial. Prepare the data again."
        )
    return shown.astype(np.int64)


def _name(hemisphere: str, subject_id: int) -> str:
    return f"{hemisphere}_betas_subject-{subject_id}.h5"

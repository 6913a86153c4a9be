"""Trials of NSD-synthetic, images out of the training data's distribution, from NSD's own files.

nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat     masterordering: image of each of 744 trials, from 1
nsddata_betas/ppdata/subjXX/fsaverage/nsdsyntheticbetas_fithrf_GLMdenoise_RR/{lh,rh}.betas_nsdsynthetic.mgh

Images 0 to 219 are all subjects' (``nsdsynthetic_stimuli.hdf5``), 220 to 283 each subject's own
(``nsdsynthetic_colorstimuli_subjXX.hdf5``) [1]_.

.. [1] A. T. Gifford et al. (2025). A 7T fMRI dataset of synthetic images for out-of-distribution modeling of vision.
   arXiv:2503.06286.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ...errors import ModelNotFoundError, ValidationError
from ...files.disk import readable
from ...files.matlab import read_matrices
from ...vertices import HEMISPHERES, Vertices
from .image_names import image_numbers
from .trials import Trials, complete_trials, counted_from_1, read_mgh_session, z_scored

SYNTHETIC_DESIGN = Path("nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat")
SYNTHETIC_BETAS = "nsddata_betas/ppdata/subj{:02d}/fsaverage/nsdsyntheticbetas_fithrf_GLMdenoise_RR"


def read_nsd_synthetic(
    folder: str | Path,
    subject_id: int,
    vertices: Vertices,
    images: Sequence[str],
    part: slice = slice(None),
    raw: bool = False,
) -> Trials:
    """Read all trials of the given images of NSD-synthetic, z-scored within their one session.

    Parameters
    ----------
    folder
        NSD's folder.
    subject_id, vertices, part, raw
        See :func:`~berg_jax.experiments.accuracy.read_nsd`.
    images
        The images' names: their numbers, counted from 0, with any folders before and any suffix behind.

    Raises
    ------
    ModelNotFoundError
        A file is not there.
    ValidationError
        A file cannot be read, or has other trials or vertices than it should.
    InvalidParameterError
        An image was never shown, or a name has no number.
    """
    folder = Path(folder)
    shown = shown_synthetic(folder / SYNTHETIC_DESIGN)
    numbers = image_numbers(images, shown)
    index_of = {number: index for index, number in enumerate(numbers)}
    wanted = np.flatnonzero(np.isin(shown, numbers))
    chosen, size = vertices.global_indices[part], vertices.hemisphere_size
    betas = []
    for hemisphere, rows in zip(HEMISPHERES, (chosen[chosen < size], chosen[chosen >= size] - size), strict=True):
        path = folder / SYNTHETIC_BETAS.format(subject_id) / f"{hemisphere}.betas_nsdsynthetic.mgh"
        if not path.is_file():
            raise ModelNotFoundError(f"There is no file {path}. Give NSD's folder, with NSD-synthetic's betas.")
        betas.append(read_mgh_session(path, len(shown), size, rows))
    whole = np.concatenate(betas).T
    responses = (whole if raw else z_scored(whole))[wanted]
    image_indices = np.array([index_of[int(image)] for image in shown[wanted]], np.int64)
    found = Trials(responses, image_indices, np.zeros(len(wanted), np.int64))
    return complete_trials(found, images, f"the first trial showed image {shown[0]}, counted from 0")


def shown_synthetic(path: Path) -> Int[np.ndarray, " trials"]:
    """Return the image of each trial, counted from 0; the design itself counts from 1.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError
        The file is not NSD-synthetic's design.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Give NSD's folder, with NSD-synthetic's design.")
    with readable(path, ValidationError, "Get the file again."):
        return counted_from_1(read_matrices(path, ["masterordering"])["masterordering"]).ravel() - 1

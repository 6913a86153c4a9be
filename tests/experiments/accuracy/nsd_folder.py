"""A folder in NSD's own formats: the design file, and betas of sessions on a small surface."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from scipy.io import savemat

from berg_jax.experiments.accuracy.trials import BETAS

SIZE, SESSIONS, SHARED = 642, 2, 500


def write_design(root: Path) -> np.ndarray:
    """NSD's design file, and the image, counted from 0, of each trial of subject 1, by a loop."""
    random = np.random.default_rng(0)
    order = np.concatenate([np.tile(np.arange(1, SHARED + 1), 3), np.arange(SHARED + 1, 10_001), np.zeros(0)])
    order = np.concatenate([random.permutation(order[: 3 * SHARED]), random.integers(1, 10_001, 28_500)]).astype(int)
    of_subjects = np.stack([random.permutation(73_000)[:10_000] + 1 for _ in range(8)])
    path = root / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"masterordering": order[None], "subjectim": of_subjects, "sharedix": np.arange(1, 1001)[None]})
    return np.array([of_subjects[0][place - 1] - 1 for place in order])


def write_betas(root: Path, subject: int, betas: np.ndarray) -> None:
    folder = root / BETAS.format(subject)
    folder.mkdir(parents=True)
    for session, part in enumerate(betas.reshape(SESSIONS, 750, -1), 1):
        for hemisphere, half in zip(("lh", "rh"), np.split(part.T.astype(np.float32), 2), strict=True):
            image = nibabel.MGHImage(half[:, None, None], np.eye(4))
            image.to_filename(folder / f"{hemisphere}.betas_session{session:02d}.mgh")

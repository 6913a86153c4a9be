"""Simulated people: files of their images and trials, as a lab has them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from berg_jax import Execution, Subject
from berg_jax.experiments import ExperimentResult
from berg_jax.experiments.fitting import fit

IMAGES, REPEATS, NCSNR = 60, 2, 1.0
ONE = Execution(batch_size=8, devices=1, show_progress=False)


class Data(NamedTuple):
    """Files of a simulated person, and the noiseless responses."""

    folder: Path
    donor: Subject
    signal: np.ndarray

    def fit(self, output: Path, **options: Any) -> ExperimentResult:
        given = {"subject_id": 9, "table": self.folder / "trials.csv", "execution": ONE, "validation": 0.0, **options}
        return fit(self.donor, output, self.folder / "shown.npy", self.folder / "betas.npy", **given)


def write_person(folder: Path, donor: Subject, pixels: np.ndarray, signal: np.ndarray, repeats: int) -> Data:
    """Trials of a person with this noiseless response, NaN where there is none, in two sessions."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    signal = (signal - signal.mean(0)) / signal.std(0)
    order = random.permutation(np.repeat(np.arange(len(pixels)), repeats))
    sessions = np.arange(len(order)) % 2
    betas = signal[order] + random.normal(size=(len(order), signal.shape[1])) / NCSNR
    np.save(folder / "shown.npy", pixels)
    np.save(folder / "betas.npy", (betas * (2 + sessions[:, None]) + sessions[:, None]).astype(np.float32))
    with (folder / "trials.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "session"), *zip(order.tolist(), sessions.tolist(), strict=True)])
    return Data(folder, donor, signal)

"""Measured responses for a fit: z-scored within sessions by training trials alone, and averaged over trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from ....errors import InvalidParameterError
from ...accuracy.ceiling import ncsnr_of_trials
from ...accuracy.trials import Trials
from .splits import Split

FEWEST_TRIALS = 10  # training trials of a session, whose mean and standard deviation scale all of its trials
AT_ONCE = 8192  # vertices whose trials are in memory together


class Measurements(NamedTuple):
    """Responses of the vertices that can be fitted, averaged over each image's trials.

    Attributes
    ----------
    responses
        Mean response to each image in z units: of each session, by the mean and standard deviation of its training
        trials.
    columns
        Index of each kept vertex among those that were read, ascending.
    ncsnr
        Noise-ceiling signal-to-noise ratio of each kept vertex, from the trials of all splits; NaN without repeats.
    training_ncsnr
        The same from the training trials alone, by which vertices may be chosen.
    counts
        Number of trials of each image.
    trials
        Number of trials of each split.
    sessions
        Number of sessions.
    constant, missing
        Indices of the vertices that were left out: the betas do not vary in a session's training trials, or are NaN.
    """

    responses: Float[np.ndarray, "images vertices"]
    columns: Int[np.ndarray, " vertices"]
    ncsnr: Float[np.ndarray, " vertices"]
    training_ncsnr: Float[np.ndarray, " vertices"]
    counts: Int[np.ndarray, " images"]
    trials: dict[str, int]
    sessions: int
    constant: Int[np.ndarray, " constant"]
    missing: Int[np.ndarray, " missing"]

    def keep(self, kept: Bool[np.ndarray, " vertices"]) -> Measurements:
        """Return the measurements of some of the vertices."""
        return self._replace(
            responses=self.responses[:, kept],
            columns=self.columns[kept],
            ncsnr=self.ncsnr[kept],
            training_ncsnr=self.training_ncsnr[kept],
        )


def measure(
    read: Callable[[slice], Trials],
    vertices: int,
    split: Split,
    *,
    zscored: bool = False,
    min_ncsnr: float | None = None,
    at_once: int = AT_ONCE,
) -> Measurements:
    """Read a person's trials and return the responses to fit.

    Parameters
    ----------
    read
        Function from a slice of the vertices to their raw trials with sessions, such as
        :func:`~berg_jax.experiments.accuracy.measured.trial_reader` returns with ``raw``.
    vertices
        Number of vertices.
    split
        Split of the images.
    zscored
        Take the betas as they are, because they are z-scored within sessions already. Whoever did it may have used
        the test trials.
    min_ncsnr
        Lowest ncsnr of the training trials that a vertex may have; others are left out.
    at_once
        Vertices whose trials are in memory together.

    Returns
    -------
    Measurements
        Responses of the vertices that have a beta in every trial and vary in every session.

    Raises
    ------
    InvalidParameterError
        A session has too few training trials, no vertex is left, or a threshold is given without repeats.
    """
    parts = [
        _part(read(slice(start, start + at_once)), start, split, zscored, min_ncsnr)
        for start in range(0, vertices, at_once)
    ]
    found = parts[0]._replace(
        **{
            name: np.concatenate([getattr(part, name) for part in parts], axis=axis)
            for name, axis in (
                ("responses", 1),
                ("columns", 0),
                ("ncsnr", 0),
                ("training_ncsnr", 0),
                ("constant", 0),
                ("missing", 0),
            )
        }
    )
    if not len(found.columns):
        raise InvalidParameterError(
            f"No vertex is left of {vertices}: {len(found.missing)} have betas that are NaN, {len(found.constant)} "
            "betas that do not vary, and the others pass no threshold. Give other betas, vertices or --min-ncsnr."
        )
    return found


def _part(trials: Trials, start: int, split: Split, zscored: bool, min_ncsnr: float | None) -> Measurements:
    """Return the measurements of some vertices, whose columns are counted from ``start``."""
    images = trials.images
    training = np.isin(images, split.train)
    sessions = np.zeros(len(images), np.int64) if trials.sessions is None else trials.sessions
    betas = trials.responses
    missing = np.isnan(betas).any(0)
    if zscored:
        scaled, constant = betas, ~missing & (np.ptp(np.where(missing, 0, betas[training]), axis=0) == 0)
    else:
        _require_trials(sessions, training)
        scaled, constant = scaled_by_training(betas, sessions, training)
    constant &= ~missing
    kept = ~missing & ~constant
    scaled = scaled[:, kept]
    mean, counts = averaged(scaled, images)
    of_training = _ncsnr(scaled[training], images[training])
    found = Measurements(
        responses=mean.astype(np.float32),
        columns=start + np.flatnonzero(kept),
        ncsnr=_ncsnr(scaled, images),
        training_ncsnr=of_training,
        counts=counts,
        trials={name: int(np.isin(images, those).sum()) for name, those in zip(split._fields, split, strict=True)},
        sessions=len(np.unique(sessions)),
        constant=start + np.flatnonzero(constant),
        missing=start + np.flatnonzero(missing),
    )
    if min_ncsnr is None:
        return found
    if len(of_training) and np.isnan(of_training).all():
        raise InvalidParameterError(
            "--min-ncsnr needs training images that were shown at least twice, and each was shown once. Leave it out."
        )
    return found.keep(of_training >= min_ncsnr)


def _require_trials(sessions: Int[np.ndarray, " trials"], training: Bool[np.ndarray, " trials"]) -> None:
    counts = {int(session): int(training[sessions == session].sum()) for session in np.unique(sessions)}
    if few := {session: count for session, count in counts.items() if count < FEWEST_TRIALS}:
        session, count = next(iter(few.items()))
        raise InvalidParameterError(
            f"{len(few)} of {len(counts)} sessions have fewer than {FEWEST_TRIALS} trials of training images, by "
            f"which they are z-scored; session number {session + 1} has {count}. Give more images of it, leave it "
            "out, choose other test images (--test), or z-score the betas yourself (--zscored)."
        )


def scaled_by_training(
    betas: Float[np.ndarray, "trials vertices"],
    sessions: Int[np.ndarray, " trials"],
    training: Bool[np.ndarray, " trials"],
) -> tuple[Float[np.ndarray, "trials vertices"], Bool[np.ndarray, " vertices"]]:
    """Scale each session's betas so that its training trials have mean 0 and standard deviation 1.

    Parameters
    ----------
    betas
        Betas of all trials, in any unit.
    sessions
        Session of each trial.
    training
        Whether each trial is one of training, which alone decide the scale.

    Returns
    -------
    The scaled betas, and whether a vertex does not vary over the training trials of a session; such a vertex is NaN.

    Examples
    --------
    >>> betas, training = np.array([[1.0], [3.0], [9.0]]), np.array([True, True, False])
    >>> scaled_by_training(betas, np.zeros(3, int), training)[0].ravel().tolist()
    [-1.0, 1.0, 7.0]
    """
    scaled = np.empty(betas.shape, np.float32)
    constant = np.zeros(betas.shape[1], bool)
    for session in np.unique(sessions):
        those = sessions == session
        used = betas[those & training].astype(np.float64)
        mean, deviation = used.mean(0), used.std(0)
        still = np.ptp(used, axis=0) == 0
        constant |= still
        scaled[those] = (betas[those] - mean) / np.where(still, np.nan, deviation)
    return scaled, constant


def averaged(
    responses: Float[np.ndarray, "trials vertices"], images: Int[np.ndarray, " trials"]
) -> tuple[Float[np.ndarray, "images vertices"], Int[np.ndarray, " images"]]:
    """Return the mean over each image's trials, and their number. Every image has a trial."""
    counts = np.bincount(images)
    averaging = sparse.csr_array((1 / counts[images], (images, np.arange(len(images)))))
    return averaging @ responses.astype(np.float64), counts


def _ncsnr(responses: Float[np.ndarray, "trials v"], images: Int[np.ndarray, " trials"]) -> Float[np.ndarray, " v"]:
    """Return the ncsnr of trials whose images may be any numbers."""
    _, place = np.unique(images, return_inverse=True)
    mean, counts = averaged(responses, place)
    if counts.max(initial=0) < 2:
        return np.full(responses.shape[1], np.nan)
    return ncsnr_of_trials(responses.astype(np.float64), mean, Trials(responses, place), counts)

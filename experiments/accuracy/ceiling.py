"""Noise ceilings: signal-to-noise ratios from the repetitions in given trials, and agreement with the metadata's."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from ...errors import InvalidParameterError
from .trials import Trials

CeilingSource = Literal["trials", "metadata"]
_ALIKE = 1.25  # ratio of medians up to which two estimates of a signal-to-noise ratio agree
_log = logging.getLogger(__name__)


def choose_ceiling(given: CeilingSource | None, counts: Int[np.ndarray, " images"]) -> CeilingSource:
    """Return where the noise ceiling comes from, or raise if trials without repetitions leave no choice.

    Parameters
    ----------
    given
        The user's choice; by default the trials, if an image was shown at least twice.
    counts
        Number of trials of each image.

    Raises
    ------
    InvalidParameterError
        No image was shown twice, and the metadata's ceiling was not asked for; or the value is unknown.
    """
    if given not in (None, *get_args(CeilingSource)):
        raise InvalidParameterError(
            f"noise_ceiling (--noise-ceiling) must be one of {list(get_args(CeilingSource))}, got {given!r}."
        )
    if given != "metadata" and counts.max(initial=0) < 2:
        raise InvalidParameterError(
            f"Each of the {len(counts)} images was shown once, and a noise ceiling from the trials needs images that "
            "were shown at least twice. Give trials with repetitions, or, if the betas are of the same measurements "
            "as the subject's metadata, take its noise ceiling: --noise-ceiling metadata."
        )
    return given or "trials"


def ncsnr_of_trials(
    responses: Float[np.ndarray, "trials v"],
    mean: Float[np.ndarray, "images v"],
    trials: Trials,
    counts: Int[np.ndarray, " images"],
) -> Float[np.ndarray, " v"]:
    """Return the ncsnr, from the variance within images and the rest of the variance between them."""
    freedom = len(trials.images) - len(counts)
    if not freedom:
        return np.full(responses.shape[1], np.nan)
    noise = ((responses - mean[trials.images]) ** 2).sum(0) / freedom
    signal = np.maximum(mean.var(0, ddof=1) - noise * (1 / counts).mean(), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(signal / noise)


def agreement(
    measured: Float[np.ndarray, " vertices"], metadata: Float[np.ndarray, " vertices"]
) -> dict[str, Any] | None:
    """Return how well the trials' ncsnr agrees with the metadata's, with a warning where it does not.

    Returns
    -------
    ``vertices`` that have both, their ``correlation``, both medians, ``trials`` and ``metadata``, and
    ``ratio of medians``, the trials' by the metadata's. None where the trials have no ncsnr.
    """
    there = np.isfinite(measured) & np.isfinite(metadata)
    if not there.any():
        return None
    ours, theirs = measured[there], metadata[there]
    varies = there.sum() > 2 and np.ptp(ours) > 0 and np.ptp(theirs) > 0
    medians = float(np.median(ours)), float(np.median(theirs))
    ratio = medians[0] / medians[1] if medians[1] > 0 else math.inf
    if not 1 / _ALIKE <= ratio <= _ALIKE:
        _log.warning(
            "The trials' ncsnr, median %.3g, is not the metadata's, %.3g: these betas are not of the measurements "
            "that the metadata describes, or were prepared otherwise. --noise-ceiling chooses between them.",
            *medians,
        )
    return {
        "vertices": int(there.sum()),
        "correlation": float(np.corrcoef(ours, theirs)[0, 1]) if varies else math.nan,
        "trials": medians[0],
        "metadata": medians[1],
        "ratio of medians": ratio,
    }

"""Noise ceiling over subjects: how well the best possible model could do, given how subjects differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError
from .measure import RDM, Measure

FEWEST_SUBJECTS_OF_A_CEILING = 2
_DIGITS = 13


class NoiseCeiling(NamedTuple):
    """Range in which the best possible model's mean similarity to the subjects lies.

    Attributes
    ----------
    lower
        Mean similarity of each subject's matrix to the mean of the others', which a model could be.
    upper
        Mean similarity of each subject's matrix to the mean of all, which no model exceeds.
    subjects
        Number of subjects.
    """

    lower: float
    upper: float
    subjects: int


def noise_ceiling(matrices: Sequence[Float[np.ndarray, " pairs"]], measure: Measure = RDM) -> NoiseCeiling:
    """Return the noise ceiling of a region's matrices over subjects [1]_.

    Parameters
    ----------
    matrices
        Upper triangles of the same region of two or more subjects, such as from
        :func:`~berg_jax.experiments.representations.dissimilarities`.
    measure
        Measure of similarity. Spearman's correlation by default: means are then means of ranks.

    Returns
    -------
    NoiseCeiling
        The upper bound is the similarity to the mean itself. A matrix that is compared by its ranks can only come
        near it.

    Raises
    ------
    InvalidParameterError
        There are fewer than two subjects, they are of other images, or a matrix holds NaN or does not vary.

    References
    ----------
    .. [1] H. Nili et al. (2014). A toolbox for representational similarity analysis. PLoS Computational Biology
       10 (4), e1003553.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> shared = random.normal(size=45)
    >>> low, high, _ = noise_ceiling([shared + random.normal(size=45) for _ in range(4)])
    >>> 0 < low < high < 1
    True
    """
    if len(matrices) < FEWEST_SUBJECTS_OF_A_CEILING:
        raise InvalidParameterError(f"A noise ceiling is over two or more subjects, got {len(matrices)}.")
    if len({len(pairs) for pairs in matrices}) > 1:
        raise InvalidParameterError(f"Matrices must be of the same images, got {[len(pairs) for pairs in matrices]}.")
    units = np.stack([measure.unit(np.asarray(pairs, np.float64)) for pairs in matrices])
    if not np.isfinite(units).all():
        raise InvalidParameterError("A subject's matrix holds NaN or does not vary.")
    total = units.sum(0)
    others = [np.round(total - own, _DIGITS) for own in units]  # so that ties of mean ranks stay ties
    lower = float(np.mean([own @ measure.unit(rest) for own, rest in zip(units, others, strict=True)]))
    upper = float((units @ total).mean() / np.linalg.norm(total))  # the mean's ranks, ranked anew, would do worse
    return NoiseCeiling(lower, upper, len(units))

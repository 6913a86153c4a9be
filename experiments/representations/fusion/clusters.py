"""EEG–fMRI fusion: times at which given patterns are like a region's in silico patterns, by permutation clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import ndimage, stats

from ....errors import InvalidParameterError
from ...reporting.statistics import REPETITIONS, SEED, permutation_p
from ..dissimilarity import dissimilarities, ranks

FEWEST_PARTICIPANTS = 5  # of whose signs there are 32 combinations
Pairs = Float[np.ndarray, " pairs"]


class Cluster(NamedTuple):
    """Neighboring times at which patterns are like a region's.

    Attributes
    ----------
    start, stop
        First time of the cluster, and the one after its last, as indices.
    mass
        Sum of t over its times.
    p
        Share of random signs of the participants whose largest cluster has as much mass.
    p_of_all
        The same by the largest cluster in any region, which allows for their number, too.
    """

    start: int
    stop: int
    mass: float
    p: float
    p_of_all: float


class Fusion(NamedTuple):
    """Similarity of patterns over time with a region.

    Attributes
    ----------
    correlations
        Spearman's correlation of dissimilarities, of each participant at each time.
    clusters
        Clusters in time order.
    """

    correlations: Float[np.ndarray, "participants times"]
    clusters: list[Cluster]


def fuse_over_time(
    patterns: Sequence[Float[np.ndarray, "images channels times"]],
    regions: Mapping[str, Pairs],
    *,
    threshold_p: float = 0.05,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> dict[str, Fusion]:
    """Correlate the dissimilarities of EEG or MEG patterns at each time with those of regions.

    This is fusion by representational similarity [1]_. Over participants, a one-sided t test at each time forms
    clusters, whose mass is compared with that of the largest cluster under random signs of the participants [2]_.

    Parameters
    ----------
    patterns
        For each participant the patterns of all images, such as means over an image's trials.
    regions
        Upper triangles of dissimilarity matrices of the same images, by name.
    threshold_p
        One-sided p of the t that a time must have to belong to a cluster; it does not change the rate of false
        clusters.
    repetitions, seed
        Number of random signs, and the seed that draws them.

    Raises
    ------
    InvalidParameterError
        There are fewer than 5 participants, patterns, times or regions do not fit each other, or a pattern is not
        finite.

    References
    ----------
    .. [1] R. M. Cichy, D. Pantazis & A. Oliva (2014). Resolving human object recognition in space and time. Nature
       Neuroscience 17, 455–462.
    .. [2] E. Maris & R. Oostenveld (2007). Nonparametric statistical testing of EEG- and MEG-data. Journal of
       Neuroscience Methods 164, 177–190.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> shape = random.normal(size=(12, 8))
    >>> eeg = [random.normal(size=(12, 8, 20)) for _ in range(8)]
    >>> for one in eeg:
    ...     one[:, :, 8:14] += 3 * shape[:, :, None]
    >>> clusters = fuse_over_time(eeg, {"V1": dissimilarities(shape)}, repetitions=200)["V1"].clusters
    >>> cluster = max(clusters, key=lambda cluster: cluster.mass)
    >>> (cluster.start, cluster.stop), cluster.p < 0.05
    ((8, 14), True)
    """
    if len(patterns) < FEWEST_PARTICIPANTS:
        raise InvalidParameterError(
            f"Clusters over participants need at least {FEWEST_PARTICIPANTS} of them, got {len(patterns)}."
        )
    shapes = [np.shape(one) for one in patterns]
    if any(len(shape) != 3 for shape in shapes) or len({(shape[0], shape[2]) for shape in shapes}) > 1:
        raise InvalidParameterError(
            f"Patterns must be (images, channels, times), of the same images and times, got {shapes}."
        )
    images = shapes[0][0]
    pairs = images * (images - 1) // 2
    if bad := [name for name, own in regions.items() if len(own) != pairs or not np.isfinite(ranks(own)).all()]:
        raise InvalidParameterError(
            f"The dissimilarities of {bad[0]!r} must be {pairs} numbers that vary, one for each pair of {images} "
            "images."
        )
    over_time = np.stack(
        [
            [ranks(dissimilarities(np.asarray(one)[:, :, time])) for time in range(shape[2])]
            for one, shape in zip(patterns, shapes, strict=True)
        ]
    )
    if any(not np.isfinite(one).all() for one in patterns):
        raise InvalidParameterError("Patterns must be finite; leave out channels and times that hold NaN.")
    random = np.random.default_rng(seed)
    signs = random.choice([-1.0, 1.0], (repetitions, len(patterns)))
    alike = {name: np.nan_to_num(over_time @ ranks(own)) for name, own in regions.items()}
    tested = {name: _tested(correlations, signs, threshold_p) for name, correlations in alike.items()}
    any_region = np.max([largest for _, largest in tested.values()], axis=0)
    found = {}
    for name, (runs, largest) in tested.items():
        clusters = []
        for start, stop, mass in runs:
            p, p_of_all = (permutation_p(some >= mass * (1 - 1e-9)) for some in (largest, any_region))
            clusters.append(Cluster(start, stop, mass, p, p_of_all))
        found[name] = Fusion(alike[name], clusters)
    return found


def _tested(
    correlations: Float[np.ndarray, "participants times"],
    signs: Float[np.ndarray, "repetitions participants"],
    threshold_p: float,
) -> tuple[list[tuple[int, int, float]], Float[np.ndarray, " repetitions"]]:
    """Return a region's clusters, and the mass of the largest cluster under each row of signs."""
    z = np.arctanh(np.clip(correlations, -1 + 1e-12, 1 - 1e-12))
    threshold = stats.t.isf(threshold_p, len(z) - 1)
    drawn = [_runs(t, threshold) for t in _t(signs[:, :, None] * z)]
    largest = np.array([max((mass for *_, mass in runs), default=0.0) for runs in drawn])
    return _runs(_t(z[None])[0], threshold), largest


def _t(z: Float[np.ndarray, "repetitions participants times"]) -> Float[np.ndarray, "repetitions times"]:
    error = z.std(axis=1, ddof=1) / np.sqrt(z.shape[1])
    return np.divide(z.mean(1), error, out=np.zeros(error.shape), where=error > 0)


def _runs(t: Float[np.ndarray, " times"], threshold: float) -> list[tuple[int, int, float]]:
    """Return the start, stop and mass of each run of times above the threshold."""
    labels, _ = ndimage.label(t > threshold)
    return [(part.start, part.stop, float(t[part].sum())) for (part,) in ndimage.find_objects(labels)]

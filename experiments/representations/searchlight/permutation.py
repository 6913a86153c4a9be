"""Permutation tests of searchlight maps: p of each vertex, corrected over all vertices of a map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from ....errors import InvalidParameterError
from ....vertices import Vertices
from ...reporting.statistics import REPETITIONS, SEED, fdr
from ..measure import RDM, Measure
from .maps import Size, local_units

ALPHA, FEWEST = 0.05, 19  # largest p of a vertex that passes; permutations of which one in 20 can be so rare
Correction = Literal["max", "fdr"]
CORRECTIONS: dict[Correction, str] = {"max": "maximum statistic", "fdr": "false discovery rate"}
_LOCAL, _AT_ONCE = 1 << 25, 1 << 23  # numbers, 256 and 64 MB, in the searchlights' triangles and in what they meet


class SearchlightMap(NamedTuple):
    """Map of searchlights with p of each vertex, by permutation of the target's images.

    Attributes
    ----------
    values
        Similarity with the target; NaN where a vertex has no searchlight.
    p
        Share of permutations in which this vertex's similarity is at least as large.
    corrected
        p corrected over all vertices: with ``"max"`` the share of permutations in which any vertex's similarity is at
        least as large, with ``"fdr"`` q.
    threshold
        Similarity above which vertices pass, the same for all; NaN with ``"fdr"``, which has none.
    correction
        ``"max"`` or ``"fdr"``.
    repetitions
        Number of permutations.
    """

    values: Float[np.ndarray, " vertices"]
    p: Float[np.ndarray, " vertices"]
    corrected: Float[np.ndarray, " vertices"]
    threshold: float
    correction: Correction
    repetitions: int

    @property
    def passes(self) -> Bool[np.ndarray, " vertices"]:
        """Whether each vertex's corrected p is at most 0.05."""
        return self.corrected <= ALPHA

    @property
    def said(self) -> str:
        """The threshold in words, such as of a title."""
        letter = "p" if self.correction == "max" else "q"
        above = "" if math.isnan(self.threshold) else f" (above {self.threshold:.3f})"
        return f"{letter} ≤ {ALPHA} by {CORRECTIONS[self.correction]}{above}, {self.repetitions:,} permutations"


def searchlight_significance(
    responses: Float[np.ndarray, "images vertices"],
    vertices: Vertices,
    size: Size,
    targets: Mapping[str, Float[np.ndarray, " pairs"]],
    *,
    measure: Measure = RDM,
    largest_of: Mapping[str, Sequence[str]] | None = None,
    correction: Correction = "max",
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> dict[str, SearchlightMap]:
    """Correlate the dissimilarities around each vertex with target matrices, and test each correlation.

    The null hypothesis is that the target's images are exchangeable. Its images are permuted, the same way at all
    vertices, so that the dependence of neighboring searchlights is kept. Tests are one-sided. ``"max"`` controls the
    probability that any vertex of a map passes without an effect, by the distribution of the map's maximum [1]_;
    ``"fdr"`` the expected share of such vertices among those that pass [2]_. Neither corrects over targets.

    Parameters
    ----------
    responses, vertices, targets, measure
        See :func:`~berg_jax.experiments.representations.searchlights`.
    size
        Size of the searchlights: see
        :func:`~berg_jax.experiments.representations.searchlight.maps.size_of`.
    largest_of
        Further maps by name: the largest similarity with some of the targets, such as layers. Its null distribution
        is that of the largest, too.
    correction
        ``"max"`` or ``"fdr"``.
    repetitions, seed
        Number of permutations, at least 19, and the seed that draws them. A vertex's p is at least
        1 / (1 + repetitions).

    Returns
    -------
    A tested map for each target and each name in ``largest_of``.

    Raises
    ------
    InvalidParameterError
        There is no such correction, there are too few permutations, or as
        :func:`~berg_jax.experiments.representations.searchlights`.

    References
    ----------
    .. [1] T. E. Nichols & A. P. Holmes (2002). Nonparametric permutation tests for functional neuroimaging: a primer
       with examples. Human Brain Mapping 15 (1), 1–25.
    .. [2] Y. Benjamini & Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal Statistical
       Society B 57 (1), 289–300.

    Examples
    --------
    The geometry of some images is planted in the first 200 of fsaverage3's vertices, and found there:

    >>> from berg_jax.experiments.representations import dissimilarities
    >>> random = np.random.default_rng(0)
    >>> causes, responses = random.normal(size=(20, 4)), random.normal(size=(20, 1284))
    >>> responses[:, :200] = causes @ random.normal(size=(4, 200))
    >>> target = {"planted": dissimilarities(causes)}
    >>> found = searchlight_significance(responses, Vertices.all(642), Size(20), target, repetitions=99)["planted"]
    >>> found.said.startswith("p ≤ 0.05 by maximum statistic (above 0.")
    True
    >>> bool(found.passes[:200].mean() > 0.3), bool(found.passes[642:].any())
    (True, False)
    """
    check_correction(correction)
    if repetitions < FEWEST:
        raise InvalidParameterError(
            f"repetitions must be at least {FEWEST}, or no p can be {ALPHA}; got {repetitions}."
        )
    names, images = list(targets), len(responses)
    units = np.stack([measure.unit(target) for target in targets.values()])
    members = {name: [index] for index, name in enumerate(names)}
    members |= {name: [names.index(one) for one in some] for name, some in (largest_of or {}).items()}
    random = np.random.default_rng(seed)
    orders = np.stack([random.permutation(images) for _ in range(repetitions)])

    values: dict[str, list[np.ndarray]] = {name: [] for name in members}
    as_good: dict[str, list[np.ndarray]] = {name: [] for name in members}
    largest = {name: np.full(repetitions, -np.inf) for name in members}
    for local in local_units(responses, vertices, size, measure, max(1, _LOCAL // units.shape[1])):
        found = local @ units.T
        for name, columns in members.items():
            values[name].append(np.fmax.reduce(found[:, columns], axis=1))
            as_good[name].append(np.zeros(len(local)))
        for drawn, permuted in _permuted(units, orders, max(len(units) * len(local), units.size)):
            null = np.einsum("vp,tdp->vtd", local, permuted, optimize=True)
            for name, columns in members.items():
                statistic = np.fmax.reduce(null[:, columns], axis=1)
                observed = values[name][-1]
                least = observed - _margin(observed)
                as_good[name][-1] += (statistic >= least[:, None]).sum(1)
                largest[name][drawn] = np.fmax(largest[name][drawn], np.fmax.reduce(statistic, axis=0))
    return {
        name: _map(np.concatenate(values[name]), np.concatenate(as_good[name]), largest[name], correction)
        for name in members
    }


def check_correction(correction: str) -> None:
    """Raise InvalidParameterError if there is no such correction."""
    if correction not in get_args(Correction):
        raise InvalidParameterError(f"correction must be one of {list(get_args(Correction))}, got {correction!r}.")


def _permuted(
    units: Float[np.ndarray, "targets pairs"], orders: Int[np.ndarray, "repetitions images"], width: int
) -> Iterator[tuple[slice, Float[np.ndarray, "targets drawn pairs"]]]:
    """Yield the targets' triangles in some orders of the images at a time, and which orders these are."""
    images = orders.shape[1]
    first, second = np.triu_indices(images, 1)
    squares = np.zeros((len(units), images, images))
    squares[:, first, second] = squares[:, second, first] = units
    most = max(1, _AT_ONCE // width)
    for start in range(0, len(orders), most):
        some = orders[start : start + most]
        yield slice(start, start + len(some)), squares[:, some[:, first], some[:, second]]


def _map(
    values: Float[np.ndarray, " v"],
    as_good: Float[np.ndarray, " v"],
    largest: Float[np.ndarray, " repetitions"],
    correction: Correction,
) -> SearchlightMap:
    known, count = ~np.isnan(values), len(largest)
    p = np.where(known, (1 + as_good) / (1 + count), np.nan)
    if correction == "fdr":
        return SearchlightMap(values, p, fdr(p), math.nan, correction, count)
    ascending = np.sort(largest)
    larger = count - np.searchsorted(ascending, values - _margin(values))
    corrected = np.where(known, (1 + larger) / (1 + count), np.nan)
    allowed = math.floor(ALPHA * (1 + count)) - 1  # maxima that may be at least as large
    return SearchlightMap(values, p, corrected, float(ascending[-1 - allowed]), correction, count)


def _margin(values: np.ndarray) -> np.ndarray:
    """Return how much smaller the same sum of products may be, summed in another order."""
    return 1e-9 * abs(values)

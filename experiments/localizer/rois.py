"""Preferences of ROIs for categories: tests of mean responses over images, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from ..reporting.statistics import FEWEST, NO_INTERVAL, Interval, bootstrap, fdr, resample
from .contrasts import Design, largest_p


class RoiPreference(NamedTuple):
    """One ROI's mean responses to the categories, and which of them it prefers.

    Attributes
    ----------
    roi
        Name of the ROI.
    largest
        Category with the largest mean.
    preferred
        The same, if it is a preference: categories differ, and the largest mean differs from the second. Else None.
    alike
        Categories whose means do not differ from the largest, where none is preferred; all of them if categories do
        not differ.
    mean, others
        Mean response to the category with the largest mean, and to the other categories, in z units.
    difference
        Interval of ``mean`` less ``others``, bootstrap over the images of each category.
    mean_interval, others_interval
        Intervals of ``mean`` and of ``others``, by the same bootstrap.
    images
        Number of images of the category with the largest mean.
    q_differ, q_largest
        q of the F of a one-way analysis of variance, and of the t of the largest against the second mean; both p are
        two-sided and adjusted for the false discovery rate over ROIs.
    """

    roi: str
    largest: str
    preferred: str | None
    alike: tuple[str, ...]
    mean: float
    others: float
    difference: Interval
    images: int
    q_differ: float
    q_largest: float
    mean_interval: Interval = NO_INTERVAL
    others_interval: Interval = NO_INTERVAL

    @property
    def said(self) -> str:
        """The preference in a few words."""
        return self.preferred or f"none ({' ≈ '.join(self.alike)})"

    def as_json(self) -> dict[str, Any]:
        """Return the preference as JSON has it."""
        ends = {key: list(value) for key, value in self._asdict().items() if isinstance(value, Interval)}
        return {**self._asdict(), "alike": list(self.alike), **ends}


def roi_preferences(
    design: Design, responses: Float[np.ndarray, "images rois"], names: Sequence[str], alpha: float
) -> list[RoiPreference]:
    """Return each ROI's preference.

    A category is preferred where the F over categories and the two-sided t of the largest against the second mean
    are both significant at a false discovery rate of ``alpha`` over ROIs. The second test alone keeps its level
    although the largest was chosen by looking [1]_.

    Parameters
    ----------
    design
        Categories of the images.
    responses
        Mean response of each ROI to each image, in z units.
    names
        Names of the ROIs.
    alpha
        False discovery rate.

    References
    ----------
    .. [1] S. Gutmann & Z. Maymin (1987). Is the selected population the best? The Annals of Statistics 15 (1),
       456–461.
    """
    if not names:
        return []
    responses = responses.astype(np.float64)
    groups, counts = (
        [responses[design.labels == k] for k in range(len(design.categories))],
        np.bincount(design.labels),
    )
    means = np.stack([group.mean(0) for group in groups])
    within = sum(((group - mean) ** 2).sum(0) for group, mean in zip(groups, means, strict=True))
    freedom = len(responses) - len(groups)
    variance = within / freedom
    between = (counts[:, None] * (means - counts @ means / len(responses)) ** 2).sum(0) / (len(groups) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        differ = fdr(stats.f.sf(between / variance, len(groups) - 1, freedom))
    largest = fdr(largest_p(means, variance, counts))
    found = []
    for index, name in enumerate(names):
        order = np.argsort(-means[:, index], kind="stable")
        best = int(order[0])
        preferred = bool(differ[index] < alpha and largest[index] < alpha)
        near = order if not differ[index] < alpha else [best, *_near(means[:, index], variance[index], counts, alpha)]
        difference, *of_means = _intervals(design, responses[:, index], best)
        found.append(
            RoiPreference(
                name,
                design.categories[best],
                design.categories[best] if preferred else None,
                () if preferred else tuple(design.categories[k] for k in near),
                float(means[best, index]),
                float(np.delete(means[:, index], best).mean()),
                difference,
                int(counts[best]),
                float(differ[index]),
                float(largest[index]),
                *of_means,
            )
        )
    return found


def _near(means: Float[np.ndarray, " c"], variance: float, counts: np.ndarray, alpha: float) -> list[int]:
    """Return the categories whose means do not differ from the largest; at least the second, by decreasing mean."""
    order = np.argsort(-means, kind="stable")
    best, near = order[0], [int(order[1])]
    for other in order[2:]:
        pair = np.array([best, other])
        freedom = counts.sum() - len(means)
        t = (means[best] - means[other]) / np.sqrt(variance * (1 / counts[pair]).sum())
        if 2 * stats.t.sf(t, freedom) >= alpha:
            near.append(int(other))
    return near


def _intervals(design: Design, responses: Float[np.ndarray, " images"], best: int) -> list[Interval]:
    """Return the intervals of a category's mean less the mean of the others', of the one, and of the other."""
    if np.bincount(design.labels).min() < FEWEST:
        return [NO_INTERVAL] * 3
    matrix, count = design.matrix, len(design.categories)
    one = np.eye(count)[best]
    others = (1 - one) / (count - 1)
    resamples = resample(len(responses), groups=design.labels)

    def mean(weights: Float[np.ndarray, " categories"]) -> Interval:
        return bootstrap(lambda drawn: ((drawn * responses) @ matrix / (drawn @ matrix)) @ weights, resamples)

    return [mean(one - others), mean(one), mean(others)]

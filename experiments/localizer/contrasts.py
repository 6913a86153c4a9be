"""Localizer designs and statistics: image categories, contrasts, false discovery rates, vertices' preferences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from ...errors import InvalidParameterError
from ..inputs.categories import categories_from_table, folder_of_image
from ..reporting.statistics import FEWEST_SUBJECTS, fdr, mean_interval

_FEWEST = 2  # images a category needs


class Design(NamedTuple):
    """The category of each image of a source, and contrasts between categories.

    Attributes
    ----------
    categories
        The categories' names, sorted.
    labels
        Index into ``categories`` of each image's category.
    names
        The contrasts' names.
    weights
        Weight of each category in each contrast. The weights of a contrast sum to 0.
    """

    categories: list[str]
    labels: Int[np.ndarray, " images"]
    names: list[str]
    weights: Float[np.ndarray, "contrasts categories"]

    @property
    def matrix(self) -> Float[np.ndarray, "images categories"]:
        """Design matrix: one column for each category, 1 for its images and 0 for others."""
        return (self.labels[:, None] == np.arange(len(self.categories))).astype(np.float64)


def design_of(ids: Sequence[str], table: str | Path | None = None, contrasts: Sequence[str] = ()) -> Design:
    """Return the design of a set of named images.

    Parameters
    ----------
    ids
        The images' names. Without a table, an image's category is the folder that it lies in: ``faces/1.png``.
    table
        A ``.csv`` file with a header and the columns ``image`` (names as in ``ids``) and ``category``.
    contrasts
        Contrasts such as ``"faces > places + objects"``, the mean of the categories on the left minus the mean of
        those on the right, or ``"faces"``, faces against all others. By default each category against all others.

    Raises
    ------
    ModelNotFoundError
        There is no such table.
    InvalidParameterError
        An image has no category, a category has only one image, there is only one category, or a contrast makes no
        sense.

    See Also
    --------
    preferences : Find the category that each vertex responds to most.

    Examples
    --------
    >>> names = ["faces/1.png", "faces/2.png", "places/1.png", "places/2.png"]
    >>> design = design_of(names, contrasts=["faces > places"])
    >>> design.categories, design.weights.tolist()
    (['faces', 'places'], [[1.0, -1.0]])
    """
    image_categories = [_folder(name) for name in ids] if table is None else categories_from_table(ids, table)
    categories = sorted(set(image_categories))
    indices = {name: index for index, name in enumerate(categories)}
    labels = np.array([indices[name] for name in image_categories])
    counts = np.bincount(labels)
    if len(categories) < 2:
        raise InvalidParameterError(
            f"All {len(labels)} images are of the category {categories[0]!r}: there is no contrast. Give a folder "
            "for each category, or a table (--table) of images and categories."
        )
    for name, count in zip(categories, counts, strict=True):
        if count < _FEWEST:
            raise InvalidParameterError(
                f"Category {name!r} has {count} image; a t needs at least {_FEWEST} of each. Add images or leave the "
                "category out."
            )
    names = list(contrasts) or categories
    if len(set(names)) < len(names):
        raise InvalidParameterError(f"Each contrast must be given once, got {names}.")
    weights = np.array([_contrast(name, categories) for name in names])
    return Design(categories, labels, names, weights)


def _folder(name: str) -> str:
    folder = folder_of_image(name)
    if not folder:
        raise InvalidParameterError(
            f"Image {name!r} lies in no category's folder. Give a folder that holds a folder for each category, or a "
            "table (--table) of images and categories."
        )
    return folder


def _contrast(text: str, categories: Sequence[str]) -> Float[np.ndarray, " categories"]:
    left, _, right = (side.strip() for side in text.partition(">"))
    plus = _members(left, categories, text)
    minus = _members(right, categories, text) if ">" in text else ~plus
    if (plus & minus).any() or not plus.any() or not minus.any():
        raise InvalidParameterError(
            f"The contrast {text!r} must have categories at the left, and others at the right, such as "
            f"'{categories[0]} > {categories[1]}'."
        )
    return plus / plus.sum() - minus / minus.sum()


def _members(text: str, categories: Sequence[str], contrast: str) -> Bool[np.ndarray, " categories"]:
    names = [name.strip() for name in re.split(r"\s\+\s", text)]
    unknown = set(names) - set(categories)
    if unknown:
        raise InvalidParameterError(
            f"The contrast {contrast!r} names {sorted(unknown)}; the categories are {list(categories)}."
        )
    return np.isin(categories, names)


def significance(
    t: Float[np.ndarray, "contrasts vertices"], degrees_of_freedom: int
) -> tuple[Float[np.ndarray, "contrasts vertices"], Float[np.ndarray, "contrasts vertices"]]:
    """Return the two-sided p of each t, and its q: p adjusted for the false discovery rate over vertices [1]_.

    The adjustment is made for each contrast on its own. Both values are NaN where t is.

    References
    ----------
    .. [1] Y. Benjamini & Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal Statistical
       Society B 57 (1), 289–300.
    """
    p = 2 * stats.t.sf(np.abs(t), degrees_of_freedom)
    return p, np.stack([fdr(contrast_p) for contrast_p in p])


def preferences(
    betas: Float[np.ndarray, "categories vertices"],
    residual_variance: Float[np.ndarray, " vertices"],
    counts: Int[np.ndarray, " categories"],
    alpha: float,
) -> Float[np.ndarray, " vertices"]:
    """Return the index of the category that each vertex responds to most; NaN where categories do not differ.

    Categories differ where the F of a one-way analysis of variance is significant at a false discovery rate of
    ``alpha`` over vertices.

    Parameters
    ----------
    betas
        Mean response of each vertex to each category.
    residual_variance
        Variance of each vertex's responses within categories.
    counts
        Number of images in each category.
    alpha
        False discovery rate.

    See Also
    --------
    design_of, significance
    """
    groups, images = len(counts), int(counts.sum())
    mean = counts @ betas / images
    between = (counts[:, None] * (betas - mean) ** 2).sum(0) / (groups - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stats.f.sf(between / residual_variance, groups - 1, images - groups)
    preferred = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        differ = np.flatnonzero(known)[stats.false_discovery_control(p[known]) < alpha]
        preferred[differ] = betas[:, differ].argmax(0)
    return preferred


def largest_p(
    means: Float[np.ndarray, "categories n"],
    variance: Float[np.ndarray, " n"],
    counts: Int[np.ndarray, " categories"],
) -> Float[np.ndarray, " n"]:
    """Return the two-sided p of the t of the largest mean against the second; NaN where nothing varies.

    Parameters
    ----------
    means
        Mean response to each category.
    variance
        Variance of the responses within categories.
    counts
        Number of images in each category.
    """
    first, second = np.argsort(-means, axis=0, kind="stable")[:2]
    columns = np.arange(means.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(variance * (1 / counts[first] + 1 / counts[second]))
        t = (means[first, columns] - means[second, columns]) / error
    return 2 * stats.t.sf(t, counts.sum() - len(counts))


def over_subjects(effects: Float[np.ndarray, "subjects n"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Test effects against 0 over subjects, by paired t-tests.

    Two subjects have a t of one degree of freedom, which is no basis for a claim about more than these two: q is of
    three or more.

    Parameters
    ----------
    effects
        A contrast of each subject's means. A NaN, for a subject without the region, leaves that subject out.

    Returns
    -------
    ``mean``, ``t``, ``p``, ``q`` (adjusted for the false discovery rate over what three or more subjects have),
    ``subjects``, the number of subjects, and ``low`` and ``high``, the mean's 95% interval by Student's t.
    """
    subjects = (~np.isnan(effects)).sum(0)
    enough = (subjects >= 2) & (
        np.nanmax(effects, axis=0, initial=-np.inf) > np.nanmin(effects, axis=0, initial=np.inf)
    )
    t, p = (np.full(effects.shape[1], np.nan) for _ in range(2))
    if enough.any():
        tested = stats.ttest_1samp(effects[:, enough], 0, axis=0, nan_policy="omit")
        t[enough], p[enough] = tested.statistic, tested.pvalue
    q = fdr(np.where(subjects >= FEWEST_SUBJECTS, p, np.nan))
    ends = np.array([mean_interval(values) for values in effects.T]).reshape(-1, 2)
    mean = np.nansum(effects, axis=0) / np.where(subjects, subjects, np.nan)
    return {"mean": mean, "t": t, "p": p, "q": q, "subjects": subjects, "low": ends[:, 0], "high": ends[:, 1]}

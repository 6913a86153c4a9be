"""Greedy soup: the average of those of the best checkpoints that raise the held-out score together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Soup(NamedTuple):
    """Averaged parameters, and which candidates they are made of.

    Attributes
    ----------
    params
        Average of the members' parameters.
    members
        Numbers of the candidates in it, in the order in which they were added.
    score
        Held-out score of the average.
    """

    params: Any
    members: tuple[int, ...]
    score: float


def greedy_soup(
    candidates: Sequence[Callable[[], Any]], scores: Sequence[float], evaluate: Callable[[Any], float]
) -> Soup:
    """Average candidates, best first; each stays in the average only if the held-out score does not fall.

    Parameters
    ----------
    candidates
        Functions that return a candidate's parameters, so that one at a time is in memory.
    scores
        Score of each, by which they are ordered.
    evaluate
        Function parameters → held-out score.

    Returns
    -------
    The soup, whose score is at least that of the best candidate.

    References
    ----------
    .. [1] M. Wortsman et al. (2022). Model soups: averaging weights of multiple fine-tuned models improves accuracy
       without increasing inference time. Proceedings of Machine Learning Research 162, 23965-23998.

    Examples
    --------
    >>> soup = greedy_soup([lambda: {"w": 1.0}, lambda: {"w": 3.0}], [0.9, 0.8], lambda params: -abs(params["w"] - 2))
    >>> float(soup.params["w"]), soup.members
    (2.0, (0, 1))
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()
    params = jax.tree.map(np.asarray, candidates[order[0]]())
    soup = Soup(params, (order[0],), evaluate(params))
    for index in order[1:]:
        count = len(soup.members)
        mixed = jax.tree.map(lambda old, new: _average(old, np.asarray(new), count), soup.params, candidates[index]())  # noqa: B023
        score = evaluate(mixed)
        if score >= soup.score:
            soup = Soup(mixed, (*soup.members, index), score)
    return soup


def _average(old: np.ndarray, new: np.ndarray, count: int) -> np.ndarray:
    mean = old.astype(np.float64) + (new.astype(np.float64) - old.astype(np.float64)) / (count + 1)
    return mean.astype(old.dtype)

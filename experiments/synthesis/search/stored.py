"""Images that are there already: which of a store's, a million of them, best meet an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from ....errors import InvalidParameterError
from ....stream.store.responses import Responses
from .. import objectives
from ..functions import Function, as_function

_BLOCK = 2**27  # bytes of responses that are read at a time


class Found(NamedTuple):
    """Images found, best first.

    Attributes
    ----------
    indices, names
        Which ones.
    values
        What the objective gives them.
    considered
        Among how many they are the best.
    """

    indices: Int[np.ndarray, " k"]
    names: list[str]
    values: Float[np.ndarray, " k"]
    considered: int


class Controlled(NamedTuple):
    """Images found that drive and suppress.

    Attributes
    ----------
    found
        The images; their values are sums over ROIs of the way gone in the direction asked for.
    ways
        (k, ROIs) how far each ROI is driven or suppressed from the baseline, z units.
    baseline
        (ROIs,) responses that ways are counted from.
    """

    found: Found
    ways: Float[np.ndarray, "k rois"]
    baseline: Float[np.ndarray, " rois"]


def area_weights(
    responses: Responses, areas: Mapping[str, str | list[str]]
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """ROIs as weights over a store's vertices, by names that the store knows: each sums to 1.

    Raises
    ------
    InvalidParameterError
        The store has no such ROI, or no vertex of it.
    """
    weights = {}
    for name, rois in areas.items():
        inside = responses.members(rois)
        if not inside.any():
            raise InvalidParameterError(f"The store has no vertex of {rois!r}.")
        weights[name] = (inside / inside.sum()).astype(np.float32)
    return weights


def store_values(responses: Responses, objective: Callable[..., Array]) -> Float[np.ndarray, " images"]:
    """An objective's value of every image of a store; NaN where the store has none.

    Parameters
    ----------
    responses
        From :func:`berg_jax.open_responses`; a block is in memory at a time.
    objective
        Of single images, with weights over the store's vertices.
    """
    objective = as_function(objective)
    return np.concatenate([np.asarray(_values(objective, block)) for block in _blocks(responses)])


def search(responses: Responses, objective: Callable[..., Array], k: int = 25) -> Found:
    """The images of a store that an objective is largest for.

    Raises
    ------
    InvalidParameterError
        ``k`` is below 1, or the store has fewer images.
    """
    return _best(responses.data.image.values, store_values(responses, objective), k)


def search_control(
    responses: Responses,
    weights: Mapping[str, Float[np.ndarray, " vertices"]],
    directions: Mapping[str, int],
    *,
    k: int = 25,
    margin: float = 0.04,
    baseline: Mapping[str, float] | None = None,
) -> Controlled:
    """The images of a store that drive some ROIs and suppress others the most, each at least by a margin.

    Parameters
    ----------
    responses
        From :func:`berg_jax.open_responses`.
    weights
        Of each ROI: see :func:`area_weights`.
    directions
        1 for each ROI to drive, −1 for each to suppress.
    k
        How many images, at most: as many as pass the margin.
    margin
        In z units; 0.04 is what univariate control was published with.
    baseline
        Each ROI's response to start from; by default its mean over the store's images.

    Raises
    ------
    InvalidParameterError
        A ROI has no weights, a direction is neither 1 nor −1, or no image passes the margin.

    References
    ----------
    Gifford et al. 2025, *In silico discovery of representational relationships across visual cortex*, Nature Human
    Behaviour.
    """
    if not set(directions) <= set(weights):
        raise InvalidParameterError(f"There are no weights for {sorted(set(directions) - set(weights))}.")
    if not directions or not set(directions.values()) <= {1, -1}:
        raise InvalidParameterError(f"A direction is 1 (drive) or -1 (suppress), got {dict(directions)}.")
    means = np.stack([store_values(responses, objectives.mean(weights[name])) for name in directions], axis=1)
    start = None if baseline is None else np.array([baseline[name] for name in directions], float)
    chosen = list(directions.values())
    controlled = control_among(responses.data.image.values, means, chosen, k=k, margin=margin, baseline=start)
    if not len(controlled.ways):
        most = np.nanmax(ways(means, chosen, controlled.baseline).min(axis=1))
        raise InvalidParameterError(f"No image goes {dict(directions)} by {margin} z: the most is {most:.3f}.")
    return controlled


def control_among(
    names: Sequence[str],
    means: Float[np.ndarray, "images rois"],
    directions: Sequence[int],
    *,
    k: int = 25,
    margin: float = 0.04,
    baseline: Float[np.ndarray, " rois"] | None = None,
) -> Controlled:
    """As :func:`search_control`, of ROIs' responses to named images; none may be found."""
    start = np.nanmean(means.astype(np.float64), axis=0) if baseline is None else baseline
    gone = ways(means, directions, start)
    passed = (gone >= margin).all(axis=1)
    if not passed.any():
        return Controlled(Found(np.zeros(0, int), [], np.zeros(0), 0), gone[:0], start)
    found = _best(names, np.where(passed, gone.sum(axis=1), np.nan), min(k, int(passed.sum())))
    return Controlled(found, gone[found.indices], start)


def ways(
    means: Float[np.ndarray, "images rois"], directions: Sequence[int], baseline: Float[np.ndarray, " rois"]
) -> Float[np.ndarray, "images rois"]:
    """How far each image goes in each ROI's direction from the baseline."""
    return np.asarray(directions) * (means - baseline)


def _best(names: Sequence[str], values: Float[np.ndarray, " images"], k: int) -> Found:
    considered = int((~np.isnan(values)).sum())
    if not 1 <= k <= considered:
        raise InvalidParameterError(
            f"k must be from 1 to the number of images that have a value, {considered}; got {k}."
        )
    order = np.argsort(-values, kind="stable")[:k]  # NaN is sorted to the end
    return Found(order, [str(names[index]) for index in order], values[order], considered)


def _blocks(responses: Responses) -> Iterator[Float[np.ndarray, "images vertices"]]:
    images, vertices = responses.data.shape
    size = max(1, _BLOCK // (4 * vertices))
    for start in range(0, images, size):
        yield responses.data[start : start + size].values.astype(np.float32)


@jax.jit
def _values(objective: Function, responses: Float[Array, "images vertices"]) -> Float[Array, " images"]:
    return objective(responses)

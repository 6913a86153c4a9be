"""Image search in response stores: the images, of a million or more, that best meet an objective."""

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


class SearchResult(NamedTuple):
    """The best images of a search, best first.

    Attributes
    ----------
    indices, names
        Positions of the images in the store, and their names.
    values
        Their values of the objective.
    considered
        Number of images that were compared.
    """

    indices: Int[np.ndarray, " k"]
    names: list[str]
    values: Float[np.ndarray, " k"]
    considered: int


class ControlResult(NamedTuple):
    """The best images that drive some ROIs and suppress others.

    Attributes
    ----------
    found
        The images. Their values are the sums of their shifts over ROIs.
    shifts
        Change of each ROI's response from the baseline in the wanted direction, z units: (k, ROIs).
    baseline
        Response of each ROI from which shifts are counted: (ROIs,).
    """

    found: SearchResult
    shifts: Float[np.ndarray, "k rois"]
    baseline: Float[np.ndarray, " rois"]


def area_weights(
    responses: Responses, areas: Mapping[str, str | list[str]]
) -> dict[str, Float[np.ndarray, " vertices"]]:
    """Return weights of areas over a store's vertices, which sum to 1.

    Parameters
    ----------
    responses
        Store from :func:`berg_jax.open_responses`.
    areas
        ROIs that the store knows, one or several, by names of your choice.

    Raises
    ------
    InvalidParameterError
        The store has no such ROI, or no vertex of it.

    See Also
    --------
    search, search_control : Searches that take such weights.
    """
    weights = {}
    for name, rois in areas.items():
        inside = responses.members(rois)
        if not inside.any():
            raise InvalidParameterError(f"The store has no vertex of {rois!r}.")
        weights[name] = (inside / inside.sum()).astype(np.float32)
    return weights


def store_values(responses: Responses, objective: Callable[..., Array]) -> Float[np.ndarray, " images"]:
    """Return an objective's value for every image of a store; NaN for images without responses.

    Parameters
    ----------
    responses
        Store from :func:`berg_jax.open_responses`, which is read block by block.
    objective
        Objective of single images, with weights over the store's vertices.

    See Also
    --------
    search : The images with the largest values.
    """
    objective = as_function(objective)
    return np.concatenate([np.asarray(_values(objective, block)) for block in _blocks(responses)])


def search(responses: Responses, objective: Callable[..., Array], k: int = 25) -> SearchResult:
    """Return the images of a store with the largest values of an objective.

    Parameters
    ----------
    responses, objective
        See :func:`store_values`.
    k
        Number of images.

    Raises
    ------
    InvalidParameterError
        ``k`` is below 1, or the store has fewer images.

    See Also
    --------
    search_control : Drive some ROIs and suppress others, each by a margin.
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
) -> ControlResult:
    """Return the images of a store that drive some ROIs and suppress others the most, each at least by a margin.

    Parameters
    ----------
    responses
        Store from :func:`berg_jax.open_responses`.
    weights
        Weights of each ROI: see :func:`area_weights`.
    directions
        1 for each ROI to drive, −1 for each to suppress.
    k
        Largest number of images; fewer are returned if fewer pass the margin.
    margin
        Smallest change of each ROI's response in z units; univariate control was published with 0.04.
    baseline
        Response of each ROI from which changes are counted; by default its mean over the store's images.

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
    signs = list(directions.values())
    result = control_among(responses.data.image.values, means, signs, k=k, margin=margin, baseline=start)
    if not len(result.shifts):
        most = np.nanmax(directed_shifts(means, signs, result.baseline).min(axis=1))
        raise InvalidParameterError(f"No image goes {dict(directions)} by {margin} z: the most is {most:.3f}.")
    return result


def control_among(
    names: Sequence[str],
    means: Float[np.ndarray, "images rois"],
    directions: Sequence[int],
    *,
    k: int = 25,
    margin: float = 0.04,
    baseline: Float[np.ndarray, " rois"] | None = None,
) -> ControlResult:
    """Return the images that drive some ROIs and suppress others the most, given the ROIs' mean responses.

    The result holds no image if none passes the margin.

    Parameters
    ----------
    names
        The images' names.
    means
        Mean response of each ROI to each image, z units.
    directions, k, margin, baseline
        See :func:`search_control`; one direction and one baseline for each column of ``means``.

    Examples
    --------
    >>> means = np.array([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
    >>> control_among(["a", "b", "c"], means, directions=(1, -1)).found.names
    ['a']
    """
    if baseline is None:
        baseline = np.nanmean(means.astype(np.float64), axis=0)
    shifts = directed_shifts(means, directions, baseline)
    passed = (shifts >= margin).all(axis=1)
    if not passed.any():
        nothing = SearchResult(indices=np.zeros(0, int), names=[], values=np.zeros(0), considered=0)
        return ControlResult(found=nothing, shifts=shifts[:0], baseline=baseline)
    values = np.where(passed, shifts.sum(axis=1), np.nan)
    found = _best(names, values, min(k, int(passed.sum())))
    return ControlResult(found=found, shifts=shifts[found.indices], baseline=baseline)


def directed_shifts(
    means: Float[np.ndarray, "images rois"], directions: Sequence[int], baseline: Float[np.ndarray, " rois"]
) -> Float[np.ndarray, "images rois"]:
    """Return the change of each ROI's response from the baseline, positive in the wanted direction."""
    return np.asarray(directions) * (means - baseline)


def _best(names: Sequence[str], values: Float[np.ndarray, " images"], k: int) -> SearchResult:
    considered = int((~np.isnan(values)).sum())
    if not 1 <= k <= considered:
        raise InvalidParameterError(
            f"k must be from 1 to the number of images that have a value, {considered}; got {k}."
        )
    order = np.argsort(-values, kind="stable")[:k]  # NaN is sorted to the end
    return SearchResult(
        indices=order,
        names=[str(names[index]) for index in order],
        values=values[order],
        considered=considered,
    )


def _blocks(responses: Responses) -> Iterator[Float[np.ndarray, "images vertices"]]:
    n_images, n_vertices = responses.data.shape
    size = max(1, _BLOCK // (4 * n_vertices))
    for start in range(0, n_images, size):
        yield responses.data[start : start + size].values.astype(np.float32)


@jax.jit
def _values(objective: Function, responses: Float[Array, "images vertices"]) -> Float[Array, " images"]:
    return objective(responses)

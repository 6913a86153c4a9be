"""Objectives to maximize: functions of responses, (…, images, vertices) → (…, images).

An objective of a whole set of images returns one value in place of the images, (…, 1), so that both kinds can be
added. For a stacked model the responses are (subjects, …, images, vertices), and :func:`group` or
:func:`disagreement` joins the subjects. A ROI is a vector of weights over the vertices of the model: see
:mod:`berg_jax.experiments.synthesis.areas`. Responses are in z units.

Your own objective is any function of the responses. Arrays that it needs can be given with
:class:`~berg_jax.experiments.synthesis.functions.Function`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ...errors import InvalidParameterError
from .functions import Function, as_function

Responses = Float[Array, "... images vertices"]
Values = Float[Array, "... images"]
Weights = Float[Array, "... vertices"]
_EXACT = jax.lax.Precision.HIGHEST
_TINY = 1e-12  # keeps the gradient of a root finite where nothing varies


def mean(weights: Weights) -> Function:
    """Return the objective of a ROI's mean response: the weighted sum of its vertices' responses.

    Parameters
    ----------
    weights
        The ROI's weights, which sum to 1: (vertices,), or (subjects, vertices) for a stacked model.

    Raises
    ------
    InvalidParameterError
        All weights are 0, or one is not finite.

    See Also
    --------
    top_mean : The mean of the strongest responses.
    contrast : One ROI against another.
    control : Several ROIs, each driven or suppressed.

    Examples
    --------
    >>> objective = mean(np.array([0.5, 0.5, 0.0]))
    >>> objective(jnp.array([[1.0, 3.0, 9.0]])).tolist()  # one image
    [2.0]
    """
    return Function(_mean, (_weights(weights),))


def top_mean(weights: Weights, k: int) -> Function:
    """Return the objective of the mean of the ``k`` largest responses in a ROI.

    Parameters
    ----------
    weights
        The ROI's weights; its vertices are those whose weight is not 0.
    k
        Number of responses that are averaged.

    Raises
    ------
    InvalidParameterError
        The ROI has fewer than ``k`` vertices, or ``k`` is below 1.

    See Also
    --------
    mean : The mean of all responses.
    """
    weights = _weights(weights)
    least = int((weights != 0).sum(axis=-1).min())
    if not 1 <= k <= least:
        raise InvalidParameterError(f"k must be from 1 to the ROI's number of vertices, {least}; got {k}.")
    # The number k stands in a shape, because it decides the shape of what is sorted out.
    return Function(_top_mean, (weights, jnp.zeros(k)))


def control(
    weights: Float[Array, "rois ... vertices"],
    directions: Sequence[float],
    baseline: Sequence[float] | None = None,
    margin: float | None = None,
) -> Function:
    """Return the objective that drives some ROIs and suppresses others, relative to a baseline.

    Its value is the sum over ROIs of the change from the baseline in the wanted direction.

    Parameters
    ----------
    weights
        Weights of a ROI in each row; they sum to 1.
    directions
        1 for each ROI to drive, −1 for each to suppress.
    baseline
        Each ROI's baseline response, such as its mean over natural images; by default 0.
    margin
        Largest change of a ROI that counts, in z units; anything beyond it adds nothing. By default no limit.

    Raises
    ------
    InvalidParameterError
        The numbers of ROIs, directions and baselines differ, or a direction is neither 1 nor −1.

    See Also
    --------
    contrast : The case of two ROIs.

    References
    ----------
    Gifford et al. 2025, *In silico discovery of representational relationships across visual cortex*, Nature Human
    Behaviour: drive both, suppress both, or one against the other, by a margin over a baseline.

    Examples
    --------
    >>> objective = control(np.eye(2), directions=(1, -1), margin=2.0)
    >>> objective(jnp.array([[3.0, -1.0]])).tolist()  # 3 counts as 2
    [3.0]
    """
    rows = jnp.stack([_weights(row) for row in weights])
    directions = np.asarray(directions, float)
    baseline = np.zeros(len(rows)) if baseline is None else np.asarray(baseline, float)
    if directions.shape != (len(rows),) or baseline.shape != (len(rows),):
        raise InvalidParameterError(
            f"control needs a direction and a baseline for each ROI: got {len(rows)} ROIs, {directions.size} "
            f"directions and {baseline.size} baselines."
        )
    if not np.isin(directions, (1, -1)).all():
        raise InvalidParameterError(f"A direction is 1 (drive) or -1 (suppress), got {directions.tolist()}.")
    bound = np.inf if margin is None else float(margin)
    return Function(_control, (rows, *(jnp.asarray(x, rows.dtype) for x in (directions, baseline, bound))))


def contrast(
    drive: Weights, suppress: Weights, baseline: Sequence[float] | None = None, margin: float | None = None
) -> Function:
    """Return the objective that drives one ROI and suppresses another: :func:`control` with directions 1 and −1.

    Parameters
    ----------
    drive, suppress
        Weights of the two ROIs.
    baseline, margin
        See :func:`control`.
    """
    return control(jnp.stack([jnp.asarray(drive), jnp.asarray(suppress)]), (1, -1), baseline, margin)


def correlation(target: Float[Array, " vertices"], weights: Weights | None = None) -> Function:
    """Return the objective of Pearson's correlation, −1 to 1, of an image's responses with a target pattern.

    Parameters
    ----------
    target
        Pattern over the vertices, in any unit.
    weights
        Weight of each vertex, such as :func:`berg_jax.published.metadata.noise_ceiling`; 0 for vertices held out. By
        default all count the same.

    Raises
    ------
    InvalidParameterError
        The shapes differ, a number is not finite, no weight is positive or one is negative.

    See Also
    --------
    squared_error : Match the pattern's values, too.
    """
    return Function(_correlation, _pattern(target, weights))


def squared_error(target: Float[Array, " vertices"], weights: Weights | None = None) -> Function:
    """Return the objective of the negative mean squared difference of responses from a target pattern.

    Parameters
    ----------
    target
        Pattern over the vertices, in z units.
    weights
        See :func:`correlation`.

    Raises
    ------
    InvalidParameterError
        As :func:`correlation`.
    """
    return Function(_squared_error, _pattern(target, weights))


def align(first: Weights, second: Weights) -> Function:
    """Return the objective of two ROIs' alignment: the correlation, −1 to 1, of their dissimilarity matrices.

    The dissimilarity of two images in a ROI is 1 − Pearson's correlation of its vertices' responses. The matrices'
    upper triangles are correlated. The objective is one of sets of at least 3 images.

    Parameters
    ----------
    first, second
        Weights of the two ROIs; their vertices are those whose weight is not 0.

    See Also
    --------
    disentangle : Make the representations as unrelated as possible.
    variety : Keep a set's images different.

    Examples
    --------
    >>> responses = jax.random.normal(jax.random.key(0), (5, 8))  # 5 images, 8 vertices
    >>> first = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    >>> round(float(align(first, first)(responses)[0]), 4)
    1.0
    """
    return Function(_alignment, (_mask(first), _mask(second)))


def disentangle(first: Weights, second: Weights) -> Function:
    """Return the objective that makes two ROIs' representations unrelated: minus the absolute value of :func:`align`.

    Parameters
    ----------
    first, second
        See :func:`align`.
    """
    return Function(_disentanglement, (_mask(first), _mask(second)))


def variety(weights: Weights) -> Function:
    """Return the objective of a set's variety in a ROI: the mean dissimilarity of its pairs of images, 0 to 2.

    Parameters
    ----------
    weights
        Weights of the ROI; its vertices are those whose weight is not 0.

    See Also
    --------
    align : The definition of dissimilarity.
    berg_jax.experiments.synthesis.priors.likeness : A penalty on images that look alike.
    """
    return Function(_variety, (_mask(weights),))


def group(objective: Callable[..., Values], included: Bool[Array, " subjects"] | None = None) -> Function:
    """Return the mean over subjects of an objective of a stacked model.

    Parameters
    ----------
    objective
        Objective with weights (subjects, vertices).
    included
        True for the subjects that count; by default all. A subject that is left out can judge the images: see
        :func:`berg_jax.experiments.synthesis.judging.judge.leave_one_out`.

    Raises
    ------
    InvalidParameterError
        No subject is included.

    See Also
    --------
    disagreement : The standard deviation over subjects.
    berg_jax.experiments.synthesis.areas.stacked_union : The model and the weights.
    """
    if included is None:
        return Function(_group_mean, (as_function(objective),))
    included = jnp.asarray(included, float)
    if not (included > 0).any():
        raise InvalidParameterError("group needs at least one subject that is included.")
    return Function(_included_mean, (as_function(objective), included / included.sum()))


def disagreement(objective: Callable[..., Values]) -> Function:
    """Return the standard deviation over subjects of an objective of a stacked model.

    Parameters
    ----------
    objective
        Objective with weights (subjects, vertices).

    See Also
    --------
    group : The mean over subjects.
    """
    return Function(_disagreement, (as_function(objective),))


def _weights(weights: Weights) -> Weights:
    weights = jnp.asarray(weights, float)
    if weights.ndim == 0 or not bool(jnp.isfinite(weights).all()):
        raise InvalidParameterError("A ROI's weights must be a finite number for each vertex of the model.")
    if not bool((weights != 0).any(axis=-1).all()):
        raise InvalidParameterError("The ROI is empty: all of its weights are 0. Choose vertices that the model has.")
    return weights


def _mask(weights: Weights) -> Weights:
    weights = (_weights(weights) != 0).astype(float)
    return weights / weights.sum(axis=-1, keepdims=True)


def _pattern(target: Float[Array, " vertices"], weights: Weights | None) -> tuple[Array, Array]:
    target = jnp.asarray(target, float)
    weights = jnp.ones_like(target) if weights is None else _weights(weights)
    if target.shape != weights.shape or not bool(jnp.isfinite(target).all()) or bool((weights < 0).any()):
        raise InvalidParameterError(
            f"A target needs a finite number and a weight of at least 0 for each vertex: got target {target.shape}, "
            f"weights {weights.shape}."
        )
    return target, weights / weights.sum(axis=-1, keepdims=True)


def _mean(weights: Weights, responses: Responses) -> Values:
    return jnp.einsum("...iv,...v->...i", responses, weights, precision=_EXACT)


def _top_mean(weights: Weights, k: Float[Array, " k"], responses: Responses) -> Values:
    inside = jnp.where(weights[..., None, :] != 0, responses, -jnp.inf)
    return jax.lax.top_k(inside, len(k))[0].mean(axis=-1)


def _control(rows: Array, directions: Array, baseline: Array, margin: Array, responses: Responses) -> Values:
    values = jax.vmap(_mean, in_axes=(0, None))(rows, responses)
    by_roi = (len(directions),) + (1,) * (values.ndim - 1)
    shifts = directions.reshape(by_roi) * (values - baseline.reshape(by_roi))
    return jnp.minimum(shifts, margin).sum(axis=0)


def _standardized(weights: Weights, values: Float[Array, "... vertices"]) -> Float[Array, "... vertices"]:
    """Return values of weighted mean 0, multiplied by the weights' roots, with a sum of squares of 1."""
    centered = values - (weights * values).sum(axis=-1, keepdims=True)
    centered = jnp.sqrt(weights) * centered
    return centered / jnp.sqrt((centered**2).sum(axis=-1, keepdims=True) + _TINY)


def _correlation(target: Array, weights: Weights, responses: Responses) -> Values:
    target_pattern = _standardized(weights, target)
    patterns = _standardized(jnp.broadcast_to(weights[..., None, :], responses.shape), responses)
    return jnp.einsum("...iv,...v->...i", patterns, target_pattern, precision=_EXACT)


def _squared_error(target: Array, weights: Weights, responses: Responses) -> Values:
    difference = responses - jnp.broadcast_to(target[..., None, :], responses.shape)
    return -_mean(weights, difference**2)


def _similarities(weights: Weights, responses: Responses) -> Float[Array, "... pairs"]:
    """Return Pearson's correlation of each pair of images."""
    n_images = responses.shape[-2]
    if n_images < 2:
        raise InvalidParameterError("This objective is of a set of images: give set_size, at least 3.")
    patterns = _standardized(jnp.broadcast_to(weights[..., None, :], responses.shape), responses)
    first, second = np.triu_indices(n_images, 1)
    return jnp.einsum("...iv,...jv->...ij", patterns, patterns, precision=_EXACT)[..., first, second]


def _alignment(first: Weights, second: Weights, responses: Responses) -> Float[Array, "... 1"]:
    if responses.shape[-2] < 3:
        raise InvalidParameterError("Dissimilarity matrices are of sets of images: give set_size, at least 3.")
    first_similarities = _similarities(first, responses)
    second_similarities = _similarities(second, responses)
    equal_weights = jnp.full_like(first_similarities, 1 / first_similarities.shape[-1])
    first_pattern = _standardized(equal_weights, first_similarities)
    second_pattern = _standardized(equal_weights, second_similarities)
    return (first_pattern * second_pattern).sum(axis=-1, keepdims=True)


def _disentanglement(first: Weights, second: Weights, responses: Responses) -> Float[Array, "... 1"]:
    return -jnp.abs(_alignment(first, second, responses))


def _variety(weights: Weights, responses: Responses) -> Float[Array, "... 1"]:
    return 1 - _similarities(weights, responses).mean(axis=-1, keepdims=True)


def _group_mean(objective: Function, responses: Float[Array, "subjects ... images vertices"]) -> Values:
    return objective(responses).mean(axis=0)


def _included_mean(objective: Function, included: Float[Array, " subjects"], responses: Array) -> Values:
    return jnp.tensordot(included, objective(responses), 1, precision=_EXACT)


def _disagreement(objective: Function, responses: Float[Array, "subjects ... images vertices"]) -> Values:
    return jnp.sqrt(objective(responses).var(axis=0) + _TINY)

"""Objectives: what responses are worth, (…, images, vertices) → (…, images), to be maximized.

A value of a whole set of images has one entry in place of the images, (…, 1), so that both kinds add. For a
stacked model the responses are (subjects, …, images, vertices), and :func:`group` or :func:`disagreement` joins
the subjects. A ROI is a vector of weights over the vertices of the model: see
:mod:`berg_jax.experiments.synthesis.areas`. Responses are in z units.

Your own objective is a function of the responses; numbers it needs can be given with
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
    """The weighted sum of the vertices' responses: a ROI's mean, if its weights sum to 1.

    Parameters
    ----------
    weights
        (vertices,), or (subjects, vertices) for a stacked model.

    Raises
    ------
    InvalidParameterError
        All weights are 0, or one is not finite.
    """
    return Function(_mean, (_weights(weights),))


def top_mean(weights: Weights, k: int) -> Function:
    """The mean of the ``k`` largest responses of a ROI, that is of the vertices whose weight is not 0.

    Raises
    ------
    InvalidParameterError
        The ROI has fewer than ``k`` vertices, or ``k`` is below 1.
    """
    weights = _weights(weights)
    least = int((weights != 0).sum(axis=-1).min())
    if not 1 <= k <= least:
        raise InvalidParameterError(f"k must be from 1 to the ROI's number of vertices, {least}; got {k}.")
    # The number stands in a shape, because it decides how many are sorted out.
    return Function(_top_mean, (weights, jnp.zeros(k)))


def control(
    weights: Float[Array, "rois ... vertices"],
    directions: Sequence[float],
    baseline: Sequence[float] | None = None,
    margin: float | None = None,
) -> Function:
    """Each of some ROIs driven or suppressed, from a baseline on: the sum of the ways gone.

    Parameters
    ----------
    weights
        A ROI's weights in each row, each summing to 1.
    directions
        1 for a ROI to drive, −1 for one to suppress.
    baseline
        Each ROI's response to start from, such as its mean over natural images; by default 0.
    margin
        How far is far enough, in z units; what goes beyond counts for nothing. By default no bound.

    Raises
    ------
    InvalidParameterError
        The numbers of ROIs, directions and baselines differ, or a direction is neither 1 nor −1.

    References
    ----------
    Gifford et al. 2025, *In silico discovery of representational relationships across visual cortex*, Nature Human
    Behaviour: drive both, suppress both, or one against the other, by a margin over a baseline.
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
    """One ROI driven, another suppressed: :func:`control` with directions 1 and −1."""
    return control(jnp.stack([jnp.asarray(drive), jnp.asarray(suppress)]), (1, -1), baseline, margin)


def correlation(target: Float[Array, " vertices"], weights: Weights | None = None) -> Function:
    """Pearson's correlation of an image's responses with a target pattern over the vertices, −1 to 1.

    Parameters
    ----------
    target
        The pattern, in any unit.
    weights
        How much each vertex counts, such as :func:`berg_jax.published.metadata.noise_ceiling`; 0 for vertices held
        out. By default all count the same.

    Raises
    ------
    InvalidParameterError
        The shapes differ, a number is not finite, no weight is positive or one is negative.
    """
    return Function(_correlation, _pattern(target, weights))


def squared_error(target: Float[Array, " vertices"], weights: Weights | None = None) -> Function:
    """Less the mean squared difference of the responses to a target pattern in z units; as :func:`correlation`."""
    return Function(_squared_error, _pattern(target, weights))


def align(first: Weights, second: Weights) -> Function:
    """How alike two ROIs see a set of images: the correlation of their dissimilarity matrices, −1 to 1.

    Dissimilarity of two images in a ROI is 1 − Pearson's correlation of its vertices' responses; the matrices'
    upper triangles are correlated. Needs sets of at least 3 images.
    """
    return Function(_alignment, (_mask(first), _mask(second)))


def disentangle(first: Weights, second: Weights) -> Function:
    """How unlike two ROIs see a set of images: less the absolute value of :func:`align`."""
    return Function(_disentanglement, (_mask(first), _mask(second)))


def variety(weights: Weights) -> Function:
    """How unlike a set's images are to a ROI: the mean dissimilarity (see :func:`align`) of pairs, 0 to 2."""
    return Function(_variety, (_mask(weights),))


def group(objective: Callable[..., Values], included: Bool[Array, " subjects"] | None = None) -> Function:
    """The mean over subjects of an objective of a stacked model.

    Parameters
    ----------
    objective
        Of weights (subjects, vertices).
    included
        Which subjects count; by default all. Leave one out, and the images can be judged by them: see
        :func:`berg_jax.experiments.synthesis.judging.judge.leave_one_out`.

    Raises
    ------
    InvalidParameterError
        No subject is included.
    """
    if included is None:
        return Function(_group_mean, (as_function(objective),))
    included = jnp.asarray(included, float)
    if not (included > 0).any():
        raise InvalidParameterError("group needs at least one subject that is included.")
    return Function(_included_mean, (as_function(objective), included / included.sum()))


def disagreement(objective: Callable[..., Values]) -> Function:
    """The standard deviation over subjects of an objective of a stacked model."""
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
    there = (len(directions),) + (1,) * (values.ndim - 1)
    return jnp.minimum(directions.reshape(there) * (values - baseline.reshape(there)), margin).sum(axis=0)


def _standardized(weights: Weights, values: Float[Array, "... vertices"]) -> Float[Array, "... vertices"]:
    """Of weighted mean 0 and sum of squares 1."""
    centered = values - (weights * values).sum(axis=-1, keepdims=True)
    centered = jnp.sqrt(weights) * centered
    return centered / jnp.sqrt((centered**2).sum(axis=-1, keepdims=True) + _TINY)


def _correlation(target: Array, weights: Weights, responses: Responses) -> Values:
    wanted = _standardized(weights, target)
    got = _standardized(jnp.broadcast_to(weights[..., None, :], responses.shape), responses)
    return jnp.einsum("...iv,...v->...i", got, wanted, precision=_EXACT)


def _squared_error(target: Array, weights: Weights, responses: Responses) -> Values:
    return -_mean(weights, (responses - jnp.broadcast_to(target[..., None, :], responses.shape)) ** 2)


def _similarities(weights: Weights, responses: Responses) -> Float[Array, "... pairs"]:
    """Pearson's correlation of each pair of images."""
    images = responses.shape[-2]
    if images < 2:
        raise InvalidParameterError("This objective is of a set of images: give set_size, at least 3.")
    patterns = _standardized(jnp.broadcast_to(weights[..., None, :], responses.shape), responses)
    first, second = np.triu_indices(images, 1)
    return jnp.einsum("...iv,...jv->...ij", patterns, patterns, precision=_EXACT)[..., first, second]


def _alignment(first: Weights, second: Weights, responses: Responses) -> Float[Array, "... 1"]:
    if responses.shape[-2] < 3:
        raise InvalidParameterError("Dissimilarity matrices are of sets of images: give set_size, at least 3.")
    one, other = (_similarities(weights, responses) for weights in (first, second))
    same = jnp.full_like(one, 1 / one.shape[-1])
    return (_standardized(same, one) * _standardized(same, other)).sum(axis=-1, keepdims=True)


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

"""Distillation: a loss that passes from a teacher's noiseless responses to the measured ones."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .losses import Loss


def measured_share(epoch: int, epochs: int) -> float:
    """Return the share of the measured responses' loss in an epoch: it rises linearly, and is 1 from ``epochs`` on.

    Parameters
    ----------
    epoch
        Number of epochs before this one.
    epochs
        Epoch from which on the teacher no longer counts.

    Examples
    --------
    >>> measured_share(75, 300), measured_share(400, 300)
    (0.25, 1.0)
    """
    return min(epoch / epochs, 1.0)


def distilled(
    loss: Loss,
    predicted: Float[Array, "images vertices"],
    measured: Float[Array, "images vertices"],
    vertex_weights: Float[Array, " vertices"],
    teacher: Float[Array, "images vertices"] | None,
    share: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """Return share · loss(measured) + (1 − share) · loss(teacher), or the loss of the measured without a teacher.

    The teacher counts for the images and vertices that were measured, too, and only for those.

    Parameters
    ----------
    loss
        A loss: see :mod:`~berg_jax.experiments.fitting.training.losses`.
    predicted, measured, vertex_weights
        Its arguments.
    teacher
        The teacher's responses in z units, or None.
    share
        Share of the measured responses' loss, 0 to 1: see :func:`measured_share`.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean (2015). Distilling the knowledge in a neural network. arXiv:1503.02531.
    """
    value = loss(predicted, measured, vertex_weights)
    if teacher is None:
        return value
    there = jnp.where(jnp.isnan(measured), jnp.nan, teacher)
    return share * value + (1 - share) * loss(predicted, there, vertex_weights)

"""Losses of measured responses, and regularizers of the vertices' selectors: exchangeable pure functions.

A loss has the signature ``loss(predicted, measured, vertex_weights)``, in z units, and returns one number; a
regularizer has ``regularizer(layer_weights, rf_center)``. Responses that are NaN were not measured.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Loss = Callable[[Float[Array, "images vertices"], Float[Array, "images vertices"], Float[Array, " vertices"]], Array]
Regularizer = Callable[[Float[Array, "vertices layers"], Float[Array, "vertices 2"]], Array]


def smooth_l1(
    predicted: Float[Array, "images vertices"],
    measured: Float[Array, "images vertices"],
    vertex_weights: Float[Array, " vertices"],
    *,
    beta: float = 0.01,
) -> Float[Array, ""]:
    """Return the mean smooth L1 loss: quadratic where a residual is below ``beta``, linear above.

    Parameters
    ----------
    predicted, measured
        Responses in z units; measured ones that are NaN are left out of the mean.
    vertex_weights
        Factor of each vertex's loss, 1 by default.
    beta
        Residual in z units where the two forms meet, above 0.

    References
    ----------
    .. [1] R. Girshick (2015). Fast R-CNN. IEEE International Conference on Computer Vision, 1440-1448.

    See Also
    --------
    mean_squared_error : A loss with the same signature.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> float(smooth_l1(jnp.array([[1.0]]), jnp.array([[0.0]]), jnp.ones(1), beta=0.5))
    0.75
    """

    def of_residual(residual: Array) -> Array:
        size = jnp.abs(residual)
        return jnp.where(size < beta, 0.5 * residual**2 / beta, size - 0.5 * beta)

    return _mean(of_residual, predicted, measured, vertex_weights)


def mean_squared_error(
    predicted: Float[Array, "images vertices"],
    measured: Float[Array, "images vertices"],
    vertex_weights: Float[Array, " vertices"],
) -> Float[Array, ""]:
    """Return the mean squared error, over the responses that were measured.

    Parameters
    ----------
    predicted, measured, vertex_weights
        See :func:`smooth_l1`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> float(mean_squared_error(jnp.array([[2.0, 1.0]]), jnp.array([[0.0, jnp.nan]]), jnp.ones(2)))
    4.0
    """
    return _mean(jnp.square, predicted, measured, vertex_weights)


def entropy(
    layer_weights: Float[Array, "vertices layers"], rf_center: Float[Array, "vertices 2"], *, weight: float = 3e-5
) -> Float[Array, ""]:
    """Return the negative entropy of the layer weights, averaged over vertices, times ``weight``.

    Parameters
    ----------
    layer_weights
        Weight of each layer, which sum to 1.
    rf_center
        Receptive-field centers, which it leaves alone.
    weight
        Factor of the sum.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> round(float(entropy(jnp.array([[0.5, 0.5]]), jnp.zeros((1, 2)), weight=1.0)), 3)
    -0.693
    """
    del rf_center
    return -weight * jax.scipy.special.entr(layer_weights).sum(axis=1).mean()


def _mean(
    of_residual: Callable[[Array], Array],
    predicted: Float[Array, "images vertices"],
    measured: Float[Array, "images vertices"],
    vertex_weights: Float[Array, " vertices"],
) -> Float[Array, ""]:
    there = ~jnp.isnan(measured)
    # The residual is set to 0 before the function, because a gradient through NaN would be NaN.
    losses = of_residual(jnp.where(there, predicted - jnp.where(there, measured, 0), 0)) * vertex_weights[None]
    return losses.sum() / jnp.maximum(there.sum(), 1)

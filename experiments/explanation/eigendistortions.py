"""Eigendistortions: the changes of an image to which the model responds most and least."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num
from scipy.sparse.linalg import LinearOperator, lobpcg

from ...errors import InvalidParameterError, ValidationError
from ...model.images import check_values
from ..synthesis.ascent import Model
from .attribution import _as_pytree

_POWER_STEPS = 8  # power iterations that find the scale of the eigenvalues, and the start at their upper end
_LEAST = 1e-6  # smallest residual, relative to the largest eigenvalue, that products in float32 can reach
_STEP = 0.25  # grey levels (root mean square) by which an image is changed to measure a sensitivity, at most
_MOST = 1.0  # grey levels by which a value of a local change then differs, at most, so that the network is linear


class Eigendistortions(NamedTuple):
    """Changes of an image, and how strongly the responses follow.

    Attributes
    ----------
    largest, smallest
        (k, 3, height, width) changes that move the responses most and least, orthogonal, with a root mean square of
        1 grey level. Their sign has no meaning.
    largest_sensitivity, smallest_sensitivity
        (k,) predicted root mean square change of the responses, z per grey level (root mean square), descending for
        the largest and ascending for the smallest.
    largest_measured, smallest_measured
        (k,) the same, measured on the images changed both ways by a quarter of a grey level, and by no more than one
        at any value.
    """

    largest: Float[np.ndarray, "k 3 height width"]
    smallest: Float[np.ndarray, "k 3 height width"]
    largest_sensitivity: Float[np.ndarray, " k"]
    smallest_sensitivity: Float[np.ndarray, " k"]
    largest_measured: Float[np.ndarray, " k"]
    smallest_measured: Float[np.ndarray, " k"]


def eigendistortions(
    model: Model,
    image: Num[np.ndarray, "3 height width"],
    *,
    k: int = 1,
    tolerance: float = 1e-4,
    iterations: int = 200,
    seed: int = 0,
) -> Eigendistortions:
    """Return the eigendistortions of an image for a model's vertices.

    They are the eigenvectors of JᵀJ, where J is the Jacobian of the responses with respect to the pixels. Only
    products with J and Jᵀ are computed (LOBPCG), and no Jacobian is stored. If there are fewer vertices than pixels,
    most changes are invisible to the model, and the smallest sensitivity is 0 up to rounding.

    Parameters
    ----------
    model
        Model of the chosen vertices, stacked models, or a function images → responses.
    image
        Image (3, height, width) in 0–255.
    k
        Number of eigendistortions at either end.
    tolerance
        Largest residual of an eigenvector, relative to the largest eigenvalue. At the lower end its square counts, as
        a sensitivity is the root of an eigenvalue, but not less than 1e-6, which float32 can reach.
    iterations
        Largest number of iterations.
    seed
        Seed of the random changes from which the iteration starts.

    Raises
    ------
    StimulusError
        It is no image in 0–255.
    InvalidParameterError
        k is below 1 or above a fifth of the number of pixel values.
    ValidationError
        The responses do not depend on the image, or the iteration has not converged.

    See Also
    --------
    berg_jax.experiments.explanation.metamers.metamers : Large changes that leave the responses as they are.

    References
    ----------
    Berardino, Ballé, Laparra, Simoncelli 2017, *Eigen-distortions of hierarchical representations*, NeurIPS.

    Knyazev 2001, *Toward the optimal preconditioned eigensolver*, SIAM Journal on Scientific Computing (LOBPCG).

    Examples
    --------
    >>> def corner(images):  # responses to the first two pixel values
    ...     return images.reshape(len(images), -1)[:, :2] * jnp.array([[3.0, 1.0]])
    >>> found = eigendistortions(corner, np.full((3, 4, 4), 128.0), k=1)
    >>> int(np.abs(found.largest[0]).argmax())
    0
    """
    check_values(image[None])
    image = np.asarray(image, np.float32)
    if not 1 <= k <= image.size // 5:
        raise InvalidParameterError(f"k must be from 1 to a fifth of the pixel values, {image.size // 5}; got {k}.")
    model = _as_pytree(model)

    def multiply(columns: Float[np.ndarray, "values k"]) -> Float[np.ndarray, "values k"]:
        directions = np.asarray(columns, np.float32).T.reshape(-1, *image.shape)
        # Always k at a time, so that one program is compiled; LOBPCG asks for fewer once some have converged.
        filled = np.zeros((k, *image.shape), np.float32)
        filled[: len(directions)] = directions
        products = np.asarray(_gram(model, image, filled), np.float64)[: len(directions)]
        return products.reshape(len(directions), -1).T

    shape = (image.size, image.size)
    operator = LinearOperator(shape, matvec=lambda x: multiply(x.reshape(-1, 1)), matmat=multiply, dtype=np.float64)
    random = np.random.default_rng(seed)
    # Random changes are nearly invisible if there are few vertices, which is an eigenvector, too: the upper end
    # is searched from where products with JᵀJ lead.
    scale, upper = _upper_end(multiply, random.standard_normal((image.size, k)))
    lower = random.standard_normal((image.size, k))
    ends = []
    for largest, start, least in ((True, upper, tolerance), (False, lower, max(tolerance**2, _LEAST))):
        values, vectors = _solve(operator, start, largest, least * scale, iterations)
        order = np.argsort(-values if largest else values)
        ends.append(vectors.T[order].reshape(k, *image.shape) * np.sqrt(image.size))
    predicted = [np.asarray(_predicted(model, image, end.astype(np.float32))) for end in ends]
    measured = [np.asarray(_measured(model, image, end.astype(np.float32))) for end in ends]
    return Eigendistortions(*(end.astype(np.float32) for end in ends), *predicted, *measured)


def _upper_end(
    multiply: Callable[[Float[np.ndarray, "values k"]], Float[np.ndarray, "values k"]],
    vectors: Float[np.ndarray, "values k"],
) -> tuple[float, Float[np.ndarray, "values k"]]:
    """Return the largest eigenvalue and changes near the upper end, roughly, by subspace iteration."""
    value = 0.0
    for _ in range(_POWER_STEPS):
        vectors = multiply(np.linalg.qr(vectors)[0])
        value = float(np.linalg.norm(vectors, axis=0).max())
        if not np.isfinite(value) or value == 0:
            raise ValidationError(
                "The responses do not depend on the image, or their derivative is not finite: no change of it is "
                "larger than another. Choose vertices that see the image, and an image that is not uniform."
            )
    return value, vectors


def _solve(
    operator: LinearOperator, start: Float[np.ndarray, "values k"], largest: bool, tolerance: float, iterations: int
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "values k"]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what they say is checked below
        values, vectors = lobpcg(operator, start, largest=largest, tol=tolerance, maxiter=iterations)
    residuals = np.linalg.norm(operator.matmat(vectors) - vectors * values[None], axis=0)
    if not (residuals <= 2 * tolerance).all():
        end = "largest" if largest else "smallest"
        raise ValidationError(
            f"The {end} eigendistortions have not converged in {iterations} iterations: a residual of "
            f"{residuals.max() / tolerance:.1f} times the tolerance is left. Give more iterations or a larger "
            "tolerance."
        )
    return values, vectors


def _root_mean_square(changes: Float[Array, "... k vertices"]) -> Float[Array, " k"]:
    by_image = jnp.moveaxis(changes, -2, 0)
    return jnp.sqrt((by_image.reshape(len(by_image), -1) ** 2).mean(axis=1))


@jax.jit
def _gram(model: Model, image: Float[Array, "3 h w"], directions: Float[Array, "k 3 h w"]) -> Float[Array, "k 3 h w"]:
    """Return JᵀJ times each direction; a batch of the same image gives each its row."""
    images = jnp.broadcast_to(image[None], directions.shape)
    (products,) = jax.vjp(model, images)[1](_changes(model, images, directions))
    return products


def _changes(
    model: Model, images: Float[Array, "k 3 h w"], directions: Float[Array, "k 3 h w"]
) -> Float[Array, "k vertices"]:
    """Return J times each direction by the backward pass, since a model's convolutions may have no forward-mode rule.

    The backward pass is linear in the responses' weights; its own backward pass is J.
    """
    responses, pull = jax.vjp(model, images)
    (changes,) = jax.vjp(lambda weights: pull(weights)[0], jnp.zeros_like(responses))[1](directions)
    return changes


@jax.jit
def _predicted(model: Model, image: Float[Array, "3 h w"], directions: Float[Array, "k 3 h w"]) -> Float[Array, " k"]:
    images = jnp.broadcast_to(image[None], directions.shape)
    return _root_mean_square(_changes(model, images, directions))


@jax.jit
def _measured(model: Model, image: Float[Array, "3 h w"], directions: Float[Array, "k 3 h w"]) -> Float[Array, " k"]:
    images = jnp.broadcast_to(image[None], directions.shape)
    most = jnp.abs(directions).max(axis=(1, 2, 3), keepdims=True)
    step = jnp.minimum(_STEP, _MOST / most)
    change = model(images + step * directions) - model(images - step * directions)
    return _root_mean_square(change / (2 * step[:, :, 0, 0]))

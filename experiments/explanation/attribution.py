"""Attribution maps: which pixels of an image raise an objective of the responses.

Every map has one number for each pixel, (n, height, width). Objectives are those of
:mod:`berg_jax.experiments.synthesis.objectives`, of single images; their unit is z for a ROI's mean or a contrast of
two. A baseline stands for the absence of a pixel: a grey level, by default the middle one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError
from ...model.batches import filled_batches
from ...model.images import check_values
from ..synthesis.ascent import Model
from ..synthesis.functions import Function, as_function
from ..synthesis.judging.judge import score

Maps = Float[np.ndarray, "n height width"]
Objective = Callable[..., Array]
GREY = 127.5


def gradient_times_input(
    model: Model,
    objective: Objective,
    images: Num[np.ndarray, "n 3 height width"],
    *,
    baseline: float = GREY,
    batch: int = 8,
) -> Maps:
    """Return the gradient times the input: each pixel's first-order share of the change from the baseline.

    Parameters
    ----------
    model, objective
        See :func:`berg_jax.experiments.synthesis.optimize`; the objective is of single images.
    images
        Images (n, 3, height, width) in 0–255.
    baseline
        Grey level, 0–255, that stands for an absent pixel.
    batch
        Number of images that are computed at a time.

    Returns
    -------
    (n, height, width), in the objective's unit, summed over the color channels.

    Raises
    ------
    StimulusError
        They are no images in 0–255.
    InvalidParameterError
        The baseline is not in 0–255, or a number is below 1.

    See Also
    --------
    integrated_gradients : The same without the assumption of a straight course, for more gradients.
    berg_jax.experiments.explanation.sanity.deletion_and_insertion : How faithful a map is.

    References
    ----------
    Shrikumar, Greenside, Kundaje 2017, *Learning important features through propagating activation differences*,
    ICML.
    """
    return _maps(_gradient_times_input, model, objective, images, baseline, batch)


def integrated_gradients(
    model: Model,
    objective: Objective,
    images: Num[np.ndarray, "n 3 height width"],
    *,
    baseline: float = GREY,
    steps: int = 32,
    batch: int = 8,
) -> Maps:
    """Return integrated gradients, which sum to the objective's difference from the baseline image.

    The gradient is averaged along the straight line from the baseline to the image, at the middles of equal steps.

    Parameters
    ----------
    model, objective, images, baseline, batch
        See :func:`gradient_times_input`.
    steps
        Number of gradients along the line.

    Returns
    -------
    (n, height, width), in the objective's unit, summed over the color channels.

    Raises
    ------
    StimulusError, InvalidParameterError
        As :func:`gradient_times_input`.

    References
    ----------
    Sundararajan, Taly, Yan 2017, *Axiomatic attribution for deep networks*, ICML.

    Examples
    --------
    >>> def brightness(images):
    ...     return images.mean(axis=(2, 3))
    >>> images = np.full((1, 3, 8, 8), 200.0, np.float32)
    >>> maps = integrated_gradients(brightness, lambda responses: responses.mean(axis=1), images, steps=2)
    >>> round(float(maps.sum()), 3)  # 200 - 127.5
    72.5
    """
    _at_least_1("steps", steps)
    shares = (jnp.arange(steps) + 0.5) / steps
    return _maps(_integrated, model, objective, images, baseline, batch, shares)


def smooth_grad(
    model: Model,
    objective: Objective,
    images: Num[np.ndarray, "n 3 height width"],
    *,
    noise: float = 0.15,
    draws: int = 32,
    seed: int = 0,
    batch: int = 8,
) -> Maps:
    """Return the length of SmoothGrad: the gradient, averaged over noisy copies of the image.

    Parameters
    ----------
    model, objective, images, batch
        See :func:`gradient_times_input`.
    noise
        Standard deviation of the noise, as a share of the image's range of values.
    draws
        Number of noisy copies.
    seed
        Seed of the noise.

    Returns
    -------
    (n, height, width), in the objective's unit per grey level; the length over the color channels, so it has no sign.

    Raises
    ------
    StimulusError, InvalidParameterError
        As :func:`gradient_times_input`; the noise is not above 0.

    References
    ----------
    Smilkov et al. 2017, *SmoothGrad: removing noise by adding noise*, arXiv:1706.03825.
    """
    _at_least_1("draws", draws)
    if not noise > 0:
        raise InvalidParameterError(f"noise must be above 0, got {noise}.")
    keys = jax.random.split(jax.random.key(seed), draws)
    return _maps(_smoothed, model, objective, images, GREY, batch, keys, jnp.asarray(noise, float))


def occlusion(
    model: Model,
    objective: Objective,
    images: Num[np.ndarray, "n 3 height width"],
    *,
    window: int = 32,
    stride: int = 16,
    baseline: float = GREY,
    batch: int = 8,
) -> Maps:
    """Return occlusion maps: the objective's fall when a square is covered, averaged over the squares on a pixel.

    Parameters
    ----------
    model, objective, images, baseline, batch
        See :func:`gradient_times_input`. The baseline covers the square.
    window
        Side of the square in pixels.
    stride
        Distance in pixels between squares, at most ``window``, so that every pixel is covered.

    Returns
    -------
    (n, height, width), in the objective's unit; no gradient is used.

    Raises
    ------
    StimulusError, InvalidParameterError
        As :func:`gradient_times_input`; or ``stride`` is above ``window``, or ``window`` above the image.

    References
    ----------
    Zeiler, Fergus 2014, *Visualizing and understanding convolutional networks*, ECCV.
    """
    images = _checked(images, baseline)
    size = images.shape[2]
    if not 1 <= stride <= window <= size:
        raise InvalidParameterError(f"Give 1 ≤ stride ≤ window ≤ {size}, got stride {stride} and window {window}.")
    model, objective = _as_pytree(model), as_function(objective)
    starts = [*range(0, size - window, stride), size - window]
    whole = score(model, objective, images, batch=batch)
    total, count = np.zeros((len(images), size, size)), np.zeros((size, size))
    for top in starts:
        for left in starts:
            square = slice(top, top + window), slice(left, left + window)
            covered = images.copy()
            covered[:, :, *square] = baseline
            fall = whole - score(model, objective, covered, batch=batch)
            total[:, *square] += fall[:, None, None]
            count[square] += 1
    return total / count


def _maps(
    method: Callable[..., Array],
    model: Model,
    objective: Objective,
    images: Any,
    baseline: float,
    batch: int,
    *more: Any,
) -> Maps:
    images = _checked(images, baseline)
    _at_least_1("batch", batch)
    model, objective = _as_pytree(model), as_function(objective)
    maps = []
    for rows, new in filled_batches(len(images), min(batch, len(images))):
        maps.append(np.asarray(method(model, objective, images[rows], jnp.asarray(baseline, float), *more))[:new])
    return np.concatenate(maps)


def _as_pytree(model: Model) -> Model:
    return as_function(model) if any(callable(leaf) for leaf in jax.tree.leaves(model)) else model


def _checked(images: Any, baseline: float) -> Float[np.ndarray, "n 3 h w"]:
    check_values(images)
    if not 0 <= baseline <= 255:
        raise InvalidParameterError(f"baseline is a grey level in 0–255, got {baseline}.")
    return np.asarray(images, np.float32)


def _at_least_1(name: str, value: int) -> None:
    if value < 1:
        raise InvalidParameterError(f"{name} must be at least 1, got {value}.")


def _gradient(model: Model, objective: Function, images: Array) -> Float[Array, "n 3 h w"]:
    return jax.grad(lambda images: objective(model(images)).sum())(images)


@jax.jit
def _gradient_times_input(model: Model, objective: Function, images: Array, baseline: Array) -> Float[Array, "n h w"]:
    return (_gradient(model, objective, images) * (images - baseline)).sum(axis=1)


@jax.jit
def _integrated(
    model: Model, objective: Function, images: Array, baseline: Array, shares: Float[Array, " steps"]
) -> Float[Array, "n h w"]:
    def add(total: Array, share: Array) -> tuple[Array, None]:
        return total + _gradient(model, objective, baseline + share * (images - baseline)), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(images), shares)
    return (total / len(shares) * (images - baseline)).sum(axis=1)


@jax.jit
def _smoothed(
    model: Model, objective: Function, images: Array, baseline: Array, keys: Array, noise: Array
) -> Float[Array, "n h w"]:
    spread = noise * (images.max(axis=(1, 2, 3), keepdims=True) - images.min(axis=(1, 2, 3), keepdims=True))

    def add(total: Array, key: Array) -> tuple[Array, None]:
        noisy = images + spread * jax.random.normal(key, images.shape, images.dtype)
        return total + _gradient(model, objective, noisy), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(images), keys)
    return jnp.linalg.norm(total / len(keys), axis=1)

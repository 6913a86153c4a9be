"""Image parametrizations: pairs of ``init(key, n) → latents`` and ``decode(latents) → images`` in 0–255.

Latents are arrays, or pytrees of arrays, whose first axis is that of the images. All decoders of this package end in
one smooth bound, a logistic curve from 0 to 255, so that every pixel always has a gradient. Any pair of functions of
your own can be used as well, such as a generator's:

    Parametrization(lambda key, n: jax.random.normal(key, (n, 64)), Function(generator.apply, (params,)))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from ....errors import InvalidParameterError, StimulusError
from ....model.images import check_images

Images = Float[Array, "n 3 height width"]
MIDDLE, SLOPE = 127.5, 63.75  # value and slope of the bound at 0, grey levels
_EXACT = jax.lax.Precision.HIGHEST
# Black–white, blue–yellow and red–green, which are nearly uncorrelated in photographs (Ruderman, Cronin and Chiao
# 1998); their spreads relative to the first were measured on matplotlib's and scikit-learn's three photographs.
_AXES = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
COLOR = np.array([[1], [0.34], [0.28]]) * _AXES  # (axes, RGB)


class Parametrization(NamedTuple):
    """A way to write images as latents.

    Attributes
    ----------
    init
        Function (key, n) → latents of n images to start from.
    decode
        Function latents → images (n, 3, height, width) in 0–255. If it holds arrays, it should be a
        :class:`~berg_jax.experiments.synthesis.functions.Function`.

    See Also
    --------
    berg_jax.experiments.synthesis.parametrizations.pixels.pixels : Every pixel on its own.
    berg_jax.experiments.synthesis.parametrizations.fourier.fourier : Fourier coefficients.
    berg_jax.experiments.synthesis.parametrizations.fourier.phases : Fourier phases alone.
    berg_jax.experiments.synthesis.parametrizations.generators.principal_components : A small generator.
    """

    init: Callable[[Key[Array, ""], int], Any]
    decode: Callable[[Any], Images]


def bound(argument: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Map any number to 0–255 by a logistic curve: 127.5 at 0, with slope 63.75 there."""
    return 2 * MIDDLE * jax.nn.sigmoid(argument)


def inverse_bound(images: Num[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 3 h w"]:
    """Return the argument of :func:`bound` that gives these images.

    Black and white count as half a grey level off, because the bound never reaches them.
    """
    share = (images.astype(np.float64) + 0.5) / 256
    return np.log(share / (1 - share))


def start_argument(
    start: Num[np.ndarray, "*n 3 h w"] | None, n: int, size: int
) -> Float[np.ndarray, "n 3 size size"]:
    """Return the argument of :func:`bound` that gives n images to start from; zeros (grey) if ``start`` is None.

    Raises
    ------
    StimulusError
        The images are not ``size`` × ``size`` pixels in 0–255.
    InvalidParameterError
        There is neither one image nor one for each of n.
    """
    if start is None:
        return np.zeros((n, 3, size, size))
    start = np.asarray(start)
    images = start[None] if start.ndim == 3 else start
    check_images(images)
    if images.shape[2] != size:
        raise StimulusError(f"The images to start from must be {size} × {size} pixels, got {images.shape[2:]}.")
    if len(images) not in (1, n):
        raise InvalidParameterError(f"Give one image to start from or one for each of {n}, got {len(images)}.")
    return np.broadcast_to(inverse_bound(images), (n, *images.shape[1:]))


def measure_colors(photographs: Num[np.ndarray, "n 3 size size"]) -> Float[np.ndarray, "axes rgb"]:
    """Return the principal axes of photographs' colors, each as long as its spread relative to the first one's.

    Parameters
    ----------
    photographs
        Images in 0–255.

    Raises
    ------
    StimulusError
        They are no images.
    """
    check_images(photographs)
    colors = np.moveaxis(np.asarray(photographs, np.float64), 1, 0).reshape(3, -1)
    variance, axes = np.linalg.eigh(np.cov(colors))
    return (np.sqrt(variance / variance[-1]) * axes).T[::-1]


def to_rgb(color: Float[Array, "axes rgb"], axes: Float[Array, "n axes h w"]) -> Images:
    """Mix images of color axes into red, green and blue."""
    return jnp.einsum("nkhw,kc->nchw", axes, color, precision=_EXACT)

"""A small generator of images, to be fitted in a second: what a user's own, larger one is in its place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from ....demo import images as drawings
from ....demo.stimuli import CATEGORIES
from ....errors import InvalidParameterError
from ....model.images import check_images
from ..functions import Function
from .fourier import Parametrization, bound, unbounded

_COARSE = 56  # pixels along a side of what is fitted
_EACH = 16  # drawings of a category
_FARTHEST = 3.0  # standard deviations, what latents are bounded by


def principal_components(images: Num[np.ndarray, "n 3 size size"], latents: int = 24) -> Parametrization:
    """Images as their principal components make them, of unit variance, before a bound to 0–255.

    They are fitted and mixed at 56 × 56 pixels. Latents are bounded to ± 3 standard deviations by a smooth curve, so
    that what is made stays near what was fitted.

    Parameters
    ----------
    images
        What to fit, in 0–255.
    latents
        How many components.

    Raises
    ------
    InvalidParameterError
        There are not more images than components.
    StimulusError
        They are no images.
    """
    check_images(images)
    count, _, size, _ = images.shape
    if not 1 <= latents < count:
        raise InvalidParameterError(
            f"latents must be from 1 to less than the number of images, {count}; got {latents}."
        )
    coarse = jax.image.resize(jnp.asarray(images, float), (count, 3, _COARSE, _COARSE), "linear")
    rows = unbounded(np.asarray(coarse)).reshape(count, -1)
    mean = rows.mean(axis=0)
    left, lengths, axes = np.linalg.svd(rows - mean, full_matrices=False)
    components = lengths[:latents, None] * axes[:latents] / np.sqrt(count - 1)
    # An axis has no sign of its own: the first image is on its positive side.
    components *= np.where(left[0, :latents] < 0, -1, 1)[:, None]

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n latents"]:
        return jax.random.normal(key, (n, latents))

    shape = (3, _COARSE, _COARSE)
    numbers = (mean.reshape(shape), components.reshape(latents, *shape))
    decode = Function(_mixed, (*(jnp.asarray(x, float) for x in numbers), jnp.zeros(size)))
    return Parametrization(init, decode)


def example_generator(latents: int = 24) -> Parametrization:
    """:func:`principal_components` of the demo's drawings: faces, bodies, places, words and objects, 16 of each."""
    return principal_components(np.concatenate([drawings(category, _EACH, 1) for category in CATEGORIES]), latents)


def _mixed(
    mean: Float[Array, "3 h w"],
    components: Float[Array, "latents 3 h w"],
    side: Float[Array, " size"],
    latents: Float[Array, "n latents"],
) -> Float[Array, "n 3 size size"]:
    latents = _FARTHEST * jnp.tanh(latents / _FARTHEST)
    mixed = jnp.tensordot(latents, components, 1, precision=jax.lax.Precision.HIGHEST) + mean[None]
    return bound(jax.image.resize(mixed, (len(latents), 3, len(side), len(side)), "cubic"))

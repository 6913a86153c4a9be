"""A small image generator, fitted in a second: principal components, in place of a larger generator of your own."""

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
from .base import Parametrization, bound, inverse_bound

_COARSE = 56  # side in pixels of the images that are fitted
_EACH = 16  # drawings of each category
_FARTHEST = 3.0  # bound of the latents, standard deviations


def principal_components(images: Num[np.ndarray, "n 3 size size"], latents: int = 24) -> Parametrization:
    """Return a parametrization by the principal components of images, which latents of unit variance mix.

    Components are fitted and mixed at 56 × 56 pixels, before the bound to 0–255. A smooth curve bounds latents to ± 3
    standard deviations, so that images stay near those that were fitted.

    Parameters
    ----------
    images
        Images to fit, in 0–255.
    latents
        Number of components.

    Raises
    ------
    InvalidParameterError
        There are not more images than components.
    StimulusError
        They are no images.

    See Also
    --------
    example_generator : The same, fitted to drawings.
    berg_jax.experiments.synthesis.search.evolution.evolve : Search a generator's latents without gradients.

    Examples
    --------
    >>> from berg_jax.demo import images
    >>> generator = principal_components(images("natural", 4), latents=2)
    >>> generator.decode(jnp.zeros((1, 2))).shape
    (1, 3, 224, 224)
    """
    check_images(images)
    count, _, size, _ = images.shape
    if not 1 <= latents < count:
        raise InvalidParameterError(
            f"latents must be from 1 to less than the number of images, {count}; got {latents}."
        )
    coarse = jax.image.resize(jnp.asarray(images, float), (count, 3, _COARSE, _COARSE), "linear")
    rows = inverse_bound(np.asarray(coarse)).reshape(count, -1)
    mean = rows.mean(axis=0)
    left, lengths, axes = np.linalg.svd(rows - mean, full_matrices=False)
    components = lengths[:latents, None] * axes[:latents] / np.sqrt(count - 1)
    # An axis has no sign of its own, so the first image is put on its positive side.
    components *= np.where(left[0, :latents] < 0, -1, 1)[:, None]

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n latents"]:
        return jax.random.normal(key, (n, latents))

    shape = (3, _COARSE, _COARSE)
    mean_image = jnp.asarray(mean.reshape(shape), float)
    component_images = jnp.asarray(components.reshape(latents, *shape), float)
    # The size stands in a shape, because it decides the shape of the images.
    decode = Function(mix_components, (mean_image, component_images, jnp.zeros(size)))
    return Parametrization(init, decode)


def example_generator(latents: int = 24) -> Parametrization:
    """Return the :func:`principal_components` of the demo's drawings of faces, bodies, places, words and objects.

    There are 16 drawings of each category.

    Parameters
    ----------
    latents
        Number of components.
    """
    images = np.concatenate([drawings(category, _EACH, 1) for category in CATEGORIES])
    return principal_components(images, latents)


def encode_components(
    mean: Float[Array, "3 h w"], components: Float[Array, "latents 3 h w"], images: Float[Array, "n 3 size size"]
) -> Float[Array, "n latents"]:
    """Return the latents whose image, mixed by :func:`mix_components`, is nearest to each image before the bound.

    Parameters
    ----------
    mean, components
        Mean image and components, before the bound.
    images
        Images in 0–255.
    """
    share = (jax.image.resize(images, (len(images), *mean.shape), "linear") + 0.5) / 256
    rows = (jnp.log(share / (1 - share)) - mean[None]).reshape(len(images), -1)
    axes = components.reshape(len(components), -1)
    product = jnp.matmul(rows, axes.T, precision=jax.lax.Precision.HIGHEST) / (axes**2).sum(axis=1)[None]
    return _FARTHEST * jnp.arctanh(jnp.clip(product / _FARTHEST, -0.98, 0.98))


def mix_components(
    mean: Float[Array, "3 h w"],
    components: Float[Array, "latents 3 h w"],
    side: Float[Array, " size"],
    latents: Float[Array, "n latents"],
) -> Float[Array, "n 3 size size"]:
    """Return the images that latents mix from components, ``len(side)`` pixels on a side, in 0–255."""
    latents = _FARTHEST * jnp.tanh(latents / _FARTHEST)
    mixed = jnp.tensordot(latents, components, 1, precision=jax.lax.Precision.HIGHEST) + mean[None]
    return bound(jax.image.resize(mixed, (len(latents), 3, len(side), len(side)), "cubic"))

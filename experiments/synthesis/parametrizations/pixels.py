"""Pixel parametrization: every pixel is a latent of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from ....model.nn.config import IMAGE
from ..functions import Function
from .base import Parametrization, bound, start_argument


def pixels(
    size: int = IMAGE, *, start: Num[np.ndarray, "*n 3 size size"] | None = None, noise: float = 0.1
) -> Parametrization:
    """Return a parametrization by pixels.

    Parameters
    ----------
    size
        Side of the images in pixels.
    start
        Image (3, size, size) to start from, or one for each of n, in 0–255; by default grey. Black and white count as
        half a grey level off.
    noise
        Standard deviation of the noise that is added to the start, in units of the bound's argument: 0.1 is about 6
        grey levels.

    See Also
    --------
    berg_jax.experiments.synthesis.parametrizations.fourier.fourier : Fourier coefficients, which prefer no scale.

    Examples
    --------
    >>> parametrization = pixels(size=32)
    >>> latents = parametrization.init(jax.random.key(0), 2)
    >>> parametrization.decode(latents).shape
    (2, 3, 32, 32)
    """

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n 3 size size"]:
        argument = jnp.asarray(start_argument(start, n, size), float)
        return argument + noise * jax.random.normal(key, (n, 3, size, size))

    return Parametrization(init, Function(bound))

"""What a stimulus is made of: ``init(key, n) → latents`` and ``decode(latents) → images`` in 0–255.

Latents are arrays, or pytrees of them, with the images as their first axis. All decoders here end in one smooth
bound, a logistic curve from 0 to 255, so that no pixel is ever without gradient. Any pair of functions of your own
does as well, such as a generator's:

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
from ....model.nn.config import IMAGE
from ..functions import Function

Images = Float[Array, "n 3 height width"]
_EXACT = jax.lax.Precision.HIGHEST
_MIDDLE, _SLOPE = 127.5, 63.75  # of the bound, grey levels
# Black–white, blue–yellow and red–green, which are nearly uncorrelated in photographs (Ruderman, Cronin and Chiao
# 1998); their spreads relative to the first were measured on matplotlib's and scikit-learn's three photographs.
_AXES = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
COLOR = np.array([[1], [0.34], [0.28]]) * _AXES  # (axes, RGB)


class Parametrization(NamedTuple):
    """A way to write images.

    ``init(key, n)`` gives the first latents of n images, ``decode(latents)`` their images (n, 3, height, width) in
    0–255: a :class:`~berg_jax.experiments.synthesis.functions.Function` if it holds arrays.
    """

    init: Callable[[Key[Array, ""], int], Any]
    decode: Callable[[Any], Images]


def pixels(
    size: int = IMAGE, *, start: Num[np.ndarray, "*n 3 size size"] | None = None, noise: float = 0.1
) -> Parametrization:
    """Every pixel on its own.

    Parameters
    ----------
    size
        Side of the images in pixels.
    start
        Where to start: an image (3, size, size) or one for each of n, in 0–255; by default grey. Black and white
        are taken to be half a grey level off.
    noise
        Standard deviation of what is added, in units of the bound's argument (0.1 is about 6 grey levels).
    """

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n 3 size size"]:
        return jnp.asarray(_unbounded(start, n, size), float) + noise * jax.random.normal(key, (n, 3, size, size))

    return Parametrization(init, Function(bound))


def fourier(
    size: int = IMAGE,
    *,
    start: Num[np.ndarray, "*n 3 size size"] | None = None,
    noise: float = 0.3,
    decay: float = 1.0,
    color: Float[np.ndarray, "axes rgb"] = COLOR,
) -> Parametrization:
    """Fourier coefficients of decorrelated colors, scaled as photographs' are, so that no scale is preferred.

    Parameters
    ----------
    size, start
        As of :func:`pixels`.
    noise
        Standard deviation of the noise image that is added, in units of the bound's argument.
    decay
        The power of frequency that amplitudes fall off with.
    color
        Colors as rows, such as :func:`measure_colors` gives.

    References
    ----------
    Olah, Mordvintsev and Schubert 2017, *Feature visualization*, Distill.
    """
    scale = 1 / np.maximum(_frequency(size), 1 / size) ** decay
    scale *= size / np.sqrt((scale**2 * _energy(size)).sum())  # unit latents make an image of unit variance
    color = np.asarray(color, float)

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n 3 size half 2"]:
        axes = np.einsum("nchw,ck->nkhw", _unbounded(start, n, size), np.linalg.inv(color))
        spectrum = np.fft.rfft2(axes, norm="ortho") / scale
        latents = jnp.asarray(np.stack([spectrum.real, spectrum.imag], axis=-1), float)
        return latents + noise * jax.random.normal(key, latents.shape)

    return Parametrization(init, Function(_from_fourier, (jnp.asarray(scale, float), jnp.asarray(color, float))))


class Spectrum(NamedTuple):
    """What photographs have in common: ``magnitude`` (axes, size, size // 2 + 1), ``mean`` (axes,), ``color``.

    In units of the bound's argument; ``source`` says what it was measured on.
    """

    magnitude: Float[np.ndarray, "axes size half"]
    mean: Float[np.ndarray, " axes"]
    color: Float[np.ndarray, "axes rgb"]
    source: str


def measure_spectrum(
    photographs: Num[np.ndarray, "n 3 size size"], source: str, color: Float[np.ndarray, "axes rgb"] = COLOR
) -> Spectrum:
    """The mean magnitude spectrum and color of photographs.

    Each is seen through a Hann window of unit mean square, or else its borders, where left does not go on from right,
    would be in the spectrum as a cross.

    Parameters
    ----------
    photographs
        (n, 3, size, size) in 0–255.
    source
        What they are, for the record.
    color
        The colors whose spectra are measured.

    Raises
    ------
    StimulusError
        They are no images.
    """
    check_images(photographs)
    argument = (np.asarray(photographs, np.float64) - _MIDDLE) / _SLOPE
    axes = np.einsum("nchw,ck->nkhw", argument, np.linalg.inv(color))
    mean = axes.mean(axis=(0, 2, 3))
    window = np.sin(np.pi * np.arange(axes.shape[3]) / axes.shape[3]) ** 2 / np.sqrt(3 / 8)
    seen = (axes - axes.mean(axis=(2, 3), keepdims=True)) * window[:, None] * window
    seen -= seen.mean(axis=(2, 3), keepdims=True)
    return Spectrum(np.abs(np.fft.rfft2(seen, norm="ortho")).mean(axis=0), mean, np.asarray(color, float), source)


def phases(spectrum: Spectrum) -> Parametrization:
    """Phases alone: the magnitude of every frequency stays the photographs' (before the bound).

    Starts from random phases.

    Parameters
    ----------
    spectrum
        From :func:`measure_spectrum`.

    References
    ----------
    Fel et al. 2023, *Unlocking feature visualization for deeper networks with magnitude constrained optimization*,
    NeurIPS.
    """

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n axes size half"]:
        return jax.random.uniform(key, (n, *spectrum.magnitude.shape), minval=-np.pi, maxval=np.pi)

    numbers = (spectrum.magnitude, spectrum.mean, spectrum.color)
    return Parametrization(init, Function(_from_phases, tuple(jnp.asarray(x, float) for x in numbers)))


def measure_colors(photographs: Num[np.ndarray, "n 3 size size"]) -> Float[np.ndarray, "axes rgb"]:
    """The principal axes of photographs' colors, each as long as its spread relative to the first one's.

    Raises
    ------
    StimulusError
        They are no images.
    """
    check_images(photographs)
    colors = np.moveaxis(np.asarray(photographs, np.float64), 1, 0).reshape(3, -1)
    variance, axes = np.linalg.eigh(np.cov(colors))
    return (np.sqrt(variance / variance[-1]) * axes).T[::-1]


def bound(argument: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Any number → 0–255: 127.5 at 0, with slope 63.75 there."""
    return 2 * _MIDDLE * jax.nn.sigmoid(argument)


def unbounded(images: Num[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 3 h w"]:
    """The argument of the bound that gives these images; black and white are taken to be half a grey level off."""
    share = (images.astype(np.float64) + 0.5) / 256
    return np.log(share / (1 - share))


def _unbounded(start: Num[np.ndarray, "*n 3 h w"] | None, n: int, size: int) -> Float[np.ndarray, "n 3 h w"]:
    """The argument of the bound that gives these images; zeros for none."""
    if start is None:
        return np.zeros((n, 3, size, size))
    start = np.asarray(start)
    images = start[None] if start.ndim == 3 else start
    check_images(images)
    if images.shape[2] != size:
        raise StimulusError(f"The images to start from must be {size} × {size} pixels, got {images.shape[2:]}.")
    if len(images) not in (1, n):
        raise InvalidParameterError(f"Give one image to start from or one for each of {n}, got {len(images)}.")
    return np.broadcast_to(unbounded(images), (n, *images.shape[1:]))


def _frequency(size: int) -> Float[np.ndarray, "size half"]:
    """Cycles per pixel."""
    return np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])


def _energy(size: int) -> Float[np.ndarray, "1 half"]:
    """What coefficients of the half spectrum add to an image's energy, their parts' variance being 1."""
    columns = np.full(size // 2 + 1, 4.0)  # both parts, at the frequency and at its mirror image
    columns[_real_columns(size)] = 1  # which are both in here, and only what they agree on counts
    return columns[None]


def _real_columns(size: int) -> list[int]:
    """Columns of the half spectrum that hold both a frequency and its mirror image."""
    return [0, size // 2] if size % 2 == 0 else [0]


def _colored(color: Float[Array, "axes rgb"], axes: Float[Array, "n axes h w"]) -> Images:
    return jnp.einsum("nkhw,kc->nchw", axes, color, precision=_EXACT)


def _from_fourier(scale: Array, color: Array, latents: Float[Array, "n axes size half 2"]) -> Images:
    size = scale.shape[0]
    spectrum = jax.lax.complex(latents[..., 0], latents[..., 1]) * scale[None, None]
    return bound(_colored(color, jnp.fft.irfft2(spectrum, (size, size), norm="ortho")))


def _from_phases(magnitude: Array, mean: Array, color: Array, latents: Float[Array, "n axes size half"]) -> Images:
    size = magnitude.shape[1]
    # A real image's spectrum has opposite phases at opposite frequencies: these columns hold both.
    both = np.isin(np.arange(magnitude.shape[2]), _real_columns(size))[None, None, None]
    mirrored = jnp.roll(latents[..., ::-1, :], 1, axis=-2)
    phase = jnp.where(both, (latents - mirrored) / 2, latents)
    spectrum = jax.lax.complex(jnp.cos(phase), jnp.sin(phase)) * magnitude[None]
    axes = jnp.fft.irfft2(spectrum, (size, size), norm="ortho") + mean[None, :, None, None]
    return bound(_colored(color, axes))

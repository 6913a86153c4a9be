"""Fourier parametrizations: coefficients scaled like photographs' spectra, or phases under a fixed magnitude."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from ....model.images import check_images
from ....model.nn.config import IMAGE
from ..functions import Function
from .base import COLOR, MIDDLE, SLOPE, Images, Parametrization, bound, start_argument, to_rgb


def fourier(
    size: int = IMAGE,
    *,
    start: Num[np.ndarray, "*n 3 size size"] | None = None,
    noise: float = 0.3,
    decay: float = 1.0,
    color: Float[np.ndarray, "axes rgb"] = COLOR,
) -> Parametrization:
    """Return a parametrization by Fourier coefficients of decorrelated color axes.

    Coefficients are scaled by frequency as in photographs, so that no spatial scale is preferred.

    Parameters
    ----------
    size, start
        See :func:`~berg_jax.experiments.synthesis.parametrizations.pixels.pixels`.
    noise
        Standard deviation of the noise image that is added to the start, in units of the bound's argument.
    decay
        Exponent of frequency with which amplitudes fall off.
    color
        Color axes as rows, such as
        :func:`~berg_jax.experiments.synthesis.parametrizations.base.measure_colors` returns.

    See Also
    --------
    phases : Keep the magnitudes, and optimize the phases alone.
    berg_jax.experiments.synthesis.parametrizations.pixels.pixels : Every pixel on its own.

    References
    ----------
    Olah, Mordvintsev and Schubert 2017, *Feature visualization*, Distill.

    Examples
    --------
    >>> parametrization = fourier(size=32)
    >>> latents = parametrization.init(jax.random.key(0), 2)
    >>> parametrization.decode(latents).shape
    (2, 3, 32, 32)
    """
    scale = 1 / np.maximum(_frequency(size), 1 / size) ** decay
    scale *= size / np.sqrt((scale**2 * _energy(size)).sum())  # latents of unit variance make images of unit variance
    color = np.asarray(color, float)

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n 3 size half 2"]:
        axes = np.einsum("nchw,ck->nkhw", start_argument(start, n, size), np.linalg.inv(color))
        spectrum = np.fft.rfft2(axes, norm="ortho") / scale
        latents = jnp.asarray(np.stack([spectrum.real, spectrum.imag], axis=-1), float)
        return latents + noise * jax.random.normal(key, latents.shape)

    return Parametrization(init, Function(_from_fourier, (jnp.asarray(scale, float), jnp.asarray(color, float))))


class Spectrum(NamedTuple):
    """The mean magnitude spectrum and color of photographs, in units of the bound's argument.

    Attributes
    ----------
    magnitude
        Mean magnitude of each frequency, (axes, size, size // 2 + 1).
    mean
        Mean of each color axis.
    color
        Color axes as rows.
    source
        Description of the photographs that were measured.
    """

    magnitude: Float[np.ndarray, "axes size half"]
    mean: Float[np.ndarray, " axes"]
    color: Float[np.ndarray, "axes rgb"]
    source: str


def measure_spectrum(
    photographs: Num[np.ndarray, "n 3 size size"], source: str, color: Float[np.ndarray, "axes rgb"] = COLOR
) -> Spectrum:
    """Measure the mean magnitude spectrum and the mean color of photographs.

    Each photograph is seen through a Hann window of unit mean square. Without it the borders, where the left side
    does not continue the right, would appear in the spectrum as a cross.

    Parameters
    ----------
    photographs
        Images (n, 3, size, size) in 0–255.
    source
        Description of the photographs, for the record.
    color
        Color axes whose spectra are measured.

    Raises
    ------
    StimulusError
        They are no images.

    See Also
    --------
    phases : Make images with this spectrum.
    """
    check_images(photographs)
    argument = (np.asarray(photographs, np.float64) - MIDDLE) / SLOPE
    axes = np.einsum("nchw,ck->nkhw", argument, np.linalg.inv(color))
    mean = axes.mean(axis=(0, 2, 3))
    window = np.sin(np.pi * np.arange(axes.shape[3]) / axes.shape[3]) ** 2 / np.sqrt(3 / 8)
    windowed = (axes - axes.mean(axis=(2, 3), keepdims=True)) * window[:, None] * window
    windowed -= windowed.mean(axis=(2, 3), keepdims=True)
    magnitude = np.abs(np.fft.rfft2(windowed, norm="ortho")).mean(axis=0)
    return Spectrum(magnitude=magnitude, mean=mean, color=np.asarray(color, float), source=source)


def phases(spectrum: Spectrum) -> Parametrization:
    """Return a parametrization by Fourier phases alone, which starts from random phases.

    The magnitude of every frequency stays that of the photographs (before the bound).

    Parameters
    ----------
    spectrum
        Spectrum from :func:`measure_spectrum`.

    See Also
    --------
    fourier : Optimize the coefficients themselves.

    References
    ----------
    Fel et al. 2023, *Unlocking feature visualization for deeper networks with magnitude constrained optimization*,
    NeurIPS.

    Examples
    --------
    >>> from berg_jax.demo import images
    >>> parametrization = phases(measure_spectrum(images("natural", 2), "two drawings"))
    >>> latents = parametrization.init(jax.random.key(0), 1)
    >>> parametrization.decode(latents).shape
    (1, 3, 224, 224)
    """

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n axes size half"]:
        return jax.random.uniform(key, (n, *spectrum.magnitude.shape), minval=-np.pi, maxval=np.pi)

    numbers = (spectrum.magnitude, spectrum.mean, spectrum.color)
    return Parametrization(init, Function(_from_phases, tuple(jnp.asarray(x, float) for x in numbers)))


def phases_of(photograph: Num[np.ndarray, "3 size size"], noise: float = 0.0) -> Parametrization:
    """Return a parametrization by Fourier phases that starts as a photograph and keeps its magnitudes.

    Parameters
    ----------
    photograph
        Image in 0–255.
    noise
        Standard deviation of the noise that is added to the first phases, in radians.

    Raises
    ------
    StimulusError
        It is no image.

    See Also
    --------
    phases : Start from random phases, with the mean magnitudes of many photographs.
    berg_jax.experiments.synthesis.priors.accentuation.accentuate : Change a photograph by its phases.

    Examples
    --------
    >>> photograph = np.random.default_rng(0).uniform(50, 200, (3, 16, 16))
    >>> parametrization = phases_of(photograph)
    >>> decoded = parametrization.decode(parametrization.init(jax.random.key(0), 1))[0]
    >>> bool(np.abs(decoded - photograph).max() < 0.5)
    True
    """
    photograph = np.asarray(photograph)
    check_images(photograph[None])
    size = photograph.shape[1]
    axes = np.einsum("nchw,ck->nkhw", start_argument(photograph, 1, size), np.linalg.inv(COLOR))[0]
    mean = axes.mean(axis=(1, 2))
    spectrum = np.fft.rfft2(axes - mean[:, None, None], norm="ortho")
    magnitude, phase = np.abs(spectrum), np.angle(spectrum)
    # Where a frequency is its own mirror image, the coefficient is real, and its sign is kept with the magnitude.
    alone = [0, size // 2] if size % 2 == 0 else [0]
    for row in alone:
        for column in alone:
            magnitude[:, row, column] = spectrum[:, row, column].real
            phase[:, row, column] = 0

    def init(key: Key[Array, ""], n: int) -> Float[Array, "n axes size half"]:
        return jnp.asarray(phase, float)[None] + noise * jax.random.normal(key, (n, *phase.shape))

    return Parametrization(
        init, Function(_from_phases, tuple(jnp.asarray(x, float) for x in (magnitude, mean, COLOR)))
    )


def _frequency(size: int) -> Float[np.ndarray, "size half"]:
    """Return the frequency of each coefficient of the half spectrum, in cycles per pixel."""
    return np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])


def _energy(size: int) -> Float[np.ndarray, "1 half"]:
    """Return the energy that a coefficient of each column adds to an image, if its parts have variance 1."""
    columns = np.full(size // 2 + 1, 4.0)  # real and imaginary part, at the frequency and at its mirror image
    columns[_real_columns(size)] = 1  # these columns hold both frequencies, and only their common part counts
    return columns[None]


def _real_columns(size: int) -> list[int]:
    """Return the columns of the half spectrum that hold both a frequency and its mirror image."""
    return [0, size // 2] if size % 2 == 0 else [0]


def _from_fourier(scale: Array, color: Array, latents: Float[Array, "n axes size half 2"]) -> Images:
    size = scale.shape[0]
    spectrum = jax.lax.complex(latents[..., 0], latents[..., 1]) * scale[None, None]
    return bound(to_rgb(color, jnp.fft.irfft2(spectrum, (size, size), norm="ortho")))


def _from_phases(magnitude: Array, mean: Array, color: Array, latents: Float[Array, "n axes size half"]) -> Images:
    size = magnitude.shape[1]
    # A real image's spectrum has opposite phases at opposite frequencies, and some columns hold both.
    both = np.isin(np.arange(magnitude.shape[2]), _real_columns(size))[None, None, None]
    mirrored = jnp.roll(latents[..., ::-1, :], 1, axis=-2)
    phase = jnp.where(both, (latents - mirrored) / 2, latents)
    spectrum = jax.lax.complex(jnp.cos(phase), jnp.sin(phase)) * magnitude[None]
    axes = jnp.fft.irfft2(spectrum, (size, size), norm="ortho") + mean[None, :, None, None]
    return bound(to_rgb(color, axes))

"""Gradients through every way to write an image, every penalty and every projection, against PyTorch's in float64."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax.convert.synthetic import natural_like_images
from berg_jax.experiments.synthesis import priors
from berg_jax.experiments.synthesis.parametrizations.base import Parametrization
from berg_jax.experiments.synthesis.parametrizations.fourier import fourier, measure_spectrum, phases
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.nightly]

SIZE = 24
NATURAL = natural_like_images(4, 1, SIZE).astype(np.float64)
ODD = NATURAL[:, :, 1:, 1:]
LUMA = (0.2126, 0.7152, 0.0722)
run = jax.jit(lambda function, *arguments: function(*arguments))


def tensor(values: object) -> torch.Tensor:
    return torch.tensor(np.asarray(values, np.float64))


PHOTOGRAPH = tensor(NATURAL[0])


def from_pixels(latents: torch.Tensor) -> torch.Tensor:
    return 255 * torch.sigmoid(latents)


def from_spectrum(spectrum: torch.Tensor, mean: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    side = spectrum.shape[-2]
    axes = torch.fft.irfft2(spectrum, s=(side, side), norm="ortho") + mean[:, None, None]
    return from_pixels(torch.einsum("nkhw,kc->nchw", axes, color))


def from_coefficients(scale: torch.Tensor, color: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    return from_spectrum(torch.view_as_complex(latents) * scale, torch.zeros(3), color)


def from_phases(
    magnitude: torch.Tensor, mean: torch.Tensor, color: torch.Tensor, latents: torch.Tensor
) -> torch.Tensor:
    side, width = latents.shape[-2:]
    opposite = torch.roll(torch.flip(latents, [-2]), 1, -2)
    column = torch.arange(width)
    paired = (column == 0) | ((column == width - 1) & (side % 2 == 0))
    phase = torch.where(paired, (latents - opposite) / 2, latents)
    return from_spectrum(torch.polar(magnitude.expand_as(phase), phase), mean, color)


PARAMETRIZATIONS: dict[str, tuple[Callable[[], Parametrization], Callable[..., torch.Tensor]]] = {
    "pixels": (lambda: pixels(SIZE), from_pixels),
    "pixels of a photograph": (lambda: pixels(SIZE, start=NATURAL[0]), from_pixels),
    "fourier": (lambda: fourier(SIZE), from_coefficients),
    "fourier of a photograph": (lambda: fourier(SIZE, start=NATURAL[0], noise=0.05), from_coefficients),
    "fourier, odd": (lambda: fourier(SIZE - 1, start=ODD[0], noise=0.05), from_coefficients),
    "phases": (lambda: phases(measure_spectrum(NATURAL, "synthetic")), from_phases),
    "phases, odd": (lambda: phases(measure_spectrum(ODD, "synthetic")), from_phases),
}


def total_variation(images: torch.Tensor) -> torch.Tensor:
    right, down = images.diff(dim=-1)[:, :, :-1], images.diff(dim=-2)[..., :-1]
    return (right**2 + down**2 + 1e-6).sqrt().mean((1, 2, 3))


def distance(images: torch.Tensor) -> torch.Tensor:
    return (images - PHOTOGRAPH).square().mean((1, 2, 3)).sqrt()


def likeness(images: torch.Tensor) -> torch.Tensor:
    coarse = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    first, second = torch.triu_indices(len(images), len(images), 1)
    return torch.corrcoef(coarse.flatten(1))[first, second].mean()[None]


def within_l2(images: torch.Tensor) -> torch.Tensor:
    away = images - PHOTOGRAPH
    return PHOTOGRAPH + away * (9 / distance(images)).clamp(max=1)[:, None, None, None]


def within_linf(images: torch.Tensor) -> torch.Tensor:
    return PHOTOGRAPH + 9 * torch.tanh((images - PHOTOGRAPH) / 9)


def luminance_and_contrast(images: torch.Tensor) -> torch.Tensor:
    """Newton's method to its end without a gradient, then one step with it: that step's is the root's."""
    wanted = tensor([110, 75])

    def statistics(image: torch.Tensor) -> torch.Tensor:
        grey = torch.einsum("c,chw->hw", tensor(LUMA), image)
        return torch.stack([grey.mean(), grey.std(correction=0)])

    def changed(image: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        return torch.clamp(pair[0] * (image - statistics(image)[0]) + pair[1], 0, 255)

    def one(image: torch.Tensor) -> torch.Tensor:
        fixed = image.detach()
        pair = torch.stack([wanted[1] / statistics(fixed)[1], wanted[0]])
        for _ in range(50):
            slope = torch.autograd.functional.jacobian(lambda pair: statistics(changed(fixed, pair)), pair)
            pair = pair - torch.linalg.solve(slope, statistics(changed(fixed, pair)) - wanted)
        assert (statistics(changed(fixed, pair)) - wanted).abs().max() < 1e-9
        return changed(image, pair - torch.linalg.solve(slope, statistics(changed(image, pair)) - wanted))

    return torch.stack([one(image) for image in images])


PRIORS: dict[str, tuple[Callable[[], Callable[..., jax.Array]], Callable[[torch.Tensor], torch.Tensor]]] = {
    "total variation": (priors.total_variation, total_variation),
    "distance": (lambda: priors.distance(NATURAL[0]), distance),
    "likeness": (priors.likeness, likeness),
    "within, l2": (lambda: priors.within(NATURAL[0], 9), within_l2),
    "within, linf": (lambda: priors.within(NATURAL[0], 9, "linf"), within_linf),
    "luminance and contrast": (lambda: priors.luminance_and_contrast(110, 75), luminance_and_contrast),
}


def compare(ours: Callable[..., jax.Array], theirs: Callable[[torch.Tensor], torch.Tensor], at: np.ndarray) -> None:
    """Values, and the gradient of a weighted sum of their squares."""
    leaf = tensor(at).requires_grad_()
    expected = theirs(leaf)
    weights = np.random.default_rng(1).normal(size=expected.shape)
    (tensor(weights) * expected**2).sum().backward()
    values, pull = jax.vjp(lambda leaf: run(ours, leaf), jnp.asarray(at))
    assert values.dtype == jnp.float64
    np.testing.assert_allclose(values, expected.detach(), rtol=1e-6)
    (gradient,) = pull(2 * weights * values)
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-5, atol=1e-6 * float(leaf.grad.abs().max()))


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_gradients_through_parametrizations(name: str) -> None:
    make, theirs = PARAMETRIZATIONS[name]
    with jax.enable_x64(True):
        images = make()
        numbers = [tensor(number) for number in images.decode.numbers]
        latents = np.array(images.init(jax.random.key(0), 2))
        compare(images.decode, lambda leaf: theirs(*numbers, leaf), latents)


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_through_penalties_and_projections(name: str) -> None:
    make, theirs = PRIORS[name]
    with jax.enable_x64(True):
        compare(make(), theirs, NATURAL[1:])

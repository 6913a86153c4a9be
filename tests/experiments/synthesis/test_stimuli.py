"""How synthesized images are written and what they are kept to: spectra, bounds, statistics, exact gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.signal import windows

import berg_jax
from berg_jax.convert.synthetic import natural_like_images
from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.experiments.synthesis import augmentations, objectives, priors
from berg_jax.experiments.synthesis.functions import Function
from berg_jax.experiments.synthesis.parametrizations.base import COLOR, Parametrization, measure_colors
from berg_jax.experiments.synthesis.parametrizations.fourier import fourier, measure_spectrum, phases, phases_of
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels
from berg_jax.vertices import Vertices

from ...conftest import Golden

SIZE = 24
NATURAL = natural_like_images(6, 1, SIZE)
PHOTOGRAPH = NATURAL[0]
KEY = jax.random.key(0)
LUMA = (0.2126, 0.7152, 0.0722)
run = jax.jit(lambda function, *arguments: function(*arguments))


def generator() -> Parametrization:
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3 * SIZE * SIZE)), float)

    def decode(weights: jax.Array, latents: jax.Array) -> jax.Array:
        return 255 * jax.nn.sigmoid(jnp.sin(latents @ weights)).reshape(-1, 3, SIZE, SIZE)

    return Parametrization(lambda key, n: jax.random.normal(key, (n, 8)), Function(decode, (weights,)))


PARAMETRIZATIONS: dict[str, Callable[[], Parametrization]] = {
    "pixels": lambda: pixels(SIZE),
    "pixels of a photograph": lambda: pixels(SIZE, start=PHOTOGRAPH),
    "fourier": lambda: fourier(SIZE),
    "fourier of a photograph": lambda: fourier(SIZE, start=PHOTOGRAPH, noise=0.05),
    "fourier, odd": lambda: fourier(SIZE - 1, color=measure_colors(NATURAL)),
    "phases": lambda: phases(measure_spectrum(NATURAL, "synthetic")),
    "phases, odd": lambda: phases(measure_spectrum(NATURAL[:, :, 1:, 1:], "synthetic")),
    "phases of a photograph": lambda: phases_of(PHOTOGRAPH, noise=0.05),
    "generator": generator,
}
PROJECTIONS: dict[str, Callable[[], Function]] = {
    "l2": lambda: priors.within(PHOTOGRAPH, 9),
    "linf": lambda: priors.within(PHOTOGRAPH, 9, "linf"),
    "l1": lambda: priors.within(PHOTOGRAPH, 9, "l1"),
    "l4": lambda: priors.within(PHOTOGRAPH, 9, 4),
    "luminance and contrast": lambda: priors.luminance_and_contrast(110, 75),
}
PENALTIES = {
    "total variation": priors.total_variation,
    "distance": lambda: priors.distance(PHOTOGRAPH),
    "likeness": priors.likeness,
}
AUGMENTATIONS = {
    "jitter": lambda: augmentations.jitter(3),
    "crops": lambda: augmentations.crops(0.5, 0.9),
    "rotations": lambda: augmentations.rotations(20),
    "noise": lambda: augmentations.noise(4),
    "blur": lambda: augmentations.blur(2),
    "all": lambda: augmentations.chain(augmentations.jitter(2), augmentations.crops(0.6, 1), augmentations.blur(1)),
}


def _plain(names: Iterable[str], kept: tuple[str, ...]) -> list:
    """The others are left to the nightly group."""
    return [name if name in kept else pytest.param(name, marks=pytest.mark.nightly) for name in names]


def spectrum_before_the_bound(images: jax.Array) -> np.ndarray:
    share = np.asarray(images, np.float64) / 255
    axes = np.einsum("nchw,ck->nkhw", np.log(share / (1 - share)), np.linalg.inv(COLOR))
    return np.abs(np.fft.rfft2(axes - axes.mean((2, 3), keepdims=True), norm="ortho"))


@pytest.mark.parametrize("name", _plain(PARAMETRIZATIONS, ("fourier",)))
def test_images_are_in_range_and_repeat(name: str) -> None:
    images = PARAMETRIZATIONS[name]()
    shown = np.asarray(run(images.decode, images.init(KEY, 2)))
    assert shown.shape in ((2, 3, SIZE, SIZE), (2, 3, SIZE - 1, SIZE - 1))
    assert shown.min() >= 0
    assert shown.max() <= 255
    assert np.abs(shown[0] - shown[1]).max() > 1
    np.testing.assert_array_equal(shown, run(images.decode, images.init(KEY, 2)))
    assert np.abs(shown - np.asarray(run(images.decode, images.init(jax.random.key(1), 2)))).max() > 1


@pytest.mark.parametrize("make", [pixels, fourier])
def test_a_photograph_to_start_from(make: Callable[..., Parametrization]) -> None:
    start = np.concatenate([NATURAL[:1], np.zeros_like(NATURAL[:1])])
    start[1, :, ::2] = 255  # black and white, which a bound reaches nowhere
    images = make(SIZE, start=start, noise=0)
    np.testing.assert_allclose(run(images.decode, images.init(KEY, 2)), start, atol=0.51)
    grey = make(SIZE, noise=0)
    np.testing.assert_allclose(run(grey.decode, grey.init(KEY, 1)), 127.5)
    latents = images.init(KEY, 2)
    gradient = jax.grad(lambda latents: run(images.decode, latents).sum())(latents)
    if make is pixels:  # no pixel without gradient, not even a white one
        assert float(gradient.min()) > 0.1


def test_unit_latents_of_fourier_have_unit_variance() -> None:
    images = fourier(SIZE, noise=1, color=np.eye(3))
    share = np.asarray(run(images.decode, images.init(KEY, 200)), np.float64) / 255
    assert np.isclose(np.log(share / (1 - share)).var(), 1, rtol=0.05)


@pytest.mark.parametrize("size", [SIZE, pytest.param(SIZE - 1, marks=pytest.mark.nightly)])
def test_phases_keep_the_magnitudes(size: int) -> None:
    photographs = NATURAL[:, :, :size, :size]
    spectrum = measure_spectrum(photographs, "synthetic")
    images = phases(spectrum)
    latents = images.init(KEY, 3)
    moved = latents + jax.random.normal(jax.random.key(5), latents.shape)
    for shown in (run(images.decode, latents), run(images.decode, moved)):
        np.testing.assert_allclose(spectrum_before_the_bound(shown), np.stack([spectrum.magnitude] * 3), atol=1e-4)
    argument = (photographs.astype(float) - 127.5) / 63.75
    axes = np.einsum("nchw,ck->nkhw", argument, np.linalg.inv(COLOR))
    seen = (axes - axes.mean((2, 3), keepdims=True)) * np.outer(*[windows.hann(size, sym=False)] * 2) / (3 / 8)
    expected = np.abs(np.fft.fft2(seen - seen.mean((2, 3), keepdims=True), norm="ortho")).mean(0)
    np.testing.assert_allclose(spectrum.magnitude, expected[..., : size // 2 + 1], atol=1e-9)


def test_measured_colors_are_uncorrelated() -> None:
    axes = measure_colors(NATURAL)
    colors = np.moveaxis(NATURAL.astype(float), 1, 0).reshape(3, -1)
    covariance = np.cov(np.linalg.inv(axes).T @ colors)
    np.testing.assert_allclose(covariance, covariance[0, 0] * np.eye(3), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(axes[0]), 1)


@pytest.mark.parametrize("contrast", [5, 40, 100])
def test_luminance_and_contrast_hold(contrast: float) -> None:
    images = jnp.asarray(NATURAL, float)
    shown = np.asarray(run(priors.luminance_and_contrast(110, contrast), images), np.float64)
    luma = np.einsum("nchw,c->nhw", shown, LUMA).reshape(len(shown), -1)
    assert 0 <= shown.min() <= shown.max() <= 255
    np.testing.assert_allclose(luma.mean(1) / 255, 110 / 255, atol=1e-6)
    np.testing.assert_allclose(luma.std(1) / 255, contrast / 255, atol=1e-6)
    if contrast == 100:
        assert (shown == 255).any()  # it was reached by clipping, not by luck


def most_contrast(image: np.ndarray, luminance: float) -> float:
    """What scaling, shifting and clipping can reach, by trying."""
    away, reached = image - image.mean(), []
    for scale in np.exp(np.linspace(0, 8, 80)):
        low, high = -1e5, 1e5
        for _ in range(50):
            middle = (low + high) / 2
            luma = np.einsum("c,chw->hw", LUMA, np.clip(scale * away + middle, 0, 255))
            low, high = (middle, high) if luma.mean() < luminance else (low, middle)
        reached.append(luma.std())
    return max(reached)


def test_what_has_no_such_luminance_and_contrast_is_nan() -> None:
    flat = jnp.full((1, 3, SIZE, SIZE), 40.0)
    lost = np.isnan(
        run(priors.luminance_and_contrast(110, 110), jnp.concatenate([jnp.asarray(NATURAL, float), flat]))
    )
    possible = [most_contrast(image, 110) > 110 for image in NATURAL]
    assert 0 < sum(possible) < len(NATURAL)
    assert (~lost.any((1, 2, 3))).tolist() == [*possible, False]


def test_norm_bounds_hold() -> None:
    images = jnp.asarray(NATURAL[1:4], float)
    near = np.asarray(run(priors.within(PHOTOGRAPH, 7), images), np.float64) - PHOTOGRAPH
    np.testing.assert_allclose(np.sqrt((near**2).mean((1, 2, 3))), 7, rtol=1e-6)
    inside = jnp.asarray(PHOTOGRAPH[None] + 3.0)
    np.testing.assert_allclose(run(priors.within(PHOTOGRAPH, 7), inside), inside, rtol=1e-6)
    flat = np.asarray(run(priors.within(PHOTOGRAPH, 7, "linf"), images), np.float64)
    assert np.abs(flat - PHOTOGRAPH).max() <= 7 + 1e-4
    assert 0 <= flat.min() <= flat.max() <= 255
    for p in (1, 3, 8):
        length = (np.abs(np.asarray(run(priors.within(PHOTOGRAPH, 7, p), images)) - PHOTOGRAPH) ** p).mean((1, 2, 3))
        np.testing.assert_allclose(length ** (1 / p), 7, rtol=1e-4)
    # The nearest point of the l1 ball is a soft threshold: all that is left moved by the same amount.
    sparse = np.asarray(run(priors.within(PHOTOGRAPH, 7, "l1"), images)) - PHOTOGRAPH
    whole = np.asarray(images) - PHOTOGRAPH
    np.testing.assert_allclose(np.abs(sparse).mean((1, 2, 3)), 7, rtol=1e-4)
    for one, before in zip(sparse, whole, strict=True):
        kept = np.abs(one) > 1e-3
        cut = np.abs(before - one)[kept]
        np.testing.assert_allclose(cut, cut.mean(), atol=2e-3)
        assert np.abs(before)[~kept].max() <= cut.mean() + 2e-3
        assert 0.05 < kept.mean() < 0.8
    both = priors.chain(priors.luminance_and_contrast(100, 30), priors.within(PHOTOGRAPH, 7))
    np.testing.assert_allclose(
        np.sqrt(((np.asarray(run(both, images)) - PHOTOGRAPH) ** 2).mean((1, 2, 3))), 7, rtol=1e-5
    )


def test_penalties() -> None:
    ramp = jnp.broadcast_to(3.0 * jnp.arange(SIZE), (2, 3, SIZE, SIZE))
    np.testing.assert_allclose(run(priors.total_variation(), ramp), 3, rtol=1e-6)
    np.testing.assert_allclose(priors.distance(PHOTOGRAPH)(jnp.asarray(PHOTOGRAPH[None] + 4.0)), 4, rtol=1e-6)
    same, other = jnp.asarray(NATURAL[[0, 0]], float), jnp.asarray(NATURAL[:2], float)
    np.testing.assert_allclose(run(priors.likeness(), same), 1, rtol=1e-5)
    assert float(run(priors.likeness(), other)[0]) < 0.9


def test_augmentations_do_what_they_say() -> None:
    images = jnp.asarray(NATURAL, float)
    shifted = np.asarray(run(augmentations.jitter(3), KEY, images))
    found = []
    for before, after in zip(NATURAL, shifted, strict=True):
        places = [
            (y, x) for y in range(-3, 4) for x in range(-3, 4) if (np.roll(before, (y, x), (1, 2)) == after).all()
        ]
        assert len(places) == 1
        found += places
    assert len(set(found)) > 2
    np.testing.assert_array_equal(run(augmentations.jitter(0), KEY, images), NATURAL)
    np.testing.assert_allclose(run(augmentations.crops(1, 1), KEY, images), NATURAL, atol=1e-3)
    np.testing.assert_allclose(run(augmentations.rotations(0), KEY, images), NATURAL, atol=1e-3)
    added = np.asarray(run(augmentations.noise(5), KEY, images)) - NATURAL
    assert np.isclose(added.std(), 5, rtol=0.05)
    blurred = np.asarray(run(augmentations.blur(2), KEY, images))
    np.testing.assert_allclose(blurred.mean((2, 3)), NATURAL.mean((2, 3)), rtol=1e-5)
    assert (blurred.std((2, 3)) < NATURAL.std((2, 3))).all()


def test_crops_and_rotations_against_scipy() -> None:
    """A linear ramp is the same under linear interpolation everywhere, so what is seen tells where it was."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    ramp = np.stack([y, x, np.ones_like(x)])
    seen = np.asarray(run(augmentations.crops(0.5, 0.5), KEY, jnp.asarray(ramp[None])))[0]
    inner = (slice(2, -2),) * 2
    np.testing.assert_allclose(np.gradient(seen[0][inner])[0], 0.5, atol=1e-4)
    np.testing.assert_allclose(np.gradient(seen[1][inner])[1], 0.5, atol=1e-4)
    assert 0 <= seen[0, 0, 0] <= SIZE / 2
    turned = np.asarray(run(augmentations.rotations(30), KEY, jnp.asarray(NATURAL[:1], float)))[0]
    angles = np.linspace(-30, 30, 1201)
    gray = NATURAL[0].mean(0).astype(float)
    errors = [
        np.abs(ndimage.rotate(gray, angle, reshape=False, order=1, mode="nearest") - turned.mean(0)).max()
        for angle in angles
    ]
    assert min(errors) < 1.5  # the grid of angles is 0.05° wide
    assert np.median(errors) > 10


def slopes(
    function: Callable[[jax.Array], jax.Array], start: jax.Array, seed: int, step: float
) -> tuple[float, float]:
    """The slope along a random direction, by the gradient and by central differences."""
    direction = jnp.asarray(np.random.default_rng(seed).normal(size=start.shape))
    function = jax.jit(function)
    slope = float((jax.grad(function)(start) * direction).sum())
    return slope, float((function(start + step * direction) - function(start - step * direction)) / (2 * step))


def check_gradient(function: Callable[[jax.Array], jax.Array], start: jax.Array, step: float = 1e-5) -> None:
    exact, difference = slopes(function, start, 3, step)
    assert abs(exact) > 1e-6
    np.testing.assert_allclose(exact, difference, rtol=1e-5)


@pytest.mark.parametrize("name", _plain(PARAMETRIZATIONS, ()))
def test_gradients_through_parametrizations(name: str) -> None:
    with jax.enable_x64(True):
        images = PARAMETRIZATIONS[name]()
        weights = None

        def function(latents: jax.Array) -> jax.Array:
            shown = run(images.decode, latents)
            nonlocal weights
            if weights is None:
                weights = np.random.default_rng(1).normal(size=shown.shape)
            return (weights * shown**2).mean()

        check_gradient(function, jnp.asarray(images.init(KEY, 2), jnp.float64))


@pytest.mark.parametrize("name", _plain([*PROJECTIONS, *PENALTIES, *AUGMENTATIONS], ("luminance and contrast",)))
def test_gradients_through_priors_and_augmentations(name: str) -> None:
    with jax.enable_x64(True):
        weights = np.random.default_rng(1).normal(size=NATURAL[1:4].shape)
        start = jnp.asarray(NATURAL[1:4], jnp.float64)
        if name in PROJECTIONS:
            project = PROJECTIONS[name]()
            check_gradient(lambda images: (weights * project(images) ** 2).mean(), start)
        elif name in PENALTIES:
            penalty = PENALTIES[name]()
            check_gradient(lambda images: penalty(images).mean(), start)
        else:
            augment = AUGMENTATIONS[name]()
            check_gradient(lambda images: (weights * augment(KEY, images) ** 2).mean(), start)


@pytest.mark.nightly
def test_gradients_through_a_network(complement: Golden) -> None:
    """All at once: from Fourier coefficients through a projection, a crop and the float64 network to an objective."""
    with jax.enable_x64(True):
        vertices = Vertices(np.arange(6), np.arange(6), complement.hemisphere_size)
        model = berg_jax.load(complement.folder, complement.subject, vertices, precision="float64")
        images, project = fourier(SIZE), priors.luminance_and_contrast(120, 40)
        augment, penalty = augmentations.crops(0.7, 0.9), 0.01 * priors.total_variation()
        objective = objectives.contrast(np.eye(12)[0], np.eye(12)[7]) + objectives.correlation(np.arange(12.0))

        def function(latents: jax.Array) -> jax.Array:
            shown = project(run(images.decode, latents))
            return (objective(model(augment(KEY, shown))) - penalty(shown)).mean()

        check_gradient(function, jnp.asarray(images.init(KEY, 1), jnp.float64), 1e-4)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: pixels(SIZE, start=NATURAL).init(KEY, 2), InvalidParameterError, "one for each of 2, got 6"),
        (lambda: pixels(30, start=PHOTOGRAPH).init(KEY, 1), StimulusError, "must be 30 × 30"),
        (lambda: fourier(SIZE, start=PHOTOGRAPH / 255).init(KEY, 1), StimulusError, "look like 0–1"),
        (lambda: measure_spectrum(NATURAL[0], "x"), StimulusError, "got shape"),
        (lambda: priors.within(PHOTOGRAPH, 0), InvalidParameterError, "radius must be above 0"),
        (lambda: priors.within(PHOTOGRAPH, 1, "l0"), InvalidParameterError, "'l1', 'l2', 'linf' or a number"),
        (lambda: priors.within(PHOTOGRAPH, 1, 0.5), InvalidParameterError, "of at least 1, got 0.5"),
        (lambda: priors.luminance_and_contrast(250, 80), InvalidParameterError, "No image in 0–255"),
        (lambda: priors.likeness()(jnp.zeros((1, 3, 8, 8))), InvalidParameterError, "set_size"),
        (lambda: augmentations.crops(0, 1), InvalidParameterError, "0 < least"),
        (lambda: augmentations.noise(-1), InvalidParameterError, "level must be at least 0"),
    ],
)
def test_mistakes(make: Callable[[], object], error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        make()

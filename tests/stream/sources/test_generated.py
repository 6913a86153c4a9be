"""Images made on the device: the same in every batch, compiled once, told apart, and checked."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax.errors import InvalidParameterError, StimulusError
from berg_jax.stream.sources.generated import GeneratedSource
from berg_jax.stream.sources.subset import Subset


def noise(key: jax.Array, indices: jax.Array) -> jax.Array:
    return jax.vmap(lambda index: jax.random.uniform(jax.random.fold_in(key, index), (3, 8, 8), maxval=255))(indices)


def gratings(key: jax.Array, indices: jax.Array) -> jax.Array:
    seed = jax.random.key_data(key)[-1]
    x, y, channel = jnp.arange(9.0)[None, None, None], jnp.arange(9.0)[None, None, :, None], jnp.arange(3.0)
    angle, phase = (indices * 0.1)[:, None, None, None], seed + channel[None, :, None, None]
    return 127.5 + 127.5 * jnp.sin(x * jnp.cos(angle) + y * jnp.sin(angle) + phase)


def flat(key: jax.Array, indices: jax.Array) -> jax.Array:
    return jnp.broadcast_to(indices[:, None, None, None] * 10.0, (len(indices), 3, 8, 8))


@pytest.mark.parametrize("generate", [gratings, pytest.param(noise, marks=pytest.mark.nightly)])
def test_generated_images_are_the_same_in_every_batch(generate: Callable) -> None:
    source = GeneratedSource(generate, jax.random.key(3), 100, "image", 1)
    chance = np.random.default_rng(0)
    seen: dict[int, np.ndarray] = {}
    for _ in range(40):
        indices = chance.integers(0, 100, 8)
        images = source.read(indices)
        assert isinstance(images, jax.Array)
        assert images.shape == (8, 3, *source.shape[1:])
        for index, image in zip(indices, np.asarray(images), strict=True):
            np.testing.assert_array_equal(image, seen.setdefault(int(index), image))
    assert len(seen) > 80
    assert len({image.tobytes() for image in seen.values()}) == len(seen)
    if generate is gratings:
        channel, y, x = np.mgrid[:3, :9, :9]
        expected = 127.5 + 127.5 * np.sin(x * np.cos(4.2) + y * np.sin(4.2) + 3 + channel)
    else:
        expected = jax.random.uniform(jax.random.fold_in(jax.random.key(3), 42), (3, 8, 8), maxval=255)
    np.testing.assert_allclose(source.read([42] * 8)[5], expected, atol=1e-3)


def test_generators_compile_once_a_batch_size() -> None:
    traced = []

    def counted(key: jax.Array, indices: jax.Array) -> jax.Array:
        assert indices.dtype == jnp.int32
        traced.append(indices.shape)
        return flat(key, indices)

    source = GeneratedSource(counted, jax.random.key(3), 20, "flat", 1)
    traced.clear()
    for indices in (range(8), [7] * 8, np.arange(8, 16), jnp.arange(8)):
        images = source.read(indices)
        np.testing.assert_array_equal(images[:, 0, 0, 0], 10 * np.asarray(indices))
    assert traced == [(8,)]
    source.read([1, 2])
    assert traced == [(8,), (2,)]


def test_generated_images_have_names_and_a_fingerprint() -> None:
    made = {"generate": flat, "key": jax.random.key(0), "n": 3, "name": "flat", "version": 1}
    source = GeneratedSource(**made)
    assert len(source) == 3
    assert source.ids == ["flat-0", "flat-1", "flat-2"]
    assert GeneratedSource(**made).fingerprint == source.fingerprint
    changes = [
        {"key": jax.random.key(1)},
        {"key": jax.random.key(0, impl="rbg")},
        {"n": 4},
        {"name": "fla"},
        {"version": 2},
        {"version": "1"},
        {"generate": lambda key, indices: flat(key, indices)[..., :4, :4]},
        {"generate": lambda key, indices: flat(key, indices).astype(jnp.uint8)},
    ]
    others = {GeneratedSource(**{**made, **change}).fingerprint for change in changes}
    assert len(others | {source.fingerprint}) == 9
    part = Subset(source, np.array([2, 0]))
    assert part.ids == ["flat-2", "flat-0"]
    np.testing.assert_array_equal(part.read([0, 1]), source.read([2, 0]))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"n": 0}, InvalidParameterError, "n must be"),
        ({"n": 1 << 31}, InvalidParameterError, "n must be"),
        ({"n": 2.0}, InvalidParameterError, "n must be"),
        ({"key": 3}, InvalidParameterError, r"one key of jax\.random\.key"),
        ({"key": jax.random.split(jax.random.key(0))}, InvalidParameterError, "one key"),
        ({"key": jax.random.PRNGKey(0)}, InvalidParameterError, "one key"),
        ({"name": ""}, InvalidParameterError, "name and version"),
        ({"version": None}, InvalidParameterError, "name and version"),
        ({"generate": lambda key, indices: flat(key, indices)[..., :4]}, StimulusError, "square, got 8 × 4"),
        ({"generate": lambda key, indices: flat(key, indices)[0]}, StimulusError, "got shape"),
        ({"generate": lambda key, indices: flat(key, indices)[:, :1]}, StimulusError, "3 channels"),
        ({"generate": lambda key, indices: flat(key, indices)[:1]}, StimulusError, "1 images of 2 numbers"),
        ({"generate": lambda key, indices: flat(key, indices) > 3}, StimulusError, "bool"),
        ({"generate": lambda key, indices: (flat(key, indices),)}, StimulusError, "got tuple"),
    ],
)
def test_generators_that_make_no_images(change: dict, error: type, said: str) -> None:
    made = {"generate": flat, "key": jax.random.key(0), "n": 3, "name": "flat", "version": 1}
    with pytest.raises(error, match=said):
        GeneratedSource(**{**made, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images / 60, "look like 0–1"),
        (lambda images: images - 200, "must be in 0–255, got -"),
        (lambda images: images.at[1, 0, 0, 0].set(jnp.nan), "NaN"),
        (lambda images: images.at[1, 0, 0, 0].set(jnp.inf), "NaN or infinity"),
        (lambda images: images.astype(jnp.int32) * 7, "must be in 0–255, got"),
    ],
)
def test_generated_values_out_of_range(change: Callable, said: str) -> None:
    source = GeneratedSource(lambda key, indices: change(flat(key, indices)), jax.random.key(0), 9, "bad", 1)
    with pytest.raises(StimulusError, match=f"bad-4 to bad-6: .*{said}"):
        source.read([4, 5, 6])

"""Optimizing images: what it finds, that it resumes to the same bits, and what it refuses before it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from berg_jax.errors import (
    BERGError,
    IntegrityError,
    Interrupted,
    InvalidParameterError,
    StimulusError,
    ValidationError,
)
from berg_jax.experiments.synthesis import augmentations, objectives, priors
from berg_jax.experiments.synthesis.functions import Function
from berg_jax.experiments.synthesis.optimize import ADAM, Result, optimize
from berg_jax.experiments.synthesis.parametrizations.base import Parametrization
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels

SIZE, VERTICES = 8, 10
RANDOM = np.random.default_rng(0)
SGD = optax.sgd(0.01)
ONE = objectives.mean(np.eye(VERTICES)[0])


@flax.struct.dataclass
class Tiny:
    """A model whose vertices each look for a pattern."""

    weights: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        return jnp.tanh(jnp.einsum("bchw,chwv->bv", images / 255 - 0.5, self.weights, precision="highest"))


MODEL = Tiny(jnp.asarray(RANDOM.normal(size=(3, SIZE, SIZE, VERTICES)).astype(np.float32) / 10))


def start(key: jax.Array, n: int) -> jax.Array:
    """Drawn by NumPy, for which nothing is compiled."""
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return jnp.asarray(0.1 * random.normal(size=(n, 3, SIZE, SIZE)), float)


QUIET = {
    "parametrization": Parametrization(start, pixels(SIZE).decode),
    "show_progress": False,
    "every": 4,
    "optimizer": SGD,
}


def same(a: Result, b: Result) -> None:
    for name in ("images", "values", "history", "gradient_lengths", "looks", "best_steps", "latents"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_a_step_is_the_optimizer_s() -> None:
    """Against the same ascent written out."""
    result = optimize(MODEL, 2 * ONE, n=3, steps=6, penalties=0.1 * priors.total_variation(), **QUIET)

    def value(latents: jax.Array) -> jax.Array:
        shown = 255 * jax.nn.sigmoid(latents)[None]
        return 2 * MODEL(shown)[0, 0] - 0.1 * priors.total_variation()(shown)[0]

    first, _ = jax.random.split(jax.random.key(0))
    slope = jax.jit(jax.value_and_grad(value))
    for restart, latents in enumerate(start(first, 3)):
        seen = []
        for _ in range(6):
            now, gradient = slope(latents)
            seen.append(now)
            latents = latents + 0.01 * gradient
        np.testing.assert_allclose(result.history[:, restart], seen, atol=1e-5)
        np.testing.assert_allclose(result.latents[restart, 0], latents, atol=1e-5)
        np.testing.assert_allclose(result.values[restart], slope(latents)[0], atol=1e-5)
    assert result.images.shape == (3, 3, SIZE, SIZE)
    assert result.looks.shape == (2, 3)
    assert result.best_steps.tolist() == [6, 6, 6]


@pytest.mark.nightly
def test_restarts_do_not_see_each_other() -> None:
    """Adam's state, augmentations and starts are each restart's own, whatever is computed at a time."""
    options = {**QUIET, "optimizer": ADAM, "n": 8, "steps": 8, "augment": augmentations.noise(9), "draws": 3}
    one, four = (optimize(MODEL, ONE, microbatch=m, **options) for m in (1, 4))
    np.testing.assert_allclose(one.latents, four.latents, atol=1e-5)
    assert np.abs(np.diff(one.history, axis=1)).min() > 0


@pytest.mark.nightly
def test_devices_change_no_bit() -> None:
    options = {**QUIET, "n": 16, "steps": 8, "augment": augmentations.jitter(2), "microbatch": 2}
    same(optimize(MODEL, ONE, devices=1, **options), optimize(MODEL, ONE, devices=8, **options))


@pytest.mark.nightly
def test_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    options = {**QUIET, "n": 2, "steps": 14, "augment": augmentations.jitter(2), "optimizer": optax.sgd(0.01, 0.9)}
    whole = optimize(MODEL, ONE, **options)
    path = tmp_path / "run" / "checkpoint.npz"
    with pytest.raises(Interrupted, match=r"after 0 of 14 steps. The same call goes on"):
        optimize(MODEL, ONE, checkpoint=path, time_limit=-1, **options)
    optimize(MODEL, ONE, checkpoint=path, **{**options, "steps": 4})
    part = path.read_bytes()
    optimize(MODEL, ONE, checkpoint=path, **{**options, "steps": 8})
    same(whole, optimize(MODEL, ONE, checkpoint=path, **options))
    same(whole, optimize(MODEL, ONE, checkpoint=path, **options))  # there is nothing left to do
    path.write_bytes(part)
    same(whole, optimize(MODEL, ONE, checkpoint=path, **options))
    for other in ({"seed": 1}, {"optimizer": optax.sgd(0.02, 0.9)}, {"augment": augmentations.jitter(3)}):
        with pytest.raises(IntegrityError, match="another optimization"):
            optimize(MODEL, ONE, checkpoint=path, **{**options, **other})
    with pytest.raises(IntegrityError, match="another optimization"):
        optimize(Tiny(MODEL.weights.at[0].add(0.1)), ONE, checkpoint=path, **options)
    with pytest.raises(IntegrityError, match="another optimization"):
        optimize(MODEL, 1.01 * ONE, checkpoint=path, **options)
    path.write_bytes(part[:300])
    with pytest.raises(IntegrityError, match="damaged"):
        optimize(MODEL, ONE, checkpoint=path, **options)


def steep(responses: jax.Array) -> jax.Array:
    """Not a number once the first vertex is driven."""
    return jnp.sqrt(0.4 - responses[..., 0]) * 0 + responses[..., 0]


def test_what_is_not_finite_stops_a_restart_and_no_other() -> None:
    grey = np.full((2, 3, SIZE, SIZE), 127.5)
    toward = np.sign(np.asarray(MODEL.weights[..., 0]))
    far = [shift for shift in range(1, 100) if float(MODEL(jnp.asarray(grey[:1] + shift * toward))[0, 0]) < 0.39]
    grey[1] += far[-1] * toward  # the second one is there already, all but a little
    options = {**QUIET, "parametrization": pixels(SIZE, start=grey, noise=0), "n": 2}
    result = optimize(MODEL, steep, steps=80, **options)
    assert result.skipped[0] == 0
    assert result.skipped[1] > 0
    assert np.isfinite(result.latents).all()
    assert (np.diff(result.history[:, 0]) > 0).all()
    assert 0.38 < result.values[1] < 0.4
    with pytest.raises(ValidationError, match="No restart could make a step after step"):
        optimize(MODEL, steep, steps=4000, **options)


def test_the_best_is_kept_and_patience_ends() -> None:
    """Steps that are too long: what was best was long ago."""
    options = {**QUIET, "n": 2, "steps": 60, "optimizer": optax.sgd(3000.0), "patience": 12}
    result = optimize(MODEL, objectives.mean(np.eye(VERTICES)[1]), **options)
    assert len(result.history) < 60
    assert len(result.history) - result.best_steps.max() in range(12, 16)
    np.testing.assert_array_equal(result.values, result.looks.max(axis=0))
    np.testing.assert_allclose(MODEL(jnp.asarray(result.images))[:, 1], result.values, atol=1e-6)


@pytest.mark.nightly
def test_other_optimizers_and_generators() -> None:
    """L-BFGS needs the objective itself; a user's decoder is a function of a pytree of latents."""
    basis = jnp.asarray(RANDOM.normal(size=(4, 3, SIZE, SIZE)).astype(np.float32))

    def decode(basis: jax.Array, latents: dict[str, jax.Array]) -> jax.Array:
        mixed = jnp.tensordot(latents["code"], basis, 1) + latents["shift"][:, None, None, None]
        return 255 * jax.nn.sigmoid(mixed)

    def init(key: jax.Array, n: int) -> dict[str, jax.Array]:
        return {"code": jax.random.normal(key, (n, 4)), "shift": jnp.zeros(n)}

    mine = Parametrization(init, Function(decode, (basis,)))
    result = optimize(MODEL, ONE, **{**QUIET, "parametrization": mine, "optimizer": optax.lbfgs()}, n=2, steps=8)
    assert (result.values > result.history[0] + 0.05).all()
    assert result.latents["code"].shape == (2, 1, 4)


@pytest.mark.nightly
def test_sets() -> None:
    """Two areas' geometry is brought together over sets, each set on its own."""
    first, second = np.eye(VERTICES)[:5].sum(0), np.eye(VERTICES)[5:].sum(0)
    result = optimize(
        MODEL, objectives.align(first, second), n=2, set_size=5, steps=60, **QUIET | {"optimizer": ADAM}
    )
    assert result.images.shape == (10, 3, SIZE, SIZE)
    assert result.values.shape == (2,)
    assert (result.values > 0.95).all()
    assert (result.history[0] < 0.8).all()
    near = np.asarray(optimize(MODEL, ONE, penalties=priors.likeness(), n=1, set_size=3, steps=4, **QUIET).images)
    assert len(near) == 3


def constant(responses: jax.Array) -> jax.Array:
    return jnp.zeros(responses.shape[:-1])


def infinite(responses: jax.Array) -> jax.Array:
    return responses.sum(-1) / 0


def rootless(responses: jax.Array) -> jax.Array:
    return jnp.sqrt(0 * responses[..., 0])


def per_vertex(responses: jax.Array) -> jax.Array:
    return responses


STILL = Parametrization(
    lambda key, n: jnp.zeros((n, 2)), lambda latents: jnp.full((len(latents), 3, SIZE, SIZE), 9.0)
)
BRIGHT = Parametrization(lambda key, n: jnp.ones((n, 3, SIZE, SIZE)), lambda latents: 300 * latents)
FLAT = Parametrization(lambda key, n: jnp.ones((n, 3)), lambda latents: latents)
MISTAKES: dict[str, tuple[Callable[[], object], type[BERGError], str]] = {
    "no gradient": (lambda: optimize(MODEL, constant, **QUIET), InvalidParameterError, "not depend on the responses"),
    "no image": (
        lambda: optimize(MODEL, ONE, **{**QUIET, "parametrization": STILL}),
        InvalidParameterError,
        "decode is constant",
    ),
    "infinite": (
        lambda: optimize(MODEL, infinite, **QUIET),
        ValidationError,
        "objective's values hold .* not finite",
    ),
    "infinite slope": (
        lambda: optimize(MODEL, rootless, **QUIET),
        ValidationError,
        "gradient by the responses is not",
    ),
    "responses": (
        lambda: optimize(Tiny(MODEL.weights * jnp.nan), ONE, **QUIET),
        ValidationError,
        "responses hold a number that is not finite",
    ),
    "too bright": (
        lambda: optimize(MODEL, ONE, **{**QUIET, "parametrization": BRIGHT}),
        StimulusError,
        "0–255, got 300 to 300",
    ),
    "no images": (lambda: optimize(MODEL, ONE, **{**QUIET, "parametrization": FLAT}), StimulusError, "got shape"),
    "other ROI": (
        lambda: optimize(MODEL, objectives.mean(np.ones(3)), **QUIET),
        InvalidParameterError,
        "this model's",
    ),
    "per vertex": (lambda: optimize(MODEL, per_vertex, **QUIET), InvalidParameterError, r"got \(1, 10\) from"),
    "far": (
        lambda: optimize(MODEL, objectives.contrast(np.eye(VERTICES)[0], np.eye(VERTICES)[1], margin=-9), **QUIET),
        InvalidParameterError,
        "Is its margin met",
    ),
    "n": (lambda: optimize(MODEL, ONE, n=0, **QUIET), InvalidParameterError, "n must be at least 1, got 0"),
    "devices": (lambda: optimize(MODEL, ONE, n=9, devices=9, **QUIET), InvalidParameterError, "8 local devices"),
    "share": (lambda: optimize(MODEL, ONE, n=3, devices=2, **QUIET), InvalidParameterError, "multiple of the number"),
    "microbatch": (lambda: optimize(MODEL, ONE, n=3, microbatch=2, **QUIET), InvalidParameterError, "3; got 2"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_before_it_starts(name: str) -> None:
    call, error, said = MISTAKES[name]
    with pytest.raises(error, match=said):
        call()


TRACED = []


def counted(weights: jax.Array, responses: jax.Array) -> jax.Array:
    TRACED.append(1)
    return responses @ weights


def test_one_program_serves_rois_and_the_last_steps() -> None:
    options = {**QUIET, "n": 2}
    optimize(MODEL, Function(counted, (jnp.eye(VERTICES)[0],)), steps=8, **options)
    before = len(TRACED)
    optimize(MODEL, Function(counted, (jnp.eye(VERTICES)[1],)), steps=7, **options)
    assert len(TRACED) == before

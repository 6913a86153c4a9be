"""A small latent diffusion model of the demo's drawings, trained once and kept in the cache: the embedded default."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ....demo import images as drawings
from ....demo.stimuli import CATEGORIES
from ....errors import IntegrityError
from ....files.disk import explained, locked, readable, write_whole
from ....published.berg_dir import cache_folder
from ..functions import Function
from ..parametrizations.generators import encode_components, mix_components, principal_components
from .diffusion import Diffusion, cosine_schedule

_VERSION = 1  # of the data, the network and its training
_EACH = 160  # drawings of each category
_SEED = 11  # of the drawings
_LATENTS, _WIDTH, _BLOCKS, _TIMES = 64, 256, 2, 32
_LEVELS, _BATCH, _STEPS, _RATE = 500, 256, 3000, 2e-3
_log = logging.getLogger(__name__)


def drawings_diffusion() -> Diffusion:
    """Return a diffusion model of the demo's drawings of faces, bodies, places, words and objects.

    A small network denoises the 64 first principal components of 800 drawings. It is trained on the first call, in
    about a minute on two cores, and read from the cache afterwards.

    Raises
    ------
    ResourceError
        The cache cannot be written.
    IntegrityError
        The weights in the cache are damaged.

    See Also
    --------
    berg_jax.experiments.synthesis.priors.guidance.sample : Draw images.
    """
    folder = cache_folder() / "diffusion"
    path = folder / f"drawings_{_VERSION}.npz"
    if not path.is_file():
        with explained("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", "Another process is training the diffusion model of drawings: waiting for it."):
            if not path.is_file():
                _log.info("Training the diffusion model of the demo's drawings once (about a minute): %s", path)
                _write(path, train(training_drawings()))
    with readable(path, IntegrityError, "Remove it, and it is made again."), np.load(path) as stored:
        weights = {name: stored[name] for name in stored.files}
    return _built(weights)


def training_drawings() -> Float[np.ndarray, "n 3 224 224"]:
    """Return the drawings that the model is trained on, category after category."""
    return np.concatenate([drawings(category, _EACH, _SEED) for category in CATEGORIES])


def train(images: Float[np.ndarray, "n 3 224 224"], steps: int = _STEPS) -> dict[str, np.ndarray]:
    """Fit components and denoiser to images, and return all weights by name.

    Parameters
    ----------
    images
        Images in 0–255, more than 64.
    steps
        Number of steps of Adam.
    """
    decode = principal_components(images, _LATENTS).decode
    mean, components, side = decode.numbers
    latents = encode_components(mean, components, jnp.asarray(images, float))
    # Means and spreads are 0 and 1 but for what the bound of the latents has taken.
    center, spread = latents.mean(axis=0), latents.std(axis=0)
    kept = jnp.asarray(cosine_schedule(_LEVELS), float)
    network = _trained(_initial(jax.random.key(0)), (latents - center[None]) / spread[None], kept, jnp.zeros(steps))
    arrays = {"mean": mean, "components": components, "side": side, "center": center, "spread": spread}
    return {name: np.asarray(array) for name, array in {**arrays, **network}.items()}


def _built(weights: dict[str, np.ndarray]) -> Diffusion:
    arrays = {name: jnp.asarray(array, float) for name, array in weights.items()}
    names = ("mean", "components", "side", "center", "spread")
    mean, components, side, center, spread = (arrays.pop(name) for name in names)
    generator = Function(mix_components, (mean, components, side))
    return Diffusion(
        denoise=Function(_denoise, (arrays, jnp.zeros(_LEVELS))),
        kept=jnp.asarray(cosine_schedule(_LEVELS), float),
        decode=Function(_decode, (generator, center, spread)),
        shape=(_LATENTS,),
        predicts="velocity",
        encode=Function(_encode, (mean, components, center, spread)),
    )


def _decode(generator: Function, center: Array, spread: Array, latents: Array) -> Array:
    return generator(center[None] + spread[None] * latents)


def _encode(mean: Array, components: Array, center: Array, spread: Array, images: Array) -> Array:
    return (encode_components(mean, components, images) - center[None]) / spread[None]


def _write(path: Path, weights: dict[str, np.ndarray]) -> None:
    memory = io.BytesIO()
    np.savez(memory, **weights)
    with explained("write", path):
        write_whole(path, memory.getvalue())


def _initial(key: Array) -> dict[str, Array]:
    sizes = {"in": (_LATENTS, _WIDTH), "time": (2 * _TIMES, _WIDTH), "out": (_WIDTH, _LATENTS)}
    for block in range(_BLOCKS):
        sizes |= {f"up{block}": (_WIDTH, _WIDTH), f"down{block}": (_WIDTH, _WIDTH)}
    params = {}
    for index, (name, shape) in enumerate(sizes.items()):
        scale = 0.0 if name == "out" else shape[0] ** -0.5
        params[f"{name}_kernel"] = scale * jax.random.normal(jax.random.fold_in(key, index), shape)
        params[f"{name}_bias"] = jnp.zeros(shape[1])
    return params


def _denoise(
    params: dict[str, Array], levels: Float[Array, " levels"], latents: Float[Array, "n d"], level: Int[Array, " n"]
) -> Float[Array, "n d"]:
    """Return the velocity, by a residual network of two blocks that knows the level by sines and cosines."""

    def dense(name: str, x: Array) -> Array:
        product = jnp.matmul(x, params[f"{name}_kernel"], precision=jax.lax.Precision.HIGHEST)
        return product + params[f"{name}_bias"][None]

    frequency = 2.0 ** jnp.linspace(0, 6, _TIMES)
    angle = (level / len(levels))[:, None] * frequency[None] * jnp.pi
    time = dense("time", jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1))
    hidden = dense("in", latents) + time
    for block in range(_BLOCKS):
        inner = jax.nn.silu(dense(f"up{block}", jax.nn.silu(hidden)) + time)
        hidden = hidden + dense(f"down{block}", inner)
    return dense("out", jax.nn.silu(hidden))


@jax.jit
def _trained(
    params: dict[str, Array], latents: Float[Array, "n d"], kept: Float[Array, " levels"], steps: Float[Array, " s"]
) -> dict[str, Array]:
    """Return the network after so many steps of Adam on the velocity's squared error."""
    count = len(steps)
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, count))

    def loss(params: dict[str, Array], key: Array) -> Array:
        row_key, level_key, noise_key = jax.random.split(key, 3)
        clean = latents[jax.random.randint(row_key, (_BATCH,), 0, len(latents))]
        level = jax.random.randint(level_key, (_BATCH,), 0, len(kept))
        alpha, sigma = jnp.sqrt(kept[level])[:, None], jnp.sqrt(1 - kept[level])[:, None]
        noise = jax.random.normal(noise_key, clean.shape)
        predicted = _denoise(params, kept, alpha * clean + sigma * noise, level)
        return ((predicted - (alpha * noise - sigma * clean)) ** 2).mean()

    def step(carried: Any, index: Array) -> tuple[Any, None]:
        params, state = carried
        gradient = jax.grad(loss)(params, jax.random.fold_in(jax.random.key(1), index))
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(count))
    return params

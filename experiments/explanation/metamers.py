"""Model metamers: images that differ from another and give the same responses."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Num

from ...errors import InvalidParameterError
from ...model.images import check_values
from ..synthesis import objectives, priors
from ..synthesis.ascent import Model
from ..synthesis.functions import Function, as_function
from ..synthesis.optimize import optimize
from ..synthesis.parametrizations.base import Parametrization
from ..synthesis.parametrizations.pixels import pixels
from .attribution import _as_pytree

_CORRECTIONS, _PRODUCTS = 8, 24  # Gauss-Newton steps at the end, at most, and products with J·Jᵀ in each
_EXACT = 1e-3  # error, as a share of the spread, at which they stop
_ENOUGH = 5e-3  # largest error, as a share of the spread, after which no further round of Adam's steps is made
_ENDS, _GROWTH = (128, 512), 4  # steps after which rounds end, if there are so often as many in all
_NOISE = 1.0  # standard deviation of noise to start from, in units of the bound's argument: about 60 grey levels


class Metamers(NamedTuple):
    """Images that give nearly the same responses as another image.

    Attributes
    ----------
    images
        (n, 3, height, width) metamers in 0–255.
    error
        (n,) root mean square difference of their responses from the image's, as a share of ``spread``.
    psnr
        (n,) peak signal-to-noise ratio to the image in decibels; below 20 dB an image differs by more than a tenth of
        the range.
    spread
        Standard deviation over vertices of the responses to the image, z units.
    history
        (steps made, n) minus the squared error relative to the spread, before each step.
    """

    images: Float[np.ndarray, "n 3 height width"]
    error: Float[np.ndarray, " n"]
    psnr: Float[np.ndarray, " n"]
    spread: float
    history: Float[np.ndarray, "made n"]


def metamers(
    model: Model,
    image: Num[np.ndarray, "3 height width"],
    *,
    start: Num[np.ndarray, "3 height width"] | None = None,
    n: int = 4,
    steps: int = 4096,
    learning_rate: float = 0.1,
    apart: float = 0.0,
    seed: int = 0,
    microbatch: int | None = None,
    show_progress: bool = True,
) -> Metamers:
    """Return images that give the same responses as an image, from noise or from another image.

    Adam's steps are made in rounds, each of which begins where the one before ended and has several times its length.
    A round is followed by a few steps of Gauss and Newton: the smallest changes of the latents that remove what is
    left of the difference to first order. Only products with the Jacobian are computed. The first round is often
    enough from noise, and seldom from another image.

    Parameters
    ----------
    model
        Model of the chosen vertices, or a function images → responses (n, vertices).
    image
        The image whose responses are matched, (3, height, width) in 0–255, whose side is that of the metamers.
    start
        Image to start from; by default noise.
    n
        Number of metamers, from different noise.
    steps
        Number of Adam's steps, at most: rounds end once every error is below 0.5% of the spread.
    learning_rate
        Adam's first learning rate in a round, in units of the bound's argument; it falls to 0 along half a cosine.
    apart
        Push away from the image in the first half of the steps: what a grey level of root mean square difference is
        worth, as a share of the squared spread. Metamers are then as different as the responses allow; the second
        half only matches responses, and all steps are made.
    seed
        Seed of the noise.
    microbatch, show_progress
        See :func:`berg_jax.experiments.synthesis.optimize`.

    Raises
    ------
    StimulusError
        It is no image in 0–255.
    InvalidParameterError
        The responses to the image are all the same, so that an error has no scale; or a number makes no sense.

    See Also
    --------
    berg_jax.experiments.explanation.eigendistortions.eigendistortions : The smallest changes, to first order.

    References
    ----------
    Freeman, Simoncelli 2011, *Metamers of the ventral stream*, Nature Neuroscience.

    Feather, Leclerc, Mądry, McDermott 2023, *Model metamers reveal divergent invariances between biological and
    artificial neural networks*, Nature Neuroscience.

    Examples
    --------
    >>> def means(images):
    ...     return images.mean(axis=(2, 3)) * jnp.array([[0.02, 0.01, 0.03]])
    >>> found = metamers(means, np.full((3, 8, 8), 90.0), n=1, steps=200, show_progress=False)
    >>> bool(found.error[0] < 0.01), bool(found.psnr[0] < 20)
    (True, True)
    """
    check_values(image[None])
    if apart < 0 or steps < 2:
        raise InvalidParameterError(f"Give apart of at least 0 and at least 2 steps, got {apart} and {steps}.")
    image = np.asarray(image, np.float32)
    model = _as_pytree(model)
    target = np.asarray(_responses(model, image[None])[0])
    spread = float(target.std())
    if not spread > 0:
        raise InvalidParameterError("The responses to the image are the same for all vertices: choose more than one.")
    objective = Function(_relative, (jnp.asarray(spread**-2, float), objectives.squared_error(target)))
    parametrization = pixels(image.shape[1], start=start, noise=_NOISE if start is None else 0.1)
    decode = as_function(parametrization.decode)
    histories, images, errors = [], np.zeros((n, *image.shape), np.float32), np.full(n, np.inf)
    for index, count in enumerate([steps // 2, steps - steps // 2] if apart else _rounds(steps)):
        away = apart > 0 and index == 0
        result = optimize(
            model,
            objective,
            parametrization,
            n=n,
            steps=count,
            optimizer=optax.adam(optax.cosine_decay_schedule(learning_rate, count)),
            penalties=(-apart) * priors.distance(image) if away else None,
            seed=seed,
            microbatch=microbatch,
            show_progress=show_progress,
        )
        histories.append(result.history)
        parametrization = Parametrization(_Start(result.latents), parametrization.decode)
        if away:
            continue
        ended = [decode(_corrected(model, decode, latent, target, spread)) for latent in result.latents]
        found = np.concatenate([np.asarray(_responses(model, one)) for one in ended])
        error = np.sqrt(((found - target) ** 2).mean(axis=1)) / spread
        better = error < errors
        images[better], errors[better] = np.concatenate(ended)[better], error[better]
        if errors.max() <= _ENOUGH:
            break
    squared = ((images - image) ** 2).mean(axis=(1, 2, 3))
    return Metamers(
        images=images,
        error=errors,
        psnr=10 * np.log10(255**2 / np.maximum(squared, 1e-12)),
        spread=spread,
        history=np.concatenate(histories),
    )


def _rounds(steps: int) -> list[int]:
    """Return the number of steps of each round."""
    counts, made = [], 0
    for end in _ENDS:
        if _GROWTH * end <= steps:  # so that the last round is the longest
            counts.append(end - made)
            made = end
    return [*counts, steps - made]


class _Start:
    """The start of a further round: the latents of the one before, whatever the key."""

    def __init__(self, latents: Float[np.ndarray, "n 1 3 h w"]):
        self.latents = latents.reshape(-1, *latents.shape[2:])

    def __call__(self, key: Array, n: int) -> Float[np.ndarray, "n 3 h w"]:
        return self.latents


def _corrected(
    model: Model,
    decode: Function,
    latent: Float[np.ndarray, "1 3 h w"],
    target: Float[np.ndarray, " vertices"],
    spread: float,
) -> Float[Array, "1 3 h w"]:
    """Return a latent after Gauss-Newton steps, of which none makes the error larger."""
    latent, target = jnp.asarray(latent), jnp.asarray(target)
    for _ in range(_CORRECTIONS):
        latent, error = _gauss_newton(model, decode, latent, target)
        if float(error) <= _EXACT * spread:
            break
    return latent


@jax.jit
def _gauss_newton(
    model: Model, decode: Function, latent: Float[Array, "1 3 h w"], target: Float[Array, " vertices"]
) -> tuple[Float[Array, "1 3 h w"], Float[Array, ""]]:
    """Return the latent after a step, and the root mean square difference of its responses from the target."""

    def respond(latent: Array) -> Float[Array, " vertices"]:
        return model(decode(latent))[0]

    responses, pull = jax.vjp(respond, latent)
    # J by the backward pass of the backward pass, as a model's convolutions may have no forward-mode rule.
    push = jax.vjp(lambda weights: pull(weights)[0], jnp.zeros_like(responses))[1]
    weights, _ = cg(lambda weights: push(pull(weights)[0])[0], target - responses, maxiter=_PRODUCTS, tol=1e-3)
    (step,) = pull(weights)
    tried = jnp.stack([latent + length * step for length in (1.0, 0.5, 0.1, 0.0)])
    errors = jax.lax.map(lambda latent: jnp.sqrt(((respond(latent) - target) ** 2).mean()), tried)
    best = jnp.argmin(jnp.where(jnp.isfinite(errors), errors, jnp.inf))
    return tried[best], errors[best]


def _relative(factor: Float[Array, ""], objective: Function, responses: Array) -> Float[Array, " n"]:
    return factor * objective(responses)


@jax.jit
def _responses(model: Model, images: Float[Array, "n 3 h w"]) -> Float[Array, "n vertices"]:
    return model(images)

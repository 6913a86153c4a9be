"""What the benchmark times of synthesis: steps of Adam on pixels, for a region's mean; and many restarts' memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from ...model.encoding_model import EncodingModel
from ...subject import Subject
from ...vertices import Vertices
from ..synthesis import ascent
from ..synthesis.ascent import Problem, State
from ..synthesis.functions import Function
from ..synthesis.optimize import ADAM, optimize
from ..synthesis.parametrizations.fourier import bound, pixels, unbounded

RATE = 0.05  # ADAM's
STEPS = 4
RESTARTS, MICROBATCH = 64, 4


def start(images: UInt8[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 3 h w"]:
    """The latents that both sides start from."""
    return unbounded(images).astype(np.float32)


@jax.jit
def ascend(model: EncodingModel, latents: Float[Array, "n 3 h w"]) -> Float[Array, "steps n"]:
    """The mean response to each image before each step.

    The steps are made as :func:`~berg_jax.experiments.synthesis.optimize.optimize` makes them.
    """
    problem = Problem(Function(_mean), Function(bound))

    def once(states: State, _: None) -> tuple[State, Float[Array, " n"]]:
        states, values, _ = jax.vmap(partial(ascent.step, model, problem, ADAM))(states)
        return states, values

    keys = jax.random.key_data(jax.random.split(jax.random.key(0), len(latents)))
    states = jax.vmap(partial(ascent.init, ADAM))(latents[:, None], keys)
    return jax.lax.scan(once, states, None, STEPS)[1]


def restarts_once(
    berg_dir: str, subject: int, vertices: Int[np.ndarray, " n"], hemisphere_size: int, precision: str
) -> None:
    """One step of many restarts, a few at a time."""
    model = Subject(Path(berg_dir), subject).model(
        Vertices.from_global(vertices, hemisphere_size), precision=precision
    )
    options = {"n": RESTARTS, "steps": 1, "every": 1, "microbatch": MICROBATCH, "optimizer": ADAM}
    optimize(model.crop(), _mean, pixels(), show_progress=False, **options)


def _mean(responses: Float[Array, "n vertices"]) -> Float[Array, " n"]:
    return responses.mean(axis=1)

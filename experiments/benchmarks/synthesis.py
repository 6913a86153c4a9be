"""Synthesis in the benchmark: steps of Adam on pixels for a region's mean, and one step of many restarts."""

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
from ..synthesis.parametrizations.base import bound, inverse_bound
from ..synthesis.parametrizations.pixels import pixels

RATE = 0.05  # learning rate, that of ADAM
STEPS = 4
RESTARTS, MICROBATCH = 64, 4


def start(images: UInt8[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 3 h w"]:
    """Return the latents of images, from which both JAX and PyTorch start."""
    return inverse_bound(images).astype(np.float32)


@jax.jit
def ascend(model: EncodingModel, latents: Float[Array, "n 3 h w"]) -> Float[Array, "steps n"]:
    """Return the mean response to each image before each step.

    The steps are those of :func:`~berg_jax.experiments.synthesis.optimize.optimize`.
    """
    problem = Problem(objective=Function(_mean), decode=Function(bound))

    def one_step(states: State, _: None) -> tuple[State, Float[Array, " n"]]:
        states, values, _ = jax.vmap(partial(ascent.step, model, problem, ADAM))(states)
        return states, values

    keys = jax.random.key_data(jax.random.split(jax.random.key(0), len(latents)))
    states = jax.vmap(partial(ascent.init, ADAM))(latents[:, None], keys)
    _, values_by_step = jax.lax.scan(one_step, states, None, STEPS)
    return values_by_step


def restarts_once(
    berg_dir: str, subject_id: int, vertices: Int[np.ndarray, " n"], hemisphere_size: int, precision: str
) -> None:
    """Run one step of many restarts, a few at a time."""
    selection = Vertices.from_global(vertices, hemisphere_size)
    model = Subject(Path(berg_dir), subject_id).model(selection, precision=precision)
    options = {"n": RESTARTS, "steps": 1, "every": 1, "microbatch": MICROBATCH, "optimizer": ADAM}
    optimize(model.crop(), _mean, pixels(), show_progress=False, **options)


def _mean(responses: Float[Array, "n vertices"]) -> Float[Array, " n"]:
    return responses.mean(axis=1)

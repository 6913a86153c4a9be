"""Reducer that finds the probe with the largest response of each vertex, as in retinotopic mapping."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from ...errors import ValidationError
from .base import BaseReducer
from .pairs import (
    Indices,
    Pair,
    Responses,
    Results,
    State,
    Valid,
    choose,
    exact,
    full,
    group_means,
    merged_mean,
    two_sum,
)


@dataclass(frozen=True, eq=False)
class ArgmaxOverProbes(BaseReducer):
    """The probe with the largest mean response of each vertex, found without storing all probes' means.

    Images are in the order of probes: image ``probe · images_per_probe + k``. The mean of a probe is that of its
    images that were not skipped. Among equal probes the first one is taken. A probe ends when an image of another
    probe follows, so its images must be in one block, whose images are computed in order. The number of images in a
    block is therefore a multiple of ``images_per_probe``; a divided probe is an error, not a wrong result. If blocks
    cannot be chosen so, :class:`~berg_jax.stream.reducers.GroupMeans` with a group for every probe keeps all means.

    Results are ``probe`` (vertices,), −1 if there was none, ``value`` (vertices,) float64, its mean response,
    ``seen`` (probes,), whether a probe had images, and ``count``.

    Parameters
    ----------
    probes, images_per_probe
        Number of probes, and of images of each probe.
    vertices
        Number of columns of the responses.
    name
        Name of the results.

    See Also
    --------
    GroupMeans : Mean responses to all probes.
    berg_jax.experiments.retinotopy : Receptive fields by probing a model.

    Examples
    --------
    >>> reducer = ArgmaxOverProbes(probes=2, images_per_probe=1, vertices=2)
    >>> responses = jnp.array([[1.0, 5.0], [3.0, 2.0]])
    >>> state = reducer.update(reducer.init(), responses, jnp.arange(2), jnp.ones(2, bool))
    >>> reducer.finalize(state)["probe"].tolist()
    [1, 0]
    """

    probes: int
    images_per_probe: int
    vertices: int
    name: str = "argmax_over_probes"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "images", self.probes * self.images_per_probe)
        object.__setattr__(self, "whole", self.images_per_probe)

    def init(self) -> State:
        """Return the state of no images, which has no best probe and no open one."""
        means = {
            key: Pair(*(full((self.vertices,), 0, np.float32) for _ in "hl")) for key in ("best_mean", "open_mean")
        }
        numbers = {key: full((), 0, np.int32) for key in ("open_probe", "open_images", "count", "strange")}
        best, ended = full((self.vertices,), -1, np.int32), full((self.probes,), 0, np.int32)
        return {**means, **numbers, "best_probe": best, "ended": ended}

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Return the state with a batch of consecutive images added, which may belong to several probes."""
        most = (len(indices) - 1) // self.images_per_probe + 2
        probe = indices // self.images_per_probe
        first = jnp.where(valid, probe, self.probes).min()
        known = valid & (probe - first < most) & (indices >= 0) & (probe < self.probes)
        counts, means = group_means(responses, jnp.where(known, probe - first, -1), most)
        strange = (valid & ~known).sum(dtype=jnp.int32)
        state = {**state, "count": state["count"] + counts.sum(), "strange": state["strange"] + strange}
        parts = first + jnp.arange(most), counts, means
        return lax.scan(lambda state, part: (self._go_on(state, *part), None), state, parts)[0]

    def merge(self, a: State, b: State) -> State:
        """Return the state of the union of two disjoint sets of blocks."""
        merged = {**a, **_better(a["best_mean"], a["best_probe"], b["best_mean"], b["best_probe"])}
        merged |= {key: a[key] + b[key] for key in ("ended", "count", "strange")}
        return self._go_on(merged, b["open_probe"], b["open_images"], b["open_mean"])

    def _go_on(self, state: State, probe: Int[Array, ""], images: Int[Array, ""], mean: Pair) -> State:
        """Add the mean over images of one probe. If another probe is open, end that one."""
        ended, stays = self._end(state), (images == 0) | (probe == state["open_probe"])
        state = choose(stays, state, ended)
        merged, _ = merged_mean(state["open_images"], state["open_mean"], images, mean)
        probe = jnp.where(images > 0, probe, state["open_probe"])
        return {**state, "open_mean": merged, "open_probe": probe, "open_images": state["open_images"] + images}

    def _end(self, state: State) -> State:
        """End the open probe, if there is one, by comparing it with the best probe."""
        probe = jnp.where(state["open_images"] > 0, state["open_probe"], -1)
        everywhere = jnp.broadcast_to(probe, (self.vertices,))
        best = _better(state["best_mean"], state["best_probe"], state["open_mean"], everywhere)
        nothing = {key: jax.tree.map(jnp.zeros_like, state[key]) for key in ("open_mean", "open_images")}
        return {**state, **best, **nothing, "ended": state["ended"] + (jnp.arange(self.probes) == probe)}

    def finalize(self, state: State) -> Results:
        """Return the best probes and their means.

        Raises
        ------
        ValidationError
            Images of a probe were in several blocks, or out of order.
        """
        state = jax.tree.map(np.asarray, jax.jit(type(self)._end, static_argnums=0)(self, state))
        if state["strange"] or (state["ended"] > 1).any():
            raise ValidationError(
                f"Reducer {self.name!r} was given a probe's images in several blocks, or images out of order. Choose "
                f"blocks of a multiple of {self.images_per_probe} images, or GroupMeans."
            )
        value = np.where(state["best_probe"] < 0, np.nan, exact(state["best_mean"]))
        return {"probe": state["best_probe"], "value": value, "seen": state["ended"] > 0, "count": state["count"]}


def _better(a: Pair, probe_a: Int[Array, " vertices"], b: Pair, probe_b: Int[Array, " vertices"]) -> State:
    """Return each vertex's larger mean and its probe. A missing mean (probe −1) is below all others, NaN above."""
    high, low = two_sum(b.high, -a.high)
    above = high + (low + (b.low - a.low))
    wins = (above > 0) | ((above == 0) & (probe_b < probe_a)) | (jnp.isnan(b.high) & ~jnp.isnan(a.high))
    wins = (probe_b >= 0) & (wins | (probe_a < 0))
    return {"best_mean": choose(wins, b, a), "best_probe": jnp.where(wins, probe_b, probe_a)}

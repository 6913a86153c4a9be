"""The probe that each vertex responds to most, as of a retinotopic mapping."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from ...errors import ValidationError
from .base import Settings
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
class ArgmaxOverProbes(Settings):
    """The probe with the largest mean response of each vertex, without keeping all probes' means.

    Images are in the order of probes: image ``probe · images_per_probe + k``. A probe's mean is over those of its
    images that were not skipped. Of equal probes the first one wins. A probe ends when an image of another one comes,
    so its images must be in one block, which is computed in order: blocks are a multiple of ``images_per_probe``.
    A probe that was divided all the same is an error and no wrong answer. Where blocks cannot be so,
    :class:`~berg_jax.stream.reducers.GroupMeans` with a group for every probe keeps all means.

    Results: ``probe`` (vertices,), −1 if there was none; ``value`` (vertices,) float64, its mean; ``seen`` (probes,),
    whether a probe had images; ``count``.
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
        """The state of no images: no best probe, and none that is open."""
        means = {
            key: Pair(*(full((self.vertices,), 0, np.float32) for _ in "hl")) for key in ("best_mean", "open_mean")
        }
        numbers = {key: full((), 0, np.int32) for key in ("open_probe", "open_images", "count", "strange")}
        best, ended = full((self.vertices,), -1, np.int32), full((self.probes,), 0, np.int32)
        return {**means, **numbers, "best_probe": best, "ended": ended}

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in, of images that follow one another; it may hold several probes."""
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
        """The state of two disjoint sets of blocks."""
        merged = {**a, **_better(a["best_mean"], a["best_probe"], b["best_mean"], b["best_probe"])}
        merged |= {key: a[key] + b[key] for key in ("ended", "count", "strange")}
        return self._go_on(merged, b["open_probe"], b["open_images"], b["open_mean"])

    def _go_on(self, state: State, probe: Int[Array, ""], images: Int[Array, ""], mean: Pair) -> State:
        """Take in some images of one probe, by their mean. If it is not the open one, that ends."""
        ended, stays = self._end(state), (images == 0) | (probe == state["open_probe"])
        state = choose(stays, state, ended)
        merged, _ = merged_mean(state["open_images"], state["open_mean"], images, mean)
        probe = jnp.where(images > 0, probe, state["open_probe"])
        return {**state, "open_mean": merged, "open_probe": probe, "open_images": state["open_images"] + images}

    def _end(self, state: State) -> State:
        """Compare the open probe, if there is one, with the best."""
        probe = jnp.where(state["open_images"] > 0, state["open_probe"], -1)
        everywhere = jnp.broadcast_to(probe, (self.vertices,))
        best = _better(state["best_mean"], state["best_probe"], state["open_mean"], everywhere)
        nothing = {key: jax.tree.map(jnp.zeros_like, state[key]) for key in ("open_mean", "open_images")}
        return {**state, **best, **nothing, "ended": state["ended"] + (jnp.arange(self.probes) == probe)}

    def finalize(self, state: State) -> Results:
        """Best probes and their means.

        Raises
        ------
        ValidationError
            A probe's images came in several blocks, or out of order.
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
    """Of each vertex the larger mean and its probe; none (−1) is less than all, NaN more, to be seen."""
    high, low = two_sum(b.high, -a.high)
    above = high + (low + (b.low - a.low))
    wins = (above > 0) | ((above == 0) & (probe_b < probe_a)) | (jnp.isnan(b.high) & ~jnp.isnan(a.high))
    wins = (probe_b >= 0) & (wins | (probe_a < 0))
    return {"best_mean": choose(wins, b, a), "best_probe": jnp.where(wins, probe_b, probe_a)}

"""What is kept of a stream's responses: rows on their way to the store, reducers' states, entries of the ledger."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from .devices import Devices
from .execution import Process
from .reducers import Reducer, states
from .store.output import RESPONSES, Output

_SAVE_SECONDS = 30  # between two savings of reducers' states


class Slot(NamedTuple):
    """Images ``start`` to ``stop`` of a block, for one device; none if the two are equal."""

    block: int
    start: int
    stop: int


class Step(NamedTuple):
    """A slot for every device, with its images; ``valid`` leaves out filling and images that cannot be read."""

    slots: list[Slot]
    images: Num[Array, "n 3 h w"]
    indices: Int[np.ndarray, " n"]
    valid: Bool[np.ndarray, " n"]


class Share:
    """This process' share of an output, and what is done of it.

    Attributes
    ----------
    entries
        What the ledger said at the beginning.
    done
        Of each block that has an entry, how many images are done.
    reduced
        Blocks that are in a state of the reducers, or that need not be.
    own
        Blocks of this process.
    """

    def __init__(self, output: Output, reducers: list[Reducer], process: Process) -> None:
        self.output, self.ledger, self.reducers = output, output.ledger, reducers
        self.process = process
        self.entries = self.ledger.entries()
        self.done = {block: entry["done"] for block, entry in self.entries.items()}
        self.reduced = states.reduced_blocks(output.reducers) if reducers else set(range(self.ledger.blocks))
        self.own = [b for b in range(self.ledger.blocks) if b % process.count == process.index]

    def refresh(self) -> None:
        """See again what is done."""
        self.done = self.ledger.done()
        if self.reducers:
            self.reduced = states.reduced_blocks(self.output.reducers)

    def remaining(self, block: int) -> int:
        """Images of a block that are still to be computed."""
        start, stop = self.ledger.range(block)
        return stop - start - (self.done.get(block, 0) if block in self.reduced else 0)


class Kept:
    """What is made of the responses: rows of blocks that are being computed, and reducers' states.

    Without reducers, the ledger names a block when its rows are written. With reducers it does so when states that
    include it are on the disk, which is done now and then, for whole groups of blocks.
    """

    def __init__(self, share: Share, devices: Devices) -> None:
        self.share, self.devices = share, devices
        self.output, self.ledger = share.output, share.output.ledger
        self.sinks = [RESPONSES] * self.output.stores_responses + [reducer.name for reducer in share.reducers]
        self.rows: dict[int, list[np.ndarray]] = {}
        self.skipped: dict[int, list[int]] = {}
        self.open: dict[int, int] = {}  # blocks of the group at hand that are not whole, and where they began
        self.ended: list[tuple[int, int]] = []  # device and block of those that are
        # One state for each device, along a leading axis that reducers do not see.
        self.updates = [jax.jit(jax.vmap(reducer.update)) for reducer in share.reducers]
        self.states = [devices.split(_stacked(reducer.init(), devices.count)) for reducer in share.reducers]
        self.whole = list(self.states)  # as they were at the end of the last group
        self.blocks: list[list[int]] = [[] for _ in range(devices.count)]  # that are in ``whole``
        self.names = [states.new_name() for _ in range(devices.count)]
        self.unrecorded: list[int] = []
        self.saved = time.monotonic()

    def add(self, step: Step, responses: Float[Array, "n vertices"]) -> None:
        """Take a step's responses in."""
        if not self.open:
            self.open = {slot.block: slot.start for slot in step.slots if slot.start < slot.stop}
        if self.share.reducers:
            self._reduce(step, responses)
        stored = self.output.stores_responses
        fetched = np.where(step.valid[:, None], np.asarray(responses, np.float32), np.nan) if stored else None
        batch = len(step.valid) // len(step.slots)
        for place, slot in enumerate(step.slots):
            part = slice(place * batch, place * batch + slot.stop - slot.start)
            if slot.start == slot.stop:
                continue
            self.skipped.setdefault(slot.block, []).extend(step.indices[part][~step.valid[part]].tolist())
            if stored:
                self.rows.setdefault(slot.block, []).append(fetched[part])
            if slot.stop == self.ledger.range(slot.block)[1]:
                self._write(slot.block)
                del self.open[slot.block]
                self.ended.append((place, slot.block))
        if not self.share.reducers:
            self._record([block for _, block in self.ended])
            self.ended = []
        elif not self.open:
            self._keep_states()

    def close(self) -> None:
        """Record what can be: without reducers also the beginnings of blocks."""
        if self.share.reducers:
            self._save_states()
            return
        for block, start in list(self.open.items()):
            rows = sum(map(len, self.rows.get(block, [])))
            if rows:
                self._write(block)
                self._record([block], start + rows - self.ledger.range(block)[0])

    def _write(self, block: int) -> None:
        if self.output.stores_responses:
            self.output.write(self.open[block], np.concatenate(self.rows.pop(block)))

    def _record(self, blocks: Sequence[int], images: int | None = None) -> None:
        """Vouch for blocks in the ledger: whole ones, or the first ``images`` of one."""
        for block in blocks:
            start, stop = self.ledger.range(block)
            facts = {"process": self.share.process.index, "host": socket.gethostname(), "sinks": self.sinks}
            earlier = self.share.entries.get(block, {}).get("skipped", [])
            skipped = sorted({*earlier, *self.skipped.pop(block, [])})
            self.ledger.record(block, stop - start if images is None else images, skipped=skipped, **facts)

    def _reduce(self, step: Step, responses: Float[Array, "n vertices"]) -> None:
        known = np.repeat(
            [slot.block in self.share.reduced for slot in step.slots], len(step.valid) // len(step.slots)
        )

        def shared(values: Any) -> Any:
            """(n, …) → (devices, n / devices, …)"""
            return self.devices.split(values.reshape(self.devices.count, -1, *values.shape[1:]))

        arguments = shared(responses), shared(step.indices.astype(np.int32)), shared(step.valid & ~known)
        self.states = [update(state, *arguments) for update, state in zip(self.updates, self.states, strict=True)]

    def _keep_states(self) -> None:
        """The group is whole: its blocks count from now on."""
        self.whole = list(self.states)
        for place, block in self.ended:
            if block not in self.share.reduced:
                self.blocks[place].append(block)
            self.unrecorded.append(block)
        self.ended = []
        if time.monotonic() - self.saved > _SAVE_SECONDS:
            self._save_states()

    def _save_states(self) -> None:
        for place, blocks in enumerate(self.blocks):
            if blocks:
                state = [jax.tree.map(lambda leaf, place=place: leaf[place], whole) for whole in self.whole]
                states.save(self.output.reducers, self.names[place], self.share.reducers, state, blocks)
        self._record(self.unrecorded)
        self.unrecorded = []
        self.saved = time.monotonic()


def _stacked(state: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), state)

"""Blocks of a running stream: rows on their way to the store, reducers' states, and entries of the ledger."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from .devices import Devices
from .execution import Process
from .reducers import Reducer, states
from .store.layout import RESPONSES
from .store.output import Output

_SAVE_SECONDS = 30  # between two saves of reducers' states


class Slot(NamedTuple):
    """Images ``start`` to ``stop`` of a block for one device; there are none if the two are equal."""

    block: int
    start: int
    stop: int


class Step(NamedTuple):
    """One slot for every device, with its images; filling and unreadable images are not ``valid``."""

    slots: list[Slot]
    images: Num[Array, "n 3 h w"]
    indices: Int[np.ndarray, " n"]
    valid: Bool[np.ndarray, " n"]
    reasons: dict[int, str]  # why images could not be read, by index


class Share:
    """This process's share of an output, and how much of it is done.

    Attributes
    ----------
    entries
        Entries of the ledger at the beginning.
    done
        Number of images done in each block that has an entry.
    reduced
        Blocks that are in a state of the reducers, or that need not be in one.
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
        """Read again how much is done."""
        self.done = self.ledger.done()
        if self.reducers:
            self.reduced = states.reduced_blocks(self.output.reducers)

    def remaining(self, block: int) -> int:
        """Return the number of images of a block that are still to be computed."""
        start, stop = self.ledger.range(block)
        return stop - start - (self.done.get(block, 0) if block in self.reduced else 0)


class BlockRecorder:
    """Recorder of responses: writes rows of blocks, updates reducers' states, and records blocks in the ledger.

    Without reducers, a block is recorded in the ledger after its rows have been written. With reducers, it is
    recorded after states that include it have been saved, which happens now and then, for whole groups of blocks.
    """

    def __init__(self, share: Share, devices: Devices) -> None:
        self.share, self.devices = share, devices
        self.output, self.ledger = share.output, share.output.ledger
        self.sinks = [RESPONSES] * self.output.stores_responses + [reducer.name for reducer in share.reducers]
        self.rows: dict[int, list[np.ndarray]] = {}
        self.skipped: dict[int, list[int]] = {}
        self.reasons: dict[int, str] = {}  # of all skipped images
        self.open: dict[int, int] = {}  # incomplete blocks of the current group, and their first computed images
        self.ended: list[tuple[int, int]] = []  # device and block of the completed blocks of the current group
        # There is one state per device, along a leading axis that reducers do not see.
        self.updates = [jax.jit(jax.vmap(reducer.update)) for reducer in share.reducers]
        self.states = [devices.split(_stacked(reducer.init(), devices.count)) for reducer in share.reducers]
        self.group_states = list(self.states)  # states at the end of the last group
        self.blocks: list[list[int]] = [[] for _ in range(devices.count)]  # blocks in ``group_states``, by device
        self.names = [states.new_name() for _ in range(devices.count)]
        self.unrecorded: list[int] = []
        self.saved = time.monotonic()

    def add(
        self, step: Step, responses: Float[Array, "n vertices"], stored: Float[Array, "n vertices"] | None
    ) -> None:
        """Add the responses of a step, which are also given in the store's type if they are to be stored."""
        self.reasons |= step.reasons
        if not self.open:
            self.open = {slot.block: slot.start for slot in step.slots if slot.start < slot.stop}
        if self.share.reducers:
            self._reduce(step, responses)
        fetched = None if stored is None else _fetched(responses, stored, step.valid)
        batch = len(step.valid) // len(step.slots)
        for device, slot in enumerate(step.slots):
            part = slice(device * batch, device * batch + slot.stop - slot.start)
            if slot.start == slot.stop:
                continue
            self.skipped.setdefault(slot.block, []).extend(step.indices[part][~step.valid[part]].tolist())
            if fetched is not None:
                self.rows.setdefault(slot.block, []).append(fetched[part])
            if slot.stop == self.ledger.range(slot.block)[1]:
                self._write(slot.block)
                del self.open[slot.block]
                self.ended.append((device, slot.block))
        if not self.share.reducers:
            self._record([block for _, block in self.ended])
            self.ended = []
        elif not self.open:
            self._keep_states()

    def close(self) -> None:
        """Record all that can be recorded, which without reducers includes the beginnings of blocks."""
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
        """Record blocks in the ledger: whole blocks, or the first ``images`` of one block."""
        for block in blocks:
            start, stop = self.ledger.range(block)
            facts = {"process": self.share.process.index, "host": socket.gethostname(), "sinks": self.sinks}
            skipped_before = self.share.entries.get(block, {}).get("skipped", [])
            skipped = sorted({*skipped_before, *self.skipped.pop(block, [])})
            before = self.share.entries.get(block, {}).get("reasons", {})
            reasons = before | {str(image): self.reasons[image] for image in skipped if image in self.reasons}
            facts |= {"skipped": skipped, **({"reasons": reasons} if reasons else {})}
            self.ledger.record(block, stop - start if images is None else images, **facts)

    def _reduce(self, step: Step, responses: Float[Array, "n vertices"]) -> None:
        already_reduced = np.repeat(
            [slot.block in self.share.reduced for slot in step.slots], len(step.valid) // len(step.slots)
        )

        def split(values: Any) -> Any:
            """Split (n, …) into (devices, n / devices, …)."""
            return self.devices.split(values.reshape(self.devices.count, -1, *values.shape[1:]))

        arguments = split(responses), split(step.indices.astype(np.int32)), split(step.valid & ~already_reduced)
        self.states = [update(state, *arguments) for update, state in zip(self.updates, self.states, strict=True)]

    def _keep_states(self) -> None:
        """Keep the states at the end of a group, so that its blocks can be saved and recorded."""
        self.group_states = list(self.states)
        for device, block in self.ended:
            if block not in self.share.reduced:
                self.blocks[device].append(block)
            self.unrecorded.append(block)
        self.ended = []
        if time.monotonic() - self.saved > _SAVE_SECONDS:
            self._save_states()

    def _save_states(self) -> None:
        for device, blocks in enumerate(self.blocks):
            if blocks:
                of_device = [jax.tree.map(lambda leaf, d=device: leaf[d], state) for state in self.group_states]
                states.save(self.output.reducers, self.names[device], self.share.reducers, of_device, blocks)
        self._record(self.unrecorded)
        self.unrecorded = []
        self.saved = time.monotonic()


@partial(jax.jit, static_argnames="dtype")
def in_type(responses: Float[Array, "n vertices"], dtype: np.dtype) -> Float[Array, "n vertices"]:
    """Return responses in the store's type, converted on their device, so that fewer bytes are copied to the host."""
    return responses.astype(dtype)


def _fetched(
    responses: Float[Array, "n vertices"], stored: Float[Array, "n vertices"], valid: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n vertices"]:
    """Return the rows to be stored, NaN where they are not valid."""
    fetched = np.asarray(stored)
    if np.isinf(fetched).any():  # perhaps only in the store's type: the output tells, from these
        fetched = np.asarray(responses, np.float32)
    return np.where(valid[:, None], fetched, fetched.dtype.type(np.nan))


def _stacked(state: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), state)

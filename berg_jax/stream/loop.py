"""The one loop: images from a source, in blocks, through a model, to disk and through reducers.

A block of images is the unit of work, of ownership and of resuming. Every device computes blocks of its own, a
batch at a time, so what is computed does not depend on how many devices or processes there are.
"""

from __future__ import annotations

import collections
import importlib.metadata
import logging
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from ..errors import Interrupted, InvalidParameterError, ResourceError, StimulusError
from ..nn.config import IMAGE
from . import states
from .devices import Devices, Process
from .progress import progress, stop_requests
from .reducers import Reducer, check_reducers
from .sources import Source
from .stores import RESPONSES, Columns, Output

Model = Callable[[Num[Array, "batch 3 h w"]], Float[Array, "batch vertices"]]
ON_ERROR = ("error", "skip")
_AHEAD = 2  # steps that are read while one is computed
_SAVE_SECONDS = 30  # between two savings of reducers' states
_log = logging.getLogger(__name__)


def stream(
    model: Model,
    source: Source,
    sinks: Sequence[Columns | Reducer],
    *,
    output: str | Path,
    identity: str,
    batch_size: int = 8,
    run: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    devices: Sequence[jax.Device] | None = None,
    process: Process | None = None,
    on_error: str = "error",
    time_limit: float | None = None,
    show_progress: bool = True,
) -> dict[str, dict[str, np.ndarray]]:
    """Carry all images of a source through a model, and keep its responses, or what reducers make of them.

    Called again with the same arguments after whatever interruption, it goes on with what is missing; called when
    all is done, it returns the results. Several processes with the same output share the work.

    Parameters
    ----------
    model
        images (batch, 3, height, width) → responses (batch, vertices): an :class:`~berg_jax.EncodingModel`, or any
        pure function that JAX can compile.
    source
        The images.
    sinks
        :class:`~berg_jax.stream.stores.Columns`, to store the responses at these vertices, and any number of
        reducers (:mod:`berg_jax.stream.reducers`).
    output
        The folder of the run: ledger, responses, reducers' states and results (``reducers/<name>.npz``).
    identity
        What tells the model from others, such as ``Subject.identity(vertices)``.
    batch_size
        Images that a device computes at a time.
    run, attributes
        JSON values for the output's attributes: ``run`` are such that a resumed run must have the same.
    devices
        Local devices to compute on, by default all. Each has its own images; no device waits for another.
    process
        This process among those that share the output, by default alone: see
        :func:`~berg_jax.stream.devices.find_process`.
    on_error
        What to do with an image that cannot be read: ``"error"``, or ``"skip"``, which stores NaN, notes it in the
        ledger, and leaves it out of every reducer.
    time_limit
        Seconds after which to stop as if Ctrl-C had come.
    show_progress
        Show a progress bar where there is a terminal, else log progress now and then.

    Returns
    -------
    Each reducer's results by name. Empty while other processes still have work to do.

    Raises
    ------
    Interrupted
        Ctrl-C, SIGTERM or the time limit came: the batch at hand was finished, and what can be kept is recorded.
    StimulusError
        An image cannot be read. What was computed before is recorded.
    ResourceError
        The output cannot be written, or belongs to another run; the message says which part differs.
    InvalidParameterError
        An argument makes no sense, or a response is too large for the type that it is to be stored as.
    """
    columns, reducers = _sorted_sinks(sinks)
    if batch_size < 1:
        raise InvalidParameterError(f"batch_size must be at least 1, got {batch_size}.")
    if on_error not in ON_ERROR:
        raise InvalidParameterError(f"on_error must be one of {list(ON_ERROR)}, got {on_error!r}.")
    description = {
        **(run or {}),
        "batch_size": batch_size,
        "images": source.fingerprint,
        "identity": identity,
        "reducers": {reducer.name: reducer.fingerprint for reducer in reducers},
        "dtype": columns.dtype if columns else None,
    }
    # A block holds whole batches, and whole probes where a reducer needs them.
    multiple = math.lcm(batch_size, *(reducer.whole for reducer in reducers))
    vertices = len(columns.vertices if columns else getattr(model, "vertices", ()))
    if vertices:  # else a function of one's own, which does not say
        check_reducers(reducers, len(source), vertices, multiple)
    place = open_output(Path(output), source, description, multiple, columns, attributes or {})
    if not place.complete:
        work = _Work(place, reducers, process or Process(), on_error)
        work.run(model, source, batch_size, devices, time_limit, show_progress)
        if not work.everything_done():
            return {}
        states.write_results(place.reducers, states.merge(place.reducers, reducers))
        place.finish()
    return {reducer.name: dict(np.load(place.reducers / f"{reducer.name}.npz")) for reducer in reducers}


def open_output(
    path: Path,
    source: Source,
    run: Mapping[str, Any],
    multiple: int,
    columns: Columns | None,
    attributes: Mapping[str, Any],
) -> Output:
    """The output of this run, made if it is not there; another process may make it at the same time."""
    versions = {name: importlib.metadata.version(name) for name in ("berg_jax", "jax", "flax")}
    if not path.exists():
        try:
            return Output.create(path, source.ids, run, multiple, columns, {**attributes, "versions": versions})
        except ResourceError:
            if not path.exists():
                raise
    return Output.reopen(path, run, versions)


def _sorted_sinks(sinks: Sequence[Columns | Reducer]) -> tuple[Columns | None, list[Reducer]]:
    columns = [sink for sink in sinks if isinstance(sink, Columns)]
    reducers = [sink for sink in sinks if not isinstance(sink, Columns)]
    names = [reducer.name for reducer in reducers]
    if not sinks or len(columns) > 1 or len(set(names)) < len(names):
        raise InvalidParameterError(
            f"sinks must be at most one Columns and reducers of different names, and not empty; got {len(columns)} "
            f"Columns and reducers {names}."
        )
    return (columns[0] if columns else None), reducers


class _Slot(NamedTuple):
    """Images ``start`` to ``stop`` of a block, for one device; none if the two are equal."""

    block: int
    start: int
    stop: int


class _Step(NamedTuple):
    """A slot for every device, with its images; ``valid`` leaves out filling and images that cannot be read."""

    slots: list[_Slot]
    images: Num[Array, "n 3 h w"]
    indices: Int[np.ndarray, " n"]
    valid: Bool[np.ndarray, " n"]


class _Work:
    """This process' share of an output."""

    def __init__(self, output: Output, reducers: list[Reducer], process: Process, on_error: str) -> None:
        self.output, self.ledger, self.reducers = output, output.ledger, reducers
        self.process, self.on_error = process, on_error
        self.entries = self.ledger.entries()
        self.done = {block: entry["done"] for block, entry in self.entries.items()}
        self.reduced = states.reduced_blocks(output.reducers) if reducers else set(range(self.ledger.blocks))
        self.own = [b for b in range(self.ledger.blocks) if b % process.count == process.index]

    def remaining(self, block: int) -> int:
        """Images of a block that are still to be computed."""
        start, stop = self.ledger.range(block)
        return stop - start - (self.done.get(block, 0) if block in self.reduced else 0)

    def everything_done(self) -> bool:
        """Whether all blocks of all processes are done."""
        done = self.ledger.done()
        reduced = states.reduced_blocks(self.output.reducers) if self.reducers else self.reduced
        lengths = {b: stop - start for b in range(self.ledger.blocks) for start, stop in [self.ledger.range(b)]}
        return all(done.get(block) == length and block in reduced for block, length in lengths.items())

    def run(
        self,
        model: Model,
        source: Source,
        batch_size: int,
        devices: Sequence[jax.Device] | None,
        time_limit: float | None,
        show_progress: bool,
    ) -> None:
        todo = [block for block in self.own if self.remaining(block)]
        devices = Devices((jax.local_devices() if devices is None else devices)[: max(len(todo), 1)])
        total = sum(stop - start for start, stop in map(self.ledger.range, self.own))
        left = sum(map(self.remaining, todo))
        model = devices.replicate(model)
        kept = _Kept(self, devices)
        with stop_requests(time_limit) as stopped, progress(total, total - left, show_progress) as advance:
            steps = self._read_ahead(source, self._plan(todo, batch_size, devices.count), batch_size, devices)
            try:
                for step, responses in _computed(model, steps):
                    kept.add(step, responses)
                    advance(int(sum(slot.stop - slot.start for slot in step.slots)))
                    if stopped():
                        break
            finally:
                kept.close()
        self.done = self.ledger.done()
        if self.reducers:
            self.reduced = states.reduced_blocks(self.output.reducers)
        if left := sum(map(self.remaining, self.own)):
            raise Interrupted(
                f"Interrupted: {total - left} of {total} images are done. Run the same command again to go on."
            )

    def _plan(self, todo: list[int], batch_size: int, devices: int) -> Iterator[list[_Slot]]:
        """Step by step, the slots of all devices. Each device has a block of its own."""
        for first in range(0, len(todo), devices):
            group = todo[first : first + devices]
            ranges = []
            for block in group:
                stop = self.ledger.range(block)[1]
                ranges.append((block, stop - self.remaining(block), stop))
            ranges += [(-1, 0, 0)] * (devices - len(group))
            longest = max(stop - start for _, start, stop in ranges)
            for offset in range(0, longest, batch_size):
                yield [
                    _Slot(block, min(start + offset, stop), min(start + offset + batch_size, stop))
                    for block, start, stop in ranges
                ]

    def _read_ahead(
        self, source: Source, plan: Iterator[list[_Slot]], batch_size: int, devices: Devices
    ) -> Iterator[_Step]:
        """Each step with its images, read by threads while earlier ones are computed."""

        def read(slots: list[_Slot]) -> _Step:
            rows = [np.arange(slot.start, slot.start + batch_size) for slot in slots]
            valid = np.concatenate([row < slot.stop for row, slot in zip(rows, slots, strict=True)])
            # What is not valid is filled up with images that are, so that one compiled program serves all.
            indices = np.concatenate(rows)
            indices = np.where(valid, indices, indices[valid][-1])
            images, readable = _read(source, indices, self.on_error)
            return _Step(slots, devices.split(images) if devices.count > 1 else images, indices, valid & readable)

        waiting = collections.deque()
        with ThreadPoolExecutor(_AHEAD) as pool:
            try:
                for slots in plan:
                    waiting.append(pool.submit(read, slots))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for step in waiting:
                    step.cancel()


class _Kept:
    """What is made of the responses: rows of blocks that are being computed, and reducers' states.

    Without reducers, the ledger names a block when its rows are written. With reducers it does so when states that
    include it are on the disk, which is done now and then, for whole groups of blocks.
    """

    def __init__(self, work: _Work, devices: Devices) -> None:
        self.work, self.devices = work, devices
        self.output, self.ledger = work.output, work.output.ledger
        self.sinks = [RESPONSES] * self.output.stores_responses + [reducer.name for reducer in work.reducers]
        self.rows: dict[int, list[np.ndarray]] = {}
        self.skipped: dict[int, list[int]] = {}
        self.open: dict[int, int] = {}  # blocks of the group at hand that are not whole, and where they began
        self.ended: list[tuple[int, int]] = []  # device and block of those that are
        # One state for each device, along a leading axis that reducers do not see.
        self.updates = [jax.jit(jax.vmap(reducer.update)) for reducer in work.reducers]
        self.states = [devices.split(_stacked(reducer.init(), devices.count)) for reducer in work.reducers]
        self.whole = list(self.states)  # as they were at the end of the last group
        self.blocks: list[list[int]] = [[] for _ in range(devices.count)]  # that are in ``whole``
        self.names = [states.new_name() for _ in range(devices.count)]
        self.unrecorded: list[int] = []
        self.saved = time.monotonic()

    def add(self, step: _Step, responses: Float[Array, "n vertices"]) -> None:
        """Take a step's responses in."""
        if not self.open:
            self.open = {slot.block: slot.start for slot in step.slots if slot.start < slot.stop}
        if self.work.reducers:
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
        if not self.work.reducers:
            self._record([block for _, block in self.ended])
            self.ended = []
        elif not self.open:
            self._keep_states()

    def close(self) -> None:
        """Record what can be: without reducers also the beginnings of blocks."""
        if self.work.reducers:
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
            facts = {"process": self.work.process.index, "host": socket.gethostname(), "sinks": self.sinks}
            earlier = self.work.entries.get(block, {}).get("skipped", [])
            skipped = sorted({*earlier, *self.skipped.pop(block, [])})
            self.ledger.record(block, stop - start if images is None else images, skipped=skipped, **facts)

    def _reduce(self, step: _Step, responses: Float[Array, "n vertices"]) -> None:
        known = np.repeat(
            [slot.block in self.work.reduced for slot in step.slots], len(step.valid) // len(step.slots)
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
            if block not in self.work.reduced:
                self.blocks[place].append(block)
            self.unrecorded.append(block)
        self.ended = []
        if time.monotonic() - self.saved > _SAVE_SECONDS:
            self._save_states()

    def _save_states(self) -> None:
        for place, blocks in enumerate(self.blocks):
            if blocks:
                state = [jax.tree.map(lambda leaf, place=place: leaf[place], whole) for whole in self.whole]
                states.save(self.output.reducers, self.names[place], self.work.reducers, state, blocks)
        self._record(self.unrecorded)
        self.unrecorded = []
        self.saved = time.monotonic()


def _stacked(state: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), state)


def _read(source: Source, indices: Int[np.ndarray, " n"], on_error: str) -> tuple[Any, Bool[np.ndarray, " n"]]:
    """Images, and which of them could be read; black stands for the others."""
    try:
        return source.read(indices), np.ones(len(indices), bool)
    except StimulusError:
        if on_error == "error":
            raise
    images: list[Any] = []
    for index in indices:
        try:
            images.append(np.asarray(source.read([index])[0]))
        except StimulusError as error:
            _log.warning("Skipped: %s", error)
            images.append(None)
    readable = np.array([image is not None for image in images])
    if not readable.any():
        side = (3, IMAGE, IMAGE)
        return np.zeros((len(images), *side), np.float32), readable
    like = images[int(readable.argmax())]
    return np.stack([np.zeros_like(like) if image is None else image for image in images]), readable


def _computed(model: Model, steps: Iterator[_Step]) -> Iterator[tuple[_Step, Float[Array, "n vertices"]]]:
    """Each step with its responses, handed on while the devices compute the next one."""
    waiting = None
    for step in steps:
        responses = model(step.images)  # asynchronous
        if waiting is not None:
            jax.block_until_ready(waiting[1])  # so that no more than two steps are under way
            yield waiting
        waiting = step, responses
    if waiting is not None:
        yield waiting

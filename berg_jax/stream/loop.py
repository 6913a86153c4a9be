"""The loop: images from a source, in batches, through a model, to a store."""

from __future__ import annotations

import collections
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Num
from tqdm.auto import tqdm

from ..errors import Interrupted
from .sources import Source
from .stores import ResponseStore

_AHEAD = 2  # batches that are read while one is computed
_LOG_SECONDS = 30
_log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Images ``start`` to ``stop`` of a block."""

    block: int
    start: int
    stop: int


def encode(
    model: Callable[[Num[Array, "batch 3 h w"]], Float[Array, "batch vertices"]],
    source: Source,
    store: ResponseStore,
    batch_size: int,
    *,
    show_progress: bool = True,
) -> None:
    """Write the model's responses to all images that the store's ledger does not have yet.

    A batch that is not full is filled up with its own last image, so that one compiled program serves all.
    Batches always begin at multiples of ``batch_size``, so a resumed run computes what an uninterrupted one
    would have.

    Raises
    ------
    Interrupted
        Ctrl-C or SIGTERM came: the batch at hand was finished and recorded.
    StimulusError, ResourceError
        An image cannot be decoded; the store cannot be written. What was computed before is recorded.
    """
    ledger = store.ledger
    done = ledger.done()
    before = sum(done.values())
    with _stop_requests() as stopped, _progress(len(source), before, show_progress) as advance:
        block = _Block(store)
        try:
            for batch, responses in _computed(
                model, _read_ahead(source, _batches(store, done, batch_size), batch_size)
            ):
                block.add(batch, responses)
                advance(len(responses))
                if stopped():
                    break
        finally:
            block.write()
    there = sum(ledger.done().values())
    if there < len(source):
        raise Interrupted(
            f"Interrupted: {there} of {len(source)} images are done. Run the same command again to go on."
        )
    store.finish()


def _batches(store: ResponseStore, done: dict[int, int], batch_size: int) -> Iterator[Batch]:
    for block in range(store.ledger.blocks):
        first, stop = store.ledger.range(block)
        for start in range(first + done.get(block, 0), stop, batch_size):
            yield Batch(block, start, min(start + batch_size, stop))


def _read_ahead(
    source: Source, batches: Iterator[Batch], batch_size: int
) -> Iterator[tuple[Batch, Num[np.ndarray, "batch 3 h w"]]]:
    """Each batch with its images, read by threads while earlier ones are computed."""

    def read(batch: Batch) -> Num[np.ndarray, "batch 3 h w"]:
        images = source.read(np.arange(batch.start, batch.stop))
        missing = batch_size - len(images)
        return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images

    waiting = collections.deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(read, batch)))
                if len(waiting) > _AHEAD:
                    first, images = waiting.popleft()
                    yield first, images.result()
            for first, images in waiting:
                yield first, images.result()
        finally:
            for _, images in waiting:
                images.cancel()


def _computed(
    model: Callable, batches: Iterator[tuple[Batch, np.ndarray]]
) -> Iterator[tuple[Batch, Float[np.ndarray, "batch vertices"]]]:
    """Each batch with its responses, fetched while the device computes the next one."""
    waiting = None
    for batch, images in batches:
        responses = model(images)  # asynchronous
        if waiting is not None:
            yield waiting[0], _fetch(*waiting)
        waiting = batch, responses
    if waiting is not None:
        yield waiting[0], _fetch(*waiting)


def _fetch(batch: Batch, responses: Array) -> Float[np.ndarray, "batch vertices"]:
    return np.asarray(responses)[: batch.stop - batch.start].astype(np.float32)


class _Block:
    """Responses of the block at hand, written when it is full, or when told to."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._start = 0
        self._rows: list[np.ndarray] = []
        self._block = 0

    def add(self, batch: Batch, responses: Float[np.ndarray, "batch vertices"]) -> None:
        if not self._rows:
            self._block, self._start = batch.block, batch.start
        self._rows.append(responses)
        if batch.stop == self._store.ledger.range(batch.block)[1]:
            self.write()

    def write(self) -> None:
        if not self._rows:
            return
        rows, self._rows = np.concatenate(self._rows), []
        self._store.write(self._start, rows)
        first, _ = self._store.ledger.range(self._block)
        self._store.ledger.record(self._block, self._start + len(rows) - first)


@contextlib.contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; a second one acts as it would have without us."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals cannot be handled there
        yield requested.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        _log.warning("Stopping after the batch at hand. Once more to stop at once.")
        requested.set()
        signal.signal(number, before[number])

    try:
        for number in before:
            signal.signal(number, request)
        yield requested.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _progress(total: int, done: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar where there is a terminal, else a line in the log now and then."""
    start = last = time.monotonic()
    count = 0
    with tqdm(total=total, initial=done, unit="image", disable=None if show else True) as bar:

        def advance(images: int) -> None:
            nonlocal last, count
            count += images
            bar.update(images)
            now = time.monotonic()
            if show and bar.disable and now - last >= _LOG_SECONDS:
                last = now
                rate = count / (now - start)
                left = (total - done - count) / rate
                _log.info("%d of %d images, %.2f images/s, %.0f s left", done + count, total, rate, left)

        yield advance

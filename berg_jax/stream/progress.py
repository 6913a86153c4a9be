"""Progress of long runs, and requests to stop them."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

_LOG_SECONDS = 30
_USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def stop_requests(time_limit: float | None) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether to stop, because of Ctrl-C, SIGTERM or the time limit.

    A second signal has its usual effect.

    Parameters
    ----------
    time_limit
        Seconds after which to stop, or None.
    """
    requested = threading.Event()
    end = time.monotonic() + (np.inf if time_limit is None else time_limit)

    def stopped() -> bool:
        return requested.is_set() or time.monotonic() > end

    if threading.current_thread() is not threading.main_thread():  # signals cannot be handled there
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in _USUAL}

    def request(number: int, frame: object) -> None:
        _log.warning("Stopping after the batch at hand. Once more to stop at once.")
        requested.set()
        signal.signal(number, _USUAL[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, request)
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def progress(total: int, done: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes a number of new images, and shows a progress bar or logs a line now and then.

    Parameters
    ----------
    total, done
        Number of all images, and of those that are done already.
    show
        Whether progress is shown: as a bar if there is a terminal, otherwise in the log every 30 seconds.
    """
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

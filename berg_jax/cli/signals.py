"""Handlers of Ctrl-C and SIGTERM for the time before work has begun: the program ends with exit code 75, as later.

This module needs nothing but the standard library, so that the handlers are there before anything else is imported.
"""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 75  # exit code (EX_TEMPFAIL): run the same command again
_USUAL = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


def install_handlers() -> None:
    """Let Ctrl-C and SIGTERM end this program with exit code 75."""
    for number in _USUAL:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a program that a shell keeps in the background
            signal.signal(number, _stop)


def _stop(number: int, frame: object) -> None:
    """End the program. A second signal has its usual effect."""
    for other, usual in _USUAL.items():
        signal.signal(other, usual)
    # Not through sys.stderr, which may be in the middle of a write.
    os.write(2, b"Stopped before the end. Run the same command again to go on.\n")
    sys.exit(INTERRUPTED)

"""What takes long says so beforehand."""

from __future__ import annotations

import logging
import sys


def tell(log: logging.Logger, message: str, *arguments: object) -> None:
    """Log at level INFO; where nobody has set up logging, say it on stderr, for whoever waits to know why."""
    if log.hasHandlers():
        log.info(message, *arguments)
    elif log.isEnabledFor(logging.WARNING):  # unless somebody wants it quieter than Python's default
        print(message % arguments, file=sys.stderr, flush=True)

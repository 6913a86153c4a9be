"""``berg-jax`` whose images come slowly, as from a busy disk, so that a time limit is met with little computing."""

from __future__ import annotations

import threading
import time
from typing import Any

from berg_jax.cli.signals import install_handlers

SECONDS = 2.0  # for each batch


def main() -> None:
    install_handlers()  # first, as the program itself does
    from berg_jax.cli.app import main as run
    from berg_jax.stream import loop

    read, disk = loop._read, threading.Lock()

    def slowly(*arguments: Any) -> Any:
        with disk:  # one batch after the other, however many threads ask
            time.sleep(SECONDS)
        return read(*arguments)

    loop._read = slowly
    run()


if __name__ == "__main__":
    main()

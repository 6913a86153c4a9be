"""A run of the numbered images in a process of its own, which dies or holds at a stated moment.

python -m tests.stream.alone OUTPUT SINK … [--process INDEX COUNT] [--devices N]
                             [--die MOMENT | --hold MOMENT] [--call N] [--after] [--pause SECONDS]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import jax

from berg_jax.errors import Interrupted
from berg_jax.stream import blocks
from berg_jax.stream.execution import Execution, Process
from berg_jax.stream.loop import stream
from berg_jax.stream.reducers import Moments, states
from berg_jax.stream.store.ledger import Ledger
from berg_jax.stream.store.output import Output

from ..kills import at_call, die, hold
from .numbered import COLUMNS, SHARDS, Source, Sum, model


class Model:
    """The numbered images' model, as a class whose calls can be counted and take a while."""

    pause = 0.0

    def __call__(self, images: jax.Array) -> jax.Array:
        time.sleep(self.pause)
        return model(images)


SINKS = {"columns": COLUMNS, "shards": SHARDS, "sum": Sum(), "moments": Moments(5)}
MOMENTS = {
    "decode": (Source, "read"),
    "compute": (Model, "__call__"),
    "write": (Output, "write"),
    "save": (states, "save"),
    "name": (Path, "replace"),  # before it, an entry of the ledger is on the disk, and has not its name yet
    "record": (Ledger, "record"),
}


def _names_an_entry(*arguments: object) -> bool:
    return Path(arguments[1]).parent.name == "ledger"


def main() -> None:
    """Run; exit with 75 if it was stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("sinks", nargs="+", choices=SINKS)
    parser.add_argument("--process", nargs=2, type=int, default=(0, 1))
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--die", choices=MOMENTS)
    parser.add_argument("--hold", choices=MOMENTS)
    parser.add_argument("--call", type=int, default=20)
    parser.add_argument("--after", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    given = parser.parse_args()

    moment = given.die or given.hold
    if moment:
        counts = {"counts": _names_an_entry} if moment == "name" else {}
        at_call(*MOMENTS[moment], given.call, die if given.die else hold, after=given.after, **counts)
    Model.pause = given.pause
    blocks._SAVE_SECONDS = -1  # save reducers' states whenever they can be

    print("begun", flush=True)
    try:
        stream(
            Model(),
            Source(),
            [SINKS[name] for name in given.sinks],
            output=given.output,
            identity="sines",
            execution=Execution(4, given.devices, Process(*given.process), show_progress=False),
        )
    except Interrupted as stopped:
        print(stopped)
        sys.exit(75)


if __name__ == "__main__":
    main()

"""Unfinished output: the images that are not done yet, by the process that owes them."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from pathlib import Path

from ..errors import Unfinished
from .execution import Process, waiting_for
from .merge import missing_blocks
from .store.output import Output, is_complete, is_there
from .store.places import Place, find_place


def owed_images(output: Output, count: int) -> dict[int, int]:
    """Return the number of images that each of ``count`` processes still owes, by its index.

    A block counts as a whole until it is done, and until it is in a state of the reducers if there are any.
    """
    owed: collections.Counter[int] = collections.Counter()
    for block in missing_blocks(output, bool(output.attributes.get("run", {}).get("reducers"))):
        start, stop = output.ledger.range(block)
        owed[block % count] += stop - start
    return dict(sorted(owed.items()))


def unfinished(path: str | Path | Place, stores: Iterable[str | Place], process: Process | None) -> Unfinished:
    """Return the error of a process that has done its share while others have not: who owes how many images.

    Parameters
    ----------
    path
        Folder of the command, which the message names.
    stores
        Outputs of the streams below it.
    process
        This process among those that share them.
    """
    count = (process or Process()).count
    owed: collections.Counter[int] = collections.Counter()
    for store in map(find_place, stores):
        if is_there(store) and not is_complete(store):
            owed.update(owed_images(Output.existing(store), count))
    if not owed:
        return Unfinished(f"This process has done its share of {path}, and another one is completing it.")
    return Unfinished(
        f"This process has done its share of {path}, which is not complete: {waiting_for(owed, count, 'images')}. "
        "It is complete when they have ended; where one has died or was stopped, run its command again."
    )

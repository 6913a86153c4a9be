"""Completion of an output: when all blocks are done, reducers' states are merged into results.

The process that computes the last block completes the output. If it dies before the end, ``berg-jax merge`` completes
the output without the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import IntegrityError, ResourceError
from .reducers import Reducer, states
from .reducers import saved as saved_settings
from .store.output import Output
from .store.places import Place

_SHOWN = 5  # blocks listed in a message


def missing_blocks(output: Output, reduced: bool) -> list[int]:
    """Return the blocks that are missing from an output.

    If responses are reduced, blocks that are in no state of the reducers are missing, too.
    """
    ledger, done = output.ledger, output.ledger.done()
    in_states = states.reduced_blocks(output.reducers) if reduced else done.keys()
    whole = {
        block
        for block, count in done.items()
        for start, stop in [ledger.range(block)]
        if count == stop - start and block in in_states
    }
    return [block for block in range(ledger.blocks) if block not in whole]


def finish(output: Output, reducers: Sequence[Reducer]) -> None:
    """Merge the reducers' states of all processes, write their results, and mark the output as complete."""
    states.write_results(output.reducers, states.merge(output.reducers, reducers))
    output.finish()


def merge_output(path: str | Place) -> str:
    """Finish an output whose blocks are all done, without its model or images.

    Parameters
    ----------
    path
        Output of a run that has stopped, or that no process has completed.

    Returns
    -------
    A line about the completed output.

    Raises
    ------
    ModelNotFoundError, ResourceError, IntegrityError, ValidationError
        There is no such output; blocks are missing (the message says which), or a reducer's settings are missing; a
        file is damaged; two files contain the same block.

    See Also
    --------
    status_text : How much of an output is done.
    open_responses : Read the stored responses.
    """
    output = Output.existing(path)
    if output.complete:
        return f"{path} is complete already."
    fingerprints = output.attributes.get("run", {}).get("reducers")
    if not isinstance(fingerprints, dict):
        raise IntegrityError(f"{path} does not say which reducers it is of. Run the program that began it again.")
    if left := missing_blocks(output, bool(fingerprints)):
        ranges = [output.ledger.range(block) for block in left[:_SHOWN]]
        shown = ", ".join(f"{start}–{stop - 1}" for start, stop in ranges) + (", …" if len(left) > _SHOWN else "")
        raise ResourceError(
            f"{path} cannot be finished: {len(left)} of {output.ledger.blocks} blocks are missing, of images "
            f"{shown}. Run the command that began it again, which computes them and finishes."
        )
    finish(output, saved_settings.load(output.reducers, fingerprints))
    results = "".join(f", {output.reducers / name}.npz" for name in fingerprints)
    return f"{path} is complete now: {output.ledger.images} images{results}"

"""Skipped images of an output: those that could not be read, encoded later without changing any other row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from .ledger import Ledger
from .output import Output

Compute = Callable[[dict[int, int]], tuple[Float[np.ndarray, "batch vertices"], dict[int, str]]]


def skipped_images(ledger: Ledger) -> list[int]:
    """Return the images that are recorded as skipped, ascending."""
    return sorted(image for entry in ledger.entries().values() for image in entry.get("skipped", []))


def fill_blocks(output: Output, blocks: Sequence[int], batch_size: int, compute: Compute) -> Iterator[int]:
    """Compute and store the skipped images of blocks, and yield the number that was filled after each block.

    Rows are written before the ledger says so: after a kill, they are computed again, to the same bits.

    Parameters
    ----------
    output
        The output.
    blocks
        Blocks of this process.
    batch_size
        Number of images in a batch.
    compute
        Positions in a batch by image → responses of the batch, and why images could not be read.
    """
    entries = output.ledger.entries()
    for block in blocks:
        entry = entries.get(block, {})
        skipped: list[int] = entry.get("skipped", [])
        if not skipped:
            continue
        start, _ = output.ledger.range(block)
        failed: dict[int, str] = {}
        for first in sorted({start + (image - start) // batch_size * batch_size for image in skipped}):
            # Each image is where it was in its batch, so that it is rounded as it would have been.
            places = {image: image - first for image in skipped if first <= image < first + batch_size}
            responses, reasons = compute(places)
            failed |= reasons
            good = [image for image in places if image not in reasons]
            if good:
                output.write_rows(good, responses[[places[image] for image in good]])
        facts = {name: value for name, value in entry.items() if name not in ("start", "done", "reasons")}
        facts["skipped"] = [image for image in skipped if image in failed]
        if failed:
            facts["reasons"] = {str(image): why for image, why in failed.items()}
        output.ledger.record(block, entry["done"], **facts)
        yield len(skipped) - len(failed)

"""How far a run is: what the ledger of its output says."""

from __future__ import annotations

import collections

from .output import Output
from .places import Place


def status_text(path: str | Place) -> str:
    """What is done of an output, by whom, how fast, and what is left, in a few lines.

    Raises
    ------
    ModelNotFoundError, ResourceError, IntegrityError
        There is no such output; it is something else; its ledger is damaged.
    """
    output = Output.existing(path)
    ledger, entries = output.ledger, output.ledger.entries()
    done = sum(entry["done"] for entry in entries.values())
    if output.complete:
        state = "complete"
    else:
        state = "to be finished (berg-jax merge)" if done == ledger.images else "under way or interrupted"
    lines = [f"{path}: {done} of {ledger.images} images done, in blocks of {ledger.block}: {state}"]
    shares = collections.defaultdict(list)
    for entry in entries.values():
        shares[entry.get("process", 0), entry.get("host", "?")].append((entry["time"], entry["done"]))
    for (process, host), recorded in sorted(shares.items()):
        images, line = sum(count for _, count in recorded), f"  process {process} on {host}"
        (first, of_first), (last, _) = min(recorded), max(recorded)
        # The first block's own time is unknown: its entry stands at its end.
        rate = f", {(images - of_first) / (last - first):.3g} images/s" if last > first else ""
        lines.append(f"{line}: {images} images{rate}")
    if skipped := sorted(image for entry in entries.values() for image in entry.get("skipped", [])):
        shown = ", ".join(map(str, skipped[:10])) + (", …" if len(skipped) > 10 else "")
        lines.append(f"  {len(skipped)} images could not be read and were skipped: {shown}")
    return "\n".join(lines)

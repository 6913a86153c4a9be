"""How far a run is: what the ledger of its output says."""

from __future__ import annotations

import collections
from pathlib import Path

from ..errors import ModelNotFoundError
from .stores import Output


def status_text(path: str | Path) -> str:
    """What is done of an output, by whom, how fast, and what is left, in a few lines.

    Raises
    ------
    ModelNotFoundError, ResourceError, IntegrityError
        There is no such output; it is something else; its ledger is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise ModelNotFoundError(f"There is no {path}. Give the output of a run.")
    output = Output(path)
    ledger, entries = output.ledger, output.ledger.entries()
    done = sum(entry["done"] for entry in entries.values())
    state = (
        "complete" if output.complete else "to be finished" if done == ledger.images else "under way or interrupted"
    )
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

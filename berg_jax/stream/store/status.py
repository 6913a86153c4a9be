"""Status of a run, from the ledger of its output."""

from __future__ import annotations

import collections
from typing import Any

from ..sources.account import account_text
from .output import Output
from .places import Place
from .skipped import skipped_images

_SHOWN = 10  # skipped images that are named


def status_text(path: str | Place) -> str:
    """Return a few lines about an output: how much is done, by which processes, how fast, and what is left.

    Parameters
    ----------
    path
        Folder of the output, or its URL.

    Raises
    ------
    ModelNotFoundError, ResourceError, IntegrityError
        There is no such output; there is something else at this path; the ledger is damaged.

    See Also
    --------
    berg_jax.stream.merge_output : Complete an output whose blocks are all done.
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
        (first, count_of_first), (last, _) = min(recorded), max(recorded)
        # The duration of the first block is unknown, because its entry was written at its end.
        rate = f", {(images - count_of_first) / (last - first):.3g} images/s" if last > first else ""
        lines.append(f"{line}: {images} images{rate}")
    lines += skipped_text(output)
    if account := account_of(path):
        lines.append(f"  images: {account_text(account, 'encoded' if output.complete else 'usable')}")
    return "\n".join(lines)


def skipped_text(output: Output) -> list[str]:
    """Return a line about the images that were skipped, with the names of the first; none if there are none."""
    skipped = skipped_images(output.ledger)
    if not skipped:
        return []
    names = ", ".join(output.names(skipped[:_SHOWN])) + (", …" if len(skipped) > _SHOWN else "")
    return [f"  {len(skipped):,} {'images were' if len(skipped) > 1 else 'image was'} skipped: {names}"]


def account_of(path: str | Place) -> dict[str, Any] | None:
    """Return the account of the images that an output was made from, or None for an output of version 0.1.0.

    Returns
    -------
    dict
        ``found``, ``encoded``, ``skipped`` (why, by name) and ``passed_over`` (number, by reason); images that could
        not be decoded are among the skipped ones.
    """
    output = Output.existing(path)
    account = output.attributes.get("found")
    if account is None:
        return None
    reasons: dict[int, str] = {}
    for entry in output.ledger.entries().values():
        reasons |= {int(image): why for image, why in entry.get("reasons", {}).items()}
    names = dict(zip(sorted(reasons), output.names(sorted(reasons)), strict=True))
    skipped = {**account["skipped"], **{names[image]: why for image, why in sorted(reasons.items())}}
    encoded = account["found"] - len(skipped) - sum(account["passed_over"].values())
    return {**account, "skipped": skipped, "encoded": encoded}

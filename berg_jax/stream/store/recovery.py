"""Recovery of a stored output: its skipped images are filled, or new images are appended."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ...errors import InvalidParameterError, ModelNotFoundError, ResourceError
from ..sources.image_files import Source
from ..sources.stored_order import StoredOrder
from .growth import finish_growing, recorded_images
from .layout import GROWING
from .output import Output, is_there
from .places import Place
from .skipped import skipped_images

Recover = Literal["skipped", "appended"]


def recovery_of(retry_skipped: bool, append: bool) -> Recover | None:
    """Return the recovery that two options ask for, or None.

    Raises
    ------
    InvalidParameterError
        Both are given.
    """
    if retry_skipped and append:
        raise InvalidParameterError("Give --retry-skipped or --append, not both: one after the other.")
    return "skipped" if retry_skipped else "appended" if append else None


def require_output(path: Place, recover: Recover) -> None:
    """Raise ModelNotFoundError unless there is an output to recover."""
    if not is_there(path):
        option = "--append" if recover == "appended" else "--retry-skipped"
        raise ModelNotFoundError(f"There is no output {path}. Give one that exists, or leave out {option}.")


def source_in_order(path: Place, source: Source, recover: Recover) -> tuple[StoredOrder, bool]:
    """Return a source in the order of the output's images, and whether there is anything to compute.

    Raises
    ------
    ModelNotFoundError, ResourceError, InvalidParameterError
        There is no such output; it is not complete, or does not know the contents of its images; the images do not
        fit it.
    """
    output = Output.existing(path)
    if output.attributes.get(GROWING):
        finish_growing(output)
        output = Output(path)
    names, digests = recorded_images(output)
    if digests is None:
        raise ResourceError(
            f"{path} does not record the contents of its images, as outputs of version 0.1.0. Choose another output."
        )
    skipped = skipped_images(output.ledger)
    ordered = StoredOrder(
        source,
        names,
        digests,
        may_change=set(skipped),
        take_new=recover == "appended",
        found=output.attributes.get("found"),
    )
    owed = np.ones(len(names), bool)
    for block, count in output.ledger.done().items():
        start, _ = output.ledger.range(block)
        owed[start : start + count] = False
    if owed.any() and ordered.new:
        raise ResourceError(
            f"{path} is not complete, so nothing can be appended to it yet: {int(owed.sum()):,} images are missing. "
            "Run the command again that left them, then this one."
        )
    if lacking := ordered.lacks(np.flatnonzero(owed)):
        raise ResourceError(
            f"{path} is not complete, and these images lack {len(lacking):,} of those that are missing, such as "
            f"{lacking[0]!r}. Run the command again that left them."
        )
    return ordered, bool(owed.any() or ordered.new or (recover == "skipped" and skipped))

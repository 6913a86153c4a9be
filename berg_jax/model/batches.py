"""Batches of equal size, so that one compiled program serves them all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int


def filled_batches(count: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """Yield the numbers from 0 to ``count`` − 1 in batches of ``size``, and how many of each batch are new.

    The last batch is filled with the last number, so that all batches have one size.

    Examples
    --------
    >>> [(numbers.tolist(), new) for numbers, new in filled_batches(5, 3)]
    [([0, 1, 2], 3), ([3, 4, 4], 2)]
    """
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)

"""Work that is done so many at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int


def filled_batches(count: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """Numbers from 0 to ``count`` − 1, ``size`` at a time, and how many of them are new.

    The last batch is filled up with the last number, so that one compiled program serves all.

    Examples
    --------
    >>> [(numbers.tolist(), new) for numbers, new in filled_batches(5, 3)]
    [([0, 1, 2], 3), ([3, 4, 4], 2)]
    """
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)

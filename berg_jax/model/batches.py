"""Batches of equal size, so that one compiled program serves them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Array, Float, Int, Num


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


def responses_by_batch(
    model: Callable[[Num[Array, "size 3 h w"]], Float[Array, "size vertices"]],
    images: Num[np.ndarray, "count 3 h w"],
    size: int,
) -> Iterator[tuple[slice, Float[np.ndarray, "new vertices"]]]:
    """Yield the responses to images, a batch at a time, each while the device computes the next one.

    Parameters
    ----------
    model
        Function of images that returns before its result is computed, as those of JAX do.
    images
        All images.
    size
        Number of images in a batch; at most two batches are on the device at once.

    Yields
    ------
    The rows of a batch, and the responses to them.
    """
    before = None
    for numbers, new in filled_batches(len(images), size):
        rows = slice(int(numbers[0]), int(numbers[0]) + new)
        responses = model(images[rows] if new == size else images[numbers])
        responses.copy_to_host_async()
        if before is not None:
            yield before[0], np.asarray(before[1])[: before[2]]
        before = rows, responses, new
    if before is not None:
        yield before[0], np.asarray(before[1])[: before[2]]

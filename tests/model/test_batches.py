"""Batches of one size, in which everything is once, and whose filling is told."""

from __future__ import annotations

import numpy as np
import pytest

from berg_jax.model.batches import filled_batches, responses_by_batch


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 24])
@pytest.mark.parametrize("size", [1, 8, 30])
def test_everything_is_there_once(count: int, size: int) -> None:
    batches = list(filled_batches(count, size))
    assert [len(numbers) for numbers, _ in batches] == [size] * len(batches)
    np.testing.assert_array_equal([n for numbers, new in batches for n in numbers[:new]], np.arange(count))
    assert all((numbers[new:] == count - 1).all() for numbers, new in batches)


@pytest.mark.parametrize("count", [1, 4, 5, 8])
def test_every_image_has_its_own_response_and_no_batch_waits_for_the_one_before(count: int) -> None:
    events = []

    class Computed:
        """A result that tells when it is waited for."""

        def __init__(self, images: np.ndarray) -> None:
            self.images = images

        def copy_to_host_async(self) -> None:
            events.append(("copy", int(self.images[0, 0, 0, 0])))

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            events.append(("wait", int(self.images[0, 0, 0, 0])))
            return self.images[:, 0, 0] * 2.0

    images = np.arange(count).reshape(-1, 1, 1, 1) * np.ones((1, 3, 2, 2))
    responses = np.full((count, 2), np.nan)
    for rows, new in responses_by_batch(Computed, images, 4):
        responses[rows] = new
    np.testing.assert_array_equal(responses, 2.0 * np.arange(count)[:, None] * np.ones(2))
    if count > 4:  # the second batch is under way before the first one is waited for
        assert events.index(("copy", 4)) < events.index(("wait", 0))

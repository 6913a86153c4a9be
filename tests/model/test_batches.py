"""Batches of one size, in which everything is once, and whose filling is told."""

from __future__ import annotations

import numpy as np
import pytest

from berg_jax.model.batches import filled_batches


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 24])
@pytest.mark.parametrize("size", [1, 8, 30])
def test_everything_is_there_once(count: int, size: int) -> None:
    batches = list(filled_batches(count, size))
    assert [len(numbers) for numbers, _ in batches] == [size] * len(batches)
    np.testing.assert_array_equal([n for numbers, new in batches for n in numbers[:new]], np.arange(count))
    assert all((numbers[new:] == count - 1).all() for numbers, new in batches)

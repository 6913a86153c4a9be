"""The default batch size depends on the device alone, and fits its memory."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from berg_jax.model.defaults import default_batch_size

GB = 10**9


@dataclass
class Device:
    """A device that is not there: its platform, and what it says of its memory."""

    platform: str
    memory: dict | None
    device_kind: str = "one that is not there"

    def memory_stats(self) -> dict | None:
        return self.memory


@pytest.mark.parametrize(
    ("platform", "memory", "expected"),
    [
        ("cpu", None, 8),
        ("cpu", {"bytes_limit": 500 * GB}, 8),
        ("gpu", {"bytes_limit": 60 * GB}, 64),
        ("gpu", {"bytes_limit": 12 * GB}, 64),
        ("gpu", {"bytes_limit": 11 * GB}, 32),
        ("gpu", {"bytes_limit": 6 * GB}, 16),
        ("gpu", {"bytes_limit": 3 * GB}, 8),
        ("tpu", {"bytes_limit": 16 * GB, "bytes_in_use": 15 * GB}, 64),  # what is in use now may not be later
        ("tpu", {"bytes_in_use": 1}, 32),
        ("gpu", None, 32),
    ],
)
def test_an_accelerator_computes_as_many_images_as_fit_and_a_cpu_eight(
    platform: str, memory: dict | None, expected: int
) -> None:
    assert default_batch_size(Device(platform, memory)) == expected

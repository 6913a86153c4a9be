"""Devices of a run: the model on each of them, a step's images shared out. No device waits for another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Devices:
    """Devices among which the images of a step are divided."""

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.count = len(devices)
        mesh = Mesh(np.array(list(devices)), ("data",))
        self._split, self._whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    def replicate(self, model: Any) -> Any:
        """Return the model on every device; what is not a pytree of arrays is returned as it is."""
        leaves = jax.tree.leaves(model)
        return jax.device_put(model, self._whole) if all(isinstance(leaf, jax.Array) for leaf in leaves) else model

    def split(self, values: Any) -> Any:
        """Return arrays whose first axis is shared out evenly over the devices."""
        return jax.device_put(values, self._split)

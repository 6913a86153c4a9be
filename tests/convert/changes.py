"""Changes to the reference's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from berg_jax.convert.torch_file import write_state_dict
from berg_jax.files.torch_archive import read_torch

State = dict[str, np.ndarray]


def rewrite(path: Path, change: Callable[[State], object]) -> None:
    state = {name: np.array(tensor) for name, tensor in read_torch(path).items()}
    change(state)
    path.unlink()
    write_state_dict(path, state)


KEY = "model.conv_blocks.blocks_dict.5.block.0.0.weight"

"""Files that runs leave behind: ledgers, reducers' states and settings, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from berg_jax.experiments.synthesis.checkpoints import restore, save
from berg_jax.stream.reducers import Moments, TopK, states
from berg_jax.stream.reducers import saved as settings
from berg_jax.stream.store.output import Output
from berg_jax.stream.store.status import status_text

from ..by_chance import Target
from .common import npz_repaired, written


def _output(folder: Path) -> Output:
    reducers = [Moments(3), TopK(2, np.eye(3, dtype=np.float32))]
    run = {"reducers": {reducer.name: reducer.fingerprint for reducer in reducers}}
    output = Output.create(folder / "out", [f"{n}.png" for n in range(5)], run, 2, None, {"versions": {}})
    for block in range(output.ledger.blocks):
        start, stop = output.ledger.range(block)
        output.ledger.record(block, stop - start, process=0, host="here", skipped=[start])
    settings.save(output.reducers, reducers)
    states.save(output.reducers, "here-1", reducers, [reducer.init() for reducer in reducers], [0, 1, 2])
    return output


def _output_seeds(file: str) -> Any:
    def seeds(folder: Path) -> list[bytes]:
        _output(folder)
        return [written(folder, file)]

    return seeds


def _read_output(path: Path) -> Any:
    folder = next(parent for parent in path.parents if parent.name == "out")
    text = status_text(folder)
    text.encode()
    output = Output.existing(folder)
    found = settings.load(output.reducers, output.attributes["run"]["reducers"]) if path.suffix == ".npz" else []
    if path.name.endswith(".state.npz"):
        states.reduced_blocks(output.reducers)
        states.merge(output.reducers, found)
    return text


def _checkpoint_seeds(folder: Path) -> list[bytes]:
    save(folder / "x.npz", {"latents": np.ones((2, 3), np.float32), "step": np.int32(1)}, "this one")
    return [written(folder, "x.npz")]


def _read_checkpoint(path: Path) -> Any:
    fresh = {"latents": np.ones((2, 3), np.float32), "step": np.int32(1)}
    return jax.tree.leaves(restore(path, fresh, "this one"))


_ENTRY = "out/ledger/000000001.json"
_STATE = "out/reducers/here-1.state.npz"
_SETTINGS = "out/reducers/settings/top_k.npz"
TARGETS = [
    Target("ledger", _ENTRY, _output_seeds(_ENTRY), _read_output),
    Target("output", "out/zarr.json", _output_seeds("out/zarr.json"), _read_output),
    Target("state", _STATE, _output_seeds(_STATE), _read_output, npz_repaired),
    Target("settings", _SETTINGS, _output_seeds(_SETTINGS), _read_output, npz_repaired),
    Target("checkpoint", "x.npz", _checkpoint_seeds, _read_checkpoint, npz_repaired),
]

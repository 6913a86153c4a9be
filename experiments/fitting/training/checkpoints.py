"""Checkpoints of a training: Orbax folders that appear whole or not at all, from which it goes on to the same bits.

On GPUs, sums of gradients have the same bits only with ``XLA_FLAGS=--xla_gpu_deterministic_ops=true``.

state-000012/   the whole state after epoch 12, and the settings of the fit
best-000007/    the trained tensors after epoch 7, one of the best so far
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ....errors import IntegrityError
from ....files.disk import atomic_folder, explained, read_small, readable
from ....model.checkpoint import read_arrays, write_arrays
from ....stream.store.changes import differences_of

_SETTINGS = "settings.json"
_FREE = ("epochs",)  # settings of the recipe that a fit may go on with after they have changed
_REMEDY = "Give another folder, or remove it to start anew."


class Checkpoints:
    """Checkpoints of one fit in a folder of its own; without a folder, everything stays in memory.

    Parameters
    ----------
    folder
        The folder, or None.
    settings
        All that the fit's numbers depend on, as JSON has it.
    seconds
        Least time between two saved states.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any], seconds: float = 120) -> None:
        self.folder = None if folder is None else Path(folder)
        self.settings = json.loads(json.dumps(dict(settings)))
        self.seconds, self._saved = seconds, time.monotonic()
        self._kept: dict[int, Any] = {}  # the best ones that are not in the folder yet

    @property
    def due(self) -> bool:
        """Whether the last state was saved long enough ago."""
        return time.monotonic() - self._saved >= self.seconds

    def keep(self, epoch: int, trained: Any) -> None:
        """Keep the trained tensors after an epoch."""
        self._kept[epoch] = jax.tree.map(np.asarray, trained)

    def kept(self, epoch: int, like: Any) -> Any:
        """Return the trained tensors after an epoch that was kept, in the structure of ``like``."""
        if epoch in self._kept:
            return self._kept[epoch]
        return _read(self._path("best", epoch), like)

    def forget(self, epochs: Iterable[int]) -> None:
        """Forget epochs that are no longer among the best."""
        for epoch in epochs:
            self._kept.pop(epoch, None)

    def save(self, epoch: int, tree: Any, best: Iterable[int]) -> None:
        """Save the state after an epoch, the best epochs that are not saved yet, and remove what is no longer used.

        Raises
        ------
        ResourceError
            The folder cannot be written.
        """
        if self.folder is None:
            return
        best = set(best)
        for number in sorted(best & self._kept.keys()):
            _write(self._path("best", number), self._kept[number], {})
        _write(self._path("state", epoch), tree, self.settings)
        self._kept = {}
        used = {self._path("state", epoch), *(self._path("best", number) for number in best)}
        with explained("write", self.folder):
            for path in self._folders("state") + self._folders("best"):
                if path not in used:
                    shutil.rmtree(path, ignore_errors=True)
        self._saved = time.monotonic()

    def restore(self, like: Any) -> Any | None:
        """Return the last saved state in the structure of ``like``, or None if there is none.

        Raises
        ------
        IntegrityError
            The state is damaged, or of another fit; the message names the settings that differ.
        """
        if self.folder is None or not (states := self._folders("state")):
            return None
        path = states[-1]
        with readable(f"The checkpoint {path}", IntegrityError, _REMEDY):
            there = dict(json.loads(read_small(path / _SETTINGS).decode("utf-8")))
        if others := differences_of(_fixed(there), _fixed(self.settings)):
            raise IntegrityError(f"The checkpoint {path} is of another fit: {'; '.join(others)}. {_REMEDY}")
        return _read(path, like)

    def _path(self, kind: str, epoch: int) -> Path:
        return self.folder / f"{kind}-{epoch:06d}"

    def _folders(self, kind: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if re.fullmatch(rf"{kind}-\d{{6}}", path.name))


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    recipe = {name: value for name, value in settings.get("recipe", {}).items() if name not in _FREE}
    return {**settings, "recipe": recipe}


def _write(path: Path, tree: Any, settings: Mapping[str, Any]) -> None:
    leaves = {f"{index:05d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(tree))}
    with atomic_folder(path, replace=True) as folder, explained("write", path):
        write_arrays(folder / "arrays", leaves)
        (folder / _SETTINGS).write_text(json.dumps(dict(settings), indent=1) + "\n", encoding="utf-8")


def _read(path: Path, like: Any) -> Any:
    arrays = read_arrays(path / "arrays", _REMEDY)
    expected, structure = jax.tree.flatten(like)
    found = [arrays.get(f"{index:05d}") for index in range(len(expected))]
    same = len(arrays) == len(expected) and all(
        array is not None and array.dtype == leaf.dtype and array.ndim == leaf.ndim
        for array, leaf in zip(found, expected, strict=True)
    )
    if not same:
        raise IntegrityError(f"The checkpoint {path} does not hold this fit's tensors. {_REMEDY}")
    return jax.tree.unflatten(structure, [np.asarray(array) for array in found])

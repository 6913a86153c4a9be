"""Reducers' states in an output: a file for each run of each process and device, which says which blocks are in it.

A file is replaced as a whole, so a block is in a state or it is not; and a file's blocks are never counted twice.
"""

from __future__ import annotations

import io
import socket
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import IntegrityError, ValidationError
from .reducers import Reducer
from .storage import Place, list_folder, read, write

_SUFFIX = ".state.npz"


def new_name() -> str:
    """A name that no other run has."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"


def save(folder: Place, name: str, reducers: Sequence[Reducer], states: Sequence[Any], blocks: Sequence[int]) -> None:
    """Write the states of all reducers, of the given blocks, in place of what this name held before."""
    arrays = {
        f"{reducer.name}.{index}": np.asarray(leaf)
        for reducer, state in zip(reducers, states, strict=True)
        for index, leaf in enumerate(jax.tree.leaves(state))
    }
    memory = io.BytesIO()
    np.savez(memory, blocks=np.array(sorted(blocks), np.int64), **arrays)
    write(folder / f"{name}{_SUFFIX}", memory.getvalue())


def reduced_blocks(folder: Place) -> set[int]:
    """Blocks that are in a state already.

    Raises
    ------
    IntegrityError, ValidationError
        A file is damaged, or two hold the same block.
    """
    found: dict[int, Place] = {}
    for path in list_folder(folder, _SUFFIX):
        with _read(path) as arrays:
            for block in arrays["blocks"].tolist():
                if block in found:
                    raise ValidationError(
                        f"{found[block]} and {path} both hold block {block}: two processes did the same work. Remove "
                        "one of them, and its other blocks are computed again."
                    )
                found[block] = path
    return set(found)


def merge(folder: Place, reducers: Sequence[Reducer]) -> dict[str, dict[str, np.ndarray]]:
    """Results of all reducers over all states, merged in the order of their first blocks."""
    files = []
    for path in list_folder(folder, _SUFFIX):
        with _read(path) as arrays:
            files.append((int(arrays["blocks"][0]), path))
    results = {}
    for reducer in reducers:
        join = jax.jit(reducer.merge)  # for each file, and slow unless compiled
        total = None
        for _, path in sorted(files, key=lambda file: file[0]):
            state = _load(path, reducer)
            total = state if total is None else join(total, state)
        results[reducer.name] = reducer.finalize(reducer.init() if total is None else total)
    return results


def write_results(folder: Place, results: dict[str, dict[str, np.ndarray]]) -> None:
    """Each reducer's results as ``<name>.npz``."""
    for name, arrays in results.items():
        memory = io.BytesIO()
        np.savez(memory, **arrays)
        write(folder / f"{name}.npz", memory.getvalue())


def read_results(folder: Place, name: str) -> dict[str, np.ndarray]:
    """The results of a reducer of this name."""
    with np.load(_opened(folder / f"{name}.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def _load(path: Place, reducer: Reducer) -> Any:
    leaves, structure = jax.tree.flatten(reducer.init())
    with _read(path) as arrays:
        try:
            return jax.tree.unflatten(structure, [arrays[f"{reducer.name}.{index}"] for index in range(len(leaves))])
        except KeyError as error:
            raise IntegrityError(f"{path} lacks {error}. Remove it, and its blocks are computed again.") from error


def _read(path: Place) -> Any:
    try:
        return np.load(_opened(path), allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is damaged: {error}. Remove it, and its blocks are computed again.") from error


def _opened(path: Place) -> Path | io.BytesIO:
    """What NumPy can load: of a file it reads no more than what is asked for."""
    return path if isinstance(path, Path) else io.BytesIO(read(path))

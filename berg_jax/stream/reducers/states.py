"""Saved states of reducers: one file for each run of each process and device, which lists the blocks in the state.

Files are replaced as a whole, so a block is either in a state or not, and a file's blocks are never counted twice.
"""

from __future__ import annotations

import contextlib
import io
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...errors import IntegrityError, ResourceError, ValidationError
from ...files.disk import readable
from ...files.npy import read_npz
from ..store.places import Place, list_folder, listed, read, write
from . import Reducer

_SUFFIX = ".state.npz"


def new_name() -> str:
    """Return a name that no other run has."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"


def save(folder: Place, name: str, reducers: Sequence[Reducer], states: Sequence[Any], blocks: Sequence[int]) -> None:
    """Write the states of all reducers for the given blocks, replacing the earlier file of this name."""
    arrays = {
        f"{reducer.name}.{index}": np.asarray(leaf)
        for reducer, state in zip(reducers, states, strict=True)
        for index, leaf in enumerate(jax.tree.leaves(state))
    }
    memory = io.BytesIO()
    np.savez(memory, blocks=np.array(sorted(blocks), np.int64), **arrays)
    write(folder / f"{name}{_SUFFIX}", memory.getvalue())


def reduced_blocks(folder: Place) -> set[int]:
    """Return the blocks that are in a saved state.

    Raises
    ------
    IntegrityError, ResourceError, ValidationError
        A file is damaged, or has vanished since it was listed; or two files contain the same block.
    """
    found: dict[int, Place] = {}
    for path in list_folder(folder, _SUFFIX):
        for block in _blocks(path):
            if block in found:
                raise ValidationError(
                    f"{found[block]} and {path} both hold block {block}: two processes did the same work. Remove "
                    "one of them, and its other blocks are computed again."
                )
            found[block] = path
    return set(found)


def merge(folder: Place, reducers: Sequence[Reducer]) -> dict[str, dict[str, np.ndarray]]:
    """Return the results of all reducers over all states, which are merged in the order of their first blocks."""
    files = [(_blocks(path)[0], path) for path in list_folder(folder, _SUFFIX)]
    results = {}
    for reducer in reducers:
        join = jax.jit(reducer.merge)  # called for each file, and slow unless compiled
        merged = None
        for _, path in sorted(files, key=lambda file: file[0]):
            state = _load(path, reducer)
            merged = state if merged is None else join(merged, state)
        results[reducer.name] = reducer.finalize(reducer.init() if merged is None else merged)
    return results


def write_results(folder: Place, results: dict[str, dict[str, np.ndarray]]) -> None:
    """Write the results of each reducer as ``<name>.npz``."""
    for name, arrays in results.items():
        memory = io.BytesIO()
        np.savez(memory, **arrays)
        write(folder / f"{name}.npz", memory.getvalue())


def read_results(folder: Place, name: str) -> dict[str, np.ndarray]:
    """Read the results of the reducer of this name.

    Raises
    ------
    ResourceError
        There are none.
    IntegrityError
        The file is damaged.
    """
    path = folder / f"{name}.npz"
    try:
        if isinstance(path, Path) and not path.exists():
            raise FileNotFoundError(f"There is no {path}.")
        source = _opened(path)  # raises the same error if an object store has no such object
    except FileNotFoundError as error:
        raise ResourceError(
            f"The results {path} are not there: they were removed, or not written. Bring them back, or remove the "
            "whole output and run the command again."
        ) from error
    with readable(path, IntegrityError, "Remove it, and finish the run again (berg-jax merge)."):
        return read_npz(source)


def _load(path: Place, reducer: Reducer) -> Any:
    expected, structure = jax.tree.flatten(reducer.init())
    names = [f"{reducer.name}.{index}" for index in range(len(expected))]
    with _damaged(path):
        leaves = list(read_npz(_opened(path), names).values())
        for name, leaf, own in zip(names, leaves, expected, strict=True):
            if (leaf.shape, leaf.dtype) != (own.shape, own.dtype):
                raise ValueError(f"{name} is {leaf.dtype} of shape {leaf.shape}, expected {own.dtype} of {own.shape}")
    return jax.tree.unflatten(structure, leaves)


def _blocks(path: Place) -> list[int]:
    """Return the blocks in a state, ascending."""
    with _damaged(path):
        blocks = read_npz(_opened(path), ["blocks"])["blocks"]
        if blocks.ndim != 1 or blocks.dtype != np.int64 or not len(blocks) or blocks.min() < 0:
            raise ValueError(f"its blocks are {blocks.dtype} of shape {blocks.shape}, expected numbers")
    return sorted(blocks.tolist())


@contextlib.contextmanager
def _damaged(path: Place) -> Iterator[None]:
    with listed(path), readable(path, IntegrityError, "Remove it, and its blocks are computed again."):
        yield


def _opened(path: Place) -> Path | io.BytesIO:
    """Return the path of a local file, from which single arrays are read, or the bytes of an object."""
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise ValueError("it is no file")
    return path if isinstance(path, Path) else io.BytesIO(read(path))

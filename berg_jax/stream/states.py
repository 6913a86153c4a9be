"""Reducers' states on disk: a file for each run of each process and device, which says which blocks are in it.

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
from ..files import explained, write_whole
from .reducers import Reducer


def new_name() -> str:
    """A name that no other run has."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"


def save(folder: Path, name: str, reducers: Sequence[Reducer], states: Sequence[Any], blocks: Sequence[int]) -> None:
    """Write the states of all reducers, of the given blocks, in place of what this name held before."""
    arrays = {
        f"{reducer.name}.{index}": np.asarray(leaf)
        for reducer, state in zip(reducers, states, strict=True)
        for index, leaf in enumerate(jax.tree.leaves(state))
    }
    memory = io.BytesIO()
    np.savez(memory, blocks=np.array(sorted(blocks), np.int64), **arrays)
    path = folder / f"{name}.state.npz"
    with explained("write", path):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, memory.getvalue())


def reduced_blocks(folder: Path) -> set[int]:
    """Blocks that are in a state already.

    Raises
    ------
    IntegrityError, ValidationError
        A file is damaged, or two hold the same block.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.state.npz")):
        with _read(path) as arrays:
            for block in arrays["blocks"].tolist():
                if block in found:
                    raise ValidationError(
                        f"{found[block]} and {path} both hold block {block}: two processes did the same work. Remove "
                        "one of them, and its other blocks are computed again."
                    )
                found[block] = path
    return set(found)


def merge(folder: Path, reducers: Sequence[Reducer]) -> dict[str, dict[str, np.ndarray]]:
    """Results of all reducers over all states, merged in the order of their first blocks."""
    files = []
    for path in folder.glob("*.state.npz"):
        with _read(path) as arrays:
            files.append((int(arrays["blocks"][0]), path))
    results = {}
    for reducer in reducers:
        join = jax.jit(reducer.merge)  # for each file, and slow unless compiled
        total = None
        for _, path in sorted(files):
            state = _load(path, reducer)
            total = state if total is None else join(total, state)
        results[reducer.name] = reducer.finalize(reducer.init() if total is None else total)
    return results


def write_results(folder: Path, results: dict[str, dict[str, np.ndarray]]) -> None:
    """Each reducer's results as ``<name>.npz``."""
    for name, arrays in results.items():
        memory = io.BytesIO()
        np.savez(memory, **arrays)
        path = folder / f"{name}.npz"
        with explained("write", path):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, memory.getvalue())


def _load(path: Path, reducer: Reducer) -> Any:
    leaves, structure = jax.tree.flatten(reducer.init())
    with _read(path) as arrays:
        try:
            return jax.tree.unflatten(structure, [arrays[f"{reducer.name}.{index}"] for index in range(len(leaves))])
        except KeyError as error:
            raise IntegrityError(f"{path} lacks {error}. Remove it, and its blocks are computed again.") from error


def _read(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is damaged: {error}. Remove it, and its blocks are computed again.") from error

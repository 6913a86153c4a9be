"""Stages of a fit on disk: what the fit is of, the readout in chunks, and the tables that each stage has left.

fit.json                     what the fit is of; another person's or other data are refused
readout/part1-0000000.npz    readouts of a chunk of vertices, complete or not at all
selectors/part1.npz          tables that a later stage has left
selectors/part1-networks.npz and its coordinate networks, if it has trained these
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from ...errors import IntegrityError, Interrupted, ResourceError
from ...files.disk import explained, read_small, readable, remove_partial_files, write_whole
from ...files.npy import read_npz
from ...model.nn.config import GRID
from ...model.nn.readout import map_position
from .inputs.donor import take_rows
from .inputs.features import Features
from .ridge import Readout, fit_readout
from .tables import VertexTables

FACTS = "fit.json"
STAGES = ("readout", "selectors", "full")
CHUNK = 2048  # vertices of a chunk
_REMEDY = "Remove it, and run the same command again."
_log = logging.getLogger(__name__)


def require_same(output: Path, facts: Mapping[str, Any]) -> None:
    """Record what a fit is of in its output, or raise ResourceError if the output's differs.

    Parameters
    ----------
    output
        Folder of the fit.
    facts
        JSON values by names that a message can use.
    """
    path = output / FACTS
    if path.is_file():
        with readable(path, IntegrityError, _REMEDY):
            there = dict(json.loads(read_small(path)))
        if differing := [name for name, value in facts.items() if there.get(name) != value]:
            raise ResourceError(
                f"{output} is the output of another fit: {', '.join(differing)} differ. Choose another output, or "
                "remove it."
            )
        return
    with explained("write", path):
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(dict(facts), indent=2) + "\n").encode())


def digest_of(*arrays: np.ndarray) -> str:
    """Return the sha256 of arrays, of their types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def run_readout(
    folder: Path,
    part: str,
    features: Features,
    responses: Float[np.ndarray, "images rows"],
    tables: VertexTables,
    *,
    images: Int[np.ndarray, " train"],
    penalties: tuple[float, ...],
    stopped: Callable[[], bool],
    chunk: int = CHUNK,
) -> Readout:
    """Fit the readouts of one part, chunk after chunk, or read those that are there.

    Parameters
    ----------
    folder
        Folder of the chunks.
    part
        Name of the part.
    features, responses, tables, images, penalties
        See :func:`~berg_jax.experiments.fitting.ridge.fit_readout`.
    stopped
        Function that returns whether to stop after the chunk at hand.
    chunk
        Vertices of a chunk. They are sorted by the grid cell that they look at.

    Raises
    ------
    Interrupted
        It was told to stop; finished chunks are kept.
    """
    position = map_position(np.asarray(tables.rf_center, np.float32))
    cell = np.clip(np.floor(position).astype(np.int64), 0, GRID)
    order = np.lexsort((cell[:, 0], cell[:, 1]))
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    found: list[Readout] = []
    for start in range(0, len(order), chunk):
        rows = order[start : start + chunk]
        path = folder / f"{part}-{start:07d}.npz"
        if path.is_file():
            found.append(_read(path, len(rows)))
            continue
        fitted = fit_readout(
            features, responses[:, rows], take_rows(tables, rows), penalties=penalties, images=images
        )
        with explained("write", path):
            write_whole(path, _bytes(fitted._asdict()))
        found.append(fitted)
        _log.info("Readout of %s: %d of %d vertices.", part, start + len(rows), len(order))
        if start + chunk < len(order) and stopped():
            raise Interrupted(
                f"Interrupted: readouts of {start + len(rows)} of {len(order)} vertices of {part} are done. Run the "
                "same command again to go on."
            )
    back = np.argsort(order)
    return Readout(*(np.concatenate(values)[back] for values in zip(*found, strict=True)))


def save_tables(output: Path, stage: str, part: str, tables: VertexTables) -> None:
    """Write the tables that a stage has left for a part."""
    path = output / stage / f"{part}.npz"
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _bytes(tables._asdict()))


def read_tables(output: Path, stage: str, part: str) -> VertexTables | None:
    """Return the tables that a stage has left for a part, None if it has not run."""
    path = output / stage / f"{part}.npz"
    if not path.is_file():
        return None
    with readable(path, IntegrityError, _REMEDY):
        return VertexTables(**read_npz(path, VertexTables._fields))


def save_networks(output: Path, stage: str, part: str, networks: Mapping[str, Any] | None) -> None:
    """Write the coordinate networks that a stage has left for a part, nested dicts of arrays; None removes others."""
    path = output / stage / f"{part}-networks.npz"
    with explained("write", path):
        if networks is None:
            path.unlink(missing_ok=True)
            return
        leaves = jax.tree_util.tree_leaves_with_path(networks)
        write_whole(path, _bytes({"/".join(key.key for key in keys): leaf for keys, leaf in leaves}))


def read_networks(output: Path, stage: str, part: str, like: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the coordinate networks that a stage has left for a part, None if it has trained none.

    ``like`` are networks of the same sizes.
    """
    path = output / stage / f"{part}-networks.npz"
    if not path.is_file():
        return None
    leaves, tree = jax.tree_util.tree_flatten_with_path(dict(like))
    names = ["/".join(key.key for key in path) for path, _ in leaves]
    with readable(path, IntegrityError, _REMEDY):
        arrays = read_npz(path, names)
        if any(arrays[name].shape != leaf.shape for name, (_, leaf) in zip(names, leaves, strict=True)):
            raise ValueError("its networks are of other sizes than the donor's")
    return jax.tree_util.tree_unflatten(tree, [arrays[name] for name in names])


def _bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _read(path: Path, rows: int) -> Readout:
    with readable(path, IntegrityError, _REMEDY):
        readout = Readout(**read_npz(path, Readout._fields))
        if {len(values) for values in readout} != {rows}:
            raise ValueError(f"it has {len(readout.bias)} vertices, expected {rows}")
        return readout

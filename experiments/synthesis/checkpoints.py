"""Atomic, bit-exact optimization checkpoints: a file that holds one complete state at any moment."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from ...errors import IntegrityError
from ...files.disk import explained, read_small, readable, write_whole
from ...files.npy import read_npz
from ...stream.store.changes import differences_of
from .ascent import State

_LARGEST = 1 << 36  # bytes
_SETTINGS = "settings"  # JSON of the optimization's settings
_FREE = {"steps", "berg_dir", "microbatch"}  # settings that are none of an optimization's identity


class Saved(NamedTuple):
    """State of an optimization: all restarts' states, and the values so far.

    The values are those of :class:`~berg_jax.experiments.synthesis.optimize.Result`. The names of the class and of
    its fields are written into checkpoints.
    """

    states: State
    history: Float[np.ndarray, "steps n"]
    gradient_lengths: Float[np.ndarray, "steps n"]
    looks: Float[np.ndarray, "looks n"]


def save(path: str | Path, saved: Saved, identity: str, settings: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint in place of the previous one.

    Parameters
    ----------
    path
        The file.
    saved
        The state to save.
    identity
        Hash that tells this optimization from others.
    settings
        Settings by name, as JSON has them, by which a message says how another optimization differs.

    Raises
    ------
    ResourceError
        The file cannot be written.

    See Also
    --------
    restore : Read a checkpoint.
    """
    path = Path(path)
    arrays = {f"leaf.{index}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(saved))}
    memory = io.BytesIO()
    if settings is not None:
        arrays[_SETTINGS] = np.array(json.dumps(dict(settings)))
    np.savez(memory, identity=np.array(identity), structure=np.array(str(jax.tree.structure(saved))), **arrays)
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, memory.getvalue())


def restore(path: str | Path | None, fresh: Saved, identity: str, settings: Mapping[str, Any] | None = None) -> Saved:
    """Return the state that a checkpoint holds, or ``fresh`` if there is no checkpoint.

    Parameters
    ----------
    path
        The file, or None.
    fresh
        A state of the same structure, before the first step.
    identity
        Hash that tells this optimization from others.
    settings
        Settings of this optimization, as for :func:`save`.

    Raises
    ------
    IntegrityError
        The file is damaged, or belongs to another optimization; the message names the settings that differ.

    See Also
    --------
    save : Write a checkpoint.
    """
    if path is None or not Path(path).exists():
        return fresh
    expected, structure = jax.tree.flatten(fresh)
    with readable(f"The checkpoint {path}", IntegrityError, "Remove it to start anew."):
        arrays = read_npz(io.BytesIO(read_small(Path(path), _LARGEST)))
        same = str(arrays["identity"]) == identity and str(arrays["structure"]) == str(structure)
        leaves = [arrays[f"leaf.{index}"] for index in range(len(expected))] if same else []
        there = dict(json.loads(str(arrays[_SETTINGS]))) if _SETTINGS in arrays else {}
    kinds = [(leaf.dtype, leaf.ndim) for leaf in leaves]  # not shapes, because the records of the steps have grown
    same = same and kinds == [(np.asarray(leaf).dtype, np.ndim(leaf)) for leaf in expected]
    if not same or leaves[0].shape != expected[0].shape:
        now = {name: value for name, value in (settings or {}).items() if name in there and name not in _FREE}
        other = "; ".join(differences_of(there, now)) or "model, objective, images, seed or n differ"
        raise IntegrityError(
            f"The checkpoint {path} is of another optimization: {other}. Give another path, or remove it."
        )
    return jax.tree.unflatten(structure, leaves)

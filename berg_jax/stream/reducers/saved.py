"""Saved settings of reducers, with which a run can be completed without the program that began it."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from ... import errors
from ...files.disk import readable
from ...files.npy import read_npz
from .. import reducers as package
from ..store.places import Place, exists, read, write
from . import Reducer
from .base import check_file_names

_KINDS = {
    kind.__name__: kind
    for kind in (
        package.ArgmaxOverProbes,
        package.Covariance,
        package.GLM,
        package.GroupMeans,
        package.Moments,
        package.RoiMeans,
        package.TopK,
        package.WeightedSums,
    )
}
_FACTS = "facts"  # JSON of the settings that are not arrays


def save(folder: Place, reducers: Sequence[Reducer]) -> None:
    """Write the settings of all reducers of this package. User-defined reducers need their own program."""
    for reducer in reducers:
        path, kind = _path(folder, reducer.name), type(reducer)
        if _KINDS.get(kind.__name__) is not kind or exists(path):
            continue
        values = {field.name: getattr(reducer, field.name) for field in dataclasses.fields(reducer)}
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        facts = {name: value for name, value in values.items() if name not in arrays}
        memory = io.BytesIO()
        np.savez(memory, **{_FACTS: np.array(json.dumps({"kind": kind.__name__, "settings": facts}))}, **arrays)
        write(path, memory.getvalue())


def load(folder: Place, fingerprints: Mapping[str, str]) -> list[Reducer]:
    """Return the reducers of a run, whose fingerprints by name are recorded in its output.

    Raises
    ------
    ResourceError
        The settings of a reducer are missing.
    IntegrityError
        A file is damaged, or has other settings than the run.
    """
    found = []
    check_file_names(fingerprints)
    for name, fingerprint in fingerprints.items():
        path = _path(folder, name)
        if not exists(path):
            raise errors.ResourceError(
                f"Reducer {name!r} is none of this package, or {path} was removed. Run the program that began the "
                "run again: it finds everything done, and finishes."
            )
        with readable(path, errors.IntegrityError, "Remove it, and run the program that began the run again."):
            tables = read_npz(io.BytesIO(read(path)))
            facts = json.loads(str(tables.pop(_FACTS)))
            reducer = _KINDS[facts["kind"]](**facts["settings"], **tables)
            if (reducer.name, reducer.fingerprint) != (name, fingerprint):
                raise ValueError("its settings are not the run's")
        found.append(reducer)
    return found


def _path(folder: Place, name: str) -> Place:
    return folder / "settings" / f"{name}.npz"

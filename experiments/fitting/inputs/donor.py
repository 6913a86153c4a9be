"""Donor of a fit: which of its parts predicts each vertex, and its own tables there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ....errors import InvalidParameterError
from ....model.checkpoint import read_part
from ....subject import Subject
from ....vertices import Vertices
from ..tables import VertexTables


class DonorRows(NamedTuple):
    """Vertices of a selection that one part of the donor predicts.

    Attributes
    ----------
    places
        Place of each vertex in the selection, ascending.
    rows
        Row of each vertex in the part's tables.
    """

    places: Int[np.ndarray, " n"]
    rows: Int[np.ndarray, " n"]


def donor_rows(subject: Subject, vertices: Vertices) -> dict[str, DonorRows]:
    """Return which of the vertices each part of a donor predicts, without parts that predict none.

    Parameters
    ----------
    subject
        The donor.
    vertices
        The selection.

    Raises
    ------
    InvalidParameterError
        The donor has no row for one of the vertices.

    Examples
    --------
    >>> from berg_jax import Subject
    >>> donor = Subject("demo", 1)
    >>> list(donor_rows(donor, donor.vertices("FFA-1")))
    ['part1']
    """
    owner = np.full(2 * subject.hemisphere_size, -1)
    row = np.zeros(2 * subject.hemisphere_size, np.int64)
    names = sorted(subject.description.parts)
    for number, name in reversed(list(enumerate(names))):  # where both parts have a vertex, the first one counts
        known = read_part(subject.folder, name).vertices
        owner[known], row[known] = number, np.arange(len(known))
    chosen = vertices.global_indices
    lacking = int((owner[chosen] < 0).sum())
    if lacking:
        raise InvalidParameterError(
            f"The donor, subject {subject.description.subject}, has no readout at {lacking} of the {len(vertices)} "
            "vertices. Choose others, or another donor."
        )
    places = {name: np.flatnonzero(owner[chosen] == number) for number, name in enumerate(names)}
    return {name: DonorRows(some, row[chosen[some]]) for name, some in places.items() if len(some)}


def donor_tables(subject: Subject, part: str, rows: Int[np.ndarray, " n"]) -> VertexTables:
    """Return a donor's own tables at some rows of a part."""
    weights = read_part(subject.folder, part).weights
    readout = (weights() if callable(weights) else weights)["readout"]
    return VertexTables(*(np.asarray(readout[field], np.float32)[rows] for field in VertexTables._fields))


def take_rows(tables: VertexTables, rows: Int[np.ndarray, " n"] | slice) -> VertexTables:
    """Return some rows of tables."""
    return VertexTables(*(table[rows] for table in tables))

"""ROIs as weights over the vertices of one model, so that many ROIs share one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ...model.stacking import StackedModel, stack
from ...subject import Subject
from ...vertices import Vertices


def union(
    person: Subject, areas: Mapping[str, Any], **thresholds: Any
) -> tuple[Vertices, dict[str, Float[np.ndarray, " vertices"]]]:
    """The vertices of some areas together, and each area's weights over them, which sum to 1.

    Parameters
    ----------
    person
        Whose.
    areas
        By a name of yours what :meth:`Subject.vertices` takes: ``{"faces": "FFA-1 + FFA-2", "places": "PPA"}``.
    thresholds
        As of :meth:`Subject.vertices`: ``hemisphere``, ``min_ncsnr``, ``min_explained_variance``.

    Raises
    ------
    InvalidParameterError
        An area is unknown or empty.

    Examples
    --------
    ::

        vertices, area = union(person, {"faces": "FFA-1 + FFA-2", "places": "PPA"})
        model, objective = person.model(vertices), contrast(area["faces"], area["places"])
    """
    found = {name: person.vertices(selection, **thresholds).global_indices for name, selection in areas.items()}
    every = np.unique(np.concatenate(list(found.values())))
    weights = {name: (np.isin(every, inside) / len(inside)).astype(np.float32) for name, inside in found.items()}
    return Vertices.from_global(every, person.hemisphere_size), weights


def stacked_union(
    people: Sequence[Subject], areas: Mapping[str, Any], *, precision: str = "float32", **thresholds: Any
) -> tuple[StackedModel, dict[str, Float[np.ndarray, "subjects vertices"]]]:
    """The models of several people for the same areas in one program, and each area's weights in each of them.

    As :func:`union`; where a person has fewer vertices than another, weights are 0.
    """
    found = [union(person, areas, **thresholds) for person in people]
    models = [
        person.model(vertices, precision=precision) for person, (vertices, _) in zip(people, found, strict=True)
    ]
    longest = max(len(vertices) for vertices, _ in found)
    weights = {
        name: np.stack([np.pad(own[name], (0, longest - len(own[name]))) for _, own in found]) for name in areas
    }
    return stack(models), weights

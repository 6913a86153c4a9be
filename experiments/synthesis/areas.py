"""ROI weights: several ROIs as weights over the vertices of one model, so that they share one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ...model.stacking import StackedModel, stack
from ...stream.selection import Selection
from ...subject import Subject
from ...vertices import Vertices


def union(
    subject: Subject, areas: Mapping[str, Any], selection: Selection = Selection()
) -> tuple[Vertices, dict[str, Float[np.ndarray, " vertices"]]]:
    """Return the vertices of several areas together, and each area's weights over them.

    Parameters
    ----------
    subject
        The subject.
    areas
        ROI expressions, or anything else that :meth:`Subject.vertices` takes, by names of your choice:
        ``{"faces": "FFA-1 + FFA-2", "places": "PPA"}``.
    selection
        Hemisphere and thresholds of every area's vertices; its ``roi`` is not used.

    Returns
    -------
    vertices
        The vertices of all areas.
    weights
        Each area's weights over these vertices, by name; they sum to 1.

    Raises
    ------
    InvalidParameterError
        An area is unknown or empty.

    See Also
    --------
    stacked_union : The same for several subjects.
    berg_jax.experiments.synthesis.objectives : Objectives that take such weights.

    Examples
    --------
    >>> import berg_jax
    >>> from berg_jax.experiments.synthesis import objectives
    >>> subject = berg_jax.Subject("demo", 1)
    >>> vertices, weights = union(subject, {"faces": "FFA-1 + FFA-2", "places": "PPA"})
    >>> weights["faces"].shape == (len(vertices),)
    True
    >>> model = subject.model(vertices)
    >>> objective = objectives.contrast(weights["faces"], weights["places"])
    """
    indices = {name: replace(selection, roi=roi).of(subject).global_indices for name, roi in areas.items()}
    every = np.unique(np.concatenate(list(indices.values())))
    weights = {name: (np.isin(every, inside) / len(inside)).astype(np.float32) for name, inside in indices.items()}
    return Vertices.from_global(every, subject.hemisphere_size), weights


def stacked_union(
    subjects: Sequence[Subject],
    areas: Mapping[str, Any],
    selection: Selection = Selection(),
    *,
    precision: str = "float32",
) -> tuple[StackedModel, dict[str, Float[np.ndarray, "subjects vertices"]]]:
    """Return one stacked model of several subjects for the same areas, and each area's weights in each subject.

    Parameters
    ----------
    subjects
        The subjects.
    areas, selection
        See :func:`union`.
    precision
        Precision of the models.

    Returns
    -------
    model
        The subjects' models in one program.
    weights
        Each area's weights (subjects, vertices), by name. Subjects with fewer vertices than others have weights of 0
        at the end.

    Raises
    ------
    InvalidParameterError
        An area is unknown or empty in a subject.
    """
    unions = [union(subject, areas, selection) for subject in subjects]
    models = [
        subject.model(vertices, precision=precision) for subject, (vertices, _) in zip(subjects, unions, strict=True)
    ]
    longest = max(len(vertices) for vertices, _ in unions)
    weights = {}
    for name in areas:
        rows = [subject_weights[name] for _, subject_weights in unions]
        weights[name] = np.stack([np.pad(row, (0, longest - len(row))) for row in rows])
    return stack(models), weights

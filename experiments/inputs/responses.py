"""Responses of subjects to images, computed once and kept in an experiment's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from jaxtyping import Bool

from ...stream.execution import Execution, variant_for
from ...stream.loop import stream
from ...stream.sources.image_files import Source
from ...stream.store.layout import Columns
from ...stream.store.output import is_complete
from ...stream.store.responses import open_responses
from ...subject import Subject
from ...vertices import Vertices
from ..reporting.command import plain

STORE = "responses.zarr"


def run_facts(subject: Subject, vertices: Vertices, precision: str, **facts: Any) -> dict[str, Any]:
    """Return attributes of an experiment's output by which a run that does not fit it is told what differs."""
    counts = f"{len(vertices.lh):,} lh, {len(vertices.rh):,} rh"
    return {
        "subject": subject.description.subject,
        "subject's files": subject.description.origin,
        "vertices": counts,
        "precision": precision,
        **plain(facts),
    }


def keep_responses(
    subjects: Sequence[Subject],
    vertices: Sequence[Vertices],
    source: Source,
    folders: Sequence[Path],
    *,
    precision: str,
    execution: Execution,
    membership: Sequence[Mapping[str, Bool[np.ndarray, " vertices"]]] | None = None,
    run: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    crop: bool = False,
) -> list[xarray.DataArray] | None:
    """Return each subject's responses to all images at its vertices; compute what is not there yet.

    Parameters
    ----------
    subjects, vertices, folders
        The subjects, and for each of them its vertices and the folder in which ``responses.zarr`` is kept.
    source
        The images.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work.
    membership
        For each subject masks of its vertices by ROI, to be stored with the responses.
    run
        JSON values that a resumed run must have in common with the one that began it.
    facts
        JSON values that say in words what is computed, such as the ROIs: they explain why another run is refused.
    crop
        Compute only the part of the feature maps that the vertices look at.

    Returns
    -------
    list of xarray.DataArray, or None
        Responses (image, vertex) in z units, read from the disk when they are used; None while other processes still
        have work to do.
    """
    stores = [folder / STORE for folder in folders]
    for index, (subject, chosen, store) in enumerate(zip(subjects, vertices, stores, strict=True)):
        # What is complete needs no model.
        model = None
        if not is_complete(store):
            model = subject.model(chosen, precision=precision, variant=variant_for(store, precision))
        stream(
            model.crop() if crop and model else model,
            source,
            [Columns(chosen, membership[index] if membership else {})],
            output=store,
            identity=subject.identity(chosen, precision),
            execution=execution,
            run=run,
            attributes=run_facts(subject, chosen, precision, **(facts or {})),
        )
    return [open_responses(store).data for store in stores] if all(map(is_complete, stores)) else None

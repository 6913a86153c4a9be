"""The published package's answers to a selection of vertices, against its own full answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from .comparison import RESPONSE_LIMIT
from .observation import observe_berg
from .stimuli import Stimuli, recorded_vertices


def selection_path(
    second: Float[np.ndarray, "stimuli rows"], part1_vertices: Int[np.ndarray, " n"], layout: str
) -> dict[str, Any]:
    """Return how the published package's selection path would answer on these files, from how it looks rows up.

    It takes a vertex that is not in part 1 for part 2's row of its rank among such vertices. That is right for the
    complement layout; for overlay it is another vertex's row.

    Parameters
    ----------
    second
        Part 2's responses, one for each of its rows.
    part1_vertices
        Global vertices of part 1's rows.
    layout
        The subject's layout, "complement" or "overlay".
    """
    rest = np.setdiff1d(np.arange(len(part1_vertices) + second.shape[1]), part1_vertices)
    if layout == "complement":
        text = (
            "Derived, not run: these files are complement, as the published package's selection path assumes. Its "
            f"full path assumes overlay: it would take part 2's {second.shape[1]:,} rows for all of the "
            f"{len(part1_vertices) + len(rest):,} vertices."
        )
        return _facts("derived", np.zeros(len(rest)), text)
    rest = rest[rest < second.shape[1]]
    difference = np.abs(second[:, : len(rest)] - second[:, rest]).max(axis=0)  # the row of its rank, its own row
    moved = int((rest != np.arange(len(rest))).sum())
    text = (
        "Derived, from the files' layout and the reference's part-2 responses: the published package's selection "
        "path takes a vertex that is not in part 1 for part 2's row of its rank among such vertices, as if part 2 "
        "had no others. Here part 2 has a row for every vertex (overlay), so that "
        f"{moved:,} of the {len(rest):,} vertices outside part 1 get another vertex's response when they are "
        "selected: {differing:,} of them by more than {limit:g} z on these images, {median:.2g} z in the median, "
        "{largest:.2g} z at most."
    )
    return _facts("derived", difference, text)


def measured_selection_path(
    berg_class: Any,
    name: str,
    berg_dir: Path,
    subject_id: int,
    stimuli: Stimuli,
    full: Float[np.ndarray, "n vertices"],
    images_per_batch: int = 1,
) -> dict[str, Any]:
    """Return how an installed package answers a selection of the recorded vertices, against its own full answer.

    Parameters
    ----------
    berg_class, berg_dir, subject_id, stimuli, images_per_batch
        As for :func:`~berg_jax.experiments.certificate.observation.observe_berg`.
    name
        The package's name and version.
    full
        Its responses at all vertices, in z units.
    """
    total = full.shape[1]
    vertices = recorded_vertices(total)
    masks = np.isin(np.arange(total), vertices).astype(int).reshape(2, -1)
    selection = {"lh_vertices": masks[0], "rh_vertices": masks[1]}
    selected = observe_berg(berg_class, berg_dir, subject_id, stimuli, selection, images_per_batch)
    difference = np.abs(selected - full[:, vertices]).max(axis=0)
    text = (
        f"Measured with {name}: of {len(vertices):,} vertices selected by masks, "
        "{differing:,} differ from its own full answer by more than {limit:g} z on these images, {median:.2g} z in "
        "the median, {largest:.2g} z at most."
    )
    return _facts("measured", difference, text)


def _facts(how: str, difference: Float[np.ndarray, " n"], text: str) -> dict[str, Any]:
    """Return a summary of each vertex's difference (z units) from the full answer, and ``text`` with its numbers."""
    numbers = {
        "differing": int((difference > RESPONSE_LIMIT).sum()),
        "median": float(np.median(difference)) if len(difference) else 0.0,
        "largest": float(difference.max(initial=0)),
    }
    ours = " berg_jax answers a selection with the columns of its full answer."
    return {"how": how, "of": len(difference), **numbers, "text": text.format(limit=RESPONSE_LIMIT, **numbers) + ours}

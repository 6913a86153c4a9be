"""Checks of a certificate: our model's observation against the reference's, with the limits that decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from ...errors import ValidationError
from ...vertices import Vertices
from .observation import Observation
from .record import Check
from .stimuli import SEED

if TYPE_CHECKING:
    from ...model.encoding_model import EncodingModel

RESPONSE_LIMIT = 1e-4  # z units, of any vertex and image
TOKEN_LIMIT = 2e-6  # relative norm, of any image at any tapped block: a LayerNorm eps of 1e-5 shows only here
HEAD_LIMIT = 2e-5  # relative norm, of any image's maps and vectors: fast convolutions may cost 6e-6
GRADIENT_LIMIT = 1e-3  # relative norm
SELECTION_LIMIT = 1e-5  # z units
_SELECTED = 64  # vertices of a selection that is checked


def compare(ours: Observation, theirs: Observation) -> list[Check]:
    """Return the checks of our model, in float32 on the CPU, against the reference.

    Raises
    ------
    ValidationError
        They do not answer for as many vertices.
    """
    if ours.responses.shape != theirs.responses.shape:
        raise ValidationError(
            f"The converted model answers for {ours.responses.shape[1]} vertices, the reference for "
            f"{theirs.responses.shape[1]}. Convert the subject again, with its metadata."
        )
    inside = {key: _largest_relative(ours.inside.get(key), expected) for key, expected in theirs.inside.items()}
    found = {
        ("tokens after each tapped block", TOKEN_LIMIT): [v for key, v in inside.items() if key[1] == "tokens"],
        ("feature maps and global vectors", HEAD_LIMIT): [v for key, v in inside.items() if key[1] != "tokens"],
        ("gradient with respect to the pixels", GRADIENT_LIMIT): [
            _relative(ours.gradients[name], expected) for name, expected in theirs.gradients.items()
        ],
    }
    return [
        response_check("cpu", ours.responses, theirs.responses),
        *(
            Check(f"{name}, relative norm of the difference", float(np.max(values)), limit)
            for (name, limit), values in found.items()
            if values
        ),
    ]


def response_check(device: str, ours: np.ndarray, theirs: np.ndarray) -> Check:
    """Return the check of the largest difference (z units) of any response in float32 on a device."""
    difference = float(np.abs(ours - theirs).max())
    return Check(f"responses in float32 on {device}, largest difference (z)", difference, RESPONSE_LIMIT)


def check_consistency(
    model: EncodingModel, images: UInt8[np.ndarray, "batch 3 side side"], part1_vertices: Int[np.ndarray, " n"]
) -> list[Check]:
    """Return checks that selections are slices of the full answer, and that the same images give the same bits twice.

    Parameters
    ----------
    model
        A model of all vertices.
    images
        Images of one size.
    part1_vertices
        Global vertices of part 1.
    """
    full, again = (np.asarray(model(images)) for _ in range(2))
    random = np.random.default_rng(SEED)
    inside = np.isin(np.arange(full.shape[1]), part1_vertices)
    first, second = (random.permutation(np.flatnonzero(part))[:_SELECTED] for part in (inside, ~inside))
    both = random.permutation(np.concatenate([first[::2], second[::2]]))
    checks = []
    for name, chosen in (("part 1", first), ("part 2", second), ("both parts", both)):
        if len(chosen) == 0:
            continue
        vertices = Vertices.from_global(chosen, int(model.hemisphere_size))
        selected = np.asarray(model.select(vertices)(images))
        difference = np.abs(selected - full[:, vertices.global_indices]).max()
        name = f"selection of {len(chosen)} vertices of {name}, largest difference from the full answer"
        checks.append(Check(name, float(difference), SELECTION_LIMIT))
    differing = np.count_nonzero(full.view(np.uint32) != again.view(np.uint32))
    return [*checks, Check("same images twice, responses whose bits differ", float(differing), 0.0)]


def error_table(
    ours: Mapping[tuple[str, str], Float[np.ndarray, "stimuli vertices"]],
    theirs: Float[np.ndarray, "stimuli vertices"],
    regions: Mapping[str, Int[np.ndarray, " n"]],
) -> list[dict[str, Any]]:
    """Return the size of the errors and the correlation, over images and vertices, by device, precision and region.

    Parameters
    ----------
    ours
        Our responses (z units) by device and precision.
    theirs
        The reference's responses (z units).
    regions
        Columns of each region.

    Returns
    -------
    list of dict
        A row each with ``device``, ``precision``, ``region``, the number of ``vertices``, the ``largest`` and the
        99.9th percentile (``p999``) absolute error in z units, and Pearson's ``correlation``.
    """
    table = []
    for (device, precision), responses in ours.items():
        for region, vertices in regions.items():
            a, b = (values[:, vertices].astype(np.float64).ravel() for values in (responses, theirs))
            difference = np.abs(a - b)
            with np.errstate(invalid="ignore", divide="ignore"):  # constant responses have no correlation
                correlation = np.corrcoef(a, b)[0, 1]
            table.append(
                {
                    "device": device,
                    "precision": precision,
                    "region": region,
                    "vertices": len(vertices),
                    "largest": float(difference.max()),
                    "p999": float(np.percentile(difference, 99.9)),
                    "correlation": float(correlation),
                }
            )
    return table


def _largest_relative(ours: np.ndarray | None, theirs: np.ndarray) -> float:
    """Return the largest relative norm of any image: one that differs must not hide among larger ones."""
    if ours is None:
        ours = np.full_like(theirs, np.inf)
    return np.max([_relative(*pair) for pair in zip(ours, theirs, strict=True)])


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))

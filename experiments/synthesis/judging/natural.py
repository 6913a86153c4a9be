"""Natural-image baseline: areas' responses to natural images, to compare synthesized images with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ....errors import InvalidParameterError, ModelNotFoundError
from ....model.batches import filled_batches
from ....model.encoding_model import EncodingModel
from ....stream.sources.open import log_account, open_source
from ....stream.store.responses import Responses, open_responses
from ....vertices import Vertices, places_in
from ..search.stored import directed_shifts
from .judge import percentile

_BLOCK = 256  # images whose stored responses are in memory at a time


class Baseline(NamedTuple):
    """Areas' responses to natural images.

    Attributes
    ----------
    areas
        Mean response of each area to each image, z units.
    source
        Description of the images.
    stored
        Whether the responses come from a store, without the images.
    """

    areas: dict[str, Float[np.ndarray, " images"]]
    source: str
    stored: bool = False

    @property
    def means(self) -> dict[str, float]:
        """Mean response of each area over the images."""
        return {name: float(np.nanmean(values.astype(np.float64))) for name, values in self.areas.items()}

    def values(
        self, directions: Mapping[str, int], margin: float | None, *, relative: bool = True
    ) -> Float[np.ndarray, " images"]:
        """Return the images' values of the control objective relative to the areas' means, or to 0.

        See Also
        --------
        berg_jax.experiments.synthesis.objectives.control
        """
        responses = np.stack([self.areas[name] for name in directions], axis=1)
        baseline = np.array([self.means[name] if relative else 0.0 for name in directions])
        shifts = directed_shifts(responses, list(directions.values()), baseline)
        return np.minimum(shifts, np.inf if margin is None else margin).sum(axis=1)


def natural_baseline(
    path: str | Path,
    model: EncodingModel,
    vertices: Vertices,
    areas: Mapping[str, Float[np.ndarray, " vertices"]],
    *,
    subject_id: int,
    batch: int = 8,
) -> Baseline:
    """Return areas' responses to natural images, read from a response store or computed.

    Parameters
    ----------
    path
        A response store of this subject that holds the vertices; or images, cropped if they are not square: see
        :func:`~berg_jax.stream.sources.open.open_source`.
    model, vertices, areas
        The model, its vertices, and each area's weights over them.
    subject_id
        Number of the model's subject.
    batch
        Number of images that are computed at a time.

    Raises
    ------
    InvalidParameterError
        The store belongs to another subject, or lacks vertices of the areas.
    BERGError
        There are neither responses nor images at the path.

    See Also
    --------
    relative_scores : Compare scores with the baseline.
    """
    weights = np.stack(list(areas.values()), axis=1)
    try:
        stored = open_responses(path)
    except ModelNotFoundError:
        stored = None
    if stored is None:
        images = open_source(path, fit="crop")
        log_account(path, images)
        blocks = [model(images.read(rows))[:new] @ weights for rows, new in filled_batches(len(images), batch)]
        source = f"{len(images)} images of {path}"
    else:
        columns = _columns(stored, vertices, path, subject_id)
        count = stored.data.sizes["image"]
        blocks = [
            stored.data[start : start + _BLOCK].values[:, columns] @ weights for start in range(0, count, _BLOCK)
        ]
        source = f"responses to {count} images in {path}"
    means = np.concatenate([np.asarray(block) for block in blocks])
    if not np.isfinite(means).all(axis=1).any():
        raise InvalidParameterError(f"{path} has no image with a response.")
    return Baseline(areas=dict(zip(areas, means.T, strict=True)), source=source, stored=stored is not None)


def relative_scores(
    scores: Mapping[str, Float[np.ndarray, " n"]], natural: Mapping[str, Float[np.ndarray, " images"]]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return each score relative to natural images.

    Parameters
    ----------
    scores
        Scores of the synthesized images, by name.
    natural
        The same scores of natural images.

    Returns
    -------
    For each name ``… over baseline``, the difference from natural images' mean, and ``… percentile``, the share of
    natural images that the score exceeds, in percent.
    """
    relative = {}
    for name, values in natural.items():
        relative[f"{name} over baseline"] = scores[name] - np.nanmean(values.astype(np.float64))
        relative[f"{name} percentile"] = percentile(scores[name], values)
    return relative


def percentiles(
    scores: Mapping[str, Float[np.ndarray, " n"]],
    natural: Baseline,
    directions: Mapping[str, int],
    margin: float | None,
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return the percentile of each score among natural images, where the objective is not relative to them.

    Parameters
    ----------
    scores
        Scores of the synthesized images: ``value``, and each area's mean response.
    natural
        Areas' responses to natural images.
    directions, margin
        See :func:`~berg_jax.experiments.synthesis.objectives.control`; 1 or −1 for each area.
    """
    usual = {"value": natural.values(directions, margin, relative=False), **natural.areas}
    return {f"{name} percentile": percentile(scores[name], values) for name, values in usual.items()}


def _columns(stored: Responses, vertices: Vertices, path: str | Path, subject_id: int) -> np.ndarray:
    """Return the store's columns of the vertices."""
    stored_subject = stored.attributes.get("subject")
    if stored_subject is not None and stored_subject != subject_id:
        raise InvalidParameterError(f"{path} has responses of subject {stored_subject}, not of subject {subject_id}.")
    known = stored.data.vertex.values + vertices.hemisphere_size * (stored.data.hemisphere.values == "rh")
    wanted = vertices.global_indices
    columns, lacking = places_in(known, wanted)
    if missing := int(lacking.sum()):
        raise InvalidParameterError(
            f"{path} lacks {missing} of the areas' {len(wanted)} vertices. Encode images with a ROI that has them."
        )
    return columns

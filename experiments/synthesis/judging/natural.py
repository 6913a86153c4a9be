"""What natural images do to a model's areas: a baseline for images that are made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ....errors import InvalidParameterError, ModelNotFoundError
from ....model.batches import filled_batches
from ....model.encoding_model import EncodingModel
from ....stream.sources.open import open_source
from ....stream.store.responses import Responses, open_responses
from ....vertices import Vertices, places_in
from ..search.stored import ways
from .judge import percentile

_BLOCK = 256  # images whose stored responses are in memory at a time


class Baseline(NamedTuple):
    """Areas' responses to natural images, by name, each (images,), and where they are from."""

    areas: dict[str, Float[np.ndarray, " images"]]
    source: str

    @property
    def means(self) -> dict[str, float]:
        """Each area's mean."""
        return {name: float(np.nanmean(values.astype(np.float64))) for name, values in self.areas.items()}

    def values(self, directions: Mapping[str, int], margin: float | None) -> Float[np.ndarray, " images"]:
        """What :func:`~berg_jax.experiments.synthesis.objectives.control` from the means on is of these images."""
        responses = np.stack([self.areas[name] for name in directions], axis=1)
        start = np.array([self.means[name] for name in directions])
        gone = ways(responses, list(directions.values()), start)
        return np.minimum(gone, np.inf if margin is None else margin).sum(axis=1)


def natural_baseline(
    path: str | Path,
    model: EncodingModel,
    vertices: Vertices,
    areas: Mapping[str, Float[np.ndarray, " vertices"]],
    *,
    subject: int,
    batch: int = 8,
) -> Baseline:
    """Areas' responses to natural images, read from a response store or computed.

    Parameters
    ----------
    path
        A response store of this subject, with the vertices; or images: see
        :func:`~berg_jax.stream.sources.open.open_source`. Those that are not square are cropped.
    model, vertices, areas
        The model, its vertices, and each area's weights over them.
    subject
        Whose the model is.
    batch
        How many images are computed at a time.

    Raises
    ------
    InvalidParameterError
        The store is of another subject, or lacks vertices of the areas.
    BERGError
        There are neither responses nor images at the path.
    """
    weights = np.stack(list(areas.values()), axis=1)
    try:
        stored = open_responses(path)
    except ModelNotFoundError:
        source = open_source(path, fit="crop")
        found = [model(source.read(rows))[:new] @ weights for rows, new in filled_batches(len(source), batch)]
        origin = f"{len(source)} images of {path}"
    else:
        columns = _columns(stored, vertices, path, subject)
        count = stored.data.sizes["image"]
        found = [stored.data[at : at + _BLOCK].values[:, columns] @ weights for at in range(0, count, _BLOCK)]
        origin = f"responses to {count} images in {path}"
    means = np.concatenate([np.asarray(block) for block in found])
    if not np.isfinite(means).all(axis=1).any():
        raise InvalidParameterError(f"{path} has no image with a response.")
    return Baseline(dict(zip(areas, means.T, strict=True)), origin)


def relative_scores(
    scores: Mapping[str, Float[np.ndarray, " n"]], natural: Mapping[str, Float[np.ndarray, " images"]]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Of each score how far it is over natural images' mean, and the share of them that it is above, in percent."""
    relative = {}
    for name, values in natural.items():
        relative[f"{name} over baseline"] = scores[name] - np.nanmean(values.astype(np.float64))
        relative[f"{name} percentile"] = percentile(scores[name], values)
    return relative


def _columns(stored: Responses, vertices: Vertices, path: str | Path, subject: int) -> np.ndarray:
    """Where the store has the vertices."""
    whose = stored.attributes.get("subject")
    if whose is not None and whose != subject:
        raise InvalidParameterError(f"{path} has responses of subject {whose}, not of subject {subject}.")
    known = stored.data.vertex.values + vertices.hemisphere_size * (stored.data.hemisphere.values == "rh")
    wanted = vertices.global_indices
    places, lacking = places_in(known, wanted)
    if missing := int(lacking.sum()):
        raise InvalidParameterError(
            f"{path} lacks {missing} of the areas' {len(wanted)} vertices. Encode images with a ROI that has them."
        )
    return places

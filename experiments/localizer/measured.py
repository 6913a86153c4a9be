"""Localizer of measured responses to the same images: the same model and ROI means as of the in silico ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError
from ...vertices import Vertices
from ..accuracy.measured import Reader, image_means
from .contrasts import Design

_AT_ONCE = 16_384  # vertices that are read at a time


class Measured(NamedTuple):
    """Measured responses of one subject, as a localizer takes them.

    Attributes
    ----------
    glm
        Results of the general linear model: ``betas``, ``effects``, ``t``, ``residual_variance``,
        ``degrees_of_freedom``.
    responses
        Mean over each ROI's measured vertices of the mean over an image's trials, in z units.
    trials
        Number of trials.
    """

    glm: dict[str, np.ndarray]
    responses: Float[np.ndarray, "images rois"]
    trials: int


def measured_localizer(design: Design, read: Reader, vertices: Vertices, regions: Mapping[str, Vertices]) -> Measured:
    """Fit the localizer's model to measured responses, a part of the vertices at a time.

    Parameters
    ----------
    design
        Categories and contrasts.
    read
        Function that reads the trials of a part of the vertices.
    vertices
        The vertices.
    regions
        ROIs among them, by name.
    """
    images = len(design.labels)
    sums, counts = (np.zeros((images, len(regions))) for _ in range(2))
    members = [np.isin(vertices.global_indices, region.global_indices) for region in regions.values()]
    parts: list[dict[str, np.ndarray]] = []
    trials_count = 0
    for start in range(0, len(vertices), _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, len(vertices)))
        trials = read(part)
        trials_count = len(trials.images)
        mean = image_means(trials, images)
        parts.append(fit(design, mean))
        there = np.isfinite(mean)
        for index, mask in enumerate(members):
            inside = mask[part]
            sums[:, index] += np.where(there[:, inside], mean[:, inside], 0).sum(1)
            counts[:, index] += there[:, inside].sum(1)
    glm = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
    glm["degrees_of_freedom"] = np.array(images - len(design.categories))
    if np.isnan(glm["residual_variance"]).all():
        raise InvalidParameterError("No vertex has measured responses that vary. Choose other vertices or sessions.")
    responses = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return Measured(glm, responses, trials_count)


def fit(design: Design, responses: Float[np.ndarray, "images vertices"]) -> dict[str, np.ndarray]:
    """Return the model's results at each vertex: means of categories, contrasts' effects and t, residual variance.

    Parameters
    ----------
    design
        Categories and contrasts.
    responses
        A response to each image; a vertex with a NaN has NaN for results.
    """
    matrix, counts = design.matrix, np.bincount(design.labels).astype(np.float64)
    betas = matrix.T @ responses / counts[:, None]
    residual = ((responses - matrix @ betas) ** 2).sum(0) / (len(responses) - len(counts))
    residual = np.where(residual > 0, residual, np.nan)
    effects = design.weights @ betas
    with np.errstate(divide="ignore", invalid="ignore"):
        t = effects / np.sqrt(residual * (design.weights**2 / counts).sum(1)[:, None])
    return {"betas": betas, "effects": effects, "t": t, "residual_variance": residual}

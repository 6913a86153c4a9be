"""What a lower precision costs: each vertex' responses correlated with its own in float32.

berg-jax bench-precision --berg-dir … --subject 1 --images 200
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from ...convert.synthetic import natural_like_images
from ...errors import InvalidParameterError, ModelNotFoundError
from ...subject import Subject
from ...vertices import Vertices

ALL = "all vertices"


class PrecisionErrors(NamedTuple):
    """One precision's answers compared with float32's.

    Attributes
    ----------
    precision
        Its name.
    images
        How many images were shown.
    medians
        For each ROI, and for all vertices, the median of the vertices' correlations.
    worst
        The lowest correlation of a vertex.
    difference
        The largest difference of a response, in z units.
    """

    precision: str
    images: int
    medians: dict[str, float]
    worst: float
    difference: float

    def __str__(self) -> str:
        """One line."""
        lowest = min(self.medians, key=self.medians.__getitem__)
        return (
            f"{self.precision}, {self.images} images: correlation with float32: median {self.medians[ALL]:.6f}, "
            f"lowest ROI's median {self.medians[lowest]:.6f} ({lowest}), worst vertex {self.worst:.6f}; "
            f"largest difference {self.difference:.1e}"
        )


def precision_errors(
    berg_dir: str | Path,
    subject: int = 1,
    *,
    precisions: Sequence[str] = ("tensorfloat32", "bfloat16"),
    images: int = 200,
    batch_size: int = 8,
) -> Iterator[PrecisionErrors]:
    """Encode natural-looking images in each precision and in float32.

    On a CPU ``"tensorfloat32"`` is float32.

    Parameters
    ----------
    berg_dir, subject
        As for ``berg_jax.load``.
    precisions
        Which to compare, one after the other.
    images
        How many images, made by ``natural_like_images``; at least 3.
    batch_size
        Images a step.

    Raises
    ------
    InvalidParameterError
        Fewer than 3 images, or a batch of less than 1.
    """
    if images < 3 or batch_size < 1:
        raise InvalidParameterError(f"Give at least 3 images and a batch of 1, got {images} and {batch_size}.")
    person = Subject(berg_dir, subject)
    pictures = natural_like_images(images, 1)
    exact = person.model()
    for precision in precisions:
        model = person.model(precision=precision)
        sums = np.zeros((5, 2 * person.hemisphere_size))
        difference = 0.0
        for start in tqdm(range(0, images, batch_size), desc=precision, unit="batch"):
            some = pictures[start : start + batch_size]
            x, y = (np.asarray(jax.device_get(m(some)), np.float64) for m in (exact, model))
            sums += np.stack([x.sum(0), y.sum(0), (x * x).sum(0), (y * y).sum(0), (x * y).sum(0)])
            difference = max(difference, np.abs(x - y).max())
        yield _summary(person, precision, images, _correlations(sums / images), difference)


def _correlations(means: Float[np.ndarray, "5 vertices"]) -> Float[np.ndarray, " vertices"]:
    x, y, xx, yy, xy = means
    return (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))


def _summary(
    person: Subject, precision: str, images: int, correlations: Float[np.ndarray, " vertices"], difference: float
) -> PrecisionErrors:
    medians = {ALL: float(np.median(correlations))}
    with contextlib.suppress(ModelNotFoundError):  # without metadata there are no ROIs
        for name in person.rois:
            chosen = Vertices(*person.metadata.roi(name), person.hemisphere_size).global_indices
            if len(chosen):
                medians[name] = float(np.median(correlations[chosen]))
    return PrecisionErrors(precision, images, medians, float(correlations.min()), float(difference))

"""Errors of lower precisions: correlation of each vertex's responses with its responses in float32.

::

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
from ...model.replicas import local_devices, replicate
from ...subject import Subject
from ...vertices import Vertices

ALL = "all vertices"


class PrecisionErrors(NamedTuple):
    """Responses in one precision compared with responses in float32.

    Attributes
    ----------
    precision
        Name of the precision.
    n_images
        Number of images.
    medians
        Median of the vertices' correlations, for each ROI and for all vertices.
    worst
        Lowest correlation of any vertex.
    difference
        Largest difference of any response, in z units.
    """

    precision: str
    n_images: int
    medians: dict[str, float]
    worst: float
    difference: float

    def __str__(self) -> str:
        """Return the comparison as one line of text."""
        lowest = min(self.medians, key=self.medians.__getitem__)
        return (
            f"{self.precision}, {self.n_images} images: correlation with float32: median {self.medians[ALL]:.6f}, "
            f"lowest ROI's median {self.medians[lowest]:.6f} ({lowest}), worst vertex {self.worst:.6f}; "
            f"largest difference {self.difference:.1e}"
        )


def precision_errors(
    berg_dir: str | Path,
    subject_id: int = 1,
    *,
    precisions: Sequence[str] = ("tensorfloat32", "bfloat16"),
    n_images: int = 200,
    batch_size: int = 8,
    devices: int | None = None,
) -> Iterator[PrecisionErrors]:
    """Compare responses to natural-looking images in each precision with responses in float32.

    On a CPU ``"tensorfloat32"`` is float32.

    Parameters
    ----------
    berg_dir, subject_id
        The model: see :func:`berg_jax.load`.
    precisions
        Precisions to compare, one after the other.
    n_images
        Number of images, at least 3; ``natural_like_images`` makes them.
    batch_size
        Images in a step of all devices together.
    devices
        Number of local devices, which divide the images of a step (default: all).

    Yields
    ------
    The errors of each precision.

    Raises
    ------
    InvalidParameterError
        There are fewer than 3 images, a batch is smaller than 1, or there are not so many devices here.

    See Also
    --------
    berg_jax.experiments.benchmarks.speed.benchmark : Measure the time that a lower precision saves.
    """
    if n_images < 3 or batch_size < 1:
        raise InvalidParameterError(f"Give at least 3 images and a batch of 1, got {n_images} and {batch_size}.")
    chosen = local_devices(devices)
    subject = Subject(berg_dir, subject_id)
    images = natural_like_images(n_images, 1)
    exact = replicate(subject.model(), chosen)
    for precision in precisions:
        model = replicate(subject.model(precision=precision), chosen)
        sums = np.zeros((5, 2 * subject.hemisphere_size))
        difference = 0.0
        for start in tqdm(range(0, n_images, batch_size), desc=precision, unit="batch"):
            batch = images[start : start + batch_size]
            x = np.asarray(jax.device_get(exact(batch)), np.float64)
            y = np.asarray(jax.device_get(model(batch)), np.float64)
            sums += np.stack([x.sum(0), y.sum(0), (x * x).sum(0), (y * y).sum(0), (x * y).sum(0)])
            difference = max(difference, np.abs(x - y).max())
        yield _summary(subject, precision, n_images, _correlations(sums / n_images), difference)


def _correlations(means: Float[np.ndarray, "5 vertices"]) -> Float[np.ndarray, " vertices"]:
    """Return Pearson's correlations from the means of x, y, x², y² and xy."""
    x, y, xx, yy, xy = means
    return (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))


def _summary(
    subject: Subject, precision: str, n_images: int, correlations: Float[np.ndarray, " vertices"], difference: float
) -> PrecisionErrors:
    medians = {ALL: float(np.median(correlations))}
    with contextlib.suppress(ModelNotFoundError):  # without metadata there are no ROIs
        for name in subject.rois:
            indices = Vertices(*subject.metadata.roi(name), subject.hemisphere_size).global_indices
            if len(indices):
                medians[name] = float(np.median(correlations[indices]))
    return PrecisionErrors(
        precision=precision,
        n_images=n_images,
        medians=medians,
        worst=float(correlations.min()),
        difference=float(difference),
    )

"""Evaluation of synthesized images: scores, percentiles, robustness, transfer to other models, image statistics."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from ....errors import InvalidParameterError
from ....model.batches import filled_batches
from ....model.images import check_shape
from ....model.stacking import StackedModel
from .. import objectives
from ..ascent import Model
from ..functions import as_function
from ..optimize import Result, optimize

Images = UInt8[np.ndarray, "n 3 height width"]
_SHIFT = 4  # pixels
_QUALITY = 75  # JPEG quality


def score(model: Model, objective: Callable[..., Array], images: Any, *, batch: int = 8) -> Float[np.ndarray, " n"]:
    """Return an objective's value for each image, without augmentation.

    Parameters
    ----------
    model, objective
        See :func:`~berg_jax.experiments.synthesis.optimize.optimize`. The objective is one of single images, not of
        sets. A model that is a plain function must be given as a
        :class:`~berg_jax.experiments.synthesis.functions.Function`.
    images
        Images (n, 3, height, width) in 0–255.
    batch
        Number of images that are computed at a time.

    See Also
    --------
    percentile : Compare scores with those of natural images.
    robustness : Scores after small changes of the images.
    transfer : Scores in other models.

    Examples
    --------
    >>> import berg_jax
    >>> model = berg_jax.load("demo", 1, roi="FFA-1")
    >>> weights = np.full(len(model.vertices), 1 / len(model.vertices))
    >>> score(model, objectives.mean(weights), berg_jax.demo.images("faces", 2)).shape
    (2,)
    """
    check_shape(images)
    objective = as_function(objective)
    images = np.asarray(images)
    scores = []
    for rows, new in filled_batches(len(images), min(batch, len(images))):
        values = np.asarray(_scored(model, objective, jnp.asarray(images[rows])))
        scores.append(values[:new])
    return np.concatenate(scores)


def percentile(values: Float[np.ndarray, " n"], natural: Float[np.ndarray, " images"]) -> Float[np.ndarray, " n"]:
    """Return the share of natural images that each value exceeds, in percent.

    Parameters
    ----------
    values
        Values to compare.
    natural
        Values of natural images; NaN is ignored.

    Raises
    ------
    InvalidParameterError
        No natural image has a value.

    Examples
    --------
    >>> percentile(np.array([2.5]), np.array([1.0, 2.0, 3.0, 4.0])).tolist()
    [50.0]
    """
    natural = np.sort(natural[~np.isnan(natural)])
    if not len(natural):
        raise InvalidParameterError("A percentile needs natural images' values, got none.")
    return 100 * np.searchsorted(natural, values) / len(natural)


def robustness(
    model: Model, objective: Callable[..., Array], images: Float[np.ndarray, "n 3 height width"], *, batch: int = 8
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return an objective's value for images after small changes that hardly matter for a natural image.

    Parameters
    ----------
    model, objective, batch
        See :func:`score`.
    images
        Images in 0–255.

    Returns
    -------
    Values by change: ``as made``, without any; ``8 bits``, rounded as in a file; ``shifted``, the least value of four
    shifts by 4 pixels (borders wrap around); ``JPEG``, compressed with quality 75; ``blurred``, by a Gaussian with a
    standard deviation of one pixel.
    """
    rounded = np.asarray(images).round().astype(np.uint8)
    shifts = [(_SHIFT, 0), (-_SHIFT, 0), (0, _SHIFT), (0, -_SHIFT)]

    def scored(changed: Any) -> Float[np.ndarray, " n"]:
        return score(model, objective, changed, batch=batch)

    return {
        "as made": scored(np.asarray(images, np.float32)),
        "8 bits": scored(rounded),
        "shifted": np.min([scored(np.roll(rounded, shift, axis=(2, 3))) for shift in shifts], axis=0),
        "JPEG": scored(jpeg(rounded)),
        "blurred": scored(_blurred(rounded)),
    }


def transfer(
    judges: Mapping[str, tuple[Model, Callable[..., Array], float]],
    images: Float[np.ndarray, "n 3 height width"],
    gain: Float[np.ndarray, " n"],
    *,
    batch: int = 8,
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return the share of images' gain over natural images that remains in other models.

    Such models are those of other subjects, or the same model in another precision.

    Parameters
    ----------
    judges
        For each name a model, the objective for it, and natural images' mean value in it.
    images
        Images in 0–255.
    gain
        Each image's value in the model that it was made with, minus natural images' mean value there.
    batch
        Number of images that are computed at a time.

    See Also
    --------
    leave_one_out : Make images for all subjects but one, and evaluate them in that one.
    """
    return {
        name: (score(model, objective, images, batch=batch) - natural) / gain
        for name, (model, objective, natural) in judges.items()
    }


class LeftOut(NamedTuple):
    """Images made for all subjects but one, and their values in that subject.

    Attributes
    ----------
    result
        Result of the optimization for the other subjects.
    values
        The images' values in the subject that was left out.
    """

    result: Result
    values: Float[np.ndarray, " n"]


def leave_one_out(
    model: StackedModel, objective: Callable[..., Array], *arguments: Any, **options: Any
) -> list[LeftOut]:
    """Optimize images for all subjects but one, and evaluate them in the one left out, for each subject in turn.

    One compiled program serves all of them.

    Parameters
    ----------
    model
        A stacked model.
    objective
        Objective of single images with weights (subjects, vertices), before
        :func:`~berg_jax.experiments.synthesis.objectives.group`.
    arguments, options
        Further arguments of :func:`~berg_jax.experiments.synthesis.optimize.optimize`.

    Returns
    -------
    The results, in the order of the subjects left out.

    Raises
    ------
    InvalidParameterError
        There is only one subject.
    BERGError
        As :func:`~berg_jax.experiments.synthesis.optimize.optimize`.

    See Also
    --------
    transfer : Evaluate images in models of other subjects.
    """
    n_subjects = model.mask.shape[0]
    if n_subjects < 2:
        raise InvalidParameterError("Leaving one out needs at least two subjects.")
    results = []
    for index in range(n_subjects):
        included = np.arange(n_subjects) != index
        result = optimize(model, objectives.group(objective, included), *arguments, **options)
        left_out = objectives.group(objective, ~included)
        results.append(LeftOut(result=result, values=score(model, left_out, result.images)))
    return results


def statistics(images: Float[np.ndarray, "n 3 height width"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Return image statistics that natural images have in common.

    Returns
    -------
    Values of each image by name: ``luminance`` and ``contrast``, mean and standard deviation in grey levels of the
    mean over channels; ``slope``, that of the power spectrum's logarithm against the logarithm of frequency (about −2
    for natural images); ``saturated``, the share of values that are 0 or 255; ``color``, the mean distance from grey
    in grey levels.

    See Also
    --------
    unnaturalness : The statistics relative to those of natural images.

    Examples
    --------
    >>> grey = np.full((1, 3, 8, 8), 128.0)
    >>> statistics(grey)["luminance"].tolist(), statistics(grey)["contrast"].tolist()
    ([128.0], [0.0])
    """
    images = np.asarray(images, np.float64)
    grey = images.mean(axis=1)
    frequency = np.hypot(np.fft.fftfreq(grey.shape[1])[:, None], np.fft.rfftfreq(grey.shape[2])[None])
    inside = (frequency > 0) & (frequency < 0.5)
    power = np.log(np.abs(np.fft.rfft2(grey - grey.mean(axis=(1, 2), keepdims=True)))[:, inside] ** 2 + 1e-12)
    x = np.log(frequency[inside])
    x -= x.mean()
    return {
        "luminance": grey.mean(axis=(1, 2)),
        "contrast": grey.std(axis=(1, 2)),
        "slope": power @ x / (x @ x),
        "saturated": ((images <= 0.5) | (images >= 254.5)).mean(axis=(1, 2, 3)),
        "color": np.linalg.norm(images - grey[:, None], axis=1).mean(axis=(1, 2)),
    }


def unnaturalness(
    images: Float[np.ndarray, "n 3 height width"], natural: Float[np.ndarray, "m 3 height width"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return each image's :func:`statistics` in standard deviations from natural images' mean."""
    image_statistics, natural_statistics = statistics(images), statistics(natural)
    deviations = {}
    for name, values in image_statistics.items():
        usual = natural_statistics[name]
        deviations[name] = (values - usual.mean()) / max(usual.std(), 1e-9)
    return deviations


def jpeg(images: Images, quality: int = _QUALITY) -> Images:
    """Return the images after compression as JPEG files."""
    compressed = []
    for image in images:
        memory = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(memory, "JPEG", quality=quality)
        compressed.append(np.asarray(Image.open(memory)).transpose(2, 0, 1))
    return np.stack(compressed)


def _blurred(images: Images) -> Float[np.ndarray, "n 3 height width"]:
    return gaussian_filter(images.astype(np.float32), (0, 0, 1, 1), mode="nearest")


@jax.jit
def _scored(model: Model, objective: Callable[..., Array], images: Array) -> Float[Array, " n"]:
    return objective(model(images))

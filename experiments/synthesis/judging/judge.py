"""What a synthesized image is worth: against natural images, to other people, after small changes."""

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
_QUALITY = 75  # of JPEG


def score(model: Model, objective: Callable[..., Array], images: Any, *, batch: int = 8) -> Float[np.ndarray, " n"]:
    """The objective's value of each image, as the image is: of single images, not of sets.

    Parameters
    ----------
    model, objective
        As of :func:`~berg_jax.experiments.synthesis.optimize.optimize`.
    images
        (n, 3, height, width) in 0–255.
    batch
        How many are computed at a time.
    """
    check_shape(images)
    objective = as_function(objective)
    images = np.asarray(images)
    batches = filled_batches(len(images), min(batch, len(images)))
    scored = [np.asarray(_scored(model, objective, jnp.asarray(images[rows])))[:new] for rows, new in batches]
    return np.concatenate(scored)


def percentile(values: Float[np.ndarray, " n"], natural: Float[np.ndarray, " images"]) -> Float[np.ndarray, " n"]:
    """The share of natural images that each value is above, in percent; NaN among them counts for nothing.

    Raises
    ------
    InvalidParameterError
        No natural image has a value.
    """
    natural = np.sort(natural[~np.isnan(natural)])
    if not len(natural):
        raise InvalidParameterError("A percentile needs natural images' values, got none.")
    return 100 * np.searchsorted(natural, values) / len(natural)


def robustness(
    model: Model, objective: Callable[..., Array], images: Float[np.ndarray, "n 3 height width"], *, batch: int = 8
) -> dict[str, Float[np.ndarray, " n"]]:
    """The objective's value of images after changes that leave a natural image what it is.

    Returns
    -------
    By name: ``as made``; ``8 bits`` rounded as a file has them; ``shifted``, the least of four shifts by 4 pixels
    (borders wrap around); ``JPEG`` of quality 75; ``blurred`` by a Gaussian of one pixel.
    """
    rounded = np.asarray(images).round().astype(np.uint8)
    moves = [(_SHIFT, 0), (-_SHIFT, 0), (0, _SHIFT), (0, -_SHIFT)]

    def of(changed: Any) -> Float[np.ndarray, " n"]:
        return score(model, objective, changed, batch=batch)

    return {
        "as made": of(np.asarray(images, np.float32)),
        "8 bits": of(rounded),
        "shifted": np.min([of(np.roll(rounded, move, axis=(2, 3))) for move in moves], axis=0),
        "JPEG": of(jpeg(rounded)),
        "blurred": of(_blurred(rounded)),
    }


def transfer(
    judges: Mapping[str, tuple[Model, Callable[..., Array], float]],
    images: Float[np.ndarray, "n 3 height width"],
    gain: Float[np.ndarray, " n"],
    *,
    batch: int = 8,
) -> dict[str, Float[np.ndarray, " n"]]:
    """The share of a gain that images keep in other models: other people, another precision.

    Parameters
    ----------
    judges
        By name: a model, the objective for it, and what natural images have on average.
    images
        In 0–255.
    gain
        Each image's value where it was made, less natural images' average there.
    batch
        How many are computed at a time.
    """
    return {
        name: (score(model, objective, images, batch=batch) - natural) / gain
        for name, (model, objective, natural) in judges.items()
    }


class LeftOut(NamedTuple):
    """Images made for all subjects but one, and what they are to that one."""

    result: Result
    values: Float[np.ndarray, " n"]


def leave_one_out(
    model: StackedModel, objective: Callable[..., Array], *arguments: Any, **options: Any
) -> list[LeftOut]:
    """Optimize for all subjects but one, and judge by the one left out; for each in turn, with one program.

    Parameters
    ----------
    model
        Stacked.
    objective
        Of single images, of weights (subjects, vertices), before ``group``.
    arguments, options
        As of :func:`~berg_jax.experiments.synthesis.optimize.optimize`.

    Raises
    ------
    InvalidParameterError
        There is only one subject.
    BERGError
        As of ``optimize``.
    """
    subjects = model.mask.shape[0]
    if subjects < 2:
        raise InvalidParameterError("Leaving one out needs at least two subjects.")
    every = []
    for subject in range(subjects):
        included = np.arange(subjects) != subject
        result = optimize(model, objectives.group(objective, included), *arguments, **options)
        left_out = objectives.group(objective, ~included)
        every.append(LeftOut(result, score(model, left_out, result.images)))
    return every


def statistics(images: Float[np.ndarray, "n 3 height width"]) -> dict[str, Float[np.ndarray, " n"]]:
    """What natural images have in common, of each image.

    Returns
    -------
    ``luminance`` and ``contrast`` (mean and standard deviation of the mean of the channels, grey levels); ``slope``
    of the logarithm of its power spectrum against that of frequency (about −2 for natural images);
    ``saturated``, the share of values that are 0 or 255; ``color``, the mean distance from grey in grey levels.
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
    """How many standard deviations each of an image's :func:`statistics` is from natural images' mean."""
    here, usual = statistics(images), statistics(natural)
    return {name: (here[name] - usual[name].mean()) / max(usual[name].std(), 1e-9) for name in here}


def jpeg(images: Images, quality: int = _QUALITY) -> Images:
    """The images after compression as JPEG."""
    found = []
    for image in images:
        memory = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(memory, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(memory)).transpose(2, 0, 1))
    return np.stack(found)


def _blurred(images: Images) -> Float[np.ndarray, "n 3 height width"]:
    return gaussian_filter(images.astype(np.float32), (0, 0, 1, 1), mode="nearest")


@jax.jit
def _scored(model: Model, objective: Callable[..., Array], images: Array) -> Float[Array, " n"]:
    return objective(model(images))

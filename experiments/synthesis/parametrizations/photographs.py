"""Photographs in a synthesis: an image to start from, a ball to stay in, a magnitude spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num, UInt8
from PIL import Image

from ....demo import photographs
from ....errors import InvalidParameterError
from ....model.nn.config import IMAGE
from ....stream.images import Fit
from ....stream.sources.image_files import FilesSource, PathFile, Source, resize
from ....stream.sources.open import log_account, open_source
from ..priors import penalties
from .base import Parametrization
from .fourier import fourier, measure_spectrum, phases
from .pixels import pixels

PARAMETRIZATIONS = ("pixels", "fourier", "phases")
_MOST = 1000  # photographs whose spectrum is measured, at most


def make_parametrization(
    name: str, photograph: UInt8[np.ndarray, "3 224 224"] | None, folder: str | Path | None
) -> tuple[Parametrization, str | None]:
    """Return the named parametrization, and a description of the photographs whose spectrum was measured, if any.

    Parameters
    ----------
    name
        One of ``PARAMETRIZATIONS``.
    photograph
        Image to start from, in 0–255, or None.
    folder
        Photographs whose spectrum ``"phases"`` takes, or None for those that come with matplotlib and scikit-learn.

    Raises
    ------
    InvalidParameterError
        A photograph does not go with the name.
    BERGError
        The photographs cannot be read.
    """
    if name != "phases":
        if folder is not None:
            raise InvalidParameterError("photograph_folder is for images 'phases', whose spectrum is measured.")
        return {"pixels": pixels, "fourier": fourier}[name](start=photograph), None
    if photograph is not None:
        raise InvalidParameterError("Images of 'phases' start from random ones; start is for 'pixels' and 'fourier'.")
    if folder is None:
        images = np.concatenate([read_squares(path)[0] for path in photographs().values()])
        source = f"the photographs {', '.join(photographs())} of matplotlib and scikit-learn"
    else:
        images, count = read_squares(folder)
        source = f"{len(images)} of {count} images of {folder}"
    return phases(measure_spectrum(images, source)), source


def read_squares(path: str | Path, fit: Fit = "crop") -> tuple[Float[np.ndarray, "n 3 224 224"], int]:
    """Read the first 1,000 images at a path, made square and resized.

    Parameters
    ----------
    path
        An image file, or any source of images: see :func:`~berg_jax.stream.sources.open.open_source`.
    fit
        What to do with images that are not square: see :class:`~berg_jax.Images`.

    Returns
    -------
    images
        The images, in 0–255.
    count
        Number of images at the path.
    """
    source: Source = read_photograph(path, fit) if is_photograph(path) else open_source(path, fit)
    log_account(path, source)
    first = np.asarray(source.read(range(min(len(source), _MOST))))
    return np.stack([_resized(image.transpose(1, 2, 0)) for image in first]), len(source)


def read_one(path: str | Path, fit: Fit = "error") -> Float[np.ndarray, "3 224 224"]:
    """Read the one image at a path, made square and resized, in 0–255: see :func:`read_squares`.

    Raises
    ------
    InvalidParameterError
        There are several images at the path.
    """
    images, count = read_squares(path, fit)
    if count != 1:
        raise InvalidParameterError(f"One image is taken; {path} has {count}. Give a file.")
    return images[0]


def is_photograph(path: str | Path) -> bool:
    """Return whether a path is that of a single image file."""
    return Path(path).is_file() and Path(path).suffix.lower() in Image.registered_extensions()


def read_photograph(path: str | Path, fit: Fit = "crop") -> FilesSource:
    """Return the source of a single image file, made square."""
    path = Path(path)
    return FilesSource([PathFile(path.name, path, path.stat().st_size)], fit)


def _resized(image: Num[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 224 224"]:
    return np.asarray(image if image.shape[0] == IMAGE else resize(image), np.float32).transpose(2, 0, 1)


def projection(photograph: np.ndarray | None, radius: float | None) -> Any:
    """Return a projection into a ball around a photograph, or None if there is no radius.

    Parameters
    ----------
    photograph
        Center of the ball.
    radius
        Root mean square difference from it, in grey levels.

    Raises
    ------
    InvalidParameterError
        There is a radius but no photograph, or the radius is not positive.

    See Also
    --------
    berg_jax.experiments.synthesis.priors.within
    """
    if radius is None:
        return None
    if photograph is None:
        raise InvalidParameterError("radius is the distance from a photograph: give start, too.")
    return penalties.within(photograph, radius)

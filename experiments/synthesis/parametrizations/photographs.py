"""What photographs give a synthesis: a start, a ball to stay in, a magnitude spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num, UInt8
from PIL import Image

from ....demo import photographs
from ....errors import InvalidParameterError
from ....model.nn.config import IMAGE
from ....stream.sources.image_files import FilesSource, PathFile, Source, resize
from ....stream.sources.open import open_source
from .. import priors
from .fourier import Parametrization, fourier, measure_spectrum, phases, pixels

PARAMETRIZATIONS = ("pixels", "fourier", "phases")
_MOST = 1000  # photographs whose spectrum is measured


def parametrization(
    name: str, photograph: UInt8[np.ndarray, "3 224 224"] | None, folder: str | Path | None
) -> tuple[Parametrization, str | None]:
    """How images are written, and what the spectrum is of, where one is measured.

    Parameters
    ----------
    name
        One of ``PARAMETRIZATIONS``.
    photograph
        To start from, in 0–255, or None.
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
        found = np.concatenate([squares(path)[0] for path in photographs().values()])
        source = f"the photographs {', '.join(photographs())} of matplotlib and scikit-learn"
    else:
        found, count = squares(folder)
        source = f"{len(found)} of {count} images of {folder}"
    return phases(measure_spectrum(found, source)), source


def squares(path: str | Path) -> tuple[Float[np.ndarray, "n 3 224 224"], int]:
    """The first images at a path, cut to squares and resized; and how many there are."""
    path = Path(path)
    if path.is_file() and path.suffix.lower() in Image.registered_extensions():
        source: Source = FilesSource([PathFile(path.name, path, path.stat().st_size)], "crop")
    else:
        source = open_source(path, fit="crop")
    some = np.asarray(source.read(range(min(len(source), _MOST))))
    return np.stack([_resized(image.transpose(1, 2, 0)) for image in some]), len(source)


def _resized(image: Num[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 224 224"]:
    return np.asarray(image if image.shape[0] == IMAGE else resize(image), np.float32).transpose(2, 0, 1)


def projection(photograph: np.ndarray | None, radius: float | None) -> Any:
    """Into a ball around the photograph, or None if no radius (root mean square, grey levels) is given.

    Raises
    ------
    InvalidParameterError
        There is a radius but no photograph, or it is not positive.
    """
    if radius is None:
        return None
    if photograph is None:
        raise InvalidParameterError("radius is the distance from a photograph: give start, too.")
    return priors.within(photograph, radius)

"""Crops of the photographs that come with other packages: natural images where a user gives none."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ....demo import photographs
from ....model.nn.config import IMAGE
from ....stream.sources.image_files import resize

EACH, SEED = 20, 0  # crops of a photograph, and the seed that draws them
_LEAST = 0.3  # side of a crop as a share of the photograph's shorter side, at least


def photograph_crops(each: int = EACH, seed: int = SEED) -> tuple[UInt8[np.ndarray, "n 3 224 224"], str]:
    """Return random square crops of matplotlib's and scikit-learn's photographs, and words that name them.

    Parameters
    ----------
    each
        Number of crops of each photograph, from 30% of its shorter side to all of it.
    seed
        Seed of the random numbers.

    Raises
    ------
    ResourceError
        matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> crops, named = photograph_crops(each=2)
    >>> crops.shape, named
    ((6, 3, 224, 224), '6 crops of 3 photographs of matplotlib and scikit-learn')
    """
    random = np.random.default_rng(seed)
    paths = photographs()
    crops = []
    for path in paths.values():
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        height, width, _ = pixels.shape
        for _ in range(each):
            side = int(random.uniform(_LEAST, 1) * min(height, width))
            top, left = random.integers(height - side + 1), random.integers(width - side + 1)
            crop = resize(pixels[top : top + side, left : left + side])
            crops.append(np.asarray(crop).round().clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
    named = f"{len(crops)} crops of {len(paths)} photographs of matplotlib and scikit-learn"
    return np.stack(crops).reshape(-1, 3, IMAGE, IMAGE), named

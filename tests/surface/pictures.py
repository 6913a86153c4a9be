"""What pictures of the cortex show."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from matplotlib.figure import Figure
from nilearn.datasets import fetch_surf_fsaverage

SIZE = 10_242
LATERAL: dict[str, Any] = {"views": ("lateral",), "flat": False}
ONES = np.ones(2 * SIZE)


def coordinates(hemisphere: str, name: str = "pial") -> np.ndarray:
    """Where fsaverage5's vertices are (x right, y front, z up), read without the module under test."""
    side = {"lh": "left", "rh": "right"}[hemisphere]
    return nibabel.load(fetch_surf_fsaverage()[f"{name}_{side}"]).darrays[0].data.astype(float)


def pixels(figure: Figure) -> np.ndarray:
    """The picture down to the color bar, RGB."""
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    return image[: int(len(image) * (1 - figure.axes[1].get_position().y1)) - 2]


def halves(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right half, without the rows' names."""
    middle = image.shape[1] // 2
    return image[:, 40:middle], image[:, middle:]


def colored(image: np.ndarray) -> np.ndarray:
    return np.ptp(image, axis=-1) > 25

"""Values on fsaverage5."""

from __future__ import annotations

import numpy as np
import pytest

from .pictures import coordinates


@pytest.fixture(scope="session")
def smooth() -> np.ndarray:
    """Values of both signs, nowhere near 0."""
    x, y, z = np.concatenate([coordinates("lh"), coordinates("rh")]).T
    return np.sign(z) * (2 + np.sin(y / 20) + np.cos(x / 20) / 2)

"""A simulated person on the golden subject's surface, which several files of tests fit."""

from __future__ import annotations

import numpy as np
import pytest

from berg_jax import Subject

from ...conftest import Golden
from .people import IMAGES, REPEATS, Data, write_person


@pytest.fixture(scope="module")
def data(complement: Golden, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """A person on the golden subject's surface: other readouts of the donor's features, and two bad vertices."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (IMAGES, 3, 8, 8), np.uint8).repeat(7, axis=2).repeat(7, axis=3)
    donor = Subject(complement.folder, 2)
    responses = np.asarray(complement.model(pixels))
    signal = responses + 0.7 * np.roll(responses, 1, axis=1)
    made = write_person(tmp_path_factory.mktemp("person"), donor, pixels, signal, REPEATS)
    betas = np.load(made.folder / "betas.npy")
    betas[:, 3], betas[7, 100] = 5, np.nan
    np.save(made.folder / "betas.npy", betas)
    return made

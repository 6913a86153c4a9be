"""What an experiment shows a model: images that are given, or for the demo subjects drawings."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..demo import images as drawings
from ..demo.stimuli import CATEGORIES
from ..encoding import choose_images
from ..errors import InvalidParameterError
from ..files import explained, write_whole
from ..stream.arrays import ArraySource
from ..stream.opening import open_source
from ..stream.sources import Source
from ..subject import Subject


def is_demo(person: Subject) -> bool:
    """Whether this is one of the demo subjects, in which answers are planted."""
    return person.metadata.raw.get("synthetic") == "berg_jax demo"


def given(images: str | Path, choose: str | None, fit_images: str, person: Subject) -> Source:
    """A user's images, or some of them: see :func:`~berg_jax.stream.opening.open_source` and ``choose_images``."""
    source = open_source(images, fit_images)
    return source if choose is None else choose_images(source, choose, person)


def require_demo(person: Subject, needed: str) -> None:
    """Raise InvalidParameterError that says what is needed, unless there are drawings for this subject."""
    if not is_demo(person):
        raise InvalidParameterError(needed)


def drawn(output: Path, each: int, seed: int) -> ArraySource:
    """So many drawings of each of ``CATEGORIES``, one category after the other, kept in the output's folder."""
    path = output / "images.npy"
    file = io.BytesIO()
    np.save(file, np.concatenate([drawings(category, each, seed) for category in CATEGORIES]))
    with explained("write", path):
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.getvalue())  # which other processes may be reading
    return ArraySource(path)

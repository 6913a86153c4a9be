"""Whom an experiment shows what: people, and images that are given or, for the demo subjects, drawings."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..demo import images as drawings
from ..errors import InvalidParameterError
from ..files.disk import explained, write_whole
from ..stream.encode import choose_images
from ..stream.sources.arrays import ArraySource
from ..stream.sources.image_files import Source
from ..stream.sources.open import open_source
from ..subject import Subject


def find_people(berg_dir: str | Path, subjects: Sequence[int]) -> list[Subject]:
    """One or more subjects; raise InvalidParameterError if there is none, or one is there twice."""
    if not subjects or len(set(subjects)) < len(subjects):
        raise InvalidParameterError(f"Give one or more subjects, each once, got {list(subjects)}.")
    return [Subject(berg_dir, subject) for subject in subjects]


def is_demo(person: Subject) -> bool:
    """Whether this is one of the demo subjects, in which answers are planted."""
    return person.metadata.raw.get("synthetic") == "berg_jax demo"


def given(images: str | Path, choose: str | None, fit_images: str, person: Subject) -> Source:
    """A user's images, or some of them: see :func:`~berg_jax.stream.open_source` and ``choose_images``."""
    source = open_source(images, fit_images)
    return source if choose is None else choose_images(source, choose, person)


def require_demo(person: Subject, choose: str | None, needed: str) -> None:
    """Raise InvalidParameterError unless drawings will do where no images are given; it says what is needed."""
    if not is_demo(person):
        raise InvalidParameterError(needed)
    if choose is not None:
        raise InvalidParameterError(
            f"images={choose!r} is of an array that is given: give it, too, such as NSD's nsd_stimuli.hdf5; or leave "
            "it out, for the demo's own drawings."
        )


def drawn(output: Path, counts: Mapping[str, int], seed: int) -> ArraySource:
    """So many drawings of each kind, one kind after the other, kept in the output's folder."""
    path = output / "images.npy"
    file = io.BytesIO()
    np.save(file, np.concatenate([drawings(kind, count, seed) for kind, count in counts.items()]))
    with explained("write", path):
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.getvalue())  # which other processes may be reading
    return ArraySource(path)

"""Stimuli of an experiment: the demo subjects' drawings, where no images are given; and checks of its subjects."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ...demo import images as drawings
from ...errors import BERGError, InvalidParameterError
from ...files.disk import explained, write_whole
from ...stream.sources.arrays import ArraySource
from ...stream.sources.image_files import Source
from ...subject import Subject

DRAWINGS = "images.npy"  # of the demo subjects, in an experiment's folder


@contextmanager
def refusing(output: Path) -> Iterator[None]:
    """Leave no folder behind where what follows is refused: none that is empty, or has only drawings of the demo."""
    new, drawings_new = not output.exists(), not (output / DRAWINGS).exists()
    try:
        yield
    except BERGError:
        with suppress(OSError):
            if drawings_new:
                (output / DRAWINGS).unlink(missing_ok=True)
            if new:
                output.rmdir()  # unless there is something in it
        raise


def require_images(source: Source, least: int, purpose: str) -> None:
    """Raise InvalidParameterError if there are fewer images than a purpose needs."""
    if len(source) < least:
        raise InvalidParameterError(f"{purpose} needs at least {least} images, got {len(source)}.")


def listed(subjects: Subject | Sequence[Subject]) -> list[Subject]:
    """Return one subject or several as a list.

    Raises
    ------
    InvalidParameterError
        There is none, one twice, or something else.
    """
    subjects = [subjects] if isinstance(subjects, Subject) else subjects
    if not isinstance(subjects, Sequence) or not all(isinstance(subject, Subject) for subject in subjects):
        raise InvalidParameterError(
            f"subjects must be a berg_jax.Subject, or a list such as [Subject('demo', 1)], got {subjects!r:.80}."
        )
    numbers = [subject.description.subject for subject in subjects]
    if not numbers or len(set(numbers)) < len(numbers):
        raise InvalidParameterError(f"Give one or more subjects, each once, got {numbers}.")
    return list(subjects)


def is_demo(subject: Subject) -> bool:
    """Return whether this is one of the demo subjects, in which answers are planted."""
    return subject.metadata.raw.get("synthetic") == "berg_jax demo"


def require_demo(subject: Subject, needed: str) -> None:
    """Raise InvalidParameterError, which says what is needed, unless drawings will do where no images are given."""
    if not is_demo(subject):
        raise InvalidParameterError(needed)


def drawn(output: Path, counts: Mapping[str, int], seed: int) -> ArraySource:
    """Return so many drawings of each kind, one kind after the other, kept in the output's folder."""
    path = output / DRAWINGS
    file = io.BytesIO()
    np.save(file, np.concatenate([drawings(kind, count, seed) for kind, count in counts.items()]))
    with explained("write", path):
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.getvalue())  # which other processes may be reading
    return ArraySource(path)

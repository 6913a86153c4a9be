"""Representations that are compared in one run, as its report's sections take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ....subject import Subject
from ...reporting.page import Section
from ...reporting.results import counted, note
from ..measure import Measure, Pairs, Patterns
from ..uncertainty import Squares

MOST_LINES = 30  # rows that a summary prints; more are in the tables


class Study(NamedTuple):
    """Representations of the same images in ROIs of subjects, and targets to compare them with.

    Attributes
    ----------
    subjects
        The subjects.
    output
        Folder of the results.
    measure
        Measure of similarity.
    images
        Number of images.
    rois
        Names of the ROIs, in the order that they are given.
    own
        For each subject the triangle of each ROI.
    responses
        For each subject the responses (images, vertices) of each ROI.
    targets
        Triangles of features, layers, embeddings and matrices, by name.
    patterns
        Features of the images, of all targets but matrices.
    layers
        Names of those targets that are a network's layers, from the first to the last.
    """

    subjects: Sequence[Subject]
    output: Path
    measure: Measure
    images: int
    rois: Sequence[str]
    own: Sequence[Mapping[str, Pairs]]
    responses: Sequence[Mapping[str, Patterns]]
    targets: Mapping[str, Pairs]
    patterns: Mapping[str, Patterns]
    layers: Sequence[str]

    @property
    def said(self) -> str:
        """The number of images and of subjects, as in ``n = 40 images, 2 subjects``."""
        return f"n = {self.images:,} images, {counted(self.subjects)}"

    @property
    def note(self) -> str | None:
        """Small print of a figure: that weights are synthetic, if they are."""
        return note(self.subjects[0])

    def squares(self) -> list[Squares]:
        """Return each subject's matrices, ready for resampling."""
        return [Squares({**own, **self.targets}, self.measure) for own in self.own]

    def of_region(self, roi: str) -> list[Float[np.ndarray, " pairs"]]:
        """Return a ROI's triangles of all subjects."""
        return [own[roi] for own in self.own]


class Part(NamedTuple):
    """One analysis of a run.

    Attributes
    ----------
    section
        Its section of the report.
    numbers
        Its numbers, for ``results.json``.
    lines
        Its lines of the summary.
    """

    section: Section
    numbers: Any
    lines: Sequence[str]

"""ROIs and images of a comparison of representations: those given, or areas that all subjects have and drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...demo.stimuli import CATEGORIES
from ...errors import InvalidParameterError
from ...stream.images import Images
from ...stream.selection import Selection
from ...stream.sources.image_files import Source
from ...subject import Subject
from ...vertices import Vertices
from ..inputs.stimuli import drawn, require_demo
from ..reporting.results import outlined

ROIS = ("V1", "V2", "V3", "hV4", "OFA", "FFA-1", "FFA-2", "EBA", "FBA-1", "FBA-2", "OPA", "PPA", "RSC", "VWFA-1")
DEMO_EACH, DEMO_SEED = 8, 22


def regions_of_all(
    subjects: Sequence[Subject], rois: Sequence[str], selection: Selection
) -> tuple[list[str], list[dict[str, Vertices]]]:
    """Return the names of the ROIs, and for each subject their vertices by name.

    Parameters
    ----------
    subjects
        One or more subjects.
    rois
        ROI expressions; by default early and category-selective areas that all subjects have.
    selection
        Hemisphere and thresholds of the vertices; its ``roi`` is not used.

    Raises
    ------
    InvalidParameterError
        There is no such ROI, one is given twice, or it has only one vertex.
    """
    names = list(rois) or [name for name in ROIS if all(name in outlined(subject, (name,)) for subject in subjects)]
    if len(set(names)) < len(names):
        raise InvalidParameterError(f"Each ROI must be given once, got {names}.")
    regions = [{name: replace(selection, roi=name).of(subject) for name in names} for subject in subjects]
    if small := [name for found in regions for name, region in found.items() if len(region) < 2]:
        raise InvalidParameterError(f"ROI {small[0]!r} has only one vertex; a pattern needs more.")
    return names, regions


def images_of(subject: Subject, output: Path, images: Images | None) -> tuple[Source, list[str] | None]:
    """Return the given images, or the drawings that demo subjects are shown, with the category of each."""
    if images is not None:
        return images.open(subject, output=output), None
    require_demo(subject, "Give images: a folder or an array, such as NSD's with --images test.")
    kinds = [kind for kind in CATEGORIES for _ in range(DEMO_EACH)]
    return drawn(output, dict.fromkeys(CATEGORIES, DEMO_EACH), DEMO_SEED), kinds

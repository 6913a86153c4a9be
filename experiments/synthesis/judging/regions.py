"""Table of what each synthesized image drives: responses of many ROIs, with percentiles among natural images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ....errors import InvalidParameterError
from ....model.batches import filled_batches
from ....stream.selection import Selection
from ....subject import Subject
from ...reporting.figures import about
from ...reporting.page import Picture, Table
from ...reporting.pictures import draw_table
from ...reporting.results import OUTLINED, note, outlined
from ..areas import union
from .crops import photograph_crops
from .judge import percentile

PICTURE = "regions.png"
_MOST = 60  # images in the figure


class RegionResponses(NamedTuple):
    """Mean responses of ROIs to synthesized and to natural images.

    Attributes
    ----------
    rois
        Names of the ROIs.
    images
        Mean response of each ROI to each synthesized image, z units.
    natural
        The same to each natural image.
    source
        Words that name the natural images.
    """

    rois: list[str]
    images: Float[np.ndarray, "n rois"]
    natural: Float[np.ndarray, "m rois"]
    source: str

    @property
    def percentiles(self) -> Float[np.ndarray, "n rois"]:
        """Share of natural images that each response exceeds, in percent."""
        pairs = zip(self.images.T, self.natural.T, strict=True)
        return np.stack([percentile(values, usual) for values, usual in pairs], axis=1)


def region_responses(
    subject: Subject,
    asked: Sequence[str],
    images: UInt8[np.ndarray, "n 3 224 224"],
    *,
    selection: Selection = Selection(),
    precision: str = "float32",
    batch: int = 8,
) -> RegionResponses:
    """Return the mean responses of ROIs to synthesized images and to crops of photographs.

    Parameters
    ----------
    subject
        The subject.
    asked
        ROI expressions that are driven or suppressed; visual areas that the subject has follow.
    images
        The synthesized images.
    selection
        Hemisphere and thresholds of the ROIs' vertices. Areas without such vertices are left out.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    batch
        Number of images that are computed at a time.

    Raises
    ------
    ResourceError
        matplotlib or scikit-learn is not installed.
    """
    natural, source = photograph_crops()
    others = [name for name in outlined(subject, OUTLINED) if name not in asked and _has(subject, name, selection)]
    vertices, weights = union(subject, {name: name for name in (*asked, *others)}, selection)
    model = subject.model(vertices, precision=precision)
    every = np.concatenate([images, natural])
    columns = np.stack(list(weights.values()), axis=1)
    parts = [np.asarray(model(every[rows]))[:new] @ columns for rows, new in filled_batches(len(every), batch)]
    means = np.concatenate(parts)
    return RegionResponses(list(weights), means[: len(images)], means[len(images) :], source)


def regions_part(
    subject: Subject, found: RegionResponses, asked: Sequence[str], folder: Path
) -> list[Picture | Table]:
    """Draw the table of ROIs' responses to each image, and return it with a table of percentiles.

    Parameters
    ----------
    subject
        The subject.
    found
        The responses.
    asked
        ROIs that are driven or suppressed, whose names are marked.
    folder
        Folder of the figure.
    """
    values = found.images[:_MOST]
    rows = [str(number) for number in range(1, len(values) + 1)]
    marked = [f"{roi} *" if roi in asked else roi for roi in found.rois]
    path = folder / PICTURE
    draw_table(
        *(values, rows, marked, "mean response (z)", path),
        title="What each synthesized image drives (* driven or suppressed)",
        subtitle=about([subject.description.subject], f"{len(marked)} ROIs", images=len(found.images)),
        corner="image",
        note=note(subject),
    )
    caption = "Mean response of each ROI to each synthesized image, the best first; a star: driven or suppressed."
    table = Table(
        f"Percentiles of these responses among {found.source}: the share of them that an image exceeds (%); so few "
        "pictures give a rough percentile only",
        ("image", *marked),
        [(number, *map(float, own)) for number, own in enumerate(found.percentiles[:_MOST], 1)],
        folded=True,
    )
    return [Picture(path, caption, {"images": len(found.images), "natural images": found.source}), table]


def _has(subject: Subject, name: str, selection: Selection) -> bool:
    try:
        union(subject, {name: name}, selection)
    except InvalidParameterError:
        return False
    return True

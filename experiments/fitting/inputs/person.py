"""A new person's data, checked before a fit begins: images, split, responses, vertices, ROIs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ....errors import BERGError, InvalidParameterError
from ....stream.images import Images
from ....stream.selection import Selection
from ....stream.sources.arrays import ArraySource
from ....stream.sources.contents import content_digests
from ....stream.sources.image_files import Source
from ....stream.sources.subset import Subset
from ....subject import Subject
from ....vertices import HEMISPHERES, Vertices
from ...accuracy.measured import nsd_numbers, trial_reader
from ...inputs.stimuli import require_images
from .donor import DonorRows, donor_rows
from .labels import Rois, read_rois
from .measurements import Measurements, measure
from .splits import FEWEST_TEST, FEWEST_TRAINING, Split, listed_images, require_no_copies, split_images


class Person(NamedTuple):
    """A new person's data: what every stage of a fit starts from.

    Attributes
    ----------
    donor
        The donor.
    subject_id
        ID of the new person.
    vertices
        Vertices to fit: those that were chosen, as far as they can be fitted.
    chosen
        The vertices that were chosen.
    source
        The images.
    split
        Their split.
    numbers
        Number of each image, counted from 0: NSD's, or its place among the images.
    measured
        The responses.
    rows
        The vertices that each part of the donor predicts.
    rois
        ROIs by hemisphere and name, the person's or the donor's.
    own_rois
        Whether the ROIs were given, and are not the donor's.
    selection
        How the vertices were chosen.
    """

    donor: Subject
    subject_id: int
    vertices: Vertices
    chosen: Vertices
    source: Source
    split: Split
    numbers: Int[np.ndarray, " images"]
    measured: Measurements
    rows: dict[str, DonorRows]
    rois: Rois
    own_rois: bool
    selection: Selection

    @property
    def regions(self) -> dict[str, Bool[np.ndarray, " vertices"]]:
        """Masks of the fitted vertices by ROI, without those that are then empty.

        Where the selection names ROIs, others of which it holds only a part are left out, as a part is not that ROI.
        """
        size, fitted = self.vertices.hemisphere_size, self.vertices.global_indices
        named = isinstance(self.selection.roi, str | list | tuple)
        sides = [h for h in HEMISPHERES if self.selection.hemisphere in ("both", h)]
        masks = {}
        for name in self.rois["lh"] | self.rois["rh"]:
            halves = [self.rois[h].get(name, np.array([], np.int64)) + HEMISPHERES.index(h) * size for h in sides]
            inside = np.concatenate(halves)
            if not named or np.isin(inside, self.chosen.global_indices).all():
                masks[name] = np.isin(fitted, inside)
        return {name: mask for name, mask in masks.items() if mask.any()}

    @property
    def left_out(self) -> dict[str, Vertices]:
        """Vertices that were left out because their betas are constant or NaN, by the reason."""
        size, chosen = self.chosen.hemisphere_size, self.chosen.global_indices
        return {
            name: Vertices.from_global(chosen[getattr(self.measured, name)], size) for name in ("constant", "missing")
        }


def read_person(
    donor: Subject,
    subject_id: int,
    images: Images,
    betas: Path,
    *,
    output: Path,
    selection: Selection = Selection(),
    table: str | Path | None = None,
    zscored: bool = False,
    test: str | Path | None = None,
    validation: float = 0.1,
    rois: Sequence[str | Path] = (),
    seed: int = 0,
) -> Person:
    """Read a new person's data and check them.

    Parameters
    ----------
    donor, subject_id
        The donor, and the ID of the new person.
    images, betas, output, selection, table, zscored, test, validation, rois, seed
        See :func:`~berg_jax.experiments.fitting.experiment.fit`.

    Raises
    ------
    BERGError
        Something is wrong with the images, the betas, the split, the ROIs or the donor.
    """
    if selection.min_explained_variance is not None:
        raise InvalidParameterError(
            "min_explained_variance is of a model that is there, and the new person has none yet. Use min_ncsnr."
        )
    own = read_rois(rois, donor.hemisphere_size) if rois else None
    chosen = Selection(selection.roi, selection.hemisphere).of(donor)
    source = images.open(donor, output=output)
    require_images(source, FEWEST_TRAINING + FEWEST_TEST, "A fit")
    whole = source.whole if isinstance(source, Subset) else source
    numbers = nsd_numbers(betas, subject_id, source.ids, table=table)
    split = split_images(
        len(source), _test_images(test, source, numbers, donor), validation_share=validation, seed=seed
    )
    digests = content_digests(source)
    if digests is not None:
        require_no_copies(digests, source.ids, split)
    read = trial_reader(
        *(betas, subject_id, chosen, source.ids),
        table=table,
        zscored=zscored,
        known=whole.ids if isinstance(whole, ArraySource) else None,
        raw=True,
    )
    measured = measure(read, len(chosen), split, zscored=zscored, min_ncsnr=selection.min_ncsnr)
    vertices = Vertices.from_global(chosen.global_indices[measured.columns], donor.hemisphere_size)
    places = np.array([int(name) for name in source.ids] if isinstance(whole, ArraySource) else range(len(source)))
    return Person(
        donor=donor,
        subject_id=subject_id,
        vertices=vertices,
        chosen=chosen,
        source=source,
        split=split,
        numbers=places if numbers is None else np.array(numbers),
        measured=measured,
        rows=donor_rows(donor, vertices),
        rois=donor.metadata.rois if own is None else own,
        own_rois=own is not None,
        selection=selection,
    )


def _test_images(
    test: str | Path | None, source: Source, numbers: Sequence[int] | None, donor: Subject
) -> list[int] | None:
    """Return the test images: as listed, or of NSD those of the donor's test split; None if they are to be drawn."""
    if test is not None:
        return listed_images(test, source.ids)
    if numbers is None:
        return None
    try:
        shared = donor.metadata.image_numbers("test")
    except BERGError:
        return None
    found = np.flatnonzero(np.isin(numbers, shared)).tolist()
    return found if len(found) >= FEWEST_TEST else None

"""Reader of stored responses, by the names of ROIs, hemispheres and images."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import xarray
from jaxtyping import Bool

from ...errors import InvalidParameterError, ModelNotFoundError
from ...files.names import NameIndex
from ...rois import UNIONS
from ...vertices import check_hemisphere
from .layout import RESPONSES
from .output import Output
from .places import Place, find_place
from .remote_zarr import zarr_store

_log = logging.getLogger(__name__)


class Responses:
    """Stored responses of a run, as returned by :func:`open_responses`.

    Attributes
    ----------
    data
        All responses, (image, vertex), read lazily, with coordinates ``image``, ``vertex`` (within the hemisphere)
        and ``hemisphere``.
    attributes
        Facts about the run: subject, weights, precision, versions, whether it is complete, …
    """

    def __init__(self, dataset: xarray.Dataset) -> None:
        self._dataset = dataset
        self.data: xarray.DataArray = dataset[RESPONSES]
        self.attributes = dict(dataset.attrs)

    def __repr__(self) -> str:
        """Return one line: subject, ROI, numbers of images and vertices, type, and whether it is complete."""
        facts = self.attributes
        synthetic = " (SYNTHETIC weights)" if facts.get("synthetic") else ""
        images, vertices = self.data.shape
        run = facts.get("run") if isinstance(facts.get("run"), dict) else {}
        selection = run.get("selection") if isinstance(run.get("selection"), dict) else {}
        roi = selection.get("roi")
        words = (
            *((f"subject {facts['subject']}{synthetic}",) if "subject" in facts else ()),
            *((roi if isinstance(roi, str) else " + ".join(map(str, roi)),) if roi else ()),
            f"{images:,} images × {vertices:,} vertices",
            str(self.data.dtype),
            *(("not complete",) if facts.get("complete") is False else ()),
        )
        return f"Responses({', '.join(words)})"

    def _repr_html_(self) -> str:
        return self._dataset._repr_html_()

    def sel(
        self,
        *,
        roi: str | Sequence[str] | None = None,
        hemisphere: str | None = None,
        image: str | Sequence[str] | None = None,
    ) -> xarray.DataArray:
        """Select responses by name, without reading them yet.

        Parameters
        ----------
        roi
            Name of a ROI, or names of several, whose union is taken. V1, V2, V3, FFA, FBA and VWFA stand for their
            parts.
        hemisphere
            ``"lh"`` or ``"rh"``.
        image
            Name of an image, or names of several, in the desired order. Accents may be in another form (NFC, NFD).

        Returns
        -------
        The selected responses, (image, vertex).

        Raises
        ------
        InvalidParameterError
            There is no ROI, hemisphere or image of that name.
        """
        selected, is_selected = self.data, np.ones(self.data.sizes["vertex"], bool)
        if roi is not None:
            is_selected &= self.members(roi)
        if hemisphere is not None:
            check_hemisphere(hemisphere)
            is_selected &= self.data.hemisphere.values == hemisphere
        if image is not None:
            names = self.data.image.values.tolist()
            wanted = [image] if isinstance(image, str) else list(image)
            index = NameIndex(names)
            positions = [index.find(name) for name in wanted]
            missing = [name for name, position in zip(wanted, positions, strict=True) if position is None]
            if missing:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                raise InvalidParameterError(f"There is no image {missing[0]!r}; there are {names[:5]}{more}.")
            selected = selected.isel(image=positions)
        return selected.isel(vertex=np.flatnonzero(is_selected))

    def members(self, roi: str | Sequence[str]) -> Bool[np.ndarray, " vertices"]:
        """Return which of the vertices belong to a ROI, or to one of several, by names as for :meth:`sel`.

        Raises
        ------
        InvalidParameterError
            There is no ROI of that name.
        """
        names = [roi] if isinstance(roi, str) else list(roi)
        known = self._dataset.roi.values.tolist() if "roi" in self._dataset.coords else []
        parts: list[str] = []
        for name in names:
            found = [name] if name in known else [part for part in UNIONS.get(name, ()) if part in known]
            if not found:
                raise InvalidParameterError(f"There is no ROI {name!r} here; there are {known}.")
            parts += found
        return self._dataset.membership.sel(roi=parts).values.any(axis=0)


def open_responses(path: str | Place) -> Responses:
    """Open the responses that a run has stored in a folder or an object store. They are read when they are needed.

    The responses of an unfinished run can be opened, too: rows that are not there yet are NaN, and a warning says how
    many are. The data are no dask arrays, even where dask is installed: ``responses.data.chunk(image=64)`` makes them
    some.

    Parameters
    ----------
    path
        Folder of the output, or its URL, such as ``s3://bucket/prefix``.

    Raises
    ------
    ModelNotFoundError
        There are no stored responses at this path.
    ResourceError, IntegrityError
        The object store does not answer; the ledger of an unfinished run is damaged.

    See Also
    --------
    berg_jax.stream.encode_images : Compute and store responses.
    berg_jax.stream.status_text : How much of an output is done.

    Examples
    --------
    ::

        responses = berg_jax.open_responses("responses.zarr")
        faces = responses.sel(roi="FFA", hemisphere="rh").values  # (images, vertices), z units
    """
    place = find_place(path)
    try:
        # With dask, chunks of its own would be the stored ones, which are small: thousands of tasks for one ROI.
        responses = Responses(xarray.open_zarr(zarr_store(place), chunks=None))
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotFoundError(f"There are no stored responses at {path}: {error}.") from error
    if responses.attributes.get("complete") is False:
        ledger = Output(place).ledger
        _log.warning(
            "%s is not finished: %d of %d images are there, and the rows of the others are NaN. berg-jax status says "
            "who is to do the rest; the command that began it goes on with it.",
            *(path, sum(ledger.done().values()), ledger.images),
        )
    return responses

"""Images on disk, as a user names them: a path, some of its rows, and how they are made square."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import InvalidParameterError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Num

    from ..subject import Subject
    from .sources.image_files import Source

Fit = Literal["error", "crop", "pad", "stretch"]
Layout = Literal["NCHW", "NHWC", "NCWH", "NWHC"]


@dataclass(frozen=True)
class Images:
    """Images on disk: where they are, which of them, and how they are made square.

    Parameters
    ----------
    path
        Folder or list of image files, tar shards, or an array (``.npy``, HDF5 such as NSD's, zarr). Of several
        arrays in a file, ``images.h5::name`` is one. See :func:`~berg_jax.stream.open_source`.
    rows
        Rows to take of an array of images: ``test``, ``val`` or ``train`` (the subject's splits of NSD), numbers such
        as ``3,5,10-19``, or a text file of numbers (default: all rows).
    fit
        What to do with images that are not square: stop, crop, pad with grey, or stretch them.
    layout
        Order of an array's axes, where its shape does not tell; NCWH and NWHC are MATLAB's.

    Raises
    ------
    InvalidParameterError
        ``fit`` or ``layout`` has none of its values.

    Examples
    --------
    >>> Images("nsd_stimuli.hdf5", rows="test")
    Images(path='nsd_stimuli.hdf5', rows='test', fit='error', layout=None)
    """

    path: str | Path
    rows: str | None = field(default=None, metadata={"option": "images"})
    fit: Fit = field(default="error", metadata={"option": "fit_images"})
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit):
            raise InvalidParameterError(f"fit must be one of {list(get_args(Fit))}, got {self.fit!r}.")
        if self.layout not in (None, *get_args(Layout)):
            raise InvalidParameterError(f"layout must be one of {list(get_args(Layout))}, got {self.layout!r}.")

    @classmethod
    def of(cls, given: Images | str | Path) -> Images:
        """Return the images themselves, or those at a path."""
        return given if isinstance(given, cls) else cls(given)

    def require_there(self) -> None:
        """Raise ModelNotFoundError or StimulusError unless there is something at the path."""
        from .sources.open import require_there

        require_there(self.path)

    def open(
        self, subject: Subject, *, output: str | Path | None = None, on_error: Literal["error", "skip"] = "error"
    ) -> Source:
        """Return the source of these images, and log the account of the files that were found.

        Parameters
        ----------
        subject
            Subject whose splits of NSD ``rows`` may name.
        output
            Folder that the command writes, whose files are no stimuli.
        on_error
            Treatment of image files that cannot be used: see :func:`~berg_jax.stream.open_source`.

        Raises
        ------
        ModelNotFoundError
            There is nothing at the path.
        StimulusError
            The images cannot be used.
        InvalidParameterError
            Rows are asked of image files, or an array has no such rows.
        """
        from ..published.metadata import SPLITS
        from .sources.arrays import ArraySource
        from .sources.open import log_account, open_source
        from .sources.subset import Subset, parse_numbers

        source = open_source(self.path, self.fit, self.layout, on_error=on_error, output=output)
        log_account(self.path, source)
        if self.rows is None:
            return source
        if not isinstance(source, ArraySource):
            raise InvalidParameterError(
                f"images={self.rows!r} counts the rows of an array, and these are image files. Leave it out, or name "
                "some of them in a list, a .txt file."
            )
        is_split = self.rows in SPLITS
        return Subset(source, subject.metadata.image_numbers(self.rows) if is_split else parse_numbers(self.rows))


def read_images(
    path: str | Path, *, rows: str | None = None, fit: Fit = "error", layout: Layout | None = None
) -> Num[np.ndarray, "n 3 height width"]:
    """Return images on disk as one array, which models take.

    Parameters
    ----------
    path
        An image file, or any path that :class:`Images` takes. All images are held in memory.
    rows, fit, layout
        See :class:`Images`; ``rows`` are numbers such as ``"3,5,10-19"`` of an array of images.

    Returns
    -------
    (images, 3, height, width), RGB in 0–255: uint8 if all files have one size of at most 448, otherwise float32 at
    224 × 224.

    Raises
    ------
    ModelNotFoundError, StimulusError, InvalidParameterError
        There is nothing at the path; the images cannot be used; an option makes no sense.

    See Also
    --------
    berg_jax.stream.open_source : Images that are read a few at a time.
    berg_jax.stream.encode_images : Responses to any number of images on disk.

    Examples
    --------
    >>> from berg_jax.demo import photographs
    >>> read_images(photographs()["china.jpg"], fit="crop").shape
    (1, 3, 427, 427)
    """
    import numpy as np

    from .sources.image_files import FilesSource, PathFile
    from .sources.kinds import is_picture
    from .sources.open import open_source
    from .sources.subset import Subset, parse_numbers

    images = Images(path, rows, fit, layout)
    file = Path(path)
    if file.is_file() and is_picture(file.name, None):
        source = FilesSource([PathFile(file.name, file, file.stat().st_size)], fit)
    else:
        images.require_there()
        source = open_source(path, fit, layout)
    if rows is not None:
        source = Subset(source, parse_numbers(rows))
    return np.asarray(source.read(list(range(len(source)))))

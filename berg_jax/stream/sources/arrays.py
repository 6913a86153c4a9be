"""Source of images in one array on disk: NumPy, zarr, or HDF5 such as NSD's own ``nsd_stimuli.hdf5``."""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from ...errors import InvalidParameterError, ModelNotFoundError, StimulusError
from ...files.disk import Unsuitable, readable
from ...files.npy import read_npy
from ...model.images import check_images
from ..store.layout import LEDGER
from .account import Account
from .contents import LENGTH, fingerprint, sample
from .decoding import check_area
from .hdf5_chunks import LARGEST_CHUNK, NSD_DATASET, open_dataset, written_by_matlab
from .image_files import FITS, fit_square, resize
from .zarr_chunks import ZarrArray

NUMPY = (".npy",)
HDF5 = (".h5", ".hdf5")
ZARR = (".zarr",)
# Axes of channels, rows and columns. The last two are those of MATLAB's and Julia's arrays in HDF5, reversed.
LAYOUTS = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2), "NCWH": (1, 3, 2), "NWHC": (3, 2, 1)}
_USUAL = ("NCHW", "NHWC")
_DECLARED = 1_000_000  # images whose names take little memory
_READ = 1 << 23  # bytes of rows that are read together for digests
_NAMED = re.compile(r"(.+?\.(?:h5|hdf5|zarr))::(.+)", re.IGNORECASE | re.DOTALL)
_log = logging.getLogger(__name__)


class ArraySource:
    """The images in the rows of a four-dimensional array in a ``.npy``, ``.h5``, ``.hdf5`` or ``.zarr``.

    Images are read when they are needed. Square images are passed on unchanged, so that the model resizes them. The
    name of an image is its row number, from 0.

    Parameters
    ----------
    path
        The file, or zarr's folder. From HDF5, the data set ``imgBrick`` (NSD's name) or the only one with four axes
        is read; from zarr, the array itself or the only one with four axes in a group. ``images.h5::test/images``
        names one of several, and ``images.zarr::test`` likewise. A missing zarr chunk has the fill value, as usual in
        zarr.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with grey)
        or ``"stretch"``. The last three need 8-bit integers.
    layout
        ``"NCHW"`` (images, channels, height, width) or ``"NHWC"``; ``"NCWH"`` or ``"NWHC"`` if rows and columns are
        exchanged, as in HDF5 that MATLAB or Julia wrote of H × W × 3 × N or 3 × H × W × N. By default it is
        ``"NCHW"`` or ``"NHWC"``, recognized by the axis of length 3; what MATLAB has marked as its own is refused.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    StimulusError
        The file cannot be read, or does not contain such images.
    InvalidParameterError
        An option is invalid.

    See Also
    --------
    Subset : Some images of a source.
    FolderSource, TarSource : Images in files of their own.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "images.npy"), np.zeros((5, 32, 32, 3), np.uint8))
    ...     source = ArraySource(Path(folder, "images.npy"))
    ...     source.layout, source.read([0, 4]).shape
    ('NHWC', (2, 3, 32, 32))
    """

    def __init__(self, path: str | Path, fit: str = "error", layout: str | None = None) -> None:
        self.path, self.fit = Path(path), fit
        file, name = split_name(path)
        if fit not in FITS:
            raise InvalidParameterError(f"fit must be one of {list(FITS)}, got {fit!r}.")
        if layout is not None and layout not in LAYOUTS:
            raise InvalidParameterError(f"layout must be one of {list(LAYOUTS)}, got {layout!r}.")
        zarr = file.suffix.lower() in ZARR
        if not (file.is_dir() if zarr else file.is_file()):
            raise ModelNotFoundError(f"There is no {'folder' if zarr else 'file'} {file}.")
        if zarr and (file / LEDGER).is_dir():
            raise StimulusError(
                f"{path} is what a run has written, responses and no images; berg_jax.open_responses opens it. Give "
                "the images."
            )
        with readable(path, StimulusError, "Get the file again."):
            self._array = _open(file, name)
            check_packing(getattr(self._array, "attrs", {}))
        self.layout = _layout(self._array, layout, self.path)
        if layout is None and file.suffix.lower() in HDF5 and self._array.name.strip("/") != NSD_DATASET:
            said = "%s is read as %s. If its pictures lie on their side (MATLAB, Julia), give the layout."
            _log.info(said, path, self.layout)
        _check_amount(self._array, LAYOUTS[self.layout], file)
        _, self._height, self._width = (self._array.shape[axis] for axis in LAYOUTS[self.layout])
        if self._height != self._width and fit == "error":
            raise StimulusError(
                f"{path} holds images that are not square: {self._width} × {self._height} pixels. Choose how to fit "
                "them: --fit-images crop, pad or stretch."
            )
        if self._height != self._width and self._array.dtype != np.uint8:
            raise StimulusError(
                f"{path} holds {self._array.dtype}; only 8-bit images can be fitted. Make them square."
            )

    def __len__(self) -> int:
        return len(self._array)

    @property
    def ids(self) -> list[str]:
        """Names of the images, which are their row numbers, from 0."""
        return [str(row) for row in range(len(self))]

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the rows' numbers and contents."""
        return fingerprint(self)

    @property
    def earlier_fingerprint(self) -> str:
        """Fingerprint that version 0.1.0 gave this array, of its shape, type and layout alone."""
        facts = f"{self._array.shape} {self._array.dtype.str} {self.layout}"
        return hashlib.sha256(facts.encode()).hexdigest()

    @property
    def account(self) -> Account:
        """Account of the rows, all of which are images."""
        return Account(encoded=len(self))

    def digests(self, rows: Int[np.ndarray, " n"]) -> dict[int, bytes]:
        """Return digests of these rows by their positions among ``rows``; of more than 256 MB, of some rows only.

        A digest is of a row's values, type and layout.
        """
        row_bytes = math.prod(self._array.shape[1:]) * self._array.dtype.itemsize
        chunk_rows = (getattr(self._array, "chunks", None) or (1,))[0]
        positions = sample(len(rows), row_bytes, chunk_rows)
        at_once = max(1, _READ // row_bytes)
        found: dict[int, bytes] = {}
        for start in range(0, len(positions), at_once):
            some = positions[start : start + at_once]
            found |= dict(zip(some, self._row_digests(rows[some]), strict=True))
        return found

    def _row_digests(self, rows: Int[np.ndarray, " n"]) -> list[bytes]:
        """Return the digest of each row; rows that cannot be read have one, too, and are found when they are read."""
        consecutive = len(rows) > 1 and (np.diff(rows) == 1).all()
        try:
            if consecutive and not isinstance(self._array, ZarrArray):
                values = np.asarray(self._array[rows[0] : rows[-1] + 1])
            elif isinstance(self._array, ZarrArray):
                values = np.asarray(self._array[rows])
            else:  # HDF5 takes far longer for many rows at a time
                values = np.stack([self._array[row] for row in rows])
        except Exception:  # a damaged file can make a library raise any
            return [b""] if len(rows) == 1 else [digest for row in rows for digest in self._row_digests(row[None])]
        kind = f"{values.dtype.str} {self.layout}".encode()
        return [hashlib.blake2b(np.ascontiguousarray(row), digest_size=LENGTH, key=kind).digest() for row in values]

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """Read images, RGB in 0–255, in the file's size and type, or as float32 at 224 × 224 if they are stretched.

        Raises
        ------
        StimulusError
            Values are not in 0–255, or the file cannot be read.
        """
        rows, where = np.unique(np.asarray(indices), return_inverse=True)  # HDF5 reads ascending rows only
        with readable(self.path, StimulusError, "Get the file again."):
            images = np.asarray(self._array[rows])[where]
        images = np.ascontiguousarray(images.transpose(0, *LAYOUTS[self.layout]))
        if self._height != self._width:
            images = np.stack([self._fitted(image) for image in images])
        if images.dtype != np.uint8:
            try:
                check_images(images)
            except StimulusError as error:
                raise StimulusError(f"{self.path}, images {indices[0]} to {indices[-1]}: {error}") from error
        return images

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        pixels = image.transpose(1, 2, 0)
        fitted = resize(pixels) if self.fit == "stretch" else fit_square(pixels, self.fit)
        return fitted.transpose(2, 0, 1)


def split_name(path: str | Path) -> tuple[Path, str | None]:
    """Return the file and the name of the array in it, of a path such as ``images.h5::test/images``.

    A path without ``::`` has no name, and neither does that of a file whose own name has such colons.

    Examples
    --------
    >>> split_name("images.h5::test/images")
    (PosixPath('images.h5'), 'test/images')
    >>> split_name("images.npy")
    (PosixPath('images.npy'), None)
    """
    match = _NAMED.fullmatch(str(path))
    if match is None or os.path.lexists(path):
        return Path(path), None
    return Path(match[1]), match[2].strip("/")


def _open(path: Path, name: str | None) -> Any:
    """Open a memory map, an HDF5 data set, or a zarr array."""
    if path.suffix.lower() in ZARR:
        return ZarrArray(path, name)
    return read_npy(path) if path.suffix.lower() in NUMPY else open_dataset(path, name)


def _check_amount(array: Any, axes: tuple[int, int, int], path: Path) -> None:
    """Raise StimulusError if a file declares sizes that it cannot contain, or that no memory could hold."""
    images, channels, height, width = (array.shape[axis] for axis in (0, *axes))
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise StimulusError(f"{path} holds {array.dtype}, expected integers or floats in 0–255.")
    check_area((width, height), f"An image in {path}")
    chunk = math.prod(getattr(array, "chunks", None) or (1, channels, height, width)) * array.dtype.itemsize
    if chunk > LARGEST_CHUNK:
        raise StimulusError(f"{path} has chunks of {chunk:,} bytes, more than {LARGEST_CHUNK:,}. Make them smaller.")
    # An image compresses to at least a byte, but missing chunks have the fill value, so a few images may take none.
    if images > _DECLARED and images > (size := _bytes(path, images)):
        raise StimulusError(f"{path} declares {images:,} images in {size:,} bytes. Get it again.")


def _bytes(path: Path, enough: int) -> int:
    """Return the size in bytes of a file, or of a folder's files, which are counted only up to ``enough`` bytes."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += (Path(folder) / name).stat().st_size
            if total >= enough:
                return total
    return total


def _layout(array: Any, layout: str | None, path: Path) -> str:
    """Return the order of an array's axes, given or recognized by the one of length 3."""
    shape = array.shape
    if len(shape) != 4 or 0 in shape:
        raise StimulusError(
            f"{path} has shape {shape}, expected (images, 3, height, width) or (images, height, width, 3)."
        )
    fitting = [name for name in LAYOUTS if shape[LAYOUTS[name][0]] == 3]
    if layout is not None:
        if layout not in fitting:
            raise StimulusError(f"{path} has shape {shape}, which is not {layout} of 3 channels.")
        return layout
    usual = [name for name in fitting if name in _USUAL]
    if not usual:
        why = "has no axis of 3 channels."
        if 3 in shape:
            why = (
                "has its 3 channels on another axis than (images, 3, height, width) and (images, height, width, 3). "
                "MATLAB and Julia write HDF5 with axes in reverse order. Transpose it."
            )
        raise StimulusError(f"{path} of shape {shape} {why}")
    if len(usual) > 1:
        raise StimulusError(f"{path} of shape {shape} may be NCHW or NHWC: give the layout (--layout).")
    if written_by_matlab(array):
        theirs, sides = ("H × W × 3 × N", "NCWH") if usual[0] == "NCHW" else ("3 × H × W × N", "NWHC")
        raise StimulusError(
            f"{path} was written by MATLAB, whose axes lie in reverse order in HDF5: shape {shape} was "
            f"{' × '.join(map(str, shape[::-1]))} there. Give the layout: --layout {sides} if it was {theirs}, or "
            f"--layout {usual[0]} if rows and columns were exchanged there already."
        )
    return usual[0]


def check_packing(attributes: Mapping[str, Any]) -> None:
    """Raise Unsuitable if an array's attributes say that its numbers are to be scaled or shifted (CF conventions)."""
    for name, neutral in (("scale_factor", 1), ("add_offset", 0)):
        if name in attributes and not np.all(np.asarray(attributes[name]) == neutral):
            raise Unsuitable(
                f"its attribute {name} is {attributes[name]}, so its numbers are not yet pixels' values. Write it "
                "decoded (xarray decodes on reading: drop the encoding), in 0–255."
            )

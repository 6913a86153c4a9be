"""Source of images in one array on disk: NumPy, zarr, or HDF5 such as NSD's own ``nsd_stimuli.hdf5``."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from ...errors import InvalidParameterError, ModelNotFoundError, StimulusError
from ...files.disk import read_small, readable
from ...files.npy import read_npy
from ...model.images import check_images
from ..store.output import LEDGER
from .account import Account
from .contents import LENGTH, fingerprint, sample
from .decoding import check_area
from .hdf5_chunks import HARMLESS, LARGEST_CHUNK, PackedDataset
from .image_files import FITS, fit_square, resize
from .zarr_chunks import blosc_key, check_blosc, chunk_shape

NUMPY = (".npy",)
HDF5 = (".h5", ".hdf5")
ZARR = (".zarr",)
LAYOUTS = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}  # axes of channels, rows and columns
NSD_DATASET = "imgBrick"  # data set in nsd_stimuli.hdf5, channels last
_DECLARED = 1_000_000  # images whose names take little memory
_READ = 1 << 26  # bytes of rows that are read together for digests


class ArraySource:
    """The images in the rows of a four-dimensional array in a ``.npy``, ``.h5``, ``.hdf5`` or ``.zarr``.

    Images are read when they are needed. Square images are passed on unchanged, so that the model resizes them. The
    name of an image is its row number, from 0.

    Parameters
    ----------
    path
        The file, or zarr's folder. From HDF5, the data set ``imgBrick`` (NSD's name) or the only one with four axes
        is read; from zarr, the array itself or the only one with four axes in a group. A missing zarr chunk has the
        fill value, as usual in zarr.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with grey)
        or ``"stretch"``. The last three need 8-bit integers.
    layout
        ``"NCHW"`` (images, channels, height, width) or ``"NHWC"``. By default it is recognized by the axis of length
        3.

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
        if fit not in FITS:
            raise InvalidParameterError(f"fit must be one of {list(FITS)}, got {fit!r}.")
        if layout is not None and layout not in LAYOUTS:
            raise InvalidParameterError(f"layout must be one of {list(LAYOUTS)}, got {layout!r}.")
        zarr = self.path.suffix.lower() in ZARR
        if not (self.path.is_dir() if zarr else self.path.is_file()):
            raise ModelNotFoundError(f"There is no {'folder' if zarr else 'file'} {path}.")
        if zarr and (self.path / LEDGER).is_dir():
            raise StimulusError(
                f"{path} is what a run has written, responses and no images; berg_jax.open_responses opens it. Give "
                "the images."
            )
        with readable(path, StimulusError, "Get the file again."):
            self._array = _open(self.path)
        self.layout = _layout(self._array.shape, layout, self.path)
        _check_amount(self._array, LAYOUTS[self.layout], self.path)
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
        order, where = np.unique(rows, return_inverse=True)
        try:
            values = np.asarray(self._array[order])[where]
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


def _open(path: Path) -> Any:
    """Open a memory map, an HDF5 data set, or a zarr array."""
    if path.suffix.lower() in ZARR:
        return _Zarr(path)
    if path.suffix.lower() in NUMPY:
        return read_npy(path)
    import h5py

    file = h5py.File(path, "r")
    found: dict[str, Any] = {}
    file.visititems(lambda name, item: found.update({name: item}) if getattr(item, "ndim", 0) == 4 else None)
    if NSD_DATASET not in found and len(found) != 1:
        raise StimulusError(
            f"it has {len(found)} datasets of four axes {sorted(found)[:5]}, expected {NSD_DATASET!r} or exactly one"
        )
    dataset = found.get(NSD_DATASET) or next(iter(found.values()))
    if dataset.is_virtual or dataset.external:
        raise StimulusError("its images lie in other files, which are not read. Copy them into one file")
    plain = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
    facts = dataset.id.get_create_plist()
    if sum(facts.get_filter(place)[0] not in plain for place in range(facts.get_nfilters())) > 1:
        raise StimulusError("its chunks are packed several times. Pack them once")
    harmless = dataset.compression is None or path.stat().st_size <= min(HARMLESS.values())
    return dataset if harmless else PackedDataset(dataset)


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


class _Zarr:
    """A zarr array, read by TensorStore, which is fast and, unlike pickle codecs of zarr, never runs Python code."""

    def __init__(self, path: Path) -> None:
        import tensorstore

        found = dict(_zarr_arrays(path))
        if len(found) != 1:
            raise StimulusError(f"it has {len(found)} arrays of four axes {sorted(found)[:5]}, expected exactly one")
        ((name, (driver, facts)),) = found.items()
        chunks = chunk_shape(facts)
        if math.prod(chunks) > LARGEST_CHUNK:
            raise StimulusError(f"it has chunks of {math.prod(chunks):,} values. Make them smaller")
        kvstore = {"driver": "file", "path": str((path / name).resolve())}  # tensorstore does not accept ".."
        self._rows = tensorstore.open({"driver": driver, "kvstore": kvstore}, open=True, read=True).result()
        self.shape, self.dtype = self._rows.shape, self._rows.dtype.numpy_dtype
        self.chunks = self._rows.chunk_layout.read_chunk.shape
        self._key = blosc_key(facts)
        self._folder, self._stored = path / name, chunks

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int[np.ndarray, " n"]) -> Num[np.ndarray, "n a b c"]:
        if self._key is not None:
            first, *rest = self._stored
            limit = math.prod(self._stored) * self.dtype.itemsize
            ranges = [range(-(-n // step)) for n, step in zip(self.shape[1:], rest, strict=True)]
            for position in itertools.product(np.unique(rows // first).tolist(), *ranges):
                check_blosc(self._folder / self._key(position), limit)
        return self._rows[rows].read().result()


def _zarr_arrays(path: Path) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """Yield the name, TensorStore's driver and the metadata of each array with four axes below a folder.

    Links to folders are not followed, because they may be circular. Pipes and devices are refused, because reading
    them may never end.
    """
    for folder, _, names in os.walk(path):
        for name in names:
            if not (Path(folder) / name).is_file():
                raise StimulusError(f"{(Path(folder) / name).relative_to(path)} is no file")
        metadata = next((name for name in ("zarr.json", ".zarray") if name in names), None)
        if metadata is None:
            continue
        facts = json.loads(read_small(Path(folder) / metadata))
        if metadata == "zarr.json" and facts["node_type"] != "array":
            continue
        if len(facts["shape"]) == 4:
            name = Path(folder).relative_to(path).as_posix()
            yield "" if name == "." else name, ("zarr" if metadata == ".zarray" else "zarr3", facts)


def _layout(shape: tuple[int, ...], layout: str | None, path: Path) -> str:
    if len(shape) != 4 or 0 in shape:
        raise StimulusError(
            f"{path} has shape {shape}, expected (images, 3, height, width) or (images, height, width, 3)."
        )
    fitting = [name for name, (channels, _, _) in LAYOUTS.items() if shape[channels] == 3]
    if layout is not None:
        if layout not in fitting:
            raise StimulusError(f"{path} has shape {shape}, which is not {layout} of 3 channels.")
        return layout
    if len(fitting) != 1:
        why = "has no axis of 3 channels" if not fitting else "may be NCHW or NHWC: give the layout (--layout)"
        raise StimulusError(f"{path} of shape {shape} {why}.")
    return fitting[0]

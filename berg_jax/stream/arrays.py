"""Images in one array on disk, read row by row: NumPy, zarr, or HDF5 such as NSD's own ``nsd_stimuli.hdf5``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from ..errors import InvalidParameterError, ModelNotFoundError, StimulusError
from ..images import check_images
from .sources import FITS, Source, fit_square, resize

NUMPY = (".npy",)
HDF5 = (".h5", ".hdf5")
ZARR = (".zarr",)
LAYOUTS = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}  # of which axes: channels, rows, columns
NSD_DATASET = "imgBrick"  # in nsd_stimuli.hdf5, channels last


class ArraySource:
    """The rows of a four-dimensional array in a ``.npy``, ``.h5``, ``.hdf5`` or ``.zarr``, read when asked for.

    Square images are passed on as they are, so that the model resizes them; a row's name is its number from 0.

    Parameters
    ----------
    path
        The file, or zarr's folder. Of HDF5, the dataset ``imgBrick`` (NSD's name) or the only one of four axes is
        read; of zarr, the array itself or a group's only one of four axes. A zarr chunk that is not there counts as
        its fill value, as everywhere in zarr.
    fit
        What to do with images that are not square: ``"error"``, ``"crop"``, ``"pad"`` or ``"stretch"``; the last
        three need 8-bit integers.
    layout
        ``"NCHW"`` (images, channels, height, width) or ``"NHWC"``; by default told from the axis of length 3.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    StimulusError
        It cannot be read, or holds no such images.
    InvalidParameterError
        An option makes no sense here.
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
        self._array = _open(self.path)
        self.layout = _layout(self._array.shape, layout, self.path)
        _, self._height, self._width = (self._array.shape[axis] for axis in LAYOUTS[self.layout])
        if self._height != self._width and fit == "error":
            raise StimulusError(
                f"{path} holds images that are not square: {self._width} × {self._height} pixels. Choose how to fit "
                "them: --fit crop, pad or stretch."
            )
        if self._height != self._width and self._array.dtype != np.uint8:
            raise StimulusError(
                f"{path} holds {self._array.dtype}; only 8-bit images can be fitted. Make them square."
            )

    def __len__(self) -> int:
        return len(self._array)

    @property
    def ids(self) -> list[str]:
        """Row numbers, from 0."""
        return [str(row) for row in range(len(self))]

    @property
    def fingerprint(self) -> str:
        """sha256 of the array's shape, type and layout."""
        facts = f"{self._array.shape} {self._array.dtype.str} {self.layout}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """The rows of these numbers, RGB in 0–255, in the file's size and type, or 224 × 224 float32 if stretched.

        Raises
        ------
        StimulusError
            Values are not in 0–255, or the file cannot be read.
        """
        rows, where = np.unique(np.asarray(indices), return_inverse=True)  # HDF5 reads ascending rows only
        try:
            images = np.asarray(self._array[rows])[where]
        except (OSError, ValueError) as error:
            raise StimulusError(f"{self.path} cannot be read: {error}. Get the file again.") from error
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


class Subset:
    """Some images of a source, by number.

    Raises
    ------
    InvalidParameterError
        A number is not in the source, or stands twice.
    """

    def __init__(self, source: Source, numbers: Int[np.ndarray, " n"]) -> None:
        numbers = np.asarray(numbers)
        outside = numbers[(numbers < 0) | (numbers >= len(source))]
        if len(numbers) == 0 or len(outside):
            what = f"image {outside[0]} is asked for" if len(outside) else "no image is asked for"
            raise InvalidParameterError(f"The source has images 0 to {len(source) - 1}, but {what}.")
        values, counts = np.unique(numbers, return_counts=True)
        if (counts > 1).any():
            raise InvalidParameterError(f"Image {values[counts > 1][0]} is asked for twice. Give each image once.")
        self._source, self._numbers = source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def ids(self) -> list[str]:
        """The source's names of these images."""
        ids = self._source.ids
        return [ids[number] for number in self._numbers]

    @property
    def fingerprint(self) -> str:
        """sha256 of the source's fingerprint and the numbers."""
        facts = self._source.fingerprint.encode() + self._numbers.astype("<i8").tobytes()
        return hashlib.sha256(facts).hexdigest()

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """The images at these places of the subset."""
        return self._source.read(self._numbers[np.asarray(indices)])


def parse_numbers(text: str) -> Int[np.ndarray, " n"]:
    """Image numbers from 0: ``"3,5,10-19"``, or the name of a text file of such, separated by commas or lines.

    Raises
    ------
    InvalidParameterError
        The text is neither.
    """
    path = Path(text)
    if re.search(r"[^\d,\s-]", text):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidParameterError(
                f"images must be train, val, test, numbers such as '3,5,10-19', or a text file of them, got {text!r}."
            ) from error
    numbers = []
    for item in re.split(r"[,\s]+", text.strip(" ,\t\r\n")):
        match = re.fullmatch(r"(\d{1,8})(?:-(\d{1,8}))?", item)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise InvalidParameterError(f"{item!r:.40} is no image number and no ascending range such as 10-19.")
        numbers.append(np.arange(int(match[1]), int(match[2] or match[1]) + 1))
    return np.concatenate(numbers)


def _open(path: Path) -> Any:
    """A memory map, an HDF5 dataset, or a zarr array."""
    if path.suffix.lower() in ZARR:
        return _Zarr(path)
    try:
        if path.suffix.lower() in NUMPY:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        import h5py

        file = h5py.File(path, "r")
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if getattr(item, "ndim", 0) == 4 else None)
    except (OSError, ValueError, EOFError, RuntimeError) as error:
        raise StimulusError(f"{path} cannot be read: {error}. Get the file again.") from error
    if NSD_DATASET in found:
        return found[NSD_DATASET]
    if len(found) != 1:
        there = f"{len(found)} datasets of four axes {sorted(found)[:5]}"
        raise StimulusError(f"{path} has {there}, expected {NSD_DATASET!r} or exactly one.")
    return next(iter(found.values()))


class _Zarr:
    """A zarr array, found by zarr-python and read by TensorStore: faster, and never Python code by a pickle codec."""

    def __init__(self, path: Path) -> None:
        import tensorstore
        import zarr

        try:
            node = zarr.open(path, mode="r")
            found = {"": node} if isinstance(node, zarr.Array) else dict(node.members(max_depth=None))
            found = {name: item for name, item in found.items() if isinstance(item, zarr.Array) and item.ndim == 4}
            if len(found) != 1:
                there = f"{len(found)} arrays of four axes {sorted(found)[:5]}"
                raise StimulusError(f"{path} has {there}, expected exactly one.")
            name, array = next(iter(found.items()))
            self._rows = tensorstore.open(
                {
                    "driver": {2: "zarr", 3: "zarr3"}[array.metadata.zarr_format],
                    "kvstore": {"driver": "file", "path": str((path / name).absolute())},
                },
                open=True,
                read=True,
            ).result()
        except StimulusError:
            raise
        except Exception as error:  # of damaged metadata both raise many, such as AttributeError
            raise StimulusError(f"{path} cannot be read: {error}. Get it again.") from error
        self.shape, self.dtype = self._rows.shape, self._rows.dtype.numpy_dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int[np.ndarray, " n"]) -> Num[np.ndarray, "n a b c"]:
        return self._rows[rows].read().result()


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

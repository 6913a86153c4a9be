"""Protocol of image sources, and sources of image files in folders and lists."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, Num, UInt8

from ...errors import InvalidParameterError, ModelNotFoundError, StimulusError
from ...files.disk import readable
from ...files.names import on_disk
from ...model.nn.config import IMAGE
from ...model.nn.preprocess import bilinear_matrix
from .decoding import ImageFile, check_file, decode, named

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
FITS = ("error", "crop", "pad", "stretch")
GREY = 128  # value of padding, the middle of 0–255

_LARGEST_SIDE = 2 * IMAGE  # up to this side, an image of bytes is smaller than the resized one of floats
_SCANNERS, _SCANNED = 8, 64  # threads, and files that each takes at a time


class Source(Protocol):
    """Protocol of a source of images by index, which users can implement. All images of a batch have one size.

    See Also
    --------
    berg_jax.stream.stream : Compute responses to a source's images.
    """

    @property
    def ids(self) -> list[str]:
        """Names of the images."""

    @property
    def fingerprint(self) -> str:
        """sha256 that distinguishes this source from others, of names and sizes, not of paths, times or contents."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Num[np.ndarray | Array, "n 3 h w"]:
        """Read the images at these indices, square, RGB in 0–255. Several threads may call this method at once."""


class PathFile(NamedTuple):
    """An image file in a folder."""

    name: str
    path: Path
    size: int
    listed: str = ""  # the list and line that name the file, for messages

    def __str__(self) -> str:
        return f"{self.listed}{self.path}"

    def open(self) -> BinaryIO:
        """Open a new stream of the file's bytes."""
        return self.path.open("rb")


class FilesSource:
    """Source of image files. Their headers are read at the beginning, to find unusable files before work starts.

    If all images have one size (after fitting) of at most 448 × 448, they are passed on unchanged, and the model
    resizes them on its device. Otherwise they are resized to 224 × 224 on the host, in the same way: bilinear,
    float32, without antialiasing. Both ways agree within 1e-3 of a grey level. Pixels are taken as stored;
    orientation tags are not applied.

    Parameters
    ----------
    files
        Files of the images, in order, whose names differ.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with
        grey), or ``"stretch"``.

    Raises
    ------
    InvalidParameterError
        There is no such ``fit``.
    StimulusError
        An image cannot be read, does not have 8 bits per channel, or is not square while ``fit`` is ``"error"``.
    """

    def __init__(self, files: Sequence[ImageFile], fit: str = "error") -> None:
        if fit not in FITS:
            raise InvalidParameterError(f"fit must be one of {list(FITS)}, got {fit!r}.")
        self.files, self.fit = files, fit
        chunks = [files[start : start + _SCANNED] for start in range(0, len(files), _SCANNED)]
        with ThreadPoolExecutor(_SCANNERS) as pool:
            sides = set().union(*pool.map(lambda chunk: {check_file(file, fit) for file in chunk}, chunks))
        side = sides.pop() if len(sides) == 1 else None
        self.side = side if side is not None and side <= _LARGEST_SIDE else None  # None if sides differ

    def __len__(self) -> int:
        return len(self.files)

    @property
    def ids(self) -> list[str]:
        """Names of the files."""
        return [file.name for file in self.files]

    @property
    def fingerprint(self) -> str:
        """sha256 of the files' names and sizes."""
        facts = "".join(f"{file.name}\0{file.size}\n" for file in self.files)
        return hashlib.sha256(facts.encode()).hexdigest()

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """Read the images at these indices, RGB in 0–255.

        They are uint8 if all images of the source have one size, otherwise float32 at 224 × 224.

        Raises
        ------
        StimulusError
            A file cannot be decoded, is partly transparent, or has changed in size.
        """
        size, kind = (IMAGE, np.float32) if self.side is None else (self.side, np.uint8)
        images = np.empty((len(indices), 3, size, size), kind)
        for row, index in enumerate(indices):
            if row and index == indices[row - 1]:  # filling at the end of a batch
                images[row] = images[row - 1]
            else:
                images[row] = self._image(self.files[index]).transpose(2, 0, 1)
        return images

    def _image(self, file: ImageFile) -> Num[np.ndarray, "h w 3"]:
        with named(file), file.open() as stream:
            pixels = fit_square(decode(stream.read(), file), self.fit)
        height, width = pixels.shape[:2]
        if (height != width and self.fit != "stretch") or (self.side and {height, width} != {self.side}):
            raise StimulusError(f"{file} has changed: it is {width} × {height} pixels now. Start again.")
        return resize(pixels) if self.side is None else pixels


class FolderSource(FilesSource):
    """The image files of a folder and its subfolders, in natural order (2 before 10).

    Parameters
    ----------
    folder
        Folder of the files. Files whose names are not those of images are ignored.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with
        grey), or ``"stretch"``; see :class:`FilesSource`.

    Raises
    ------
    ModelNotFoundError
        There is no such folder.
    StimulusError
        The folder has no images, or one that cannot be used.

    See Also
    --------
    ListSource, TarSource, ArraySource : Other sources of images.

    Examples
    --------
    >>> from berg_jax.demo import photographs
    >>> source = FolderSource(photographs()["flower.jpg"].parent, fit="crop")
    >>> source.ids
    ['china.jpg', 'flower.jpg']
    """

    def __init__(self, folder: str | Path, fit: str = "error") -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ModelNotFoundError(f"There is no folder {folder}. Give a folder of image files.")
        with readable(folder, StimulusError, "Check its permissions, and that folders are not nested too deeply."):
            paths = [p for p in self.folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()]
            files = [PathFile(p.relative_to(self.folder).as_posix(), p, p.stat().st_size) for p in paths]
        if not files:
            raise StimulusError(f"{folder} holds no image files ({', '.join(EXTENSIONS)}).")
        super().__init__(sorted(files, key=lambda file: natural(file.name)), fit)


class ListSource(FilesSource):
    """The image files that a text file lists, in its order.

    Parameters
    ----------
    path
        Text file with one path per line, absolute or relative to the list's folder. Empty lines and lines that begin
        with ``#`` are ignored. The name of an image is its path; from absolute paths, the folder that they all share
        is removed.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with
        grey), or ``"stretch"``; see :class:`FilesSource`.

    Raises
    ------
    ModelNotFoundError
        There is no such list, or no file at one of its paths.
    StimulusError
        The list is not text, is empty, or has an image twice or one that cannot be used.

    See Also
    --------
    FolderSource, TarSource, ArraySource : Other sources of images.
    """

    def __init__(self, path: str | Path, fit: str = "error") -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelNotFoundError(f"There is no file {path}. Give a text file with the path of one image a line.")
        try:
            lines = [line.strip() for line in self.path.read_text(encoding="utf-8-sig").split("\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise StimulusError(
                f"{path} cannot be read as text: {error}. Give the path of one image a line."
            ) from error
        # Python, unlike the system, treats two slashes at the beginning as another root than one.
        lines = [re.sub("^//+", "/", line) for line in lines]
        listed = {number: Path(line) for number, line in enumerate(lines, 1) if line and line[0] != "#"}
        if not listed:
            raise StimulusError(f"{path} lists no images. Give the path of one image a line.")
        absolute = [str(file.parent) for file in listed.values() if file.is_absolute()]
        shared = os.path.commonpath(absolute) if absolute else ""
        files: dict[str, PathFile] = {}
        first: dict[str, int] = {}
        for number, file in listed.items():
            name = (file.relative_to(shared) if file.is_absolute() else file).as_posix()
            where = f"{path}, line {number}: "
            if name in files:
                raise StimulusError(f"{where}{name!r} stands in line {first[name]} already. List each image once.")
            target = self.path.parent / file
            with readable(f"{where}{str(target)[:200]}", StimulusError, "Give the path of one image a line."):
                target = on_disk(target)
                size = target.stat().st_size if target.is_file() else None
            if size is None:
                raise ModelNotFoundError(f"{where}there is no file {target}. Give the path of one image a line.")
            first[name] = number
            files[name] = PathFile(name, target, size, where)
        super().__init__(list(files.values()), fit)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return a key for sorting names in natural order, in which 2 comes before 10.

    Examples
    --------
    >>> sorted(["image10", "image2"], key=natural)
    ['image2', 'image10']
    """
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def fit_square(pixels: UInt8[np.ndarray, "h w 3"], fit: str) -> UInt8[np.ndarray, "h w 3"]:
    """Return the middle square (``"crop"``), a square padded with grey (``"pad"``), or the image unchanged."""
    height, width = pixels.shape[:2]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[top : top + side, left : left + side]
    if fit == "pad":
        side = max(height, width)
        square = np.full((side, side, 3), GREY, np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = pixels
        return square
    return pixels


def resize(pixels: UInt8[np.ndarray, "h w 3"], size: int = IMAGE) -> Float[np.ndarray, "size size 3"]:
    """Resize bilinearly between pixel centers, without antialiasing, as ``interpolate(align_corners=False)``."""
    height, width, _ = pixels.shape
    rows = _resized(pixels.reshape(height, -1), size)
    rows = np.ascontiguousarray(rows.reshape(size, width, 3).transpose(1, 2, 0))  # width, channels, size
    both = _resized(rows.reshape(width, -1), size)
    return both.reshape(size, 3, size).transpose(2, 0, 1)


def _resized(values: Num[np.ndarray, "length n"], size: int) -> Float[np.ndarray, "size n"]:
    used, weights = _weights(len(values), size)
    return weights @ values[used].astype(np.float32)


@functools.lru_cache(maxsize=256)
def _weights(length: int, size: int) -> tuple[Int[np.ndarray, " used"], scipy.sparse.csr_array]:
    """Return the pixels that are used, and their weights in each new pixel, of which two are not zero.

    They are so few that a sparse product costs a few percent of a dense one, and that most of a large image need not
    be converted to floats.
    """
    weights = bilinear_matrix(length, size).astype(np.float32)
    used = np.flatnonzero(weights.any(0))
    return used, scipy.sparse.csr_array(weights[:, used])

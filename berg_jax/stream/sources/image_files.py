"""Where images come from: something that has a length, names, and batches by index."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, Num, UInt8
from PIL import Image
from PIL import TiffImagePlugin as TIFF

from ...errors import BERGError, InvalidParameterError, ModelNotFoundError, StimulusError
from ...files.disk import readable
from ...model.nn.config import IMAGE
from ...model.nn.preprocess import bilinear_matrix

try:
    import simplejpeg
except ImportError:  # Pillow decodes the same pixels, at half the speed
    simplejpeg = None

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
FITS = ("error", "crop", "pad", "stretch")
GREY = 128  # of padding, the middle of 0–255

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # whatever the name says: others may start programs
_LARGEST_FILE = 1 << 30
_LONGEST_SIDE = 1 << 15  # pixels, because resizing takes a table of each side
_JPEG = b"\xff\xd8\xff"
_MOST_SCANS = 100  # of a JPEG; some are written with 10, and each may take as long as all of the picture
_MOST_SCANNED = 1 << 30  # pixels in all of them
_LARGEST_SIDE = 2 * IMAGE  # up to which an image of bytes is smaller than the resized one of floats
_SCANNERS, _SCANNED = 8, 64  # threads, and files that each takes at a time


class Source(Protocol):
    """Images by index, of one size in every batch."""

    @property
    def ids(self) -> list[str]:
        """A name for each image."""

    @property
    def fingerprint(self) -> str:
        """What tells this source from others: a sha256 of names and sizes, not of paths, times or contents."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Num[np.ndarray | Array, "n 3 h w"]:
        """The images at these indices, square, RGB in 0–255; several threads may call it at once."""


class ImageFile(Protocol):
    """An image file, on its own or inside another; ``str()`` is what messages call it."""

    @property
    def name(self) -> str:
        """What the image is called in the output."""

    @property
    def size(self) -> int:
        """Bytes."""

    def open(self) -> BinaryIO:
        """A new stream of its bytes, that can seek."""


class PathFile(NamedTuple):
    """An image file in a folder."""

    name: str
    path: Path
    size: int
    listed: str = ""  # where it was named, for messages

    def __str__(self) -> str:
        return f"{self.listed}{self.path}"

    def open(self) -> BinaryIO:
        """A new stream of its bytes."""
        return self.path.open("rb")


class FilesSource:
    """Image files, whose headers are read at once, so that one that cannot be used is named before work starts.

    If all images have one size (once fitted) of at most 448 × 448, they are passed on as they are, and the model
    resizes them on its device. Others reach 224 × 224 here, on the host, by the same resize: bilinear, float32,
    without antialiasing. The two agree within 1e-3 of a grey level. Pixels are taken as stored; orientation tags
    are not applied.

    Parameters
    ----------
    files
        The images' files, in order; their names are different.
    fit
        What to do with an image that is not square: ``"error"``, ``"crop"`` its middle, ``"pad"`` with grey,
        or ``"stretch"``.

    Raises
    ------
    InvalidParameterError
        There is no such ``fit``.
    StimulusError
        An image cannot be read, is not 8 bits a channel, or is not square while ``fit`` is ``"error"``.
    """

    def __init__(self, files: Sequence[ImageFile], fit: str = "error") -> None:
        if fit not in FITS:
            raise InvalidParameterError(f"fit must be one of {list(FITS)}, got {fit!r}.")
        self.files, self.fit = files, fit
        chunks = [files[start : start + _SCANNED] for start in range(0, len(files), _SCANNED)]
        with ThreadPoolExecutor(_SCANNERS) as pool:
            sides = set().union(*pool.map(lambda chunk: {_check(file, fit) for file in chunk}, chunks))
        side = sides.pop() if len(sides) == 1 else None
        self.side = side if side is not None and side <= _LARGEST_SIDE else None  # that all images have, or None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def ids(self) -> list[str]:
        """The files' names."""
        return [file.name for file in self.files]

    @property
    def fingerprint(self) -> str:
        """sha256 of the files' names and sizes."""
        facts = "".join(f"{file.name}\0{file.size}\n" for file in self.files)
        return hashlib.sha256(facts.encode()).hexdigest()

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """The images at these indices, RGB in 0–255: uint8 if all the source's are of one size, else 224², float32.

        Raises
        ------
        StimulusError
            A file cannot be decoded, is partly transparent, or has changed its size.
        """
        size, kind = (IMAGE, np.float32) if self.side is None else (self.side, np.uint8)
        images = np.empty((len(indices), 3, size, size), kind)
        for place, index in enumerate(indices):
            if place and index == indices[place - 1]:  # a batch that is filled up
                images[place] = images[place - 1]
            else:
                images[place] = self._image(self.files[index]).transpose(2, 0, 1)
        return images

    def _image(self, file: ImageFile) -> Num[np.ndarray, "h w 3"]:
        with _named(file), file.open() as stream:
            pixels = fit_square(_decoded(stream.read(), file), self.fit)
        height, width = pixels.shape[:2]
        if (height != width and self.fit != "stretch") or (self.side and {height, width} != {self.side}):
            raise StimulusError(f"{file} has changed: it is {width} × {height} pixels now. Start again.")
        return resize(pixels) if self.side is None else pixels


class FolderSource(FilesSource):
    """The image files of a folder and its subfolders, in natural order (2 before 10).

    Parameters
    ----------
    folder
        Where the files are. Files that are no images by their name are passed over.
    fit
        As for :class:`FilesSource`, which says what is done with them.

    Raises
    ------
    ModelNotFoundError
        There is no such folder.
    StimulusError
        It holds no images, or one that cannot be used.
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
        One path a line, from the list's own folder or absolute. Empty lines and lines that begin with ``#`` are
        passed over. A path is its image's name; of an absolute one, what follows the folder that all absolute
        ones share.
    fit
        As for :class:`FilesSource`, which says what is done with them.

    Raises
    ------
    ModelNotFoundError
        There is no such list, or no file of a line.
    StimulusError
        The list is no text, is empty, or names an image twice or one that cannot be used.
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
        # Two slashes at the beginning are another root than one, for Python alone.
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
                size = target.stat().st_size if target.is_file() else None
            if size is None:
                raise ModelNotFoundError(f"{where}there is no file {target}. Give the path of one image a line.")
            first[name] = number
            files[name] = PathFile(name, target, size, where)
        super().__init__(list(files.values()), fit)


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key to sort names by, in which 2 comes before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def fit_square(pixels: UInt8[np.ndarray, "h w 3"], fit: str) -> UInt8[np.ndarray, "h w 3"]:
    """The middle square (``"crop"``), a grey-padded square (``"pad"``), or the image as it is."""
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
    """Bilinear between pixel centers, without antialiasing, as ``interpolate(align_corners=False)``."""
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
    """Which pixels are used at all, and how much of two of them is in each new one.

    So few that a sparse product costs a few per cent of a dense one, and that large images need not become floats.
    """
    weights = bilinear_matrix(length, size).astype(np.float32)
    used = np.flatnonzero(weights.any(0))
    return used, scipy.sparse.csr_array(weights[:, used])


def _check(file: ImageFile, fit: str) -> int | None:
    """The image's side once it is fitted, or None if it is not square then."""
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", file.name):
        raise StimulusError(f"{str(file)!r} has a name with control characters or not in UTF-8. Rename it.")
    if file.size > _LARGEST_FILE:
        raise StimulusError(f"{file} is too large: {file.size:,} bytes. Make it smaller first.")
    with _named(file), file.open() as stream, Image.open(stream, formats=_FORMATS) as image:
        width, height = image.size
        check_area(image.size, str(file))
        if fit == "pad":
            check_area((max(image.size),) * 2, f"{file}, padded,")
        if fit == "error" and width != height:
            raise StimulusError(
                f"{file} is not square: {width} × {height} pixels. "
                "Choose how to fit it: --fit-images crop, pad or stretch."
            )
        if image.mode.startswith(("I", "F")):
            raise StimulusError(f"{file} has mode {image.mode}, expected 8 bits a channel. Convert it first.")
        if _cut_to_8_bits(image):
            raise StimulusError(f"{file} has more than 8 bits a channel, expected 8. Convert it first.")
    if fit == "stretch":
        return width if width == height else None
    return max(width, height) if fit == "pad" else min(width, height)


def _cut_to_8_bits(image: Image.Image) -> bool:
    """Whether Pillow would drop the lower bits of 16-bit colors, which it does without a word."""
    for decoder, *_, arguments in getattr(image, "tile", ()):
        mode, *more = [arguments] if isinstance(arguments, str) else arguments or [""]
        if ";16" in str(mode) or (decoder.startswith("ppm") and more[-1] > 255):
            return True
    return False


def _decoded(contents: bytes, file: ImageFile) -> UInt8[np.ndarray, "h w 3"]:
    if simplejpeg is not None and contents.startswith(_JPEG):
        with contextlib.suppress(ValueError):  # on what is damaged, Pillow decides
            height, width, colors, _ = simplejpeg.decode_jpeg_header(contents)
            if colors in ("YCbCr", "Gray", "RGB"):  # of CMYK it makes other pixels than Pillow
                _check_work(contents, (width, height), file)
                return simplejpeg.decode_jpeg(contents, "RGB", fastdct=False, fastupsample=False)
    with Image.open(io.BytesIO(contents), formats=_FORMATS) as image:
        _check_work(contents, image.size, file)
        tile = getattr(image, "tag_v2", {})  # of TIFF, which may be far larger than the image
        check_area((tile.get(TIFF.TILEWIDTH, 1), tile.get(TIFF.TILELENGTH, 1)), f"A tile of {file}")
        if not image.has_transparency_data:
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        layers = np.asarray(image.convert("RGBA"))
    if layers[..., 3].min() < 255:
        raise StimulusError(
            f"{file} is partly transparent, so what it shows depends on the background. Put it on one first."
        )
    return layers[..., :3]


def _check_work(contents: bytes, size: tuple[int, int], file: ImageFile) -> None:
    """Raise StimulusError at images that take too much memory or time to decode."""
    check_area(size, str(file))
    scans = contents.count(b"\xff\xda") if contents.startswith(_JPEG) else 1  # a marker, which pixels never look like
    if scans > _MOST_SCANS or scans * math.prod(size) > _MOST_SCANNED:
        raise StimulusError(f"{file} has {scans} scans of its {math.prod(size):,} pixels. Write it again.")


def check_area(size: tuple[int, int], name: str) -> None:
    """Raise StimulusError at images too large to be decoded.

    Pillow only warns of an image between its limit and twice that; and warnings are no matter of threads.
    """
    width, height = size
    area = Image.MAX_IMAGE_PIXELS
    if max(size) > _LONGEST_SIDE or (area is not None and width * height > area):
        raise StimulusError(f"{name} is too large: {width} × {height} pixels. Make it smaller first.")


@contextlib.contextmanager
def _named(file: ImageFile) -> Iterator[None]:
    """Whatever goes wrong in a decoder becomes a StimulusError that names the file."""
    try:
        yield
    except BERGError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise StimulusError(f"{file} is too large: {error}. Make it smaller first.") from error
    except Exception as error:
        raise StimulusError(f"{file} cannot be read as an image: {error}. Replace or remove it.") from error

"""Decoding of image files, and checks that refuse files which would take too much memory or time."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError, features
from PIL import TiffImagePlugin as TIFF

from ...errors import BERGError, ResourceError, StimulusError
from ...files.trouble import machine_trouble
from .kinds import DECODED, explain

try:
    import simplejpeg
except Exception:  # ValueError if built for another NumPy; Pillow decodes the same pixels, at half the speed
    simplejpeg = None

_AVIF = "avif" in features.modules and features.check("avif")  # Pillow knows of it from 11.3 on
# Whatever a file's name; decoders of others may start programs, or take memory without bounds.
_FORMATS = tuple(kind for kind in DECODED if kind != "AVIF" or _AVIF)
_LARGEST_FILE = 1 << 30
_LONGEST_SIDE = 1 << 15  # pixels; resizing needs a table for each side
_JPEG = b"\xff\xd8\xff"
_END, _SCAN, _ALONE = b"\xff\xd9", b"\xff\xda", (b"\xff\x01", b"\xff\xd8")
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # no escaped byte, and none by which scans restart
_MOST_SEGMENTS = 100_000  # of a JPEG
_MOST_SCANS = 100  # of a JPEG; some have 10, and each may take as long as the whole picture
_SUBFILE = 254  # tag of a page's kind
_MOST_PAGES = 32  # of a TIFF, such as thumbnails
_MOST_SCANNED = 1 << 30  # pixels in all scans of a JPEG
_METADATA = (b"Exif", b"tiff:Orientation")  # where a JPEG's orientation is
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # that show a picture upright, by its EXIF orientation
_SIDEWAYS = (5, 6, 7, 8)


class ImageFile(Protocol):
    """Protocol of an image file, on its own or inside another file; messages show its ``str()``."""

    @property
    def name(self) -> str:
        """Name of the image in the output."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    @property
    def problem(self) -> str:
        """Why the file cannot be used, if that is known before it is opened, else an empty text."""

    def open(self) -> BinaryIO:
        """Open a new, seekable stream of the file's bytes."""


class Checked(NamedTuple):
    """An image as its header announces it."""

    side: int | None  # of the fitted image, None if it will not be square
    orientation: int  # by EXIF, 1 to 8


def check_file(file: ImageFile, fit: str) -> Checked:
    """Check the header of an image file, and return what it announces."""
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", file.name):
        raise StimulusError(f"{str(file)!r} has a name with control characters or not in UTF-8. Rename it.")
    if file.size > _LARGEST_FILE:
        raise StimulusError(f"{file} is too large: {file.size:,} bytes. Make it smaller first.")
    with named(file), file.open() as stream, Image.open(stream, formats=_FORMATS) as image:
        turned = orientation(image)
        width, height = image.size[::-1] if turned in _SIDEWAYS else image.size
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
        if count := _pictures(image):
            raise StimulusError(f"{file} holds {count}, and one is expected. Save the one you want in a file.")
        if _cut_to_8_bits(image):
            raise StimulusError(f"{file} has more than 8 bits a channel, expected 8. Convert it first.")
    if fit == "stretch":
        return Checked(width if width == height else None, turned)
    return Checked(max(width, height) if fit == "pad" else min(width, height), turned)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, by which an image is still to be turned; Pillow turns TIFF by itself."""
    if image.format == "TIFF":
        return 1
    with contextlib.suppress(Exception):  # damaged metadata do not tell
        # Not the method of PNG, which decodes the image to look behind it.
        found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        return found if found in _TURNS else 1
    return 1


def _pictures(image: Image.Image) -> str | None:
    """Return in words what a file holds beyond one picture: an animation or further pages, but not thumbnails."""
    if image.format == "JPEG" or image.format == "MPO" or not getattr(image, "is_animated", False):
        return None  # cameras append previews to a JPEG
    if image.format != "TIFF":
        return f"an animation of {image.n_frames} pictures"
    for page in range(1, _MOST_PAGES):
        try:
            image.seek(page)
        except EOFError:
            return None
        if not image.tag_v2.get(_SUBFILE, 0) & 1:  # a page of its own, not a smaller version of another
            return "several pages"
    return "many pages"


def _cut_to_8_bits(image: Image.Image) -> bool:
    """Return whether Pillow would silently drop the lower bits of 16-bit colors."""
    for decoder, *_, arguments in getattr(image, "tile", ()):
        mode, *more = [arguments] if isinstance(arguments, str) else arguments or [""]
        if ";16" in str(mode) or (decoder.startswith("ppm") and more[-1] > 255):
            return True
    return False


def decode(contents: bytes, file: ImageFile) -> UInt8[np.ndarray, "h w 3"]:
    """Return the RGB pixels of an image file, upright by its EXIF orientation.

    Raises
    ------
    StimulusError
        The image takes too much memory or time to decode, or is partly transparent. Damaged files may raise any
        exception, so call this function inside :func:`named`.
    """
    if simplejpeg is not None and contents.startswith(_JPEG):
        with contextlib.suppress(ValueError):  # Pillow decides on damaged files
            height, width, colors, _ = simplejpeg.decode_jpeg_header(contents)
            if colors in ("YCbCr", "Gray", "RGB"):  # its pixels of CMYK differ from Pillow's
                _check_work(contents, (width, height), file)
                pixels = simplejpeg.decode_jpeg(contents, "RGB", fastdct=False, fastupsample=False)
                return _upright(pixels, _jpeg_orientation(contents))
    with Image.open(io.BytesIO(contents), formats=_FORMATS) as image:
        _check_work(contents, image.size, file)
        tile = getattr(image, "tag_v2", {})  # a TIFF's tiles may be far larger than the image
        check_area((tile.get(TIFF.TILEWIDTH, 1), tile.get(TIFF.TILELENGTH, 1)), f"A tile of {file}")
        if not image.has_transparency_data:
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
            return _upright(pixels, orientation(image))
        layers = _upright(np.asarray(image.convert("RGBA")), orientation(image))
    if layers[..., 3].min() < 255:
        raise StimulusError(
            f"{file} is partly transparent, so what it shows depends on the background. Put it on one first."
        )
    return layers[..., :3]


def _jpeg_orientation(contents: bytes) -> int:
    if not any(name in contents for name in _METADATA):  # faster than opening, and most have none
        return 1
    with Image.open(io.BytesIO(contents), formats=_FORMATS) as image:
        return orientation(image)


def _upright(pixels: UInt8[np.ndarray, "h w c"], orientation: int) -> UInt8[np.ndarray, "h2 w2 c"]:
    return pixels if orientation == 1 else np.asarray(Image.fromarray(pixels).transpose(_TURNS[orientation]))


def _check_work(contents: bytes, size: tuple[int, int], file: ImageFile) -> None:
    """Raise StimulusError if decoding an image takes too much memory or time."""
    check_area(size, str(file))
    scans = _scans(contents) if contents.startswith(_JPEG) else 1
    if scans > _MOST_SCANS or scans * math.prod(size) > _MOST_SCANNED:
        raise StimulusError(f"{file} has {scans} scans of its {math.prod(size):,} pixels. Write it again.")


def _scans(jpeg: bytes) -> int:
    """Return the number of scans of a JPEG up to its end marker, behind which phones put videos.

    More segments than any picture has count as too many scans. Decoders pass over the same bytes: those that a
    segment declares, and between segments all that are no marker.
    """
    place, scans = 0, 0
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(jpeg, place)
        if found is None or found[0] == _END:
            return scans
        scans += found[0] == _SCAN
        place = found.end()
        if found[0] not in _ALONE:
            place += max(2, int.from_bytes(jpeg[place : place + 2], "big"))
    return _MOST_SEGMENTS


def check_area(size: tuple[int, int], name: str) -> None:
    """Raise StimulusError if an image is too large to be decoded.

    Pillow only warns of images between its limit and twice the limit, and warnings cannot be caught safely in
    threads.
    """
    width, height = size
    area = Image.MAX_IMAGE_PIXELS
    if max(size) > _LONGEST_SIDE or (area is not None and width * height > area):
        raise StimulusError(f"{name} is too large: {width} × {height} pixels. Make it smaller first.")


@contextlib.contextmanager
def named(file: ImageFile) -> Iterator[None]:
    """Turn any exception of a decoder into a StimulusError that names the file, and trouble of the machine apart."""
    try:
        yield
    except BERGError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise StimulusError(f"{file} is too large: {error}. Make it smaller first.") from error
    except Exception as error:
        if trouble := machine_trouble(error):
            # Which is no reason to skip an image, but for a file of its own that may not be read.
            kind = StimulusError if isinstance(error, PermissionError) else ResourceError
            raise kind(f"{file} cannot be read: {trouble}") from error
        raise StimulusError(
            f"{file} cannot be read as an image: {_reason(file, error)}. Replace or remove it."
        ) from error


def _reason(file: ImageFile, error: Exception) -> str:
    """Return what the file really is, or else what its decoder says."""
    try:
        with file.open() as stream:
            known = explain(stream.read(512), file.size)
    except Exception:  # what cannot be opened has no kind
        known = None
    return known if known and isinstance(error, UnidentifiedImageError) else str(error)

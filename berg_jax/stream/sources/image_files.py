"""Protocol of image sources, and the source of image files, whose headers are read at the beginning."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol, get_args

import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, Num, UInt8

from ...errors import InvalidParameterError, StimulusError
from ...model.nn.config import IMAGE
from ...model.nn.preprocess import bilinear_matrix
from .account import Account
from .contents import LENGTH, WHOLE, file_digest, fingerprint
from .decoding import ImageFile, check_file, decode, named

OnError = Literal["error", "skip"]
FITS = ("error", "crop", "pad", "stretch")
GREY = 128  # value of padding, the middle of 0–255

_LARGEST_SIDE = 2 * IMAGE  # up to this side, an image of bytes is smaller than the resized one of floats
_SCANNERS, _SCANNED = 8, 64  # threads, and files that each takes at a time
_TRIED = 1000  # files up to which each is decoded at the beginning, if they are small enough to be read whole
_DECODERS = 2  # threads that do so, each of which may hold a large image
_LISTED = 20  # unusable files that a message names


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
        """Text that distinguishes this source from others by names and contents, not by paths or times.

        Sources may also have a method ``digests``, by which a later run notices which of their images have changed,
        and an ``account`` of the files that were found: see :class:`FilesSource`.
        """

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Num[np.ndarray | Array, "n 3 h w"]:
        """Read the images at these indices, square, RGB in 0–255. Several threads may call this method at once."""


class PathFile(NamedTuple):
    """An image file in a folder."""

    name: str
    path: Path
    size: int
    listed: str = ""  # the list and line that name the file, for messages
    problem: str = ""  # why the file cannot be used, if that is known before it is opened

    def __str__(self) -> str:
        return f"{self.listed}{self.path}"

    def open(self) -> BinaryIO:
        """Open a new stream of the file's bytes."""
        return self.path.open("rb")


class FilesSource:
    """Source of image files, which are checked at the beginning, to find unusable ones before work starts.

    Up to 1,000 files of 256 MB together are decoded once for this check. Of more only the headers are read, and a
    file whose pixels are damaged or partly transparent shows when it is read.

    If all images have one size (after fitting) of at most 448 × 448, they are passed on unchanged, and the model
    resizes them on its device. Otherwise they are resized to 224 × 224 on the host, in the same way: bilinear,
    float32, without antialiasing. Both ways agree within 1e-3 of a grey level. Images are turned upright by their
    EXIF orientation before they are fitted.

    Parameters
    ----------
    files
        Files of the images, in order, whose names differ.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with
        grey), or ``"stretch"``.
    on_error
        Treatment of files that cannot be used: ``"error"``, or ``"skip"``, which keeps their places among the images
        and raises StimulusError when they are read.
    account
        Account of the files that were found beside these.

    Attributes
    ----------
    account
        Account of all files that were found.

    Raises
    ------
    InvalidParameterError
        There is no such ``fit`` or ``on_error``.
    StimulusError
        An image cannot be read, does not have 8 bits per channel, is partly transparent, or is not square while
        ``fit`` is ``"error"``; the message lists the first twenty. With ``"skip"``, no image at all can be used.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        fit: str = "error",
        on_error: OnError = "error",
        account: Account | None = None,
    ) -> None:
        if fit not in FITS:
            raise InvalidParameterError(f"fit must be one of {list(FITS)}, got {fit!r}.")
        if on_error not in get_args(OnError):
            raise InvalidParameterError(f"on_error must be one of {list(get_args(OnError))}, got {on_error!r}.")
        self.files, self.fit = files, fit
        scanned = _scan(files, fit)
        self._digests = [digest for digest, _, _ in scanned]
        self._problems = {index: problem for index, (_, _, problem) in enumerate(scanned) if problem is not None}
        if self._problems and (on_error == "error" or len(self._problems) == len(files)):
            raise StimulusError(listing([str(problem) for problem in self._problems.values()], len(files)))
        sides = {side for _, side, problem in scanned if problem is None}
        side = sides.pop() if len(sides) == 1 else None
        self.side = side if side is not None and side <= _LARGEST_SIDE else None  # None if sides differ
        self.account = account or Account()
        self.account.encoded = len(files) - len(self._problems)
        self.account.skipped |= {files[index].name: str(problem) for index, problem in self._problems.items()}

    def __len__(self) -> int:
        return len(self.files)

    @property
    def ids(self) -> list[str]:
        """Names of the files."""
        return [file.name for file in self.files]

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the files' names and contents."""
        return fingerprint(self)

    @property
    def earlier_fingerprint(self) -> str:
        """Fingerprint that version 0.1.0 gave these files, of their names and sizes alone."""
        facts = "".join(f"{file.name}\0{file.size}\n" for file in self.files)
        return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()

    def digests(self, rows: Int[np.ndarray, " n"]) -> dict[int, bytes]:
        """Return a digest of each of these files, by its position among ``rows``.

        If all files are 256 MB at most it is of all bytes, else of the size, the beginning, the middle and the end.
        Of an image that is turned it is another one, because there are outputs of such images unturned.
        """
        return {position: self._digests[row] for position, row in enumerate(rows)}

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
            elif index in self._problems:
                raise self._problems[index]
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


class _Scanned(NamedTuple):
    digest: bytes
    side: int | None
    problem: StimulusError | None


def _scan(files: Sequence[ImageFile], fit: str) -> list[_Scanned]:
    """Read every file's header and enough of its contents for a digest, in threads; decode a few files altogether."""
    whole = sum(file.size for file in files) <= WHOLE

    def scan(chunk: Sequence[ImageFile]) -> list[_Scanned]:
        return [_scan_file(file, fit, whole) for file in chunk]

    chunks = [files[start : start + _SCANNED] for start in range(0, len(files), _SCANNED)]
    with ThreadPoolExecutor(_SCANNERS) as pool:
        scanned = [one for some in pool.map(scan, chunks) for one in some]
    if not whole or len(files) > _TRIED:
        return scanned
    with ThreadPoolExecutor(_DECODERS) as pool:
        return list(pool.map(_tried, files, scanned))


def _tried(file: ImageFile, scanned: _Scanned) -> _Scanned:
    """Return what was found in a file, with the problem of one whose header is right and that cannot be decoded."""
    if scanned.problem is None:
        try:
            with named(file), file.open() as stream:
                decode(stream.read(), file)
        except StimulusError as error:
            return scanned._replace(side=None, problem=error)
    return scanned


def _scan_file(file: ImageFile, fit: str, whole: bool) -> _Scanned:
    digest, side = b"", None
    try:
        if file.problem:
            raise StimulusError(file.problem)
        side, orientation = check_file(file, fit)
        with named(file), file.open() as stream:
            digest = file_digest(stream, file.size, whole)
        if orientation != 1:
            digest = hashlib.blake2b(digest, digest_size=LENGTH, salt=bytes([orientation])).digest()
    except StimulusError as error:
        with contextlib.suppress(Exception), file.open() as stream:
            digest = file_digest(stream, min(file.size, WHOLE), False)
        return _Scanned(digest, None, error)
    return _Scanned(digest, side, None)


def listing(problems: Sequence[str], total: int) -> str:
    """Return one message for what is wrong with files: the only problem, or the first twenty and their number."""
    if len(problems) == 1:
        return problems[0]
    shown = [f"  {problem}" for problem in problems[:_LISTED]]
    if len(problems) > _LISTED:
        shown.append(f"  … and {len(problems) - _LISTED:,} more")
    advice = "" if len(problems) == total else " Mend or remove them; encode's --on-error skip leaves them out."
    return "\n".join([f"{len(problems):,} of {total:,} images cannot be used.{advice}", *shown])


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

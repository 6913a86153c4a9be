"""Where images come from: something that has a length, names, and batches by index."""

from __future__ import annotations

import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float, Num, UInt8
from PIL import Image, UnidentifiedImageError

from ..errors import InvalidParameterError, ModelNotFoundError, StimulusError
from ..nn.config import IMAGE
from ..nn.preprocess import bilinear_matrix

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
FITS = ("error", "crop", "pad", "stretch")
GREY = 128  # of padding, the middle of 0–255


class Source(Protocol):
    """Images by index, of one size in every batch."""

    @property
    def ids(self) -> list[str]:
        """A name for each image."""

    @property
    def fingerprint(self) -> str:
        """What tells this source from others: a sha256 of names and sizes, not of paths, times or contents."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Num[np.ndarray, "n 3 h w"]:
        """The images at these indices, square, RGB in 0–255."""


class FolderSource:
    """The image files of a folder and its subfolders, in natural order (2 before 10).

    Headers are read at once, so that a file which cannot be used is named before work starts. Images reach
    224 × 224 here, on the host, by the resize that the network would do: bilinear, float32, without
    antialiasing. Pixels are taken as stored; orientation tags are not applied.

    Parameters
    ----------
    folder
        Where the files are. Files that are no images by their name are passed over.
    fit
        What to do with an image that is not square: ``"error"``, ``"crop"`` its middle, ``"pad"`` with grey,
        or ``"stretch"``.

    Raises
    ------
    ModelNotFoundError
        There is no such folder.
    StimulusError
        It holds no images, or one that cannot be read, has transparency, or is not square while ``fit`` is
        ``"error"``.
    """

    def __init__(self, folder: str | Path, fit: str = "error") -> None:
        self.folder, self.fit = Path(folder), fit
        if fit not in FITS:
            raise InvalidParameterError(f"fit must be one of {list(FITS)}, got {fit!r}.")
        if not self.folder.is_dir():
            raise ModelNotFoundError(f"There is no folder {folder}. Give a folder of image files.")
        paths = [p for p in self.folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()]
        self.ids = sorted((p.relative_to(self.folder).as_posix() for p in paths), key=_natural)
        if not self.ids:
            raise StimulusError(f"{folder} holds no image files ({', '.join(EXTENSIONS)}).")
        for name in self.ids:
            self._check(name)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """sha256 of the files' names and sizes."""
        facts = "".join(f"{name}\0{(self.folder / name).stat().st_size}\n" for name in self.ids)
        return hashlib.sha256(facts.encode()).hexdigest()

    def read(self, indices: Sequence[int]) -> Float[np.ndarray, "n 3 224 224"]:
        """The images at these indices, RGB in 0–255, float32.

        Raises
        ------
        StimulusError
            A file cannot be decoded.
        """
        return np.stack([self._image(self.ids[index]) for index in indices])

    def _check(self, name: str) -> None:
        with _readable(self.folder / name) as image:
            width, height = image.size
            if self.fit == "error" and width != height:
                raise StimulusError(
                    f"{self.folder / name} is not square: {width} × {height} pixels. Choose how to fit it: "
                    "--fit crop, pad or stretch."
                )
            if image.mode.startswith(("I", "F")):
                raise StimulusError(
                    f"{self.folder / name} has mode {image.mode}, expected 8 bits a channel. Convert it first."
                )

    def _image(self, name: str) -> Float[np.ndarray, "3 224 224"]:
        with _readable(self.folder / name) as image:
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise StimulusError(
                    f"{self.folder / name} is partly transparent, so what it shows depends on the background. "
                    "Put it on one first."
                )
            pixels = np.asarray(image.convert("RGB"))
        return resize(fit_square(pixels, self.fit)).transpose(2, 0, 1)


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
    """Bilinear between pixel centres, without antialiasing, as ``interpolate(align_corners=False)``."""
    rows, columns = (bilinear_matrix(length, size).astype(np.float32) for length in pixels.shape[:2])
    return np.einsum("yh,hwc,xw->yxc", rows, pixels.astype(np.float32), columns, optimize=True)


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Image.Image]:
    """An open image, whose every failure to be read is a StimulusError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except StimulusError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise StimulusError(f"{path} is too large: {error}. Make it smaller first.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise StimulusError(f"{path} cannot be read as an image: {error}. Replace or remove it.") from error

"""Small pictures of stimuli for figures: read from a source of images, and pasted along axes or at points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from PIL import Image

from ...stream.sources.image_files import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 48  # pixels of a thumbnail
_BLOCK = 64  # images in memory at a time
_FRAME = 0.08  # width of a frame as a share of the side

Thumbnails = UInt8[np.ndarray, "n side side 3"]


def read_thumbnails(source: Source, indices: Sequence[int] | Int[np.ndarray, " n"], side: int = SIDE) -> Thumbnails:
    """Return some images of a source as small squares.

    Parameters
    ----------
    source
        Source of images in 0–255.
    indices
        Indices of the images.
    side
        Width and height in pixels.
    """
    rows = np.asarray(indices, int)
    parts = [shrunk(np.asarray(source.read(rows[at : at + _BLOCK])), side) for at in range(0, len(rows), _BLOCK)]
    return np.concatenate([np.zeros((0, side, side, 3), np.uint8), *parts])


def shrunk(images: Num[np.ndarray, "n 3 height width"], side: int = SIDE) -> Thumbnails:
    """Return images in 0–255 as small squares, channels last.

    Examples
    --------
    >>> shrunk(np.full((2, 3, 100, 100), 9.0), side=8).shape
    (2, 8, 8, 3)
    """
    pixels = np.asarray(images).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    small = [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.LANCZOS)) for one in pixels]
    return np.stack(small) if small else np.zeros((0, side, side, 3), np.uint8)


def spread(count: int, most: int) -> Int[np.ndarray, " n"]:
    """Return up to so many of the numbers from 0 to ``count`` − 1, evenly spread.

    Examples
    --------
    >>> spread(10, 3).tolist(), spread(2, 3).tolist()
    ([0, 4, 9], [0, 1])
    """
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)) if count else np.zeros(0, int)


def amid(count: int, most: int) -> Int[np.ndarray, " n"]:
    """Return up to so many of the numbers from 0 to ``count`` − 1, each amid one of as many equal parts.

    Examples
    --------
    >>> amid(40, 4).tolist(), amid(2, 4).tolist()
    ([5, 15, 25, 35], [0, 1])
    """
    parts = min(count, most)
    return ((np.arange(parts) + 0.5) * count / max(parts, 1)).astype(int)


def paste(
    axes: Axes,
    thumbnails: Thumbnails,
    centers: Float[np.ndarray, "n 2"],
    size: tuple[float, float],
    frames: Sequence[str] | None = None,
) -> None:
    """Draw thumbnails at points of axes, the later ones over the earlier ones, also outside of their frame.

    The axes keep their limits.

    Parameters
    ----------
    axes
        The axes.
    thumbnails
        The pictures.
    centers
        Their middles, in the axes' data coordinates.
    size
        Width and height of each in the same coordinates.
    frames
        Color of each one's frame; by default there are none.
    """
    if not len(thumbnails):
        return
    limits = axes.get_xlim(), axes.get_ylim()
    canvas, extent = _canvas(thumbnails, np.asarray(centers, float), size, frames, limits[1][1] < limits[1][0])
    options = {"aspect": axes.get_aspect(), "interpolation": "antialiased", "clip_on": False, "zorder": 3}
    axes.imshow(canvas, extent=extent, **options)
    axes.set(xlim=limits[0], ylim=limits[1])


def _canvas(
    thumbnails: Thumbnails,
    centers: Float[np.ndarray, "n 2"],
    size: tuple[float, float],
    frames: Sequence[str] | None,
    turned: bool,
) -> tuple[UInt8[np.ndarray, "h w 4"], tuple[float, float, float, float]]:
    """Return one picture of all thumbnails, clear between them, and its place; ``turned`` if y runs down."""
    from matplotlib.colors import to_rgb

    side = thumbnails.shape[1]
    pixel = np.array(size) / side
    low = centers.min(0) - np.array(size) / 2
    width, height = (np.ceil(np.ptp(centers, axis=0) / pixel).astype(int) + side).tolist()
    canvas = np.zeros((height, width, 4), np.uint8)  # whose rows run as y does
    for index, (picture, center) in enumerate(zip(thumbnails, centers, strict=True)):
        column, row = np.round((center - np.array(size) / 2 - low) / pixel).astype(int)
        shown = picture.copy() if turned else picture[::-1].copy()
        if frames is not None:
            edge = max(1, round(_FRAME * side))
            color = np.round(255 * np.array(to_rgb(frames[index]))).astype(np.uint8)
            shown[:edge], shown[-edge:], shown[:, :edge], shown[:, -edge:] = (color,) * 4
        canvas[row : row + side, column : column + side, :3] = shown
        canvas[row : row + side, column : column + side, 3] = 255
    left, bottom = low
    right, top = low + np.array([width, height]) * pixel
    # The first row of pixels stands at the least y: below where y runs up, above where it runs down.
    if turned:
        return canvas, (left, right, top, bottom)
    return canvas[::-1], (left, right, bottom, top)

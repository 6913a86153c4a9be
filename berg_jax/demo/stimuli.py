"""Procedural images of several categories, for which the demo subjects have planted preferences.

The images are drawings that differ in color, shape and texture as the real categories do, and no more is claimed.
"""

from __future__ import annotations

import string
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from ..convert.synthetic import natural_like_images
from ..errors import InvalidParameterError
from ..model.nn.config import IMAGE

_FILLINGS = 20  # natural images whose parts the probes show
_Random = np.random.Generator
_Draw = ImageDraw.ImageDraw


def images(kind: str, n: int, seed: int = 0) -> UInt8[np.ndarray, "n 3 224 224"]:
    """Draw images of one kind.

    Parameters
    ----------
    kind
        ``"faces"``, ``"bodies"``, ``"places"``, ``"words"`` or ``"objects"`` for drawings on a textured background;
        ``"natural"`` for textured discs that occlude each other, with 1/f spectra; ``"probes"`` for natural images in
        a Gaussian window at a random position, on grey.
    n
        Number of images, at least 1.
    seed
        Seed of the random numbers. The same seed makes the same images.

    Returns
    -------
    (n, 3, 224, 224), RGB in 0–255.

    Raises
    ------
    InvalidParameterError
        There is no such kind, or ``n`` is below 1.

    See Also
    --------
    photographs : Photographs from other packages.
    berg_jax.convert.synthetic.natural_like_images : The natural images, in any size.

    Examples
    --------
    >>> images("faces", 2).shape
    (2, 3, 224, 224)
    """
    if kind not in KINDS:
        raise InvalidParameterError(f"kind must be one of {list(KINDS)}, got {kind!r}.")
    if n < 1:
        raise InvalidParameterError(f"n must be at least 1, got {n}.")
    if kind == "natural":
        return natural_like_images(n, seed)
    random = np.random.default_rng((KINDS.index(kind), seed))
    if kind == "probes":
        return _probes(n, seed, random)
    drawings = [_drawing(_DRAWERS[kind], random) for _ in range(n)]
    return np.stack(drawings).transpose(0, 3, 1, 2)


def gaussian_window(x: float, y: float, sigma: float) -> Float[np.ndarray, "224 224"]:
    """Return a Gaussian window of height 1 at (x, y) with standard deviation sigma, all in pixels."""
    pixel = np.arange(IMAGE) + 0.5
    return np.exp(-((pixel - x) ** 2 + (pixel[:, None] - y) ** 2) / (2 * sigma**2))


def _probes(n: int, seed: int, random: _Random) -> UInt8[np.ndarray, "n 3 224 224"]:
    filling = natural_like_images(min(n, _FILLINGS), seed).astype(np.float64)
    probes = np.empty((n, 3, IMAGE, IMAGE), np.uint8)
    for index, probe in enumerate(probes):
        window = gaussian_window(*random.uniform(0, IMAGE, 2), random.uniform(8, 20))
        probe[:] = (128 + window * (filling[index % len(filling)] - 128)).round()
    return probes


def _drawing(draw: Callable[[_Draw, _Random], None], random: _Random) -> UInt8[np.ndarray, "224 224 3"]:
    """Draw an image on coarse noise of random color and contrast."""
    ground = random.uniform(60, 190) + random.normal(0, 25, 3)
    coarse = ground + random.normal(0, random.uniform(5, 35), (9, 9, 1)) + random.normal(0, 8, (9, 9, 3))
    canvas = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((IMAGE, IMAGE), Image.Resampling.BICUBIC)
    draw(ImageDraw.Draw(canvas), random)
    grain = random.normal(0, 6, (IMAGE, IMAGE, 1))
    return (np.asarray(canvas) + grain).clip(0, 255).astype(np.uint8)


def _color(random: _Random, low: float = 20, high: float = 235) -> tuple[int, int, int]:
    red, green, blue = random.integers(int(low), int(high), 3)
    return int(red), int(green), int(blue)


def _skin(random: _Random) -> tuple[int, int, int]:
    light = random.uniform(0.45, 1)
    return int(240 * light), int(190 * light), int(160 * light)


def _oval(draw: _Draw, x: float, y: float, width: float, height: float, color: tuple[int, int, int]) -> None:
    draw.ellipse((x - width / 2, y - height / 2, x + width / 2, y + height / 2), fill=color)


def _face(draw: _Draw, random: _Random) -> None:
    size = random.uniform(110, 175)
    x, y = IMAGE / 2 + random.normal(0, 12, 2)
    skin, dark = _skin(random), _color(random, 10, 80)
    _oval(draw, x, y - 0.12 * size, 0.92 * size, 1.2 * size, dark)  # hair
    _oval(draw, x, y, 0.74 * size, size, skin)
    for side in (-1, 1):
        eye = x + side * 0.17 * size
        _oval(draw, eye, y - 0.1 * size, 0.17 * size, 0.09 * size, (245, 245, 245))
        _oval(draw, eye, y - 0.1 * size, 0.075 * size, 0.085 * size, dark)
        brow = y - 0.2 * size
        draw.line((eye - 0.1 * size, brow, eye + 0.1 * size, brow), fill=dark, width=max(2, int(0.03 * size)))
    shade = tuple(int(0.75 * value) for value in skin)
    draw.line((x, y - 0.05 * size, x - 0.04 * size, y + 0.13 * size), fill=shade, width=3)
    _oval(draw, x, y + 0.27 * size, random.uniform(0.2, 0.32) * size, 0.07 * size, (170, 60, 60))


def _body(draw: _Draw, random: _Random) -> None:
    size = random.uniform(150, 205)
    x, y = IMAGE / 2 + random.normal(0, 10), IMAGE / 2 - 0.1 * size
    skin, shirt, trousers = _skin(random), _color(random), _color(random)
    limb = max(6, int(0.085 * size))
    _oval(draw, x, y - 0.33 * size, 0.13 * size, 0.16 * size, skin)
    for side in (-1, 1):
        elbow = x + side * random.uniform(0.13, 0.28) * size, y + random.uniform(-0.15, 0.1) * size
        hand = elbow[0] + side * random.uniform(-0.1, 0.15) * size, elbow[1] + random.uniform(-0.2, 0.2) * size
        draw.line([(x + side * 0.09 * size, y - 0.2 * size), elbow, hand], fill=skin, width=limb, joint="curve")
        knee = x + side * random.uniform(0.05, 0.18) * size, y + 0.33 * size
        foot = knee[0] + side * random.uniform(-0.06, 0.12) * size, y + 0.58 * size
        draw.line([(x + side * 0.06 * size, y + 0.08 * size), knee, foot], fill=trousers, width=limb, joint="curve")
    _oval(draw, x, y - 0.07 * size, 0.25 * size, 0.38 * size, shirt)


def _place(draw: _Draw, random: _Random) -> None:
    horizon = random.uniform(0.4, 0.65) * IMAGE
    sky, ground = random.uniform(120, 230), random.uniform(60, 150)
    draw.rectangle((0, 0, IMAGE, horizon), fill=(int(0.75 * sky), int(0.9 * sky), int(sky)))
    draw.rectangle((0, horizon, IMAGE, IMAGE), fill=(int(ground), int(0.95 * ground), int(0.85 * ground)))
    left = -random.uniform(0, 30)
    while left < IMAGE:
        width, top = random.uniform(30, 70), horizon - random.uniform(25, 0.95 * horizon)
        wall = random.uniform(70, 200)
        fill = (int(wall), int(0.93 * wall), int(0.85 * wall))
        draw.rectangle((left, top, left + width, horizon + 4), fill=fill, outline=(40, 40, 40))
        step = random.uniform(9, 15)
        for window_y in np.arange(top + 5, horizon - 8, step):
            for window_x in np.arange(left + 5, left + width - 8, step):
                draw.rectangle((window_x, window_y, window_x + step / 2, window_y + step / 2), fill=(35, 40, 60))
        left += width + random.choice([0, random.uniform(0, 25)])
    vanishing = random.uniform(0.3, 0.7) * IMAGE
    for foot in np.linspace(-0.6, 1.6, 7) * IMAGE:
        draw.line((vanishing, horizon, foot, IMAGE), fill=(50, 50, 50), width=2)


def _word(draw: _Draw, random: _Random) -> None:
    paper = random.uniform(200, 250)
    draw.rectangle((8, 8, IMAGE - 8, IMAGE - 8), fill=(int(paper), int(paper), int(0.95 * paper)))
    size = int(random.integers(24, 44))
    font = ImageFont.load_default(size)
    for y in np.arange(14, IMAGE - size, 1.25 * size):
        text = "".join(random.choice(list(string.ascii_letters)) for _ in range(int(480 / size)))
        text = " ".join(text[start : start + 5] for start in range(0, len(text), 5))
        draw.text((14, y), text, fill=_color(random, 0, 60), font=font)


def _object(draw: _Draw, random: _Random) -> None:
    x, y = IMAGE / 2 + random.normal(0, 12, 2)
    size, corners = random.uniform(50, 90), int(random.integers(3, 9))
    base = np.array(_color(random, 60, 235))
    turn = random.uniform(0, 2 * np.pi)
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    depth = random.uniform(0.25, 0.5) * size
    for offset in np.linspace(depth, 0, 12):  # a prism: the same shape again and again, brighter towards the front
        light = 0.45 + 0.55 * (1 - offset / depth)
        points = [(x + offset + size * np.cos(a), y - offset / 2 + size * np.sin(a)) for a in angles]
        draw.polygon(points, fill=tuple(int(value) for value in light * base))
    _oval(draw, x, y, 0.5 * size, 0.5 * size, tuple(int(value) for value in 0.6 * base))


_DRAWERS = {"faces": _face, "bodies": _body, "places": _place, "words": _word, "objects": _object}
CATEGORIES = tuple(_DRAWERS)
KINDS = (*CATEGORIES, "natural", "probes")

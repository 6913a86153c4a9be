"""Stimuli of the certificate, and the vertices whose responses it records: the same on every machine."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

from ...model.nn.config import IMAGE

Stimuli = dict[str, UInt8[np.ndarray, "3 side side"]]

RECORDED = 4096  # vertices whose responses a certificate holds
GRADIENT_STIMULI = ("flower.jpg", "natural-like")  # one that is resized and one that is not
SEED = 8128


def all_stimuli() -> Stimuli:
    """Return photographs at their own size, a natural-like image, a grey screen, small noise, and the recorded ones.

    On the grey screen tokens vary least, so that the epsilon of the layer norms matters most.
    """
    from PIL import Image

    from ...convert.synthetic import natural_like_images
    from ...demo import photographs
    from ...stream.sources.image_files import fit_square

    pixels = {name: np.asarray(Image.open(path).convert("RGB")) for name, path in photographs().items()}
    stimuli = {name: fit_square(image, "crop").transpose(2, 0, 1) for name, image in pixels.items()}
    stimuli["natural-like"] = natural_like_images(1, SEED)[0]
    stimuli["grey"] = np.full((3, IMAGE, IMAGE), 128, np.uint8)
    stimuli["noise"] = np.random.default_rng(SEED).integers(0, 256, (3, 96, 96), np.uint8)
    return stimuli | recorded_stimuli()


def recorded_stimuli() -> Stimuli:
    """Return four images with the same pixels on every machine: blocks with noise, half of them to be resized.

    They are made from the raw bits of PCG64, which NumPy promises not to change, by integer arithmetic alone.
    """
    stimuli = {}
    for index, side in enumerate((IMAGE, IMAGE, 280, 280)):
        bits = np.random.PCG64(SEED + index).random_raw(3 * (64 + side * side)).astype("<u8")
        levels = (bits >> np.uint64(56)).astype(np.uint16)  # the upper eight bits
        blocks = levels[: 3 * 64].reshape(3, 8, 8).repeat(side // 8, axis=1).repeat(side // 8, axis=2)
        noise = levels[3 * 64 :].reshape(3, side, side)
        stimuli[f"recorded {index + 1}"] = ((3 * blocks + noise) // 4).astype(np.uint8)
    return stimuli


def recorded_vertices(total: int) -> Int[np.ndarray, " n"]:
    """Return 4,096 of so many global vertices, or all if there are fewer, ascending; the same on every machine."""
    keys = np.random.PCG64(SEED).random_raw(total)
    return np.sort(np.argsort(keys, kind="stable")[:RECORDED])


def gradient_weights(total: int) -> Float[np.ndarray, " vertices"]:
    """Return weights of the sum of responses whose gradients are compared.

    They are normally distributed at the recorded vertices, and zero elsewhere.
    """
    vertices = recorded_vertices(total)
    weights = np.zeros(total, np.float32)
    weights[vertices] = np.random.default_rng(SEED).normal(size=len(vertices))
    return weights

"""Recipe of a synthesis: how images are parametrized, where they start, and how gradient ascent changes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ...errors import InvalidParameterError
from ...stream.images import Fit

Kind = Literal["pixels", "fourier", "phases"]
GUIDANCE = 3.0  # scale at which all planted areas of the demo are driven past natural images, by images of the prior


@dataclass(frozen=True)
class Recipe:
    """Recipe of a synthesis by gradient ascent: shared by ``synthesize``, sweeps and the Python interface.

    Parameters
    ----------
    parametrization
        Parametrization of the images: their pixels, Fourier coefficients, or phases alone with a natural magnitude
        spectrum (MACO).
    photographs
        Photographs that give ``--images phases`` its magnitude spectrum (default: matplotlib's and scikit-learn's).
        Anything that ``berg-jax encode`` takes will do; up to 1,000 of them are read.
    start
        Photograph to start from, with ``pixels`` or ``fourier`` (default: noise).
    fit
        What to do with a ``start`` that is not square: stop, crop, pad with grey, or stretch it.
    radius
        Largest root-mean-square distance of an image from the ``start`` photograph, in grey levels (default: no
        limit).
    steps
        Number of steps of gradient ascent.
    learning_rate
        Adam learning rate.
    jitter
        Largest random shift of the images at every step, in pixels.
    total_variation
        Weight of the total-variation penalty, in z units per grey level.
    draws
        Number of random shifts over which a step takes the mean.
    seed
        Seed of the random numbers; the same seed makes the same images.

    Raises
    ------
    InvalidParameterError
        There is no such parametrization or fit.

    References
    ----------
    .. [1] T. Fel et al. (2023). Unlocking feature visualization for deeper networks with magnitude constrained
       optimization. Advances in Neural Information Processing Systems 36 (MACO).

    Examples
    --------
    >>> Recipe("phases", steps=64).learning_rate
    0.05
    """

    parametrization: Kind = field(default="fourier", metadata={"option": "images"})
    photographs: str | Path | None = None
    start: str | Path | None = None
    fit: Fit = field(default="error", metadata={"option": "fit_images"})
    radius: float | None = None
    steps: int = field(default=256, metadata={"min": 1})
    learning_rate: float = 0.05
    jitter: int = field(default=8, metadata={"min": 0})
    total_variation: float = 0.0
    draws: int = field(default=1, metadata={"min": 1})
    seed: int = field(default=0, metadata={"min": 0})

    def __post_init__(self) -> None:
        if self.parametrization not in get_args(Kind):
            raise InvalidParameterError(
                f"parametrization must be one of {list(get_args(Kind))}, got {self.parametrization!r}."
            )
        if self.fit not in get_args(Fit):
            raise InvalidParameterError(f"fit must be one of {list(get_args(Fit))}, got {self.fit!r}.")

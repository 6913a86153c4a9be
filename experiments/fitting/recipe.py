"""Recipe of a fit by gradient: the published defaults of the model's author, each named once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from ...errors import InvalidParameterError


@dataclass(frozen=True)
class Recipe:
    """Recipe of the stages ``selectors`` and ``full``; the defaults are those of the published model's training.

    An epoch is a share of a pass over the training images, so that validation is frequent.

    Parameters
    ----------
    batch_size
        Images of a step.
    vertices
        Vertices of a step, drawn at random; all of them if there are fewer.
    learning_rate
        AdamW learning rate after the warm-up.
    start_rate
        Learning rate of the first step.
    network_rate
        Factor of the learning rate of adapters and heads. The published training, which begins without a donor,
        has 1; a smaller one keeps the donor's network nearer.
    warmup_epochs
        Epochs in which the learning rate rises linearly from ``start_rate`` to ``learning_rate``.
    weight_decay
        Decoupled weight decay; biases and norms, and the selectors' own numbers, have none.
    clip_norm
        Largest norm of the gradient of all trained tensors together.
    beta
        Residual in z units below which smooth L1 is quadratic.
    entropy
        Weight of the entropy regularizer, which keeps the layer weights spread.
    jitter
        Standard deviation of the Gaussian noise on receptive-field centers in training, in units of half the image.
    anchor
        Weight of the penalty on free selectors that leave the ones they start from.
    epochs
        Largest number of epochs.
    epoch_fraction
        Share of the training batches in an epoch, which has at least one.
    validation_fraction, least_validation
        Share of the validation images on which an epoch's r is computed, and the number of images that it has at
        least, if there are so many.
    patience
        Epochs without a rise of the mean validation r after which training stops.
    weighting_epochs
        Epochs after which vertices are weighted by how much their validation r still rises.
    weighting_memory
        Memory of the exponential mean of that rise, in (0, 1).
    distillation_epochs
        Epochs over which the loss passes from the teacher's responses to the measured ones.
    kept
        Number of best checkpoints that the greedy soup averages.

    Raises
    ------
    InvalidParameterError
        A value is not in its range.

    Examples
    --------
    >>> Recipe(epochs=40).learning_rate
    0.0003
    """

    batch_size: int = 32
    vertices: int = 25_600
    learning_rate: float = 3e-4
    start_rate: float = 1e-4
    network_rate: float = 1.0
    warmup_epochs: int = 10
    weight_decay: float = 3e-4
    clip_norm: float = 0.5
    beta: float = 0.01
    entropy: float = 3e-5
    jitter: float = 0.01
    anchor: float = 1e-3
    epochs: int = 1000
    epoch_fraction: float = 0.05
    validation_fraction: float = 0.25
    least_validation: int = 256
    patience: int = 120
    weighting_epochs: int = 20
    weighting_memory: float = 0.9
    distillation_epochs: int = 300
    kept: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = isinstance(field.default, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                kind = "an integer" if whole else "a number"
                raise InvalidParameterError(f"{field.name} must be {kind}, got {value!r:.40}.")
            if not (math.isfinite(value) and value >= 0):
                raise InvalidParameterError(f"{field.name} must be finite and at least 0, got {value}.")
        for name in (
            "batch_size",
            "vertices",
            "epochs",
            "least_validation",
            "patience",
            "distillation_epochs",
            "kept",
        ):
            if getattr(self, name) < 1:
                raise InvalidParameterError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "start_rate", "network_rate", "clip_norm", "beta"):
            if getattr(self, name) <= 0:
                raise InvalidParameterError(f"{name} must be above 0, got {getattr(self, name)}.")
        for name in ("epoch_fraction", "validation_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise InvalidParameterError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}.")
        if self.weighting_memory >= 1:
            raise InvalidParameterError(f"weighting_memory must be below 1, got {self.weighting_memory}.")

    def epoch_steps(self, images: int) -> int:
        """Return the number of steps in an epoch for a number of training images.

        Examples
        --------
        >>> Recipe().epoch_steps(9000)
        14
        """
        return max(1, round(self.epoch_fraction * (images // self.batch_size)))

    def validated(self, images: int) -> int:
        """Return on how many of the validation images an epoch's r is computed.

        Examples
        --------
        >>> Recipe().validated(300), Recipe().validated(2000)
        (256, 500)
        """
        return min(images, max(self.least_validation, math.ceil(self.validation_fraction * images)))


FULL_RECIPE = replace(Recipe(), network_rate=0.1)
"""Recipe of the stage ``full``: the published one, with a tenth of its rate for adapters and heads, which begin as a
donor's. At the published rate, the first steps undo more of them than the later ones find."""

SELECTORS_RECIPE = replace(Recipe(), learning_rate=1e-3, start_rate=1e-3, epoch_fraction=1.0, epochs=100, patience=10)
"""Recipe of the stage ``selectors``: an epoch is a pass, and the rate suits numbers that are a vertex's own."""

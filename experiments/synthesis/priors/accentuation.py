"""Feature accentuation: a photograph, changed so that a region responds more, while an early layer sees it alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from jaxtyping import Array, Num

from ....errors import InvalidParameterError
from ....model.encoding_model import EncodingModel
from .. import augmentations
from ..optimize import Result, optimize
from ..parametrizations.fourier import phases_of
from .features import feature_distance, network_tokens

_OPTIMIZER = optax.adam(0.02)


def accentuate(
    model: EncodingModel,
    objective: Callable[..., Array],
    photograph: Num[np.ndarray, "3 height width"],
    *,
    weight: float = 1.0,
    features: Callable[[Array], Array] | None = None,
    n: int = 1,
    steps: int = 128,
    optimizer: optax.GradientTransformation = _OPTIMIZER,
    **options: Any,
) -> Result:
    """Return a photograph changed so that an objective rises and the photograph stays recognizable.

    The phases of its Fourier coefficients move, and their magnitudes stay. The distance from the photograph in
    features is subtracted. Small random crops keep the changes smooth.

    Parameters
    ----------
    model, objective
        See :func:`~berg_jax.experiments.synthesis.optimize.optimize`; the objective is of single images.
    photograph
        Image (3, height, width) in 0–255.
    weight
        Price of the distance, in the objective's unit (z), for a distance as long as the photograph's own features.
    features
        Function images → features in which the distance is measured; by default the tokens of the model's own network
        after a quarter of its blocks.
    n, steps, optimizer, options
        See :func:`~berg_jax.experiments.synthesis.optimize.optimize`.

    Returns
    -------
    The result, whose values are the objective less the price.

    Raises
    ------
    StimulusError
        It is no image in 0–255.
    InvalidParameterError
        The weight is below 0; or as of :func:`~berg_jax.experiments.synthesis.optimize.optimize`.

    See Also
    --------
    berg_jax.experiments.synthesis.priors.variation.vary : Change a photograph along a diffusion model.
    berg_jax.experiments.synthesis.priors.within : Limit the change by a norm of the pixels instead.

    References
    ----------
    Hamblin, Fel, Saha, Konkle, Alvarez 2024, *Feature accentuation: revealing 'what' features respond to in natural
    images*, arXiv:2402.10039.

    Examples
    --------
    ::

        subject = berg_jax.Subject("demo", 1)
        vertices, area = union(subject, {"faces": "FFA-1 + FFA-2"})
        result = accentuate(subject.model(vertices), mean(area["faces"]), photograph, weight=2.0)
    """
    if weight < 0:
        raise InvalidParameterError(f"weight must be at least 0, got {weight}.")
    if features is None:
        features = network_tokens(model, model.config.parts[0][1].vit.depth // 4)
    options = {"augment": augmentations.crops(0.9, 1.0), **options}
    parametrization = phases_of(photograph)
    penalties = weight * feature_distance(photograph, features) if weight else None
    return optimize(
        model, objective, parametrization, n=n, steps=steps, optimizer=optimizer, penalties=penalties, **options
    )

"""Features of images, and the penalty of a distance in them: of the encoder's own network, or of a stock DINOv2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ....convert.dinov2 import Backbone
from ....errors import InvalidParameterError
from ....model.encoding_model import EncodingModel, pixels_of
from ....model.images import check_images
from ....model.nn.config import ViTConfig
from ....model.nn.precision import PRECISIONS
from ....model.nn.vit import ViT
from ..functions import Function, as_function

_TINY = 1e-12

Images = Float[Array, "n 3 224 224"]


def network_tokens(model: EncodingModel, block: int) -> Function:
    """Return the function images → tokens (n, 257 · width) after a block of a model's own network.

    Parameters
    ----------
    model
        The model; of several parts the first counts.
    block
        Block of the network, from 0; negative ones count from the last.

    Raises
    ------
    InvalidParameterError
        There is no such block.

    See Also
    --------
    feature_distance : Penalize a distance in such features.
    """
    name, part = model.config.parts[0]
    depth = part.vit.depth
    if not -depth <= block < depth:
        raise InvalidParameterError(f"block must be from {-depth} to {depth - 1}, got {block}.")
    tokens = _Tokens(part.vit, block % depth, model.config.precision, whole=True)
    return Function(tokens, (model.params[name]["vit"],))


def class_token(backbone: Backbone | EncodingModel) -> Function:
    """Return the function images → class token after the last block, of unit length.

    Distances between two are from 0, the same direction, to 2.

    Parameters
    ----------
    backbone
        A stock DINOv2 (:func:`berg_jax.convert.dinov2.load_dinov2`), or a model, whose network is a DINOv2 that was
        adapted to the subject's responses.

    See Also
    --------
    berg_jax.experiments.synthesis.priors.variation.vary : Variations, with their distances in features.
    """
    if isinstance(backbone, Backbone):
        config, params, precision = backbone.config, backbone.params, "float32"
    else:
        (name, part), *_ = backbone.config.parts
        config, params, precision = part.vit, backbone.params[name]["vit"], backbone.config.precision
    tokens = _Tokens(config, config.depth - 1, precision, whole=False)
    return Function(tokens, (jax.tree.map(jnp.asarray, params),))


def feature_distance(photograph: Num[np.ndarray, "3 height width"], features: Callable[[Array], Array]) -> Function:
    """Return the penalty of the distance from a photograph in features, as a share of its features' length.

    Parameters
    ----------
    photograph
        Image in 0–255.
    features
        Function images → features (n, …), such as :func:`network_tokens` or any other that JAX differentiates.

    See Also
    --------
    berg_jax.experiments.synthesis.priors.penalties.distance : The distance in pixels.

    Examples
    --------
    >>> def grey(images):
    ...     return images.mean(axis=(1, 2, 3))[:, None]
    >>> penalty = feature_distance(np.full((3, 8, 8), 100.0), grey)
    >>> penalty(jnp.full((1, 3, 8, 8), 150.0)).round(3).tolist()
    [0.5]
    """
    photograph = np.asarray(photograph)
    check_images(photograph[None])
    features = as_function(features)
    target = jnp.asarray(features(jnp.asarray(photograph[None], float))).reshape(1, -1)
    return Function(_feature_distance, (features, target))


def _feature_distance(features: Function, target: Float[Array, "1 d"], images: Images) -> Float[Array, " n"]:
    difference = features(images).reshape(len(images), -1) - target
    return jnp.sqrt((difference**2).sum(axis=1) + _TINY) / jnp.sqrt((target**2).sum() + _TINY)


class _Tokens:
    """Tokens of a network after one block; equal ones of the same network share a program."""

    def __init__(self, config: ViTConfig, block: int, precision: str, whole: bool):
        self.key = (config, block, precision, whole)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tokens) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, params: dict[str, Any], images: Images) -> Float[Array, "n d"]:
        config, block, precision, whole = self.key
        pixels = pixels_of(images, precision)
        _, taps = ViT(config, PRECISIONS[precision], (block,)).apply({"params": params}, pixels)
        if whole:
            return taps[block].reshape(len(images), -1)
        token = taps[block][:, 0]
        return token / (jnp.linalg.norm(token, axis=1, keepdims=True) + _TINY)

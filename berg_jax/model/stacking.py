"""Several people's models in one program, for experiments on groups."""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from ..errors import InvalidParameterError
from .encoding_model import EncodingModel
from .nn.readout import TILE, tile_count


@flax.struct.dataclass
class StackedModel:
    """The models of several people, of chosen vertices each, as one function of images. A pytree.

    Attributes
    ----------
    models
        One model whose arrays have the subjects as their first axis.
    mask
        (subjects, vertices) which columns are a subject's own; the others pad it to the longest.
    """

    models: EncodingModel
    mask: Bool[Array, "subjects vertices"]

    def __call__(self, images: Num[Array, "batch 3 height width"]) -> Float[Array, "subjects batch vertices"]:
        """Each subject's responses (z units) to the same images; 0 where ``mask`` is false.

        Raises
        ------
        StimulusError
            The shape or type of the images is wrong.
        """
        return _responses(self, images)


@jax.jit
def _responses(stacked: StackedModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "s b v"]:
    responses = jax.vmap(lambda model: model(images))(stacked.models)
    return jnp.where(stacked.mask[:, None], responses, 0)


def stack(models: Sequence[EncodingModel]) -> StackedModel:
    """Models of several people → one program that answers for all of them.

    Parameters
    ----------
    models
        Of networks of the same sizes and precision, such as ``[person.model(roi="FFA-1") for person in people]``.
        They may have different numbers of vertices.

    Raises
    ------
    InvalidParameterError
        There are no models, or their networks are of different sizes, precisions or parts.

    Examples
    --------
    >>> from berg_jax import load
    >>> from berg_jax.demo import images
    >>> group = stack([load("demo", person, roi="FFA-1") for person in (1, 2)])
    >>> group(images("faces", 3)).shape[:2]
    (2, 3)
    """
    models = list(models)
    if not models:
        raise InvalidParameterError("stack needs at least one model, got none.")
    configs = {model.config for model in models}
    if len(configs) > 1:
        parts = [[name for name, _ in model.config.parts] for model in models]
        raise InvalidParameterError(
            "Models can be stacked if their networks have the same sizes, precision, crop and parts; these differ: "
            f"parts {parts}, {len(configs)} configurations. Choose vertices that lie in the same parts (ROIs of "
            "nsdgeneral lie in part 1), load all with the same options, and do not crop."
        )
    (config,) = configs
    tiles = {name: tile_count(max(len(model.corners[name]) for model in models)) for name, _ in config.parts}
    columns = max(len(model.order) for model in models)
    padded = [_padded(model, tiles, columns) for model in models]
    mask = np.arange(columns) < np.array([[len(model.order)] for model in models])
    return StackedModel(jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded), jnp.asarray(mask))


def _padded(model: EncodingModel, tiles: dict[str, int], columns: int) -> EncodingModel:
    """The model with so many tiles in each part and so many columns; the added ones are empty."""
    order = np.asarray(model.order)
    moved, old, new = order.copy(), 0, 0
    params, corners = {}, {}
    for name, _ in model.config.parts:
        count = len(model.corners[name])
        inside = (order >= old) & (order < old + count * TILE)
        moved[inside] += new - old
        old, new = old + count * TILE, new + tiles[name] * TILE
        more = tiles[name] - count
        corners[name] = jnp.pad(model.corners[name], (0, more))
        tables = {
            key: jnp.pad(table, ((0, more), *((0, 0),) * (table.ndim - 1)))
            for key, table in model.params[name]["readout"].items()
        }
        params[name] = {**model.params[name], "readout": tables}
    more = columns - len(order)
    return model.replace(
        params=params,
        corners=corners,
        order=jnp.asarray(np.pad(moved, (0, more))),
        vertices=jnp.pad(model.vertices, (0, more), constant_values=-1),
    )

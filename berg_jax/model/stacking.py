"""Stacked models: several subjects' models in one program, for experiments on groups."""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from ..errors import InvalidParameterError
from .encoding_model import EncodingModel
from .images import check_shape, check_values
from .nn.readout import TILE, tile_count
from .replicas import placed_like, without_filling


@flax.struct.dataclass
class StackedModel:
    """The models of several subjects, each of selected vertices, as one function of images; a pytree.

    Attributes
    ----------
    models
        One model whose arrays have the subjects as their first axis.
    mask
        (subjects, vertices) which columns are the subject's own. The others fill it up to the largest number of
        vertices.

    See Also
    --------
    stack : Make a stacked model.
    """

    models: EncodingModel
    mask: Bool[Array, "subjects vertices"]

    def __repr__(self) -> str:
        """Return one line: the numbers of subjects and of vertices, and the precision."""
        subjects, columns = np.shape(self.mask)
        return f"StackedModel({subjects} subjects, at most {columns:,} vertices each, {self.models.config.precision})"

    def __call__(
        self, images: Num[Array, "batch 3 height width"], *, check: bool = True
    ) -> Float[Array, "subjects batch vertices"]:
        """Return each subject's responses (z units) to the same images; they are 0 where ``mask`` is false.

        Parameters
        ----------
        images
            NumPy or JAX array (batch, 3, height, width), square, RGB, integers or floats in 0–255.
        check
            Whether to check the values, too: see :meth:`EncodingModel.__call__`.

        Raises
        ------
        StimulusError
            The shape or type of the images is wrong, or values are not in 0–255 or look like 0–1.
        """
        (check_values if check else check_shape)(images)
        return without_filling(_responses(self, placed_like(self.mask, images)), len(images), axis=1)


@jax.jit
def _responses(stacked: StackedModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "s b v"]:
    responses = jax.vmap(lambda model: model(images))(stacked.models)
    return jnp.where(stacked.mask[:, None], responses, 0)


def stack(models: Sequence[EncodingModel]) -> StackedModel:
    """Stack the models of several subjects into one program that computes the responses of all.

    Parameters
    ----------
    models
        Models whose networks have the same sizes and precision, such as
        ``[subject.model(roi="FFA-1") for subject in subjects]``. They may have different numbers of vertices.

    Returns
    -------
    The stacked model.

    Raises
    ------
    InvalidParameterError
        There are no models, or their networks differ in sizes, precision or parts.

    See Also
    --------
    berg_jax.load : Load one model.
    berg_jax.value_and_pixel_gradient : Gradients of functions of all subjects' responses.

    Examples
    --------
    >>> from berg_jax import load
    >>> from berg_jax.demo import images
    >>> group = stack([load("demo", subject_id, roi="FFA-1") for subject_id in (1, 2)])
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
    """Return the model with the given numbers of tiles in each part and of columns; the added ones are empty."""
    order = np.asarray(model.order)
    new_order = order.copy()
    old_offset, new_offset = 0, 0
    params, corners = {}, {}
    for name, _ in model.config.parts:
        count = len(model.corners[name])
        in_this_part = (order >= old_offset) & (order < old_offset + count * TILE)
        new_order[in_this_part] += new_offset - old_offset
        old_offset += count * TILE
        new_offset += tiles[name] * TILE
        added_tiles = tiles[name] - count
        corners[name] = jnp.pad(model.corners[name], (0, added_tiles))
        tables = {
            key: jnp.pad(table, ((0, added_tiles), *((0, 0),) * (table.ndim - 1)))
            for key, table in model.params[name]["readout"].items()
        }
        params[name] = {**model.params[name], "readout": tables}
    added_columns = columns - len(order)
    return model.replace(
        params=params,
        corners=corners,
        order=jnp.asarray(np.pad(new_order, (0, added_columns))),
        global_indices=jnp.pad(model.global_indices, (0, added_columns), constant_values=-1),
    )

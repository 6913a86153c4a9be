"""Sanity checks of attribution maps: randomized weights, and deletion and insertion curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Num
from scipy.stats import rankdata

from ...errors import InvalidParameterError
from ...model.encoding_model import EncodingModel
from ...model.images import check_values
from ..synthesis.ascent import Model
from ..synthesis.functions import as_function
from ..synthesis.judging.judge import score
from .attribution import GREY, Maps, _as_pytree

BLOCKS = 16  # blocks along each side of an image, which are the network's patches at 224 pixels


class Curves(NamedTuple):
    """Deletion and insertion curves of attribution maps, beside those of random orders.

    Attributes
    ----------
    share
        (points,) share of the image that is deleted or inserted, 0 to 1.
    deletion, insertion
        (n, points) the objective as the most important blocks are deleted from, or inserted into, an image first.
    random_deletion, random_insertion
        (n, points) the same in random order, averaged over draws.
    """

    share: Float[np.ndarray, " points"]
    deletion: Float[np.ndarray, "n points"]
    insertion: Float[np.ndarray, "n points"]
    random_deletion: Float[np.ndarray, "n points"]
    random_insertion: Float[np.ndarray, "n points"]

    @property
    def gain(self) -> Float[np.ndarray, " n"]:
        """Area by which insertion lies above and deletion below the random order, in the objective's unit."""
        inserted = np.trapezoid(self.insertion - self.random_insertion, self.share, axis=1)
        deleted = np.trapezoid(self.random_deletion - self.deletion, self.share, axis=1)
        return (inserted + deleted) / 2


def randomized(model: EncodingModel, seed: int = 0) -> EncodingModel:
    """Return the model with the weights of its network shuffled, array by array; its readout stays.

    A map that is alike for both does not depend on what the network has learned.

    Parameters
    ----------
    model
        The model.
    seed
        Seed of the order.

    See Also
    --------
    likeness : How alike two maps are.

    References
    ----------
    Adebayo et al. 2018, *Sanity checks for saliency maps*, NeurIPS.
    """
    random = np.random.default_rng(seed)

    def shuffled(leaf: Array) -> Array:
        flat = random.permutation(np.asarray(leaf).ravel())
        return jax.numpy.asarray(flat.reshape(leaf.shape), leaf.dtype)

    params = {
        name: {**part, **jax.tree.map(shuffled, {key: part[key] for key in ("vit", "heads")})}
        for name, part in model.params.items()
    }
    return model.replace(params=params)


def likeness(first: Maps, second: Maps) -> Float[np.ndarray, " n"]:
    """Return Spearman's correlation of the maps' absolute values, for each image.

    Parameters
    ----------
    first, second
        Maps (n, height, width).

    Examples
    --------
    >>> maps = np.arange(4.0).reshape(1, 2, 2)
    >>> likeness(maps, -maps).round(6).tolist()
    [1.0]
    """
    ranks = [rankdata(np.abs(maps).reshape(len(maps), -1), axis=1) for maps in (first, second)]
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(*ranks, strict=True)])


def deletion_and_insertion(
    model: Model,
    objective: Callable[..., Array],
    images: Num[np.ndarray, "n 3 height width"],
    maps: Maps,
    *,
    points: int = 9,
    draws: int = 8,
    baseline: float = GREY,
    seed: int = 0,
    batch: int = 8,
) -> Curves:
    """Return the objective as blocks of an image are deleted or inserted in the order of a map.

    An image has 16 × 16 blocks, and a block's importance is the sum of the map in it. A faithful map makes the
    objective fall faster than a random order when the most important blocks are deleted, and rise faster when they
    are inserted.

    Parameters
    ----------
    model, objective, images, baseline, batch
        See :func:`~berg_jax.experiments.explanation.attribution.gradient_times_input`.
    maps
        Maps of the images, (n, height, width).
    points
        Number of points of a curve, at least 2.
    draws
        Number of random orders.
    seed
        Seed of the random orders.

    Raises
    ------
    StimulusError
        They are no images in 0–255.
    InvalidParameterError
        The maps do not fit the images, whose side must be a multiple of 16; or a number is too small.

    References
    ----------
    Petsiuk, Das, Saenko 2018, *RISE: randomized input sampling for explanation of black-box models*, BMVC.
    """
    check_values(images)
    images = np.asarray(images, np.float32)
    n, _, size, _ = images.shape
    if maps.shape != (n, size, size) or size % BLOCKS:
        raise InvalidParameterError(
            f"Give a map for each image, whose side is a multiple of {BLOCKS}: got {maps.shape} for {images.shape}."
        )
    if points < 2 or draws < 1:
        raise InvalidParameterError(f"Give at least 2 points and 1 draw, got {points} and {draws}.")
    model, objective = _as_pytree(model), as_function(objective)
    side = size // BLOCKS
    importance = maps.reshape(n, BLOCKS, side, BLOCKS, side).sum(axis=(2, 4)).reshape(n, -1)
    counts = np.linspace(0, BLOCKS**2, points).round().astype(int)

    def curve(rank: Float[np.ndarray, "n blocks"], deleted: bool) -> Float[np.ndarray, "n points"]:
        values = []
        for count in counts:
            chosen = (rank < count) != deleted  # blocks that are shown
            shown = np.kron(chosen.reshape(n, 1, BLOCKS, BLOCKS), np.ones((side, side), bool))
            values.append(score(model, objective, np.where(shown, images, np.float32(baseline)), batch=batch))
        return np.stack(values, axis=1)

    ranked = np.argsort(np.argsort(-importance, axis=1, kind="stable"), axis=1)
    random = np.random.default_rng(seed)
    orders = [random.permuted(np.tile(np.arange(BLOCKS**2), (n, 1)), axis=1) for _ in range(draws)]
    return Curves(
        share=counts / BLOCKS**2,
        deletion=curve(ranked, True),
        insertion=curve(ranked, False),
        random_deletion=np.mean([curve(order, True) for order in orders], axis=0),
        random_insertion=np.mean([curve(order, False) for order in orders], axis=0),
    )

"""AdamW with the published schedule; any other optax transformation may take its place."""

from __future__ import annotations

from typing import Any

import jax
import optax

from ..recipe import Recipe

# Last names of tensors without weight decay: biases, norms, and a vertex's own numbers, whose zero means something.
UNDECAYED = ("bias", "scale", "logits", "position")


def schedule(recipe: Recipe, epoch_steps: int) -> optax.Schedule:
    """Return the learning rate by step: a linear rise over the warm-up epochs, then a constant.

    Parameters
    ----------
    recipe
        The recipe.
    epoch_steps
        Steps in an epoch.

    Examples
    --------
    >>> rate = schedule(Recipe(), epoch_steps=4)
    >>> [round(float(rate(step)), 6) for step in (0, 20, 40, 400)]
    [0.0001, 0.0002, 0.0003, 0.0003]
    """
    steps = recipe.warmup_epochs * epoch_steps
    if not steps:
        return optax.constant_schedule(recipe.learning_rate)
    return optax.linear_schedule(recipe.start_rate, recipe.learning_rate, steps)


def decays(params: Any) -> Any:
    """Return for each tensor whether it has weight decay: not biases, norms, nor the selectors' own numbers.

    Examples
    --------
    >>> decays({"kernel": 1.0, "bias": 0.0, "norm_0": {"scale": 1.0}})
    {'bias': False, 'kernel': True, 'norm_0': {'scale': False}}
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in UNDECAYED, params)


def in_network(params: Any) -> Any:
    """Return for each tensor whether it is the network's, not the vertices' readout or selectors."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key in ("vit", "heads"), params)


def adamw(recipe: Recipe, epoch_steps: int) -> optax.GradientTransformation:
    """Return AdamW with the recipe's schedule, weight decay, and clipping by the global norm.

    Parameters
    ----------
    recipe
        The recipe.
    epoch_steps
        Steps in an epoch.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter (2019). Decoupled weight decay regularization. International Conference on
       Learning Representations.
    """
    return optax.chain(
        optax.clip_by_global_norm(recipe.clip_norm),
        optax.adamw(schedule(recipe, epoch_steps), weight_decay=recipe.weight_decay, mask=decays),
        optax.masked(optax.scale(recipe.network_rate), in_network),
    )

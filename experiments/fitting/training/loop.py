"""Training in epochs: validation, early stopping, vertex weights, checkpoints, and the soup at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float, Int

from ....errors import Interrupted
from ..recipe import Recipe
from .checkpoints import Checkpoints
from .data import Data, Devices, validated_images
from .losses import Loss, Regularizer, entropy, smooth_l1
from .optimizers import adamw
from .scores import averaged_rise, mean_r, merged, pearson, vertex_weights
from .soup import greedy_soup
from .steps import Predict, TrainState, combine, init, moments_of, step_of

_merged = jax.jit(merged)
OnEpoch = Callable[[int, float, float], None]


class Curves(NamedTuple):
    """Record of a training.

    Attributes
    ----------
    loss
        Mean loss of each epoch's steps, without regularizers and vertex weights.
    validation_r
        Mean Pearson r over vertices, before training and after each epoch, on the images of an epoch's validation.
    vertex_r
        r of each vertex with the parameters that were returned, on the same images; NaN if not measured there.
    members
        Epochs in the soup that was returned; 0 are the parameters before training.
    score
        Mean of ``vertex_r``.
    skipped
        Steps that were left out because a number was not finite.
    stopped
        Whether training stopped because r no longer rose.
    """

    loss: Float[np.ndarray, " epochs"]
    validation_r: Float[np.ndarray, " epochs+1"]
    vertex_r: Float[np.ndarray, " rows"]
    members: tuple[int, ...]
    score: float
    skipped: int
    stopped: bool


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training besides the recipe, all of them exchangeable.

    Attributes
    ----------
    loss
        A loss (default: smooth L1 with the recipe's β).
    regularizers
        Regularizers (default: the entropy of the layer weights, with the recipe's weight).
    optimizer
        An optax transformation (default: AdamW with the recipe's schedule).
    devices
        Number of local devices, or the devices themselves (default: all).
    save_seconds
        Least time between two saved states.
    on_epoch
        Function (epoch, loss, validation r), called after each epoch.
    should_stop
        Function that says whether to stop after the epoch at hand; the state is saved, and Interrupted raised.
    """

    loss: Loss | None = None
    regularizers: Sequence[Regularizer] | None = None
    optimizer: optax.GradientTransformation | None = None
    devices: Any = None
    save_seconds: float = 120
    on_epoch: OnEpoch | None = None
    should_stop: Callable[[], bool] | None = None

    def settings(self) -> dict[str, Any]:
        """Return what a checkpoint records of them: the names of functions that were given."""
        regularizers = None if self.regularizers is None else [_name(term) for term in self.regularizers]
        loss = None if self.loss is None else _name(self.loss)
        optimizer = None if self.optimizer is None else _name(self.optimizer.update)
        return {"loss": loss, "regularizers": regularizers, "optimizer": optimizer}


@dataclass
class Records:
    """Records of the epochs so far, and the best of them."""

    r: Float[np.ndarray, " rows"]  # of each vertex, after the last epoch
    rise: Float[np.ndarray, " rows"]
    validation_r: list[float]
    loss: list[float] = field(default_factory=list)
    best: list[int] = field(default_factory=lambda: [0])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the records as arrays."""
        return {item.name: np.asarray(getattr(self, item.name)) for item in dataclasses.fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Records:
        """Return the records from arrays."""
        lists = {name: arrays[name].tolist() for name in ("validation_r", "loss", "best")}
        return cls(arrays["r"], arrays["rise"], **lists)

    @property
    def epoch(self) -> int:
        """Number of epochs made."""
        return len(self.loss)

    def exhausted(self, patience: int) -> bool:
        """Return whether r has not risen for so many epochs."""
        return self.epoch - int(np.argmax(self.validation_r)) >= patience


def train(
    predict: Predict,
    params: Any,
    is_trained: Callable[[tuple[str, ...]], bool],
    data: Data,
    *,
    recipe: Recipe,
    seed: int,
    folder: str | Path | None,
    settings: Mapping[str, Any],
    options: TrainingOptions,
) -> tuple[Any, Curves]:
    """Train by the recipe, and return the soup of the best epochs' parameters.

    Epoch 0, before training, is a candidate, too: what is returned has at least its validation r.

    Parameters
    ----------
    predict
        Function (params, inputs, rows, key) → prediction.
    params
        Nested dicts of arrays to start from.
    is_trained
        Function path → whether a tensor is trained.
    data
        Images, responses and split; images in neither part are never read.
    recipe, seed
        The recipe, and the seed of all random numbers.
    folder
        Folder of the checkpoints, from which a run that was killed goes on to the same bits; None for none.
    settings
        What else the numbers depend on; a folder with other settings is refused.
    options
        Loss, regularizers, optimizer, devices.

    Raises
    ------
    IntegrityError
        The folder holds a checkpoint of another fit, or a damaged one.
    Interrupted
        It was asked to stop; the same call goes on.
    """
    devices = Devices(options.devices)
    loss = partial(smooth_l1, beta=recipe.beta) if options.loss is None else options.loss
    regularizers = (
        (partial(entropy, weight=recipe.entropy),) if options.regularizers is None else options.regularizers
    )
    steps = recipe.epoch_steps(len(data.train))
    optimizer = adamw(recipe, steps) if options.optimizer is None else options.optimizer
    step = step_of(predict, optimizer, loss, tuple(regularizers))
    moments = moments_of(predict)
    watched = validated_images(data, recipe, seed)

    def validate(trained: Any) -> Float[np.ndarray, " rows"]:
        return _vertex_r(moments, devices, data, watched, recipe, trained, state.frozen)

    state = devices.copied(init(params, optimizer, is_trained, seed))
    everything = {"recipe": dataclasses.asdict(recipe), "seed": seed, **settings, **options.settings()}
    checkpoints = Checkpoints(None if folder is None else Path(folder), everything, options.save_seconds)
    state, records = _resumed(checkpoints, devices, state, data.rows)
    if not records.validation_r:
        records.r = validate(state.trained)
        records.validation_r.append(mean_r(records.r))
        checkpoints.keep(0, state.trained)

    saved = -1
    while records.epoch < recipe.epochs and not records.exhausted(recipe.patience):
        late = records.epoch >= recipe.weighting_epochs
        weights = vertex_weights(records.rise) if late else np.ones(data.rows, np.float32)
        values = []
        for number in range(records.epoch * steps, (records.epoch + 1) * steps):
            batch = devices.training_batch(data, recipe, seed, number, records.epoch, weights)
            state, metrics = step(state, batch)
            values.append(metrics["loss"])
        r = validate(state.trained)
        _record(records, checkpoints, state, [float(value) for value in values], r, recipe)
        if options.on_epoch is not None:
            options.on_epoch(records.epoch, records.loss[-1], records.validation_r[-1])
        stop = options.should_stop is not None and options.should_stop()
        if stop or checkpoints.due:
            _save(checkpoints, state, records)
            saved = records.epoch
        if stop:
            raise Interrupted(f"Stopped after epoch {records.epoch}. The same call goes on from there.")
    if saved != records.epoch:
        _save(checkpoints, state, records)

    candidates = [partial(checkpoints.kept, epoch, state.trained) for epoch in records.best]
    scores = [records.validation_r[epoch] for epoch in records.best]
    soup = greedy_soup(candidates, scores, lambda trained: mean_r(validate(devices.copied(trained))))
    vertex_r = validate(devices.copied(soup.params))
    curves = Curves(
        loss=np.array(records.loss),
        validation_r=np.array(records.validation_r),
        vertex_r=vertex_r,
        members=tuple(records.best[index] for index in soup.members),
        score=soup.score,
        skipped=int(state.skipped),
        stopped=records.exhausted(recipe.patience),
    )
    return combine(soup.params, state.frozen), curves


def _record(
    records: Records,
    checkpoints: Checkpoints,
    state: TrainState,
    losses: list[float],
    r: Float[np.ndarray, " rows"],
    recipe: Recipe,
) -> None:
    """Add an epoch to the records, and keep its parameters if it is among the best."""
    records.rise = averaged_rise(records.rise, records.r, r, recipe.weighting_memory)
    records.r = r
    records.loss.append(float(np.mean(losses)))
    records.validation_r.append(mean_r(r))
    ranked = sorted([*records.best, records.epoch], key=lambda epoch: (-records.validation_r[epoch], epoch))
    dropped = set(ranked[recipe.kept :])
    if records.epoch not in dropped:
        checkpoints.keep(records.epoch, state.trained)
    checkpoints.forget(dropped)
    records.best = ranked[: recipe.kept]


def _vertex_r(
    moments: Callable[..., Any],
    devices: Devices,
    data: Data,
    images: Int[np.ndarray, " images"],
    recipe: Recipe,
    trained: Any,
    frozen: Any,
) -> Float[np.ndarray, " rows"]:
    every = np.arange(data.rows)
    size = min(recipe.batch_size, len(images))
    parts = (
        moments(trained, frozen, devices.batch(data, images[start : start + size], every, size=size))
        for start in range(0, len(images), size)
    )
    return np.asarray(pearson(reduce(_merged, parts)))


def _tree(state: TrainState, records: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what a checkpoint holds: all but the frozen tensors."""
    return {"state": state.replace(frozen=None), "records": records}


def _save(checkpoints: Checkpoints, state: TrainState, records: Records) -> None:
    checkpoints.save(records.epoch, _tree(state, records.arrays()), records.best)


def _resumed(checkpoints: Checkpoints, devices: Devices, fresh: TrainState, rows: int) -> tuple[TrainState, Records]:
    empty = Records(np.zeros(rows, np.float32), np.zeros(rows), [])
    tree = checkpoints.restore(_tree(fresh, empty.arrays()))
    if tree is None:
        return fresh, empty
    state = devices.copied(tree["state"]).replace(frozen=fresh.frozen)
    return state, Records.of(tree["records"])


def _name(function: Any) -> str:
    options = getattr(function, "keywords", {})
    function = getattr(function, "func", function)
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    return f"{name} {options}" if options else name

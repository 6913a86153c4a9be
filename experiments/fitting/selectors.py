"""Stage ``selectors``: layer weights, receptive-field centers and readout by gradient, from kept feature maps.

    tables, curves, selectors = fit_selectors(features, responses, split, tables)

``features`` has ``maps`` (images, layers, 16, 16, width) and ``vectors`` (images, layers, width): arrays of any
floating type that are read by rows. ``responses`` is (images, rows) in z units, NaN where not measured. ``split`` has
``train`` and ``validation``, image numbers. ``tables`` are the donor's, or better those that the stage ``readout``
has left. What comes back never has a lower validation r than the start of the gradient, on the images of an epoch's
validation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...errors import InvalidParameterError, ValidationError
from ...model.encoding_model import check_precision
from ...model.nn.config import GRID
from ...model.nn.precision import PRECISIONS
from .recipe import SELECTORS_RECIPE, Recipe
from .tables import VertexTables
from .training.data import Data, digest, rows_of
from .training.grid_start import grid_start
from .training.loop import Curves, TrainingOptions, train
from .training.parametrizations import CONSTANTS, Parametrization, free
from .training.steps import Prediction
from .training.vertex_readout import predicted

STARTS = ("grid", "donor")


class FittedSelectors(NamedTuple):
    """What :func:`fit_selectors` returns.

    Attributes
    ----------
    tables
        The fitted tables, in the order of the given ones.
    curves
        Record of the training.
    selectors
        The parametrization with its fitted parameters, from which :func:`~berg_jax.experiments.fitting.fit_full` goes
        on if it is given.
    """

    tables: VertexTables
    curves: Curves
    selectors: Parametrization


def fit_selectors(
    features: Any,
    responses: Any,
    split: Any,
    tables: VertexTables,
    *,
    recipe: Recipe = SELECTORS_RECIPE,
    seed: int = 0,
    folder: str | Path | None = None,
    selectors: str | Parametrization = "free",
    start: str | None = None,
    search_images: int = 1000,
    precision: str | None = None,
    options: TrainingOptions = TrainingOptions(),
) -> FittedSelectors:
    """Fit layer weights, receptive-field centers and readouts of vertices; the network stays as it is.

    Parameters
    ----------
    features
        Kept features of the images: ``maps`` (images, layers, 16, 16, width), ``vectors`` (images, layers, width).
    responses
        (images, rows) measured responses in z units, averaged over trials; NaN where not measured.
    split
        Image numbers ``train`` and ``validation``. Other images are not read.
    tables
        Tables to start from, a row for each column of ``responses``.
    recipe
        Rates, regularizers, epochs.
    seed
        Seed of all random numbers.
    folder
        Folder of the checkpoints, of this fit alone, from which a run that was killed goes on; None for none.
    selectors
        ``"free"``: each vertex's own numbers, held near their start by the recipe's ``anchor``; or a parametrization,
        such as :func:`~berg_jax.experiments.fitting.training.parametrizations.coordinates` with the donor's networks.
    start
        ``"grid"``: a search over all cells of the maps and mixes of layers by ridge regression, which finds receptive
        fields far from the donor's (default for free selectors); ``"donor"``: the tables as they are.
    search_images
        Training images that this search reads at most.
    precision
        Precision of the readout's products (default: float32 on CPU, bfloat16 elsewhere).
    options
        Loss, regularizers, optimizer, devices, callbacks.

    Returns
    -------
    Tables, record of the training, and the fitted selectors.

    Raises
    ------
    InvalidParameterError
        An option has an invalid value.
    ValidationError
        Features, responses, tables and split do not match.
    IntegrityError
        The folder holds a checkpoint of another fit, or a damaged one.
    Interrupted
        ``options.should_stop`` asked to stop; the same call goes on.

    See Also
    --------
    fit_full : The network, too.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> draw = np.random.default_rng(0).normal
    >>> features = SimpleNamespace(maps=draw(size=(40, 2, 16, 16, 4)), vectors=draw(size=(40, 2, 4)))
    >>> split = SimpleNamespace(train=np.arange(30), validation=np.arange(30, 40))
    >>> donor = VertexTables(draw(size=(5, 4)), np.zeros(5), np.full((5, 2), 0.5), np.zeros((5, 2)))
    >>> few = {"start": "donor", "recipe": Recipe(epochs=2), "options": TrainingOptions(devices=1)}
    >>> fitted, curves, _ = fit_selectors(features, draw(size=(40, 5)), split, donor, **few)
    >>> fitted.rf_center.shape, curves.loss.shape
    ((5, 2), (2,))
    """
    tables = checked_tables(tables)
    maps, vectors = features.maps, features.vectors
    rows, width = tables.weight.shape
    data = Data.of(lambda images: (rows_of(maps, images), rows_of(vectors, images)), responses, split, rows)
    wanted = (data.responses.shape[0], tables.layer_weights.shape[1])
    if tuple(maps.shape) != (*wanted, GRID, GRID, width) or tuple(vectors.shape) != (*wanted, width):
        raise ValidationError(
            f"Expected maps {(*wanted, GRID, GRID, width)} and vectors {(*wanted, width)} like responses and tables, "
            f"got {tuple(maps.shape)} and {tuple(vectors.shape)}."
        )
    is_free = isinstance(selectors, str)
    if start is None:
        start = "grid" if is_free else "donor"
    if start not in STARTS or (start == "grid" and not is_free):
        raise InvalidParameterError(
            f"start must be one of {list(STARTS)}, and 'donor' for selectors that are not free; got {start!r:.40}."
        )
    if not isinstance(search_images, int) or search_images < 10:
        raise InvalidParameterError(f"search_images must be an integer of at least 10, got {search_images!r:.40}.")
    first = tables
    if start == "grid":
        first = grid_start(maps, vectors, responses, data.train, tables, seed=seed, most=search_images).tables
    parametrization = parametrized(selectors, first, recipe)
    kind = PRECISIONS[chosen_precision(precision)]

    def predict(params: Any, inputs: Any, rows: Array, key: Array | None) -> Prediction:
        maps, vectors = (jnp.moveaxis(x.astype(kind.accumulate), 1, 0) for x in inputs)
        return predicted(params, parametrization, rows, maps, vectors, kind, recipe.jitter, key)

    settings = {
        "stage": "selectors",
        "selectors": selectors if is_free else digest(*jax.tree.leaves(parametrization.params)),
        "start": start,
        "search_images": search_images,
        "precision": kind.name,
        **data_settings(data, tables),
        "features": digest(vectors),
    }
    params = {"selectors": parametrization.params, "readout": {"weight": first.weight, "bias": first.bias}}
    params, curves = train(
        predict,
        params,
        is_trained,
        data,
        recipe=recipe,
        seed=seed,
        folder=folder,
        settings=settings,
        options=options,
    )
    tables, fitted = fitted_of(params, parametrization)
    return FittedSelectors(tables, curves, fitted)


def parametrized(selectors: str | Parametrization, tables: VertexTables, recipe: Recipe) -> Parametrization:
    """Return the selectors' parametrization by its name, or the one that is given.

    Raises
    ------
    InvalidParameterError
        There is no such parametrization.
    ValidationError
        It has other vertices than the tables.
    """
    if selectors == "free":
        return free(tables, anchor=recipe.anchor)
    if not isinstance(selectors, Parametrization):
        raise InvalidParameterError(
            f"selectors must be 'free' or a Parametrization, such as coordinates(networks, rows); got "
            f"{selectors!r:.60}."
        )
    weights, _ = jax.eval_shape(selectors.tables, selectors.params, np.arange(len(tables.bias)))
    known = selectors.params.get("encoding", tables.bias)
    if weights.shape != tables.layer_weights.shape or len(known) != len(tables.bias):
        raise ValidationError(
            f"The selectors are of {len(known)} vertices and {weights.shape[1]} layers, the tables of "
            f"{len(tables.bias)} and {tables.layer_weights.shape[1]}."
        )
    return selectors


def is_trained(path: tuple[str, ...]) -> bool:
    """Return whether a tensor is trained: readout, heads, adapters, and selectors except their constants."""
    if path[0] == "selectors":
        return path[1] not in CONSTANTS
    return path[0] in ("readout", "heads") or path[-1] in ("lora_down", "lora_up")


def chosen_precision(precision: str | None) -> str:
    """Return a precision by its name, or the default of the device: float32 on CPU, bfloat16 elsewhere.

    Raises
    ------
    InvalidParameterError
        There is no such precision, or it needs 64-bit types.
    """
    if precision is None:
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return check_precision(precision).name


def checked_tables(tables: VertexTables) -> VertexTables:
    """Return the tables as float32 arrays.

    Raises
    ------
    ValidationError
        Their shapes do not match, or a number is not finite.
    """
    arrays = VertexTables(*(np.asarray(table, np.float32) for table in tables))
    rows = arrays.bias.shape[0] if arrays.bias.ndim == 1 else -1
    shapes = [table.shape for table in arrays]
    if (
        not rows > 0
        or [len(shape) for shape in shapes] != [2, 1, 2, 2]
        or {shape[0] for shape in shapes} != {rows}
        or shapes[3][1] != 2
    ):
        raise ValidationError(f"The tables' shapes do not match: {shapes}.")
    if not all(np.isfinite(table).all() for table in arrays):
        raise ValidationError("The tables hold NaN or infinity. Leave out the vertices that have them.")
    return arrays


def data_settings(data: Data, tables: VertexTables) -> dict[str, Any]:
    """Return hashes of responses, split, tables and teacher, by which a checkpoint tells fits apart."""
    return {
        "responses": digest(data.responses),
        "split": digest(data.train, data.validation),
        "tables": digest(*tables),
        "teacher": None if data.teacher is None else digest(data.teacher),
    }


def fitted_of(params: dict[str, Any], parametrization: Parametrization) -> tuple[VertexTables, Parametrization]:
    """Return the tables of all vertices from trained parameters, and the parametrization with its own."""
    every = jnp.arange(len(params["readout"]["bias"]))
    found = jax.jit(parametrization.tables)(params["selectors"], every)
    values = (params["readout"]["weight"], params["readout"]["bias"], *found)
    tables = VertexTables(*(np.asarray(value, np.float32) for value in values))
    return tables, parametrization._replace(params=jax.tree.map(np.asarray, params["selectors"]))

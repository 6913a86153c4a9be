"""Stage ``full``: low-rank adapters, heads, selectors and readout by gradient through the network.

    part, tables, curves, selectors = fit_full(part, images, responses, split, tables)

``part`` is a donor's network, as :func:`berg_jax.model.checkpoint.read_part` returns it. ``images`` is a function
image numbers → uint8 array (n, 3, height, width), or an array that is read by rows. ``responses``, ``split`` and
``tables`` are those of :func:`~berg_jax.experiments.fitting.selectors.fit_selectors`; ``tables`` are best those that
the stage before has left. What comes back never has a lower validation r than these, on the images of an epoch's
validation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from ...errors import InvalidParameterError, ValidationError
from ...model.encoding_model import Part
from ...model.images import check_images
from ...model.nn.config import ComputePlan
from ...model.nn.precision import PRECISIONS
from ...model.programs import features_of, pixels_of
from .recipe import FULL_RECIPE, Recipe
from .selectors import checked_tables, chosen_precision, data_settings, fitted_of, is_trained, parametrized
from .tables import VertexTables
from .training.data import Data, digest
from .training.loop import Curves, TrainingOptions, train
from .training.parametrizations import Parametrization
from .training.steps import Predict, Prediction
from .training.vertex_readout import predicted

Images = Callable[[np.ndarray], np.ndarray]


class FittedNetwork(NamedTuple):
    """What :func:`fit_full` returns.

    Attributes
    ----------
    part
        The fitted network with the fitted tables as its ``readout``, of the donor's vertices.
    tables
        The fitted tables, in the order of the given ones.
    curves
        Record of the training.
    selectors
        The parametrization with its fitted parameters.
    """

    part: Part
    tables: VertexTables
    curves: Curves
    selectors: Parametrization


def fit_full(
    part: Part,
    images: Images | Any,
    responses: Any,
    split: Any,
    tables: VertexTables,
    *,
    recipe: Recipe = FULL_RECIPE,
    seed: int = 0,
    folder: str | Path | None = None,
    teacher: Any = None,
    selectors: str | Parametrization = "free",
    precision: str | None = None,
    compute_plan: ComputePlan | None = None,
    options: TrainingOptions = TrainingOptions(),
) -> FittedNetwork:
    """Fit the adapters, heads, selectors and readouts; DINOv2's own weights stay as they are.

    The rest of a step's memory is kept small by computing each block of the network again in the backward pass.

    Parameters
    ----------
    part
        The donor's network. Its weights' readout is not used.
    images
        Function image numbers → uint8 images (n, 3, height, width), square, RGB; or an array that is read by rows.
        The numbers are ascending, each once.
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
    teacher
        (images, rows) noiseless responses of a teacher, from which the loss passes to the measured ones.
    selectors
        See :func:`~berg_jax.experiments.fitting.selectors.fit_selectors`.
    precision
        Precision of the products (default: float32 on CPU, bfloat16 elsewhere). Parameters are float32 throughout.
    compute_plan
        Forms of the network's computations; Winograd's form cannot be trained.
    options
        Loss, regularizers, optimizer, devices, callbacks.

    Returns
    -------
    Network, tables, record of the training, and the fitted selectors.

    Raises
    ------
    InvalidParameterError
        An option has an invalid value, or the network has no adapters.
    ValidationError
        Network, responses, tables and split do not match.
    StimulusError
        The images are not in the form that the model takes.
    IntegrityError
        The folder holds a checkpoint of another fit, or a damaged one.
    Interrupted
        ``options.should_stop`` asked to stop; the same call goes on.

    See Also
    --------
    fit_selectors : Selectors and readout alone, from kept features.
    """
    tables = checked_tables(tables)
    config = part.config
    if not config.vit.lora_rank:
        raise InvalidParameterError("The donor's network has no low-rank adapters to train. Load it unfused.")
    sizes = tables.weight.shape[1], tables.layer_weights.shape[1]
    if sizes != (config.width, len(config.layers)):
        raise ValidationError(
            f"The tables are of {sizes[0]} features and {sizes[1]} layers, the network has {config.width} and "
            f"{len(config.layers)}."
        )
    data = Data.of(_checked(images), responses, split, len(tables.bias), teacher)
    name = chosen_precision(precision)
    plan = (
        ComputePlan(rematerialize=True, narrow_products=name == "bfloat16") if compute_plan is None else compute_plan
    )
    if plan.winograd:
        raise InvalidParameterError("Winograd's form of the convolutions cannot be trained.")
    weights = part.weights() if callable(part.weights) else part.weights
    network = {key: jax.tree.map(np.asarray, weights[key]) for key in ("vit", "heads")}
    parametrization = parametrized(selectors, tables, recipe)
    settings = {
        "stage": "full",
        "selectors": selectors if isinstance(selectors, str) else digest(*jax.tree.leaves(selectors.params)),
        "precision": name,
        **data_settings(data, tables),
        "network": digest(*jax.tree.leaves(network)),
    }
    params = {
        **network,
        "selectors": parametrization.params,
        "readout": {"weight": tables.weight, "bias": tables.bias},
    }
    params, curves = train(
        predict_with(part, parametrization, name, plan, recipe.jitter),
        params,
        is_trained,
        data,
        recipe=recipe,
        seed=seed,
        folder=folder,
        settings=settings,
        options=options,
    )
    fitted, chosen = fitted_of(params, parametrization)
    trees = {key: jax.tree.map(np.asarray, params[key]) for key in ("vit", "heads")}
    network = Part(config, {**trees, "readout": fitted._asdict()}, part.vertices)
    return FittedNetwork(network, fitted, curves, chosen)


def predict_with(
    part: Part, parametrization: Parametrization, precision: str, plan: ComputePlan, jitter: float
) -> Predict:
    """Return the function (params, images, rows, key) → prediction through the network.

    Parameters
    ----------
    part
        The network, of which only the sizes are used.
    parametrization
        Functions of the selectors' parameters.
    precision
        Name of the precision.
    plan
        Forms of the computations.
    jitter
        Standard deviation of the noise on receptive-field centers, in units of half the image.
    """

    def predict(params: Any, images: Any, rows: Array, key: Array | None) -> Prediction:
        pixels = pixels_of(images, precision)
        _, maps, vectors = features_of(params["vit"], params["heads"], part.config, precision, pixels, plan)
        kind = PRECISIONS[precision]
        return predicted(params, parametrization, rows, maps, vectors, kind, jitter, key)

    return predict


def _checked(images: Images | Any) -> Images:
    """Return a function that reads images and refuses what the model does not take."""

    def read(numbers: np.ndarray) -> np.ndarray:
        ascending, places = np.unique(numbers, return_inverse=True)
        found = np.asarray((images if callable(images) else images.__getitem__)(ascending))
        check_images(found)
        if len(found) != len(ascending):
            raise ValidationError(f"{len(ascending)} images were asked for, and {len(found)} came.")
        return found[places]

    return read

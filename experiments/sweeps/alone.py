"""Trials that are computed one by one: images drawn from a prior, variations, metamers and explanations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ...errors import BERGError
from ..explanation.experiment import METHODS
from ..explanation.metamers import metamers
from ..explanation.pictures import painted
from ..explanation.sanity import deletion_and_insertion
from ..synthesis import priors
from ..synthesis.functions import Function
from ..synthesis.judging.judge import score
from .program import Regions, objective_of, read_photo
from .records import Outcome, failure, success
from .trial import Settings, Trial, kind_of


class _Made(NamedTuple):
    """What a trial has made: its image, its value (None: the objective's for the image), and further numbers."""

    image: Float[np.ndarray, "3 height width"]
    history: Sequence[float] | Float[np.ndarray, " steps"] = ()
    value: float | None = None
    measures: Mapping[str, float] = {}
    shown: Float[np.ndarray, "3 height width"] | None = None  # to the model, if it is not the image


def run_alone(regions: Regions, trial: Trial) -> Outcome:
    """Make the image of a trial that is no synthesis by gradient ascent.

    Its value is, of a draw from a prior and of a variation, the objective's; of a metamer, minus the error of its
    responses as a share of their spread; of an explanation, the gain of the map's order over a random one.

    Parameters
    ----------
    regions
        Model and weights of the ROIs.
    trial
        The trial.

    Returns
    -------
    The outcome; if the trial makes no sense for this subject, it says why.

    See Also
    --------
    berg_jax.experiments.sweeps.program.run_chunk : Syntheses by gradient ascent.
    """
    try:
        made = _MAKERS[kind_of(trial.settings)](regions, trial.settings)
        image = made.image.round().astype(np.uint8)
        seen = image if made.shown is None else made.shown
        value = made.value
        if value is None:
            value = float(score(regions.model, objective_of(regions, trial.settings), seen[None])[0])
        responses = np.asarray(regions.model(jnp.asarray(seen[None])))[0]
    except BERGError as error:
        return failure(trial, error)
    numbers = {"value": float(value), "best_step": len(made.history), "skipped_steps": 0}
    measures = {name: float(number) for name, number in made.measures.items()}
    rois = regions.weights, regions.natural
    return success(trial, image, responses, *rois, history=made.history, measures=measures, **numbers)


def _draw(regions: Regions, settings: Settings) -> _Made:
    found = priors.sample(
        priors.drawings_diffusion(),
        1,
        model=regions.model,
        objective=objective_of(regions, settings),
        scale=settings["guidance"],
        steps=settings["steps"],
        seed=settings["seed"],
    )
    return _Made(found.images[0], found.history[:, 0])


def _vary(regions: Regions, settings: Settings) -> _Made:
    found = priors.vary(
        priors.drawings_diffusion(),
        regions.model,
        objective_of(regions, settings),
        read_photo(settings["photo"], settings["fit_images"]),
        scales=(settings["guidance"],),
        strength=settings["strength"],
        radius=settings["radius"],
        steps=settings["steps"],
        seed=settings["seed"],
    )
    return _Made(found.images[0], measures={"pixel distance": found.pixel_distance[0]})


def _metamer(regions: Regions, settings: Settings) -> _Made:
    objective_of(regions, settings)  # for what it refuses
    columns = np.flatnonzero(np.any([regions.weights[name] > 0 for name in settings["drive"]], axis=0))
    model = Function(_columns, (regions.model, jnp.asarray(columns)))
    photo = read_photo(settings["photo"], settings["fit_images"])
    found = metamers(
        model,
        photo,
        start=None if settings["start"] is None else read_photo(settings["start"], settings["fit_images"]),
        n=1,
        steps=settings["steps"],
        learning_rate=settings["learning_rate"],
        apart=settings["apart"],
        seed=settings["seed"],
        show_progress=False,
    )
    in_file, wanted = (np.asarray(model(jnp.asarray(one[None])))[0] for one in (found.images[0].round(), photo))
    error = float(np.sqrt(((in_file - wanted) ** 2).mean())) / found.spread
    return _Made(found.images[0], -np.sqrt(-found.history[:, 0]), -error, {"psnr": found.psnr[0]})


def _explain(regions: Regions, settings: Settings) -> _Made:
    photo, objective = read_photo(settings["photo"], settings["fit_images"]), objective_of(regions, settings)
    maps = METHODS[settings["method"]](regions.model, objective, photo[None])
    gain = float(deletion_and_insertion(regions.model, objective, photo[None], maps).gain[0])
    measures = {"response": float(score(regions.model, objective, photo[None])[0])}
    return _Made(painted(photo, maps[0]), (), gain, measures, shown=photo)


_MAKERS: Mapping[str, Callable[[Regions, Settings], _Made]] = {
    "prior": _draw,
    "vary": _vary,
    "metamer": _metamer,
    "explain": _explain,
}


def _columns(model: Callable[[Array], Array], columns: Array, images: UInt8[Array, "n 3 h w"]) -> Float[Array, "n k"]:
    return model(images)[:, columns]

"""Stages that train by gradient, of one part of the donor: where they start, and what they leave in the output."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError, ModelNotFoundError
from ...files.names import NameIndex
from ...model.checkpoint import read_part
from ...model.encoding_model import Part, build
from ...published.berg_dir import SubjectFiles
from ...stream.execution import Execution, with_batch_size
from ...stream.sources.subset import Subset
from ...stream.store.responses import open_responses
from ...subject import Subject
from ...vertices import Vertices, places_in
from .inputs.features import Features, compute_features
from .inputs.person import Person
from .recipe import FULL_RECIPE, SELECTORS_RECIPE, Recipe
from .ridge import predict
from .stages import read_networks, read_tables, save_networks, save_tables
from .tables import VertexTables

if TYPE_CHECKING:
    from .training.loop import Curves
    from .training.parametrizations import Parametrization

SELECTORS = ("free", "coordinates")
NETWORKS = ("layer_selector", "retina_mapper")  # coordinate networks of a part
_log = logging.getLogger(__name__)


class Training(NamedTuple):
    """How a stage trains.

    Attributes
    ----------
    stage
        The stage; ``"readout"`` trains nothing.
    recipe, options
        The recipe, and loss, regularizers and optimizer where they are not the recipe's.
    teacher
        A teacher's responses to all images at all fitted vertices, or None.
    seed
        Seed of all random numbers.
    selectors
        ``"free"`` numbers of each vertex, or the donor's ``"coordinates"`` networks.
    """

    stage: str
    recipe: Recipe
    options: Any
    teacher: Float[np.ndarray, "images vertices"] | None
    seed: int
    selectors: str


class Trained(NamedTuple):
    """One part after a stage that trains.

    Attributes
    ----------
    tables
        The fitted tables.
    network
        The trained network, None if it is the donor's.
    start
        Name of the stage whose tables the training began with.
    curves
        Record of the training.
    coordinates
        The trained coordinate networks, by the names in ``NETWORKS``; None for free selectors.
    """

    tables: VertexTables
    network: Part | None
    start: str
    curves: Curves
    coordinates: dict[str, Any] | None

    @property
    def weights(self) -> dict[str, Any] | None:
        """Weights of the trained network without its readout, None if it is the donor's."""
        return None if self.network is None else {name: self.network.weights[name] for name in ("vit", "heads")}


def recipe_of(stage: str, recipe: Recipe | None, epochs: int | None) -> Recipe:
    """Return the recipe of a stage, with the number of epochs that was given."""
    chosen = recipe or (SELECTORS_RECIPE if stage == "selectors" else FULL_RECIPE)
    return chosen if epochs is None else replace(chosen, epochs=epochs)


def check_selectors(selectors: str, stage: str, donor: Subject, exported: bool) -> None:
    """Raise unless a stage can train selectors of this kind, and export them where that is asked for.

    Raises
    ------
    InvalidParameterError
        There is no such kind, the stage trains none, or the kind cannot be exported.
    ModelNotFoundError
        The donor's PyTorch files, which hold its coordinate networks, are not there.
    """
    if selectors not in SELECTORS:
        raise InvalidParameterError(
            f"selectors (--selectors) must be one of {list(SELECTORS)}, got {selectors!r:.40}."
        )
    if stage == "readout":
        if selectors != "free":
            raise InvalidParameterError(
                f"selectors (--selectors) is for the stages that train, not {stage!r}. Leave it out, or choose a "
                "later --stage."
            )
        return
    if exported and selectors == "free":
        raise InvalidParameterError(
            "The published layout holds coordinate networks, and free selectors are single vertices' own numbers. "
            f"For --export-pth of the stage {stage!r}, add --selectors coordinates, in all of the fit's stages."
        )
    files = SubjectFiles(Path(donor.berg_dir), donor.description.subject)
    if selectors == "coordinates" and (files.is_demo or not (files.part1.is_file() and files.part2.is_file())):
        raise ModelNotFoundError(
            "--selectors coordinates needs the donor's PyTorch files, whose coordinate networks it trains, and "
            f"{donor.berg_dir} has none of subject {donor.description.subject}. Give the berg_dir that holds them, "
            "or leave it out."
        )


def read_teacher(path: str | Path | None, stage: str, person: Person) -> Float[np.ndarray, "images vertices"] | None:
    """Return a teacher's responses to the images at the fitted vertices, from a store of responses.

    Raises
    ------
    InvalidParameterError
        The stage takes no teacher, or the store lacks an image or a vertex.
    """
    if path is None:
        return None
    if stage != "full":
        raise InvalidParameterError(f"teacher (--teacher) is for the stage 'full', not {stage!r}. Leave it out.")
    data = open_responses(path).data
    names = NameIndex(data.image.values.tolist())
    images = [names.find(name) for name in person.source.ids]
    known = data.vertex.values + np.where(data.hemisphere.values == "rh", person.vertices.hemisphere_size, 0)
    places, missing = places_in(known, person.vertices.global_indices)
    if None in images or missing.any():
        raise InvalidParameterError(
            f"{path} lacks {images.count(None)} of the {len(images)} images and {int(missing.sum())} of the "
            f"{len(missing)} vertices of the fit. Encode the same images at these vertices."
        )
    values = data[images].values[:, places]
    if not np.isfinite(values).all():
        raise InvalidParameterError(f"{path} has responses that are NaN: it is not complete. Finish it first.")
    return values


def train_part(
    person: Person,
    part: str,
    output: Path,
    features: Features,
    responses: Float[np.ndarray, "images rows"],
    readout: VertexTables,
    training: Training,
    execution: Execution,
    stopped: Callable[[], bool],
) -> Trained:
    """Train one part's selectors, or all of it, from what the stage before has left in the output.

    Parameters
    ----------
    person, part, output
        The person's data, the part, and the folder of the fit, in which checkpoints are kept.
    features, responses, readout
        The donor's features, the measured responses, and the tables that the readout stage has left.
    training, execution
        How to train, and the devices.
    stopped
        Function that returns whether to stop after the epoch at hand.

    Raises
    ------
    Interrupted
        It was told to stop; the same call goes on.
    """
    from .full import fit_full
    from .selectors import fit_selectors
    from .training.loop import TrainingOptions

    stage, recipe, seed = training.stage, training.recipe, training.seed
    options = training.options or TrainingOptions()
    options = replace(
        options,
        devices=execution.devices if options.devices is None else options.devices,
        should_stop=options.should_stop or stopped,
        on_epoch=options.on_epoch or _tell(stage, part),
    )
    folder = output / stage / f"{part}-training"
    before = read_tables(output, "selectors", part) if stage == "full" else None
    start = readout if before is None else before
    selectors = _selectors(person, part, output, training, started=before is not None)
    if stage == "selectors":
        kept = Features(*(np.moveaxis(values, 1, 0) for values in features))  # images first
        tables, curves, fitted = fit_selectors(
            *(kept, responses, person.split, start),
            recipe=recipe,
            seed=seed,
            folder=folder,
            selectors=selectors,
            options=options,
        )
        network = None
    else:
        donor = read_part(person.donor.folder, part)
        network, tables, curves, fitted = fit_full(
            *(donor, person.source.read, responses, person.split, start),
            recipe=recipe,
            seed=seed,
            folder=folder,
            selectors=selectors,
            teacher=None if training.teacher is None else training.teacher[:, person.rows[part].places],
            options=options,
        )
    save_tables(output, stage, part, tables)
    coordinates = None if selectors == "free" else {name: fitted.params[name] for name in NETWORKS}
    save_networks(output, stage, part, coordinates)
    return Trained(tables, network, "readout" if before is None else "selectors", curves, coordinates)


def _selectors(
    person: Person, part: str, output: Path, training: Training, *, started: bool
) -> str | Parametrization:
    """Return the selectors to train: free ones, or coordinate networks, the donor's or those of the stage before."""
    from .training.parametrizations import coordinates, read_coordinate_networks

    if training.selectors == "free":
        return "free"
    networks = read_coordinate_networks(person.donor.berg_dir, person.donor.description.subject, part)
    if started:
        trees = {name: getattr(networks, name) for name in NETWORKS}
        trained = read_networks(output, "selectors", part, trees)
        if trained is None:
            raise InvalidParameterError(
                "The stage 'selectors' of this fit trained free selectors, which coordinate networks cannot follow. "
                "Leave out --selectors coordinates, or take another output."
            )
        networks = networks._replace(**trained)
    return coordinates(networks, person.rows[part].rows)


def predict_with_network(
    person: Person, part: str, trained: Trained, precision: str, execution: Execution
) -> Float[np.ndarray, "images rows"]:
    """Return a trained network's responses to the test images."""
    vertices = person.vertices.global_indices[person.rows[part].places]
    network = trained.network._replace(vertices=vertices)
    first = Vertices.from_global(vertices[:1], person.vertices.hemisphere_size)
    model = build({part: network}, person.vertices.hemisphere_size, first, precision=precision)
    test = Subset(person.source, person.split.test)
    execution = with_batch_size(execution, precision=precision)
    (computed,) = compute_features(model, test, [(0, len(test))], execution)
    return predict(Features(computed[1]["maps"], computed[1]["vectors"]), trained.tables)


def _tell(stage: str, part: str) -> Callable[[int, float, float], None]:
    def tell(epoch: int, loss: float, r: float) -> None:
        _log.info("%s of %s, epoch %d: loss %.4g, mean validation r %.4f.", stage.capitalize(), part, epoch, loss, r)

    return tell

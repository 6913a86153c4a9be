"""Fit of the model to a new person: their images and responses, and a donor's network, become a subject."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ...errors import InvalidParameterError
from ...published.berg_dir import check_subject_id
from ...stream.execution import Execution
from ...stream.images import Images
from ...stream.progress import stop_requests
from ...stream.selection import Selection
from ...subject import Subject
from ..reporting.command import Command, command_of
from ..reporting.outcome import ExperimentResult
from ..reporting.results import require_reporting
from .inputs.donor import donor_tables
from .inputs.features import FOLDER, Kept, keep_features, read_features
from .inputs.person import Person, read_person
from .inputs.splits import VALIDATION_SHARE, require_no_copies
from .outputs.evaluation import Predictions, learning_curve_r, parse_sizes, shuffled_control
from .outputs.plan import plan_text
from .outputs.results import write_outcome
from .outputs.subject_folder import FittedPart, require_own, write_fitted
from .outputs.torch_files import export_subject, require_torch_files
from .recipe import Recipe
from .ridge import PENALTIES, predict
from .stages import STAGES, digest_of, require_same, run_readout, save_tables
from .trained import Training, check_selectors, predict_with_network, read_teacher, recipe_of, train_part

Stage = Literal["readout", "selectors", "full"]
Selectors = Literal["free", "coordinates"]


def fit(
    subject: Subject,
    output: str | Path,
    images: Images | str | Path,
    betas: str | Path,
    *,
    subject_id: int,
    stage: Stage = "readout",
    selectors: Selectors = "free",
    selection: Selection = Selection(),
    table: str | Path | None = None,
    zscored: bool = False,
    test: str | Path | None = None,
    validation: float = VALIDATION_SHARE,
    rois: Sequence[str | Path] = (),
    learning_curve: str | Sequence[int | str] | None = None,
    epochs: int | None = None,
    recipe: Recipe | None = None,
    options: Any = None,
    teacher: str | Path | None = None,
    penalties: Sequence[float] = PENALTIES,
    features: Kept = "float16",
    export_pth: str | Path | None = None,
    dry_run: bool = False,
    seed: int = 0,
    precision: str = "float32",
    execution: Execution = Execution(),
) -> ExperimentResult:
    """Fit the model to a new person, and write a subject that every command takes, with a report on it.

    Called again after an interruption, it goes on.

    Parameters
    ----------
    subject
        The donor: a subject whose network, and at the same vertices layer weights and receptive-field centers, the
        new person starts from.
    output
        Folder of the results. ``--berg-dir OUTPUT --subject M`` is then the new person. The maps are those of
        :class:`~berg_jax.experiments.fitting.outputs.evaluation.Evaluation`, and ``ncsnr``, ``penalty`` and
        ``loo_r``.
    images
        The images that were shown. An image's name, or of an array its row number from 0, is what the trials call it.
    betas
        NSD's folder, the folder of BERG's prepared data, an array of (trials, vertices) with a ``table``, or the
        folder of the files that a ``table`` names: see :func:`~berg_jax.experiments.accuracy.measured.trial_reader`.
        The vertices are those of the donor's surface.
    subject_id
        ID of the new person, 1 to 99; in NSD's folder, also the subject whose betas are read.
    stage
        ``"readout"``, ridge regressions with the donor's network, layer weights and centers; ``"selectors"``, which
        also trains these; ``"full"``, which trains the network, too. Each starts from what the one before has left
        in the output.
    selectors
        Selectors of the stages that train: ``"free"`` numbers of each vertex, which may find receptive fields far
        from the donor's; or ``"coordinates"``, the donor's two networks of a vertex's position, as in the published
        training, which keep neighbors alike and need the donor's PyTorch files.
    selection
        The vertices: an ROI of the donor and a hemisphere, by default all, and the lowest ncsnr, which is the new
        person's, from training trials.
    table, zscored
        Table of the trials' images and sessions, and whether the array is z-scored within sessions already: see
        :func:`~berg_jax.experiments.accuracy.trials.read_array`. By default sessions are z-scored by the mean and
        standard deviation of their training trials.
    test
        Text file of the test images' names, one a line. By default, of NSD the donor's test images as far as they
        were shown; else a tenth of the images, drawn by the seed.
    validation
        Share of the other images that is kept for validation, which decides when a training ends. The readout does
        not use them; 0 leaves all for training.
    rois
        Label files of the person's ROIs, or folders of them: see
        :func:`~berg_jax.experiments.fitting.inputs.labels.read_rois`. By default the donor's, which are said to be.
    learning_curve
        Numbers of training images, such as ``"30,100,all"``, for each of which readouts of up to 1,000 vertices are
        fitted and tested.
    epochs
        Largest number of epochs of the stages that train (default: the recipe's).
    recipe, options
        Recipe of these stages, and further options: loss, regularizers, optimizer. See
        :class:`~berg_jax.experiments.fitting.recipe.Recipe` and
        :class:`~berg_jax.experiments.fitting.training.loop.TrainingOptions`.
    teacher
        Store of a teacher's noiseless responses to the images at the vertices, such as ``encode`` writes, from which
        the loss of the stage ``"full"`` passes to the measured ones.
    penalties
        Ridge penalties to choose from, relative to the mean eigenvalue of HᵀH.
    features
        Type in which the donor's feature maps are kept: ``"float16"``, ``"bfloat16"`` or ``"float32"``.
    export_pth
        BERG directory to write the subject's PyTorch files to, too. The donor's must be there, and stages that train
        must train ``"coordinates"``.
    dry_run
        Return what would be done, with an estimate of memory and time, and write nothing.
    seed
        Seed of the split, the controls and the learning curve.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices and time limit.

    Returns
    -------
    ExperimentResult
        Medians over vertices and ROIs, in a few lines; of a dry run, what would be done.

    Raises
    ------
    BERGError
        Something is wrong with the images, the betas, the donor or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is kept.

    See Also
    --------
    berg_jax.experiments.fitting.ridge.fit_readout : The readout stage alone.
    berg_jax.experiments.measure_accuracy : Accuracy of any subject on any images.
    """
    output, betas, images = Path(output), Path(betas), Images.of(images)
    if stage not in get_args(Stage):
        raise InvalidParameterError(f"stage (--stage) must be one of {list(STAGES)}, got {stage!r}.")
    if execution.process is not None and execution.process.count > 1:
        raise InvalidParameterError("A fit is one process. Leave out --share, --process-index and --process-count.")
    command = _command(
        *(subject, output, images, selection, execution),
        betas=betas,
        subject_id=subject_id,
        stage=stage,
        selectors=selectors,
        table=table,
        zscored=zscored,
        test=test,
        validation=validation,
        rois=[str(path) for path in rois],
        learning_curve=_joined(learning_curve),
        epochs=epochs,
        teacher=teacher,
        features=features,
        export_pth=export_pth,
        seed=seed,
        precision=precision,
    )
    require_reporting()
    require_own(output, check_subject_id(subject_id))
    check_selectors(selectors, stage, subject, exported=export_pth is not None)
    if export_pth is not None:
        require_torch_files(subject, Path(export_pth), subject_id)
    person = read_person(
        *(subject, subject_id, images, betas),
        output=output,
        selection=selection,
        table=table,
        zscored=zscored,
        test=test,
        validation=validation,
        rois=rois,
        seed=seed,
    )
    if stage != "readout" and not len(person.split.validation):
        raise InvalidParameterError(f"The stage {stage!r} needs validation images. Give a --validation above 0.")
    penalties = tuple(float(penalty) for penalty in penalties)
    sizes = parse_sizes(learning_curve, len(person.split.train))
    if dry_run:
        text = plan_text(person, output, sizes, penalties, features, precision, execution)
        return ExperimentResult(text, output)
    teacher_responses = read_teacher(teacher, stage, person)
    training = Training(stage, recipe_of(stage, recipe, epochs), options, teacher_responses, seed, selectors)
    require_same(output, _facts(person, penalties, features, precision))
    begun = time.monotonic()
    parts = keep_features(
        *(subject, person.vertices, person.source, output / FOLDER),
        kept=features,
        precision=precision,
        execution=execution,
    )
    found = Predictions(len(person.split.test), len(person.vertices))
    fitted = {}
    limit = execution.time_limit
    with stop_requests(None if limit is None else limit - (time.monotonic() - begun)) as stopped:
        for part in parts:
            fitted[part] = _fit_part(
                *(person, part, output, found, sizes, penalties, training, precision, execution), stopped
            )
    metadata, summary = write_outcome(person, stage, found, sizes, output, command, precision, zscored)
    write_fitted(subject, subject_id, fitted, metadata, output)
    if export_pth is not None:
        export_subject(subject, subject_id, fitted, metadata, Path(export_pth))
    return ExperimentResult(summary, output)


def _fit_part(
    person: Person,
    part: str,
    output: Path,
    found: Predictions,
    sizes: Sequence[int],
    penalties: tuple[float, ...],
    training: Training,
    precision: str,
    execution: Execution,
    stopped: Callable[[], bool],
) -> FittedPart:
    """Fit the vertices of one part of the donor, test them and the controls, and add what is found."""
    rows, split, seed = person.rows[part], person.split, training.seed
    features, digests = read_features(output / FOLDER, part, len(person.source))
    require_no_copies(digests, person.source.ids, split)  # of all images, also where a source gives only a sample's
    responses = person.measured.responses[:, rows.places]
    donor = donor_tables(person.donor, part, rows.rows)
    readout = run_readout(
        *(output / "readout", part, features, responses, donor),
        images=split.train,
        penalties=penalties,
        stopped=stopped,
    )
    tables = donor._replace(weight=readout.weight, bias=readout.bias)
    save_tables(output, "readout", part, tables)
    found.add_test("readout", rows.places, predict(features, tables, split.test))
    found.add_test("donor", rows.places, predict(features, donor, split.test))
    found.add_map("penalty", rows.places, np.log10(readout.penalty))
    found.add_map("loo_r", rows.places, readout.loo_r)
    found.control.append(shuffled_control(features, responses, donor, split, penalties=penalties, seed=seed))
    if sizes:
        found.curve.append(learning_curve_r(features, responses, donor, split, sizes, penalties=penalties, seed=seed))
    network = coordinates = None
    if training.stage == "readout":
        found.add_test("fit", rows.places, found.test["readout"][:, rows.places])
    else:
        trained = train_part(person, part, output, features, responses, tables, training, execution, stopped)
        tables, network, coordinates = trained.tables, trained.weights, trained.coordinates
        own = predict(features, tables, split.test)
        if network is not None:
            own = predict_with_network(person, part, trained, precision, execution)
        found.add_test("fit", rows.places, own)
        found.add_map("rf_shift", rows.places, np.linalg.norm(tables.rf_center - donor.rf_center, axis=1))
        found.add_map("layer_shift", rows.places, abs(tables.layer_weights - donor.layer_weights).sum(1) / 2)
        found.training[part] = {"start": trained.start, **trained.curves._asdict()}
    return FittedPart(person.vertices.global_indices[rows.places], tables, network, coordinates)


def _facts(person: Person, penalties: tuple[float, ...], features: Kept, precision: str) -> dict[str, Any]:
    """Return what a fit is of, by words that a message can use. All of its stages have it in common."""
    return {
        "subject": person.subject_id,
        "the donor": person.donor.identity(precision=precision),
        "the images": person.source.fingerprint,
        "the split of the images": digest_of(*person.split),
        "the vertices": digest_of(person.vertices.global_indices),
        "the responses": digest_of(person.measured.responses),
        "the penalties": list(penalties),
        "the type of the features": features,
    }


def _command(
    donor: Subject, output: Path, images: Images, selection: Selection, execution: Execution, **options: Any
) -> Command:
    """Return the command of a fit, whose subject is the donor."""
    command = command_of("fit", fit, [donor], output, images, selection, execution, **options)
    settings = {"donor" if name == "subject" else name: value for name, value in command.settings.items()}
    settings.pop("min_explained_variance")
    return command._replace(settings=settings)


def _joined(sizes: str | Sequence[int | str] | None) -> str | None:
    return sizes if sizes is None or isinstance(sizes, str) else ",".join(map(str, sizes))

"""Command that fits the model to a new person: fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..stream.execution import Execution
from ..stream.images import Images
from ..stream.selection import Selection
from .command import Donor, Only, command
from .options import Betas, Output, Precision, Trials

app = typer.Typer()
_GROUP = "Experiments"
Stage = Literal["readout", "selectors", "full"]
Selectors = Literal["free", "coordinates"]
Kept = Literal["float16", "bfloat16", "float32"]


@command(app, _GROUP, extra="synthesis", config=True)
def fit(
    images: Annotated[
        Images,
        typer.Argument(metavar="IMAGES", help="Images that were shown, as for encode: nsd_stimuli.hdf5, a folder, …"),
    ],
    subject: Donor,
    subject_id: Annotated[int, typer.Option(help="ID of the new person, 1 to 99.")],
    output: Output,
    betas: Betas,
    selection: Annotated[Selection, Only(("roi", "hemisphere", "min_ncsnr"))],
    execution: Execution,
    stage: Annotated[
        Stage,
        typer.Option(help="What is fitted: readouts; layers and receptive fields, too; or the network, too."),
    ] = "readout",
    selectors: Annotated[
        Selectors,
        typer.Option(
            help="What the later stages train as layers and receptive fields: each vertex's own, or the donor's "
            "networks of coordinates, which keep neighbors alike."
        ),
    ] = "free",
    table: Trials = None,
    zscored: Annotated[
        bool,
        typer.Option(
            "--zscored",
            help="Take the betas as they are (default: z-score sessions by their training trials)",
        ),
    ] = False,
    test: Annotated[
        Path | None,
        typer.Option(help="Text file of the test images' names, one a line (default: NSD's shared, or a tenth)"),
    ] = None,
    validation: Annotated[
        float, typer.Option(min=0, help="Share of the other images that is kept for validation.")
    ] = 0.1,
    rois: Annotated[
        list[Path] | None,
        typer.Option(help="Label file of ROIs, or a folder of them; repeat it for more (default: the donor's ROIs)"),
    ] = None,
    learning_curve: Annotated[
        str | None,
        typer.Option(help="Numbers of training images to fit readouts to, too, such as 30,100,300,all."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Largest number of epochs of the later stages (default: the recipe's)")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Store of a teacher's responses to the images, for distillation in the stage full."),
    ] = None,
    features: Annotated[Kept, typer.Option(help="Type in which the donor's feature maps are kept.")] = "float16",
    export_pth: Annotated[
        Path | None, typer.Option(help="BERG directory to write the person's PyTorch files to, too.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split and of the controls.")] = 0,
    precision: Precision = "float32",
) -> str:
    """Fit the model to a new person, from their images and responses and a donor's network."""
    from ..experiments.fitting import fit as fit_person

    return fit_person(
        subject,
        output,
        images,
        betas,
        subject_id=subject_id,
        stage=stage,
        selectors=selectors,
        selection=selection,
        table=table,
        zscored=zscored,
        test=test,
        validation=validation,
        rois=rois or (),
        learning_curve=learning_curve,
        epochs=epochs,
        teacher=teacher,
        features=features,
        export_pth=export_pth,
        dry_run=dry_run,
        seed=seed,
        precision=precision,
        execution=execution,
    )

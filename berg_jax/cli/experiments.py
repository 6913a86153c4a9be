"""Commands of the experiments: retinotopy, localizer, accuracy, control."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..stream.execution import Execution
from ..stream.images import Images
from ..stream.selection import Selection
from .command import OneSubject, Only, Subjects, command
from .options import Betas, Output, Precision, Trials, name_paths

app = typer.Typer()
_GROUP = "Experiments"
CeilingSource = Literal["trials", "metadata"]
ControlKind = Literal["univariate", "multivariate"]


class ProbeKind(enum.StrEnum):
    """Windows on the visual field."""

    gaussians = "gaussians"
    bars = "bars"
    wedges = "wedges"
    rings = "rings"


_Limits = Annotated[Selection, Only(("hemisphere", "min_ncsnr", "min_explained_variance"))]


@command(app, _GROUP, config=True)
def retinotopy(
    images: Annotated[
        Images | None,
        typer.Argument(
            metavar="[IMAGES]",
            help="Natural images to fill the probes with, as for encode (default: the demo's drawings)",
        ),
    ],
    subject: OneSubject,
    output: Output,
    selection: Selection,
    execution: Execution,
    fit_sizes: Annotated[
        bool,
        typer.Option(
            "--fit", help="Fit a Gaussian receptive field to each vertex; other probes than gaussians always do."
        ),
    ] = False,
    fit_memory: Annotated[
        float, typer.Option(help="Memory limit of --fit in GB; above it, vertices are mapped in parts.")
    ] = 8.0,
    probes: Annotated[
        list[ProbeKind] | None, typer.Option(help="Kind of probe; repeat it for more (default: gaussians)")
    ] = None,
    grid: Annotated[
        int | None, typer.Option(min=1, help="Gaussian windows along each axis (default: 40, demo subjects 16)")
    ] = None,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the Gaussian windows, degrees.")] = 0.5,
    measured: Annotated[
        Path | None, typer.Option(help="Folder of measured {lh,rh}.prfangle, prfeccentricity and prfR2.mgz.")
    ] = None,
    precision: Precision = "float32",
) -> str:
    """Map receptive fields: polar angle, eccentricity and size of each vertex, by probing the model."""
    from ..experiments import map_retinotopy

    return map_retinotopy(
        subject,
        output,
        images,
        selection=selection,
        fit_sizes=fit_sizes,
        fit_memory=fit_memory,
        probes=[kind.value for kind in probes or [ProbeKind.gaussians]],
        grid=grid,
        sigma=sigma,
        measured=measured,
        precision=precision,
        execution=execution,
    )


@command(app, _GROUP, config=True)
def localize(
    images: Annotated[
        Images | None,
        typer.Argument(
            metavar="[IMAGES]", help="Folder with a folder for each category (default: the demo's drawings)"
        ),
    ],
    subjects: Subjects,
    output: Output,
    selection: Selection,
    execution: Execution,
    table: Annotated[
        Path | None, typer.Option(help="CSV file with the columns image and category, instead of folders; no trials.")
    ] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(
            help="Contrast, such as 'faces > places + objects'; repeat it for more (default: each category > others)"
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="False discovery rate over vertices.")] = 0.05,
    measured: Annotated[
        list[str] | None, typer.Option(help="Measured t map of a contrast, such as 'faces=floc-facestval.mgz'.")
    ] = None,
    betas: Annotated[
        Path | None,
        typer.Option(
            help="Measured responses to the same images, shown side by side: NSD's folder or BERG's prepared data; "
            "with --trials, an array of (trials, vertices), of both whole hemispheres or of the vertices of --roi, "
            "or the folder of the files that --trials names."
        ),
    ] = None,
    trials: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns image and session, a row for each trial of --betas."),
    ] = None,
    zscored: Annotated[
        bool,
        typer.Option(
            "--zscored",
            help="Take the betas as they are: z-scored within sessions already (default: z-score them here)",
        ),
    ] = False,
    precision: Precision = "float32",
) -> str:
    """Find which vertices and ROIs prefer which category of images: GLM t, false discovery rate, ROI means."""
    from ..experiments import localize as find_preferences

    return find_preferences(
        subjects,
        output,
        images,
        selection=selection,
        table=table,
        contrasts=contrast or (),
        alpha=alpha,
        measured=name_paths("--measured", measured or []),
        betas=betas,
        trials=trials,
        zscored=zscored,
        precision=precision,
        execution=execution,
    )


@command(app, _GROUP, config=True)
def accuracy(
    images: Annotated[
        Images,
        typer.Argument(metavar="IMAGES", help="Images that were shown, as for encode: nsd_stimuli.hdf5, a folder, …"),
    ],
    subject: OneSubject,
    output: Output,
    betas: Betas,
    selection: Selection,
    execution: Execution,
    table: Trials = None,
    zscored: Annotated[
        bool,
        typer.Option(
            "--zscored",
            help="Take the betas as they are: z-scored within sessions already (default: z-score them here)",
        ),
    ] = False,
    dataset: Annotated[
        Literal["nsdcore", "nsdsynthetic"],
        typer.Option(help="Data set in NSD's folder: the experiment itself, or NSD-synthetic."),
    ] = "nsdcore",
    noise_ceiling: Annotated[
        CeilingSource | None,
        typer.Option(help="Source of the noise ceiling (default: the trials, where images were shown repeatedly)"),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of another accuracy, whose numbers the report shows, too; repeat it for more."),
    ] = None,
    precision: Precision = "float32",
) -> str:
    """Compare predicted with measured responses: r, explained variance, in silico against single trials."""
    from ..experiments import measure_accuracy

    return measure_accuracy(
        subject,
        output,
        images,
        betas,
        selection=selection,
        table=table,
        zscored=zscored,
        dataset=dataset,
        noise_ceiling=noise_ceiling,
        beside=beside or (),
        precision=precision,
        execution=execution,
    )


@command(app, _GROUP, extra="synthesis", config=True)
def control(
    images: Annotated[
        Images | None,
        typer.Argument(
            metavar="[IMAGES]", help="Images to choose from, as for encode (default: the demo's drawings)"
        ),
    ],
    subjects: Subjects,
    output: Output,
    selection: _Limits,
    execution: Execution,
    roi: Annotated[list[str] | None, typer.Option(help="ROI expression; give two (default: FFA-1 and PPA)")] = None,
    kind: Annotated[
        ControlKind,
        typer.Option(help="Control mean responses, or with sets of images how alike the ROIs represent them."),
    ] = "univariate",
    k: Annotated[int, typer.Option("--k", min=1, help="Univariate: largest number of images for each goal.")] = 25,
    margin: Annotated[
        float,
        typer.Option(
            help="Univariate: least distance of a chosen image's responses from the mean response, in z units."
        ),
    ] = 0.04,
    synthesize: Annotated[
        int, typer.Option(min=0, help="Univariate: number of images to be made for each goal, too.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Univariate: steps of gradient ascent to make images.")] = 128,
    set_size: Annotated[int, typer.Option(min=3, help="Multivariate: number of images in a set.")] = 50,
    population: Annotated[int, typer.Option(min=8, help="Multivariate: number of sets in a generation.")] = 200,
    generations: Annotated[
        int, typer.Option(min=1, help="Multivariate: number of generations of the genetic search.")
    ] = 2000,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the random numbers; the same seed gives the same images.")
    ] = 0,
    precision: Precision = "float32",
) -> str:
    """Choose images that drive two ROIs together or apart, or sets that align or disentangle them."""
    from ..experiments import control_regions

    return control_regions(
        subjects,
        output,
        images,
        rois=roi or ("FFA-1", "PPA"),
        selection=selection,
        kind=kind,
        k=k,
        margin=margin,
        synthesize=synthesize,
        steps=steps,
        set_size=set_size,
        population=population,
        generations=generations,
        seed=seed,
        precision=precision,
        execution=execution,
    )

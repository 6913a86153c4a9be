"""``berg-jax``'s experiments: one thin function a command, as in :mod:`berg_jax.cli.app`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidParameterError
from .options import (
    BatchSize,
    BergDir,
    Choose,
    Fit,
    FitName,
    Hemisphere,
    HemisphereName,
    MinExplainedVariance,
    MinNcsnr,
    Output,
    Precision,
    PrecisionName,
    ProcessCount,
    ProcessIndex,
    Roi,
    SubjectNumber,
    SubjectNumbers,
    TimeLimit,
    messages,
    seconds,
)

app = typer.Typer()


class Control(enum.StrEnum):
    """What is controlled: regions' mean responses, or how alike they represent images."""

    univariate = "univariate"
    multivariate = "multivariate"


class ProbeKind(enum.StrEnum):
    """Windows on the visual field."""

    gaussians = "gaussians"
    bars = "bars"
    wedges = "wedges"
    rings = "rings"


@app.command()
def retinotopy(
    berg_dir: BergDir,
    subject: SubjectNumber,
    output: Output,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGES]",
            help="Natural images to fill probes with, as for encode [default: demo's drawings]",
        ),
    ] = None,
    images: Choose = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit a Gaussian receptive field to each vertex.")] = False,
    fit_memory: Annotated[
        float, typer.Option(help="GB that a fit's mean responses may take; more vertices are mapped in parts.")
    ] = 8.0,
    probes: Annotated[list[ProbeKind] | None, typer.Option(help="Again for more [default: gaussians]")] = None,
    grid: Annotated[int | None, typer.Option(min=1, help="Gaussians along each axis [default: 40, demo 16]")] = None,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the Gaussian windows, degrees.")] = 0.5,
    measured: Annotated[
        Path | None, typer.Option(help="Folder of measured {lh,rh}.prfangle, prfeccentricity and prfR2.mgz.")
    ] = None,
    roi: Roi = None,
    hemisphere: HemisphereName = Hemisphere.both,
    min_ncsnr: MinNcsnr = None,
    min_explained_variance: MinExplainedVariance = None,
    fit_images: FitName = Fit.error,
    precision: Precision = PrecisionName.float32,
    batch_size: BatchSize = 8,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    time_limit: TimeLimit = None,
) -> None:
    """Map receptive fields: polar angle, eccentricity and size of each vertex, by probing the model."""
    with messages():
        from ..experiments.retinotopy.experiment import map_retinotopy
        from ..machine import keep_compiled

        keep_compiled()
        summary = map_retinotopy(
            berg_dir,
            subject,
            output,
            path,
            choose=images,
            fit_sizes=fit,
            fit_memory=fit_memory,
            probes=[kind.value for kind in probes or [ProbeKind.gaussians]],
            grid=grid,
            sigma=sigma,
            measured=measured,
            roi=roi,
            hemisphere=hemisphere.value,
            min_ncsnr=min_ncsnr,
            min_explained_variance=min_explained_variance,
            fit_images=fit_images.value,
            precision=precision.value,
            batch_size=batch_size,
            process_index=process_index,
            process_count=process_count,
            time_limit=seconds(time_limit),
        )
        typer.echo(summary)


@app.command()
def localize(
    berg_dir: BergDir,
    subject: SubjectNumbers,
    output: Output,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGES]", help="A folder with a folder for each category [default: the demo's drawings]"
        ),
    ] = None,
    images: Choose = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV file with the columns image and category, instead of folders.")
    ] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(help="As 'faces > places + objects'; again for more [default: each category > the others]"),
    ] = None,
    alpha: Annotated[float, typer.Option(help="False discovery rate over vertices.")] = 0.05,
    measured: Annotated[
        list[str] | None, typer.Option(help="Measured t map of a contrast: 'faces=floc-facestval.mgz'.")
    ] = None,
    roi: Roi = None,
    hemisphere: HemisphereName = Hemisphere.both,
    min_ncsnr: MinNcsnr = None,
    min_explained_variance: MinExplainedVariance = None,
    fit_images: FitName = Fit.error,
    precision: Precision = PrecisionName.float32,
    batch_size: BatchSize = 8,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    time_limit: TimeLimit = None,
) -> None:
    """Find which vertices and ROIs prefer which category of images: GLM t, false discovery rate, ROI means."""
    with messages():
        from ..experiments.localizer.experiment import localize as find_preferences
        from ..machine import keep_compiled

        keep_compiled()
        summary = find_preferences(
            berg_dir,
            subject,
            output,
            path,
            choose=images,
            table=table,
            contrasts=contrast or (),
            alpha=alpha,
            measured=_pairs("--measured", measured or []),
            roi=roi,
            hemisphere=hemisphere.value,
            min_ncsnr=min_ncsnr,
            min_explained_variance=min_explained_variance,
            fit_images=fit_images.value,
            precision=precision.value,
            batch_size=batch_size,
            process_index=process_index,
            process_count=process_count,
            time_limit=seconds(time_limit),
        )
        typer.echo(summary)


@app.command()
def accuracy(
    path: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="What was shown, as for encode: nsd_stimuli.hdf5, a folder, …")
    ],
    betas: Annotated[
        Path, typer.Option(help="NSD's folder, or a .npy file of (trials, vertices), which needs --table.")
    ],
    berg_dir: BergDir,
    subject: SubjectNumber,
    output: Output,
    images: Choose = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV file with the columns image and session, a row for each trial.")
    ] = None,
    zscored: Annotated[
        bool, typer.Option("--zscored", help="The array is z-scored within sessions; take it as it is.")
    ] = False,
    roi: Roi = None,
    hemisphere: HemisphereName = Hemisphere.both,
    min_ncsnr: MinNcsnr = None,
    min_explained_variance: MinExplainedVariance = None,
    fit_images: FitName = Fit.error,
    precision: Precision = PrecisionName.float32,
    batch_size: BatchSize = 8,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    time_limit: TimeLimit = None,
) -> None:
    """Compare predicted with measured responses: r, explained variance, in silico against single trials."""
    with messages():
        from ..experiments.accuracy.experiment import measure_accuracy
        from ..machine import keep_compiled

        keep_compiled()
        summary = measure_accuracy(
            berg_dir,
            subject,
            output,
            path,
            betas,
            choose=images,
            table=table,
            zscored=zscored,
            roi=roi,
            hemisphere=hemisphere.value,
            min_ncsnr=min_ncsnr,
            min_explained_variance=min_explained_variance,
            fit_images=fit_images.value,
            precision=precision.value,
            batch_size=batch_size,
            process_index=process_index,
            process_count=process_count,
            time_limit=seconds(time_limit),
        )
        typer.echo(summary)


@app.command()
def rsa(
    berg_dir: BergDir,
    subject: SubjectNumbers,
    output: Output,
    path: Annotated[
        Path | None, typer.Argument(metavar="[IMAGES]", help="As for encode [default: the demo's drawings]")
    ] = None,
    images: Choose = None,
    roi: Annotated[
        list[str] | None, typer.Option(help="ROI expression; again for more [default: visual areas]")
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option(help="'layer5=layer5.npy' of (images, features); again for more.")
    ] = None,
    matrix: Annotated[
        list[str] | None, typer.Option(help="'behavior=rdm.npy', dissimilarities (images, images); again for more.")
    ] = None,
    searchlight: Annotated[
        int | None, typer.Option(help="Map features and matrices over so many nearest vertices.")
    ] = None,
    dinov2: Annotated[
        Path | None,
        typer.Option(help="A stock DINOv2 to compare with: a folder with model.safetensors."),
    ] = None,
    min_ncsnr: MinNcsnr = None,
    min_explained_variance: MinExplainedVariance = None,
    fit_images: FitName = Fit.error,
    precision: Precision = PrecisionName.float32,
    batch_size: BatchSize = 8,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    time_limit: TimeLimit = None,
) -> None:
    """Compare representations: of ROIs, subjects, features and behavior, by their dissimilarity matrices."""
    with messages():
        from ..experiments.representations.experiment import compare_representations
        from ..machine import keep_compiled

        keep_compiled()
        summary = compare_representations(
            berg_dir,
            subject,
            output,
            path,
            choose=images,
            rois=roi or (),
            features=_pairs("--features", features or []),
            matrices=_pairs("--matrix", matrix or []),
            searchlight=searchlight,
            dinov2=dinov2,
            min_ncsnr=min_ncsnr,
            min_explained_variance=min_explained_variance,
            fit_images=fit_images.value,
            precision=precision.value,
            batch_size=batch_size,
            process_index=process_index,
            process_count=process_count,
            time_limit=seconds(time_limit),
        )
        typer.echo(summary)


@app.command()
def control(
    berg_dir: BergDir,
    subject: SubjectNumbers,
    output: Output,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[IMAGES]", help="To choose from, as for encode [default: the demo's drawings]"),
    ] = None,
    images: Choose = None,
    roi: Annotated[list[str] | None, typer.Option(help="ROI expression; give two [default: FFA-1 and PPA]")] = None,
    kind: Annotated[
        Control, typer.Option(help="Control mean responses, or with sets of images how alike the ROIs see them.")
    ] = Control.univariate,
    k: Annotated[int, typer.Option("--k", min=1, help="Univariate: images for each goal, at most.")] = 25,
    margin: Annotated[float, typer.Option(help="Univariate: how far from the mean image, in z units.")] = 0.04,
    synthesize: Annotated[int, typer.Option(min=0, help="Univariate: also make so many images for each goal.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Of making them.")] = 128,
    set_size: Annotated[int, typer.Option(min=3, help="Multivariate: images of a set.")] = 50,
    population: Annotated[int, typer.Option(min=8, help="Multivariate: sets of a generation.")] = 200,
    generations: Annotated[int, typer.Option(min=1, help="Multivariate: of the genetic search.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
    min_ncsnr: MinNcsnr = None,
    min_explained_variance: MinExplainedVariance = None,
    fit_images: FitName = Fit.error,
    precision: Precision = PrecisionName.float32,
    batch_size: BatchSize = 8,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    time_limit: TimeLimit = None,
) -> None:
    """Choose images that drive two ROIs together or apart, or sets that align or disentangle them."""
    with messages("synthesis"):
        from ..experiments.control.experiment import control_regions
        from ..machine import keep_compiled

        keep_compiled()
        summary = control_regions(
            berg_dir,
            subject,
            output,
            path,
            rois=roi or ("FFA-1", "PPA"),
            kind=kind.value,
            choose=images,
            k=k,
            margin=margin,
            synthesize=synthesize,
            steps=steps,
            set_size=set_size,
            population=population,
            generations=generations,
            seed=seed,
            min_ncsnr=min_ncsnr,
            min_explained_variance=min_explained_variance,
            fit_images=fit_images.value,
            precision=precision.value,
            batch_size=batch_size,
            process_index=process_index,
            process_count=process_count,
            time_limit=seconds(time_limit),
        )
        typer.echo(summary)


def _pairs(option: str, given: list[str]) -> dict[str, Path]:
    """What is given as ``name=path``."""
    pairs = [text.rpartition("=") for text in given]
    if wrong := [text for text, (name, _, path) in zip(given, pairs, strict=True) if not name or not path]:
        raise InvalidParameterError(f"{option} must be a name and a path, name=path, got {wrong[0]!r}.")
    return {name.strip(): Path(path) for name, _, path in pairs}

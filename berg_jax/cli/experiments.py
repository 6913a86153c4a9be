"""Commands of the experiments: retinotopy, localizer, accuracy, representational similarity, control."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InvalidParameterError
from ..stream.execution import Execution
from ..stream.images import Images
from ..stream.selection import Selection
from .command import OneSubject, Only, Subjects, command
from .options import Output, Precision

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
    fit_sizes: Annotated[bool, typer.Option("--fit", help="Fit a Gaussian receptive field to each vertex.")] = False,
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
        Path | None, typer.Option(help="CSV file with the columns image and category, instead of folders.")
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
            "with --trials, an array of (trials, vertices), or the folder of the files that it names."
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
        measured=_pairs("--measured", measured or []),
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
    betas: Annotated[
        Path,
        typer.Option(
            help="Measured responses: NSD's folder or BERG's prepared data; with a --table, an array of (trials, "
            "vertices) in .npy, HDF5 or zarr, or the folder of the files that the table names."
        ),
    ],
    selection: Selection,
    execution: Execution,
    table: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns image and session (for a folder: file, too), a row a trial."),
    ] = None,
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


@command(app, _GROUP, config=True)
def rsa(
    images: Annotated[
        Images | None,
        typer.Argument(metavar="[IMAGES]", help="Images, as for encode (default: the demo's drawings)"),
    ],
    subjects: Subjects,
    output: Output,
    selection: _Limits,
    execution: Execution,
    roi: Annotated[
        list[str] | None, typer.Option(help="ROI expression; repeat it for more (default: visual areas)")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="Features (images × features) to compare with, such as 'layer5=layer5.npy'; repeat it for more."
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Layer of a network (images × features), such as 'conv1=conv1.npy'; repeat it, from the first layer "
            "to the last: which of them each ROI and searchlight is most like."
        ),
    ] = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            help="Embedding of behavior by odd-one-out choices (images × dimensions), such as 'spose=spose.npy'; "
            "repeat it for more."
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="Language model's embedding of captions (images × features, or images × captions × features), such "
            "as 'captions=captions.npy'; repeat it for more."
        ),
    ] = None,
    matrix: Annotated[
        list[str] | None,
        typer.Option(help="Dissimilarities to compare with, such as 'behavior=rdm.npy'; repeat it for more."),
    ] = None,
    feature_names: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Text file with the image of each row of --features, --matrix and the like, a name a line "
                "(default: the images' own order)"
            )
        ),
    ] = None,
    measure: Annotated[
        Literal["rdm", "cka"],
        typer.Option(
            help="Measure of similarity: rdm, Spearman's correlation of dissimilarities, or cka, centered kernel "
            "alignment."
        ),
    ] = "rdm",
    partition: Annotated[
        list[str] | None,
        typer.Option(
            help="Features and matrices to partition each ROI's variance among, such as 'layer5 + behavior'; repeat "
            "it for more."
        ),
    ] = None,
    weighted: Annotated[
        Literal["encoding", "features"] | None,
        typer.Option(
            help="Weight features for each ROI on held-out images: encoding, by predictions of each vertex, or "
            "features, by a weight of each feature (default: not weighted)"
        ),
    ] = None,
    searchlight: Annotated[
        str | None,
        typer.Option(
            help="Size of a searchlight in vertices, such as 100, or along the surface in mm, such as geodesic:10, "
            "to map features and matrices over the cortex (default: none)"
        ),
    ] = None,
    dinov2: Annotated[
        Path | None,
        typer.Option(help="Stock DINOv2 to compare with: a folder with model.safetensors."),
    ] = None,
    precision: Precision = "float32",
) -> str:
    """Compare representations: of ROIs, subjects, features and behavior, by their dissimilarity matrices."""
    from ..experiments import compare_representations

    return compare_representations(
        subjects,
        output,
        images,
        rois=roi or (),
        selection=selection,
        features=_pairs("--features", features or []),
        layers=_pairs("--layer", layer or []),
        embeddings=_pairs("--embedding", embedding or []),
        language=_pairs("--language", language or []),
        matrices=_pairs("--matrix", matrix or []),
        feature_names=feature_names,
        measure=measure,
        partitions=partition or (),
        weighted=weighted,
        searchlight=searchlight,
        dinov2=dinov2,
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


def _pairs(option: str, given: list[str]) -> dict[str, Path]:
    """Return the paths of arguments ``name=path``, by name."""
    pairs = [text.rpartition("=") for text in given]
    if wrong := [text for text, (name, _, path) in zip(given, pairs, strict=True) if not name or not path]:
        raise InvalidParameterError(f"{option} must be a name and a path, name=path, got {wrong[0]!r}.")
    return {name.strip(): Path(path) for name, _, path in pairs}

"""Commands that compare: representations, EEG or MEG patterns over time, two encoding models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InvalidParameterError
from ..stream.execution import Execution
from ..stream.images import Images
from ..stream.selection import Selection
from .command import OneSubject, Only, Subjects, command
from .options import Betas, Output, Precision, Trials, name_paths

app = typer.Typer()
_GROUP = "Experiments"
_Limits = Annotated[Selection, Only(("hemisphere", "min_ncsnr", "min_explained_variance"))]


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
    searchlight_correction: Annotated[
        Literal["max", "fdr"],
        typer.Option(
            help="Correction of the searchlights' permutation tests over vertices: max, by the maximum statistic, or "
            "fdr, the false discovery rate."
        ),
    ] = "max",
    dinov2: Annotated[
        Path | None,
        typer.Option(help="Stock DINOv2 to compare with: a folder with model.safetensors."),
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
    categories: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns image and category, by which figures order the images (default: their "
            "folders)"
        ),
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
        features=name_paths("--features", features or []),
        layers=name_paths("--layer", layer or []),
        embeddings=name_paths("--embedding", embedding or []),
        language=name_paths("--language", language or []),
        matrices=name_paths("--matrix", matrix or []),
        feature_names=feature_names,
        measure=measure,
        partitions=partition or (),
        weighted=weighted,
        searchlight=searchlight,
        searchlight_correction=searchlight_correction,
        dinov2=dinov2,
        betas=betas,
        trials=trials,
        zscored=zscored,
        categories=categories,
        precision=precision,
        execution=execution,
    )


@command(app, _GROUP, config=True)
def fuse(
    images: Annotated[
        Images | None,
        typer.Argument(metavar="[IMAGES]", help="Images that participants saw, as for encode (default: the demo's)"),
    ],
    subjects: Subjects,
    output: Output,
    selection: _Limits,
    execution: Execution,
    eeg: Annotated[
        list[Path],
        typer.Option(
            help="EEG or MEG patterns of a participant, .npy of images × channels × times; repeat it for more, or "
            "give one file of participants × images × channels × times."
        ),
    ],
    roi: Annotated[
        list[str] | None, typer.Option(help="ROI expression; repeat it for more (default: visual areas)")
    ] = None,
    eeg_names: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the image of each row of --eeg, a name a line (default: the images' own order)"
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Sampling rate of --eeg in Hz (default: times are numbers of samples)")
    ] = None,
    start: Annotated[
        float, typer.Option(help="Time of the first sample in ms, such as -100; in samples without --rate.")
    ] = 0.0,
    threshold_p: Annotated[
        float, typer.Option(help="One-sided p of the t that a time must have to belong to a cluster.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random signs and resamples.")] = 0,
    precision: Precision = "float32",
) -> str:
    """Find when EEG or MEG patterns are like in silico ROIs: similarity over time, permutation clusters."""
    from ..experiments.representations.fusion import fuse as fuse_patterns

    return fuse_patterns(
        subjects,
        output,
        images,
        eeg=eeg,
        rois=roi or (),
        selection=selection,
        eeg_names=eeg_names,
        rate=rate,
        start=start,
        threshold_p=threshold_p,
        seed=seed,
        precision=precision,
        execution=execution,
    )


@command(app, _GROUP, config=True)
def compare(
    path: Annotated[
        list[Path],
        typer.Argument(
            metavar="STORE STORE",
            help="Two stores of responses to the same images, as encode writes them; one may be an .npy array in the "
            "other's order.",
        ),
    ],
    subject: OneSubject,
    output: Output,
    betas: Betas,
    selection: Selection,
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
) -> str:
    """Compare two encoding models with measured responses: which predicts each ROI better."""
    from ..experiments.accuracy import compare_stores

    if len(path) != 2:
        raise InvalidParameterError(f"Give two stores to compare, got {len(path)}.")
    return compare_stores(
        *path, subject, output, betas, selection=selection, table=table, zscored=zscored, dataset=dataset
    )

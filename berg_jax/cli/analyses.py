"""Commands of analyses that take others' measurements: EEG–fMRI fusion, comparison of two encoding models."""

from __future__ import annotations

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
_Limits = Annotated[Selection, Only(("hemisphere", "min_ncsnr", "min_explained_variance"))]


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
    betas: Annotated[
        Path,
        typer.Option(
            help="Measured responses: NSD's folder or BERG's prepared data; with a --table, an array of (trials, "
            "vertices) in .npy, HDF5 or zarr, or the folder of the files that the table names."
        ),
    ],
    selection: Selection,
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
) -> str:
    """Compare two encoding models with measured responses: which predicts each ROI better."""
    from ..experiments.accuracy import compare_stores

    if len(path) != 2:
        raise InvalidParameterError(f"Give two stores to compare, got {len(path)}.")
    return compare_stores(
        *path, subject, output, betas, selection=selection, table=table, zscored=zscored, dataset=dataset
    )

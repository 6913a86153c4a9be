"""Commands on encodings: encode images, and look after a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InvalidParameterError
from ..stream.execution import Execution
from ..stream.images import Images
from ..stream.selection import Selection
from .command import Alias, OneSubject, command
from .options import Precision, shows_progress

app = typer.Typer()
_GROUP = "Encoding"
_Run = Annotated[str, typer.Argument(metavar="OUTPUT", help="Output of a run, a folder or a URL.")]


@command(app, _GROUP)
def encode(
    images: Annotated[
        Images,
        typer.Argument(metavar="IMAGES", help="Folder, list or tars of image files; .npy, HDF5 (NSD) or zarr."),
        Alias("fit", "--fit"),  # its name in version 0.1.0
    ],
    subject: OneSubject,
    output: Annotated[str, typer.Option(help="Zarr store to write, or to go on with: a folder, s3://… or gs://….")],
    selection: Selection,
    execution: Execution,
    precision: Precision = "float32",
    dtype: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Type of the stored responses; float16 takes half the room."),
    ] = "float32",
    on_error: Annotated[
        Literal["error", "skip"], typer.Option(help="What to do with an image that cannot be read: stop, or skip it.")
    ] = "error",
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Encode images of the output that --on-error skip left out.")
    ] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add images that a finished output lacks behind its own rows.")
    ] = False,
    reduce: Annotated[
        Literal["mean", "moments", "group-means"] | None,
        typer.Option(help="Keep only the mean, mean and variance, or means of groups (default: all responses)"),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns image and group, a row for each image, for group-means."),
    ] = None,
) -> str:
    """Predict responses to images, into a zarr store. Rerun it to resume after an interruption."""
    if reduce is not None:
        if dtype != "float32":
            raise InvalidParameterError("--dtype is of stored responses, and --reduce stores none. Leave it out.")
        if retry_skipped or append:
            raise InvalidParameterError(
                "--retry-skipped and --append are for stored responses; --reduce stores none."
            )
        from ..stream.reducers.averages import reduce_images

        return reduce_images(
            subject,
            images,
            output,
            reduce=reduce,
            groups=groups,
            selection=selection,
            precision=precision,
            on_error=on_error,
            execution=execution,
        )
    if groups is not None:
        raise InvalidParameterError("--groups is for --reduce group-means. Give that, too, or leave it out.")
    from ..stream.encode import encode_images

    return encode_images(
        subject,
        images,
        output,
        selection=selection,
        precision=precision,
        dtype=dtype,
        on_error=on_error,
        retry_skipped=retry_skipped,
        append=append,
        execution=execution,
    )


@command(app, _GROUP)
def show(output: Annotated[str, typer.Argument(metavar="STORE", help="Output of a run, a folder or a URL.")]) -> str:
    """Say what a store holds: subject, ROI, images, range of the responses, a table of ROIs or groups."""
    from ..stream.store.show import show_text

    return show_text(output)


@command(app, _GROUP)
def status(output: _Run) -> str:
    """Say how far along a run is: what is done, by whom, how fast, and what was skipped."""
    from ..stream.store.status import status_text

    return status_text(output)


@command(app, _GROUP)
def merge(output: _Run) -> str:
    """Finish a run that no process has finished though all images are done: combine the partial results."""
    from ..stream.merge import merge_output

    return merge_output(output)


@command(app, _GROUP)
def demo(
    output: Annotated[Path, typer.Option(help="Folder to write.")] = Path("berg-jax-demo"),
    subject_id: Annotated[int, typer.Option("--subject", help="Number of the synthetic demo subject, 1 to 4.")] = 1,
    roi: Annotated[str, typer.Option(help="ROI that a photograph is changed to drive.")] = "FFA-1",
    devices: Annotated[
        int | None, typer.Option(min=1, help="Number of local devices that encode the pictures (default: all)")
    ] = None,
) -> str:
    """Encode pictures with a synthetic subject, draw its brain, and change a photograph by gradient ascent."""
    from ..experiments.demo import demonstrate

    return demonstrate(output, subject_id, roi, devices=devices, show_progress=shows_progress())

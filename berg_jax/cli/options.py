"""What commands share: options, and how errors reach the user."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BERGError, Interrupted, ResourceError

INTERRUPTED = 75  # exit code (EX_TEMPFAIL): run the same command again

BergDir = Annotated[
    Path,
    typer.Option(
        "--berg-dir", help="Folder that holds encoding_models/…, or 'demo' for the synthetic demo subjects."
    ),
]
SubjectNumber = Annotated[int, typer.Option("--subject", help="Number of the subject.")]
SubjectNumbers = Annotated[list[int], typer.Option("--subject", help="Number of a subject; give it again for more.")]
Output = Annotated[Path, typer.Option(help="The folder to write, or to go on with.")]
Choose = Annotated[
    str | None,
    typer.Option(
        "--images", help="Of a file which images: test, val, train, '3,5,10-19' or a text file [default: all]"
    ),
]
Roi = Annotated[str | None, typer.Option(help="ROI expression, as 'FFA-1 + FFA-2' [default: all]")]
MinNcsnr = Annotated[float | None, typer.Option(help="Only vertices of at least this ncsnr.")]
MinExplainedVariance = Annotated[
    float | None, typer.Option(help="Only vertices explained at least so well, in the scale that info prints.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that a device computes at a time.")]
ProcessIndex = Annotated[
    int | None, typer.Option(help="Of several processes with one output: which [default: as the scheduler says]")
]
ProcessCount = Annotated[int | None, typer.Option(help="Of several processes with one output: how many.")]
TimeLimit = Annotated[float | None, typer.Option(help="Minutes after which to stop, to be resumed.")]
_debug = False


class Hemisphere(enum.StrEnum):
    """Which hemispheres."""

    lh = "lh"
    rh = "rh"
    both = "both"


class Fit(enum.StrEnum):
    """What to do with an image that is not square."""

    error = "error"
    crop = "crop"
    pad = "pad"
    stretch = "stretch"


class PrecisionName(enum.StrEnum):
    """How exactly the network multiplies."""

    float32 = "float32"
    tensorfloat32 = "tensorfloat32"
    bfloat16 = "bfloat16"


HemisphereName = Annotated[Hemisphere, typer.Option(help="Vertices of which hemisphere.")]
FitName = Annotated[Fit, typer.Option("--fit-images", help="What to do with an image that is not square.")]
Precision = Annotated[PrecisionName, typer.Option(help="float32 is exact; the others are faster.")]


def show_tracebacks(shown: bool) -> None:
    """Whether an error of the user's shows a traceback."""
    global _debug
    _debug = shown


@contextlib.contextmanager
def messages(extra: str | None = None) -> Iterator[None]:
    """Errors that are about the user's input become one message on stderr and exit code 2; an interruption is 75.

    Of a command that needs one of the package's extras, a missing module is such an error, too.
    """
    try:
        with _installed(extra):
            yield
    except Interrupted as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(INTERRUPTED) from stopped
    except BERGError as error:
        if _debug:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


@contextlib.contextmanager
def _installed(extra: str | None) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if extra is None:
            raise
        raise ResourceError(f"{error.name} is not installed: pip install 'berg_jax[{extra}]'.") from error


def seconds(minutes: float | None) -> float | None:
    """A time limit as functions take it."""
    return None if minutes is None else 60 * minutes

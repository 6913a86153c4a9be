"""What commands share: options, and how errors reach the user."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from .errors import BERGError, Interrupted

INTERRUPTED = 75  # exit code (EX_TEMPFAIL): run the same command again

BergDir = Annotated[
    Path,
    typer.Option(
        "--berg-dir", help="Folder that holds encoding_models/…, or 'demo' for the synthetic demo subjects."
    ),
]
SubjectNumber = Annotated[int, typer.Option("--subject", help="Number of the subject.")]
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


def show_tracebacks(shown: bool) -> None:
    """Whether an error of the user's shows a traceback."""
    global _debug
    _debug = shown


@contextlib.contextmanager
def messages() -> Iterator[None]:
    """Errors that are about the user's input become one message on stderr and exit code 2; an interruption is 75."""
    try:
        yield
    except Interrupted as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(INTERRUPTED) from stopped
    except BERGError as error:
        if _debug:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error

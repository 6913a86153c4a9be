"""Options that commands share, and errors as the user meets them."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import BERGError, Interrupted, InvalidParameterError, ResourceError, Unfinished
from ..files.trouble import device_trouble
from ..stream.schedulers import ends_together
from .signals import INTERRUPTED

UNFINISHED = 76  # exit code: this process has done its share, and others still owe theirs
SUBJECTS, RUN = "Subjects", "Run"  # panels of the help

BergDir = Annotated[
    Path,
    typer.Option(
        "--berg-dir",
        help="BERG directory, which holds encoding_models/…; or 'demo' for the synthetic demo subjects.",
        rich_help_panel=SUBJECTS,
    ),
]
SubjectId = Annotated[int, typer.Option("--subject", help="ID of the subject, such as 1.", rich_help_panel=SUBJECTS)]
DonorId = Annotated[
    int,
    typer.Option(
        "--donor", help="ID of the subject whose network a new person starts from.", rich_help_panel=SUBJECTS
    ),
]
SubjectIds = Annotated[
    list[int],
    typer.Option("--subject", help="ID of a subject, such as 1; repeat it for more.", rich_help_panel=SUBJECTS),
]
Betas = Annotated[
    Path,
    typer.Option(
        help="Measured responses: NSD's folder or BERG's prepared data; with --trials, an array of (trials, "
        "vertices) in .npy, HDF5 or zarr, of both whole hemispheres or of the vertices of --roi, or the folder of "
        "the files that --trials names."
    ),
]
Trials = Annotated[
    Path | None,
    typer.Option(
        *("--trials", "--table"),  # the latter its name in version 0.1.0
        help="CSV file with a row for each trial of --betas: columns image and session, and for a folder file, too.",
    ),
]
Output = Annotated[Path, typer.Option(help="Folder to write, or to go on with.")]
PrecisionName = Literal["float32", "tensorfloat32", "bfloat16"]


class EachPrecision(enum.StrEnum):
    """Precisions that an option can be given several of, for which typer takes no Literal."""

    float32 = "float32"
    tensorfloat32 = "tensorfloat32"
    bfloat16 = "bfloat16"


Precision = Annotated[
    PrecisionName,
    typer.Option(help="Precision of the network; float32 is exact, the others are faster.", rich_help_panel=RUN),
]
Share = Annotated[
    bool,
    typer.Option(
        "--share",
        help="Share the output with the other processes that Slurm, MPI or Kubernetes has started: each does a part.",
        rich_help_panel=RUN,
    ),
]
ProcessIndex = Annotated[
    int | None,
    typer.Option(
        help="Index of this process, from 0, among those that share the output, where --share cannot know it.",
        rich_help_panel=RUN,
    ),
]
ProcessCount = Annotated[
    int | None,
    typer.Option(help="Number of processes that share the output (default: 1, this one alone)", rich_help_panel=RUN),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        help="Stop after this many minutes; rerun the command to resume (default: no limit)", rich_help_panel=RUN
    ),
]
_debug = _quiet = False


def show_tracebacks(shown: bool) -> None:
    """Set whether an error of the user's shows a traceback."""
    global _debug
    _debug = shown


def be_quiet(wanted: bool) -> None:
    """Set whether commands show no progress."""
    global _quiet
    _quiet = wanted


def shows_progress() -> bool:
    """Return whether commands show progress."""
    return not _quiet


@contextlib.contextmanager
def messages(extra: str | None = None) -> Iterator[None]:
    """Turn errors about the user's input into one message on stderr and exit code 2; an interruption exits with 75.

    A process that has done its share while others have not exits with 76; with 0 where it was started by mpirun or is
    one of several tasks of srun, which would stop the others, and whose own code at the end is that of all.
    If the command needs one of the package's extras, a missing module is such an error, too.
    """
    try:
        with _installed(extra):
            yield
    except Interrupted as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(INTERRUPTED) from stopped
    except Unfinished as share:
        typer.echo(str(share), err=True)
        raise typer.Exit(0 if ends_together(os.environ) else UNFINISHED) from share
    except BERGError as error:
        if _debug:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error
    except Exception as error:
        trouble = None if _debug else device_trouble(error)
        if trouble is None:
            raise
        typer.echo(f"Error: {trouble[0].upper()}{trouble[1:]}", err=True)
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
    """Return a time limit in seconds."""
    return None if minutes is None else 60 * minutes


def name_paths(option: str, given: list[str]) -> dict[str, Path]:
    """Return the paths of arguments ``name=path``, by name."""
    pairs = [text.rpartition("=") for text in given]
    if wrong := [text for text, (name, _, path) in zip(given, pairs, strict=True) if not name or not path]:
        raise InvalidParameterError(f"{option} must be a name and a path, name=path, got {wrong[0]!r}.")
    return {name.strip(): Path(path) for name, _, path in pairs}

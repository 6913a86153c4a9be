"""``berg-jax``: the command line. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Annotated

import typer

from . import analyses, benchmarks, encoding, experiments, fitting, subjects, synthesis
from .options import be_quiet, show_tracebacks
from .signals import install_handlers

# Settings by which other programs of JAX debug, or compute otherwise. Devices and caches are not among them.
_OF_OTHERS = (
    *("JAX_DEBUG_INFS", "JAX_DEBUG_NANS", "JAX_DEFAULT_DTYPE_BITS", "JAX_DEFAULT_MATMUL_PRECISION"),
    *("JAX_DEFAULT_PRNG_IMPL", "JAX_DISABLE_JIT", "JAX_ENABLE_CHECKS", "JAX_ENABLE_X64"),
    *("JAX_NUMPY_DTYPE_PROMOTION", "JAX_NUMPY_RANK_PROMOTION", "JAX_THREEFRY_PARTITIONABLE", "JAX_TRANSFER_GUARD"),
)

_OF_ALL = ("--debug", "--quiet", "--verbose")  # options of all commands

app = typer.Typer(
    name="berg-jax",
    help="The fMRI encoding model fmri-nsd_fsaverage-huze in JAX: images to responses of cortical vertices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (subjects, encoding, experiments, analyses, fitting, synthesis, benchmarks):
    app.add_typer(group.app)


def main() -> None:
    """Run the command line, whatever settings of other programs the shell has inherited."""
    install_handlers()
    os.environ["MPLBACKEND"] = "agg"  # no windows, and never a notebook's backend
    for name in [name for name in os.environ if name.startswith(_OF_OTHERS)]:
        del os.environ[name]
    for stream in (sys.stdout, sys.stderr):
        # A finished run must not fail at its last words, if a terminal or a log lacks one of their letters.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(in_front([at_home(argument) for argument in sys.argv[1:]]))


def at_home(argument: str) -> str:
    """Return an argument with the user's folder in place of ``~``, which shells leave in ``--output=~/x``."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + os.path.expanduser(value)


def in_front(arguments: list[str]) -> list[str]:
    """Return the arguments with the options of all commands first, which may be given behind a command, too."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first = [argument for argument in arguments[:end] if argument in _OF_ALL]
    return first + [argument for argument in arguments[:end] if argument not in _OF_ALL] + arguments[end:]


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"berg_jax {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with errors.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print results, warnings and errors only; no progress.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the time and origin of each message, and what JAX compiles.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    show_tracebacks(debug)
    if quiet and verbose:
        raise typer.BadParameter("Give --quiet or --verbose, not both.")
    be_quiet(quiet)
    if verbose:
        os.environ["JAX_LOG_COMPILES"] = "1"  # read when JAX is imported, which comes later
    words = "%(asctime)s %(name)s: %(message)s" if verbose else "%(message)s"
    logging.basicConfig(format=words, level=logging.WARNING)
    logging.getLogger("berg_jax").setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)

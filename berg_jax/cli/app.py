"""``berg-jax``: the command line. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from . import benchmarks, encoding, experiments, subjects, synthesis
from .options import show_tracebacks
from .signals import install_handlers

app = typer.Typer(
    name="berg-jax",
    help="The fMRI encoding model fmri-nsd_fsaverage-huze in JAX: images to responses of cortical vertices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for group in (subjects, encoding, experiments, synthesis, benchmarks):
    app.add_typer(group.app)


def main() -> None:
    """Run the command line."""
    install_handlers()
    app([at_home(argument) for argument in sys.argv[1:]])


def at_home(argument: str) -> str:
    """Return an argument with the user's folder in place of ``~``, which shells leave in ``--output=~/x``."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + os.path.expanduser(value)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"berg_jax {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    show_tracebacks(debug)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("berg_jax").setLevel(logging.INFO)

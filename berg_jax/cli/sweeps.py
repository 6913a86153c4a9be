"""``berg-jax sweep``, as in :mod:`berg_jax.cli.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidParameterError
from .options import ProcessCount, ProcessIndex, TimeLimit, messages, seconds

app = typer.Typer()


@app.command()
def sweep(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC.toml", help="The sweep: base settings, axes, launcher; or a sweep's sweep.json."
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="The folder to write, or to go on with.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the trials.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say what is done, failed and left.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute again what is recorded as failed.")
    ] = False,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    time_limit: TimeLimit = None,
) -> None:
    """Make images for every combination of settings. Given again after an interruption, it goes on."""
    with messages("sweep"):
        from ..experiments.sweeps import records
        from ..experiments.sweeps import submit as launching
        from ..experiments.sweeps.spec import read_spec

        plan = read_spec(spec)
        if dry_run:
            typer.echo(launching.plan_text(plan))
            return
        if output is None:
            raise InvalidParameterError("Give --output, the folder to write; --dry-run needs none.")
        if status:
            typer.echo(records.status_text(output, plan))
            return
        typer.echo(launching.plan_text(plan, every=False), err=True)
        said = launching.sweep(
            plan,
            output,
            process_index=process_index,
            process_count=process_count,
            retry_failed=retry_failed,
            time_limit=seconds(time_limit),
        )
        typer.echo(said)

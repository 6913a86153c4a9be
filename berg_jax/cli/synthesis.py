"""Commands that make stimuli: one synthesis, or a sweep of many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidParameterError
from ..experiments.synthesis.recipe import Recipe
from ..stream.execution import find_process
from ..stream.selection import Selection
from .command import OneSubject, Only, command
from .options import RUN, Output, Precision, ProcessCount, ProcessIndex, Share, TimeLimit, seconds, shows_progress

app = typer.Typer()
_GROUP = "Stimuli"


@command(app, _GROUP, extra="synthesis", config=True)
def synthesize(
    subject: OneSubject,
    output: Output,
    selection: Annotated[Selection, Only(("hemisphere", "min_ncsnr"))],
    recipe: Recipe,
    drive: Annotated[
        list[str] | None,
        typer.Option(
            help="ROI expression to drive, such as 'FFA-1 + FFA-2'; repeat it for more. Give this or --suppress."
        ),
    ] = None,
    suppress: Annotated[
        list[str] | None, typer.Option(help="ROI expression to suppress; repeat it for more. Give this or --drive.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help=(
                "Response, in z units from 0 or the baseline's mean, beyond "
                "which more counts for nothing (default: no bound)"
            )
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Natural images, or a store of responses to them, whose mean response counts as 0 (default: none)"
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of images, each from a start of its own.")] = 8,
    precision: Precision = "float32",
    microbatch: Annotated[
        int | None,
        typer.Option(min=1, help="Images that a device computes at a time (default: all)", rich_help_panel=RUN),
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Number of local devices to compute on.", rich_help_panel=RUN)
    ] = 1,
    time_limit: TimeLimit = None,
) -> str:
    """Make images that drive some regions and suppress others. Rerun it to resume after an interruption."""
    from ..experiments.synthesis.experiment import synthesize

    return synthesize(
        subject,
        output,
        drive=drive or [],
        suppress=suppress or [],
        margin=margin,
        selection=selection,
        recipe=recipe,
        baseline=baseline,
        n=n,
        precision=precision,
        microbatch=microbatch,
        devices=devices,
        time_limit=seconds(time_limit),
        show_progress=shows_progress(),
    )


@command(app, _GROUP, extra="sweep")
def sweep(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC.toml",
            help="Specification of the sweep: base settings, axes, launcher; or a sweep's sweep.json.",
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder to write, or to go on with.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the trials.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say what is done, failed and left.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute the trials again that are recorded as failed.")
    ] = False,
    share: Share = False,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    time_limit: TimeLimit = None,
) -> str:
    """Make images for every combination of settings. Rerun it to resume after an interruption."""
    from ..experiments.sweeps import submit
    from ..experiments.sweeps.spec import read_spec

    plan = read_spec(spec)
    if dry_run:
        return submit.plan_text(plan)
    if output is None:
        raise InvalidParameterError("Give --output, the folder to write; --dry-run needs none.")
    if status:
        return submit.status_text(output, plan)
    typer.echo(submit.plan_text(plan, every=False), err=True)
    divided = share or process_index is not None or process_count is not None
    submits = plan.launcher.kind == "slurm" and not divided
    return submit.sweep(
        plan,
        output,
        process=None if submits else find_process(process_index, process_count, share=share),
        retry_failed=retry_failed,
        time_limit=seconds(time_limit),
        show_progress=shows_progress(),
    )

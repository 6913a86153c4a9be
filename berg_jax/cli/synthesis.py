"""Commands that make stimuli: one synthesis, or a sweep of many."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InvalidParameterError
from ..experiments.synthesis.recipe import Recipe
from ..stream.execution import find_process
from ..stream.images import Fit
from ..stream.selection import Selection
from .command import OneSubject, Only, command
from .options import RUN, Output, Precision, ProcessCount, ProcessIndex, Share, TimeLimit, seconds, shows_progress

app = typer.Typer()
_GROUP = "Stimuli"
_Thresholds = Annotated[Selection, Only(("hemisphere", "min_ncsnr", "min_explained_variance"))]


_FitImages = Annotated[
    Fit,
    typer.Option(help="What to do with images that are not square: stop, crop, pad with grey, or stretch them."),
]


class Method(enum.StrEnum):
    """Attribution methods."""

    gradient_times_input = "gradient-times-input"
    integrated_gradients = "integrated-gradients"
    smooth_grad = "smooth-grad"
    occlusion = "occlusion"


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
    prior: Annotated[
        Literal["diffusion"] | None,
        typer.Option(help="Prior to draw the images from, guided by the goal (default: none, gradient ascent)"),
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale of --prior (default: 3)")] = None,
    held_out: Annotated[
        list[int] | None,
        typer.Option(help="Subject that takes no part, in whose model the images are judged; repeat it for more."),
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
        prior=prior,
        guidance=guidance,
        held_out=held_out,
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
            help=(
                "TOML file with tables \\[base], \\[grid], \\[zip], \\[random] and \\[launcher], whose keys are "
                "synthesize's options: berg_dir, subject, drive, suppress, images, steps, seed, … "
                "(docs/experiments/sweeps.md); or a sweep's sweep.json."
            ),
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder to write, or to go on with.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the file, subjects and ROIs, and list the trials.")
    ] = False,
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
        submit.check(plan)
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


@command(app, _GROUP, extra="demo", config=True)
def explain(
    path: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Image files, or folders of images.")],
    subject: OneSubject,
    output: Output,
    roi: Annotated[str, typer.Option(help="ROI expression whose mean response is explained.")],
    selection: _Thresholds,
    against: Annotated[
        str | None, typer.Option(help="ROI expression whose mean response is subtracted (default: none)")
    ] = None,
    method: Annotated[
        list[Method] | None,
        typer.Option(help="Attribution method; repeat it for more (default: integrated-gradients and occlusion)"),
    ] = None,
    fit_images: _FitImages = "error",
    precision: Precision = "float32",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images that are computed at a time.", rich_help_panel=RUN)
    ] = 8,
) -> str:
    """Explain which part of images drives a region, where it looks, and whether the maps can be trusted."""
    from ..experiments.explanation.experiment import explain

    methods = [str(one) for one in method or ("integrated-gradients", "occlusion")]
    options = {"against": against, "method": methods, "precision": precision, "batch_size": batch_size}
    return explain(subject, output, path, roi=roi, selection=selection, fit_images=fit_images, **options)


@command(app, _GROUP, extra="synthesis", config=True)
def metamer(
    path: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file whose responses are matched.")],
    subject: OneSubject,
    output: Output,
    roi: Annotated[str, typer.Option(help="ROI expression whose vertices' responses are matched.")],
    selection: _Thresholds,
    start: Annotated[Path | None, typer.Option(help="Image to start from (default: noise)")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of metamers.")] = 4,
    steps: Annotated[
        int, typer.Option(min=2, help="Number of steps, at most: they end once the error is below 0.5%.")
    ] = 4096,
    apart: Annotated[
        float,
        typer.Option(min=0, help="Push away from the image: a grey level's worth as a share of the squared spread."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; the same seed makes the same images.")] = 0,
    fit_images: _FitImages = "error",
    precision: Precision = "float32",
) -> str:
    """Make images that a region cannot tell from another, and the changes that it sees most and least."""
    from ..experiments.explanation.perception import make_metamers

    options = {"start": start, "n": n, "steps": steps, "apart": apart, "seed": seed, "precision": precision}
    return make_metamers(subject, output, path, roi=roi, selection=selection, fit_images=fit_images, **options)


@command(app, _GROUP, extra="synthesis", config=True)
def compete(
    path: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file to start from.")],
    subject: OneSubject,
    output: Output,
    roi: Annotated[str, typer.Option(help="ROI expression of the first side.")],
    selection: _Thresholds,
    against: Annotated[
        str | None, typer.Option(help="ROI expression of the second side (default: that of the first)")
    ] = None,
    against_subject: Annotated[
        int | None, typer.Option(help="Subject of the second side (default: that of the first)")
    ] = None,
    against_berg_dir: Annotated[
        Path | None, typer.Option(help="Folder of the second side's subject (default: --berg-dir)")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of steps.")] = 128,
    step: Annotated[float, typer.Option(help="Length of a step in grey levels, root mean square.")] = 1.0,
    fit_images: _FitImages = "error",
    precision: Precision = "float32",
) -> str:
    """Make images on which two regions, or two people's, disagree most: one is held, the other raised or lowered."""
    from ..experiments.explanation.disagreement import make_competition

    options = {"against": against, "against_subject": against_subject, "against_berg_dir": against_berg_dir}
    options |= {"steps": steps, "step": step, "fit_images": fit_images, "precision": precision}
    return make_competition(subject, output, path, roi=roi, selection=selection, **options)


@command(app, _GROUP, extra="demo", config=True)
def vary(
    path: Annotated[Path, typer.Argument(metavar="PHOTO", help="Photograph to vary.")],
    subject: OneSubject,
    output: Output,
    roi: Annotated[str, typer.Option(help="ROI expression whose mean response is lowered and raised.")],
    selection: _Thresholds,
    scale: Annotated[
        list[float] | None,
        typer.Option(help="Guidance scale; repeat it for more, ascending (default: -1, -0.25, 0, 0.25 and 1)"),
    ] = None,
    strength: Annotated[
        float, typer.Option(help="Share of the noise levels that the photograph passes, above 0 to 1.")
    ] = 0.5,
    steps: Annotated[int, typer.Option(min=1, help="Number of steps.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; the same seed makes the same images.")] = 0,
    dinov2: Annotated[
        Path | None,
        typer.Option(
            help="Stock DINOv2 to measure distances in: a folder with model.safetensors "
            "(default: the model's own network)."
        ),
    ] = None,
    fit_images: _FitImages = "error",
    precision: Precision = "float32",
) -> str:
    """Make variations of a photograph that suppress and drive a region, at a matched distance from it."""
    from ..experiments.synthesis.priors.strip import SCALES, make_variations

    options = {"scale": scale or list(SCALES), "strength": strength, "steps": steps, "seed": seed, "dinov2": dinov2}
    options |= {"fit_images": fit_images, "precision": precision}
    return make_variations(subject, output, path, roi=roi, selection=selection, **options)

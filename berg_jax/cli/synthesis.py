"""``berg-jax synthesize``, as in :mod:`berg_jax.cli.app`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BergDir,
    Hemisphere,
    HemisphereName,
    MinNcsnr,
    Output,
    Precision,
    PrecisionName,
    SubjectNumber,
    TimeLimit,
    messages,
    seconds,
)

app = typer.Typer()


class Written(enum.StrEnum):
    """How synthesized images are written."""

    pixels = "pixels"
    fourier = "fourier"
    phases = "phases"


@app.command()
def synthesize(
    berg_dir: BergDir,
    subject: SubjectNumber,
    output: Output,
    drive: Annotated[
        list[str] | None, typer.Option(help="ROI expression to drive, as 'FFA-1 + FFA-2'; again for more.")
    ] = None,
    suppress: Annotated[list[str] | None, typer.Option(help="ROI expression to suppress; again for more.")] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="How far from 0, or from the baseline's mean, is far enough, in z units [default: no bound]"
        ),
    ] = None,
    hemisphere: HemisphereName = Hemisphere.both,
    min_ncsnr: MinNcsnr = None,
    images: Annotated[
        Written, typer.Option(help="What is optimized: pixels, Fourier coefficients, or phases alone (MACO).")
    ] = Written.fourier,
    photograph_folder: Annotated[
        Path | None,
        typer.Option("--photographs", help="Whose spectrum phases take [default: matplotlib's and scikit-learn's]"),
    ] = None,
    start: Annotated[Path | None, typer.Option(help="A photograph to start from [default: noise]")] = None,
    radius: Annotated[
        float | None, typer.Option(help="How far from it images may go: root mean square, grey levels.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Natural images, or a store of responses to them, that scores are relative to."),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many images, each from a start of its own.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Steps of gradient ascent.")] = 256,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 0.05,
    jitter: Annotated[int, typer.Option(min=0, help="Shift images at random by up to so many pixels a step.")] = 8,
    total_variation: Annotated[
        float, typer.Option(help="Weight of total variation, which is taken off: z units per grey level.")
    ] = 0.0,
    draws: Annotated[int, typer.Option(min=1, help="Random shifts that a step takes the mean over.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same images.")] = 0,
    precision: Precision = PrecisionName.float32,
    microbatch: Annotated[
        int | None, typer.Option(min=1, help="Images that a device computes at a time [default: all]")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="On how many local devices.")] = 1,
    time_limit: TimeLimit = None,
) -> None:
    """Make images that drive some regions and suppress others. Given again after an interruption, it goes on."""
    with messages("synthesis"):
        from ..experiments.synthesis.experiment import synthesize
        from ..machine import keep_compiled

        keep_compiled()
        summary = synthesize(
            berg_dir,
            subject,
            output,
            drive=drive or [],
            suppress=suppress or [],
            margin=margin,
            hemisphere=hemisphere.value,
            min_ncsnr=min_ncsnr,
            images=images.value,
            photograph_folder=photograph_folder,
            start=start,
            radius=radius,
            baseline=baseline,
            n=n,
            steps=steps,
            learning_rate=learning_rate,
            jitter=jitter,
            total_variation=total_variation,
            draws=draws,
            seed=seed,
            precision=precision.value,
            microbatch=microbatch,
            devices=devices,
            time_limit=seconds(time_limit),
        )
        typer.echo(summary)

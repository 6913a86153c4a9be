"""``berg-jax``'s benchmarks: one thin function a command, as in :mod:`berg_jax.cli.app`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import BergDir, PrecisionName, SubjectNumber, messages

app = typer.Typer()


@app.command()
def bench(
    berg_dir: Annotated[
        Path | None, typer.Option("--berg-dir", help="By default a synthetic subject of published size is made.")
    ] = None,
    subject: SubjectNumber = 1,
    precision: Annotated[list[PrecisionName] | None, typer.Option(help="Several can be given.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images of a batch; half as many for gradients.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="How often each side is timed.")] = 5,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write, with a picture beside it.")] = None,
) -> None:
    """Measure speed and memory, beside PyTorch where it is installed."""
    with messages():
        from ..experiments.benchmarks.speed import benchmark

        benchmark(
            berg_dir,
            subject,
            precisions=[name.value for name in precision or [PrecisionName.float32]],
            batch_size=batch_size,
            repeats=repeats,
            output=output,
            say=typer.echo,
        )


@app.command("bench-precision")
def bench_precision(
    berg_dir: BergDir,
    subject: SubjectNumber = 1,
    precision: Annotated[list[PrecisionName] | None, typer.Option(help="Several can be given.")] = None,
    images: Annotated[int, typer.Option(min=3, help="How many images to show.")] = 200,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 8,
) -> None:
    """Correlate each vertex' responses in lower precisions with those in float32."""
    with messages():
        from ..experiments.benchmarks.precision import precision_errors

        names = [name.value for name in precision or [PrecisionName.tensorfloat32, PrecisionName.bfloat16]]
        for errors in precision_errors(berg_dir, subject, precisions=names, n_images=images, batch_size=batch_size):
            typer.echo(str(errors))


class Chip(StrEnum):
    """What XLA's compilers are asked for."""

    v5e = "v5e"
    v6e = "v6e"
    a100 = "a100"
    h100 = "h100"
    h200 = "h200"


@app.command("compile-for")
def compile_for(
    chip: Annotated[Chip, typer.Argument(help="A kind of TPU (needs the tpu extra) or GPU (needs cuda12).")],
    berg_dir: BergDir,
    subject: SubjectNumber = 1,
    roi: Annotated[str | None, typer.Option(help="A ROI expression. Default: every vertex.")] = None,
    precision: Annotated[PrecisionName, typer.Option(help="How exactly the network multiplies.")] = (
        PrecisionName.bfloat16
    ),
    batch_size: Annotated[int, typer.Option(min=4, help="Images a chip; a quarter as many for gradients.")] = 64,
    chips: Annotated[list[int] | None, typer.Option(help="1 or 8. Default: first one, then eight.")] = None,
) -> None:
    """Compile for a TPU or GPU that this machine does not have: memory, and of a TPU the estimated time."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # else JAX looks for the device, and the compiler is not there
    with messages():
        from ..experiments.benchmarks import compile_for as ahead_of_time

        options = {"roi": roi, "precision": precision.value, "batch_size": batch_size}
        for compiled in ahead_of_time.compile_for(
            chip.value, berg_dir, subject, **options, counts=chips or ahead_of_time.COUNTS
        ):
            typer.echo(str(compiled))


@app.command("bench-stream")
def bench_stream(
    images: Annotated[int, typer.Option(min=1, help="How many images to stream.")] = 20_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 32,
    berg_dir: BergDir = Path("demo"),
    subject: SubjectNumber = 1,
    repeats: Annotated[
        int, typer.Option(min=0, help="Of the model, bare and streamed, and of decoding; 0: only the loop.")
    ] = 5,
    seconds: Annotated[float, typer.Option(help="About how long the bare model runs each time.")] = 5.0,
    output: Annotated[Path | None, typer.Option(help="A JSON file for all figures.")] = None,
) -> None:
    """Measure what the stream costs: alone, next to the bare model, and in decoding JPEG files."""
    with messages():
        from ..experiments.benchmarks.stream import bench_stream

        options = {
            "berg_dir": berg_dir,
            "subject_id": subject,
            "repeats": repeats,
            "seconds": seconds,
            "output": output,
        }
        typer.echo(bench_stream(images, batch_size, **options))

"""Commands that measure: speed and memory beside PyTorch, lower precisions, other chips, the stream itself."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..machine import keep_compiled
from .options import BergDir, EachPrecision, PrecisionName, SubjectId, messages

app = typer.Typer()
_GROUP = "Benchmarks"
Chip = Literal["v5e", "v6e", "a100", "h100", "h200"]


# Written out, because the table of the cases is beside JAX, which help must not wait for; a test compares them.
_CASES = ("full-brain", "foveal-ROI", "foveal-ROI-gradient", "ROI", "ROI-gradient", "synthesis", "stack", "readout")
EachCase = enum.StrEnum("EachCase", {name: name for name in _CASES})  # a name is the value


@app.command(rich_help_panel=_GROUP)
def bench(
    berg_dir: Annotated[
        Path | None,
        typer.Option("--berg-dir", help="BERG directory (default: a synthetic subject of published size is made)"),
    ] = None,
    subject_id: SubjectId = 1,
    precision: Annotated[
        list[EachPrecision] | None, typer.Option(help="Precision to measure; repeat it for more (default: float32)")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=2, help="Number of images in a batch; half as many for gradients.")
    ] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Number of times that each side is timed.")] = 5,
    case: Annotated[
        list[EachCase] | None, typer.Option(help="Case to measure; repeat it for more (default: all)")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "gpu", "tpu"],
        typer.Option(help="Device to measure; refused if it is not there."),
    ] = "auto",
    torch_compile: Annotated[
        bool, typer.Option("--torch-compile", help="Compile PyTorch's networks by torch.compile.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="JSON file to write, with a picture beside it.")] = None,
) -> None:
    """Measure speed and memory, beside PyTorch where it is installed."""
    with messages():
        from ..experiments.benchmarks.speed import benchmark

        benchmark(
            berg_dir,
            subject_id,
            precisions=[name.value for name in precision or [EachPrecision.float32]],
            batch_size=batch_size,
            repeats=repeats,
            cases=[name.value for name in case or []],
            device=device,
            torch_compile=torch_compile,
            output=output,
            say=typer.echo,
        )


@app.command(rich_help_panel=_GROUP)
def tune(
    berg_dir: Annotated[
        Path | None,
        typer.Option("--berg-dir", help="BERG directory (default: the published subjects' sizes, random weights)"),
    ] = None,
    subject_id: SubjectId = 1,
    precision: Annotated[
        list[EachPrecision] | None,
        typer.Option(help="Precision to tune; repeat it for more (default: float32 on a CPU, else all)"),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print what was found, and measure nothing.")] = False,
) -> None:
    """Find the fastest of the equal ways to compute on this device, and use it from then on."""
    with messages():
        from ..experiments.benchmarks import tune as tuning

        if show:
            typer.echo(tuning.shown())
        else:
            keep_compiled()
            precisions = [name.value for name in precision or []]
            tuning.tune(berg_dir, subject_id, precisions=precisions, say=typer.echo)


@app.command("bench-precision", rich_help_panel=_GROUP)
def bench_precision(
    berg_dir: BergDir,
    subject_id: SubjectId = 1,
    precision: Annotated[
        list[EachPrecision] | None,
        typer.Option(help="Precision to measure; repeat it for more (default: tensorfloat32 and bfloat16)"),
    ] = None,
    images: Annotated[int, typer.Option(min=3, help="Number of images to show.")] = 200,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that all devices compute at a time.")] = 8,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Number of local devices to compute on (default: all)")
    ] = None,
) -> None:
    """Correlate each vertex's responses in lower precisions with those in float32."""
    with messages():
        from ..experiments.benchmarks.precision import precision_errors

        chosen = precision or [EachPrecision.tensorfloat32, EachPrecision.bfloat16]
        names = [name.value for name in chosen]
        for errors in precision_errors(
            berg_dir, subject_id, precisions=names, n_images=images, batch_size=batch_size, devices=devices
        ):
            typer.echo(str(errors))


@app.command("compile-for", rich_help_panel=_GROUP)
def compile_for(
    chip: Annotated[Chip, typer.Argument(help="Kind of TPU (needs the tpu extra) or GPU (needs cuda12).")],
    berg_dir: BergDir,
    subject_id: SubjectId = 1,
    roi: Annotated[str | None, typer.Option(help="ROI expression (default: all vertices)")] = None,
    precision: Annotated[PrecisionName, typer.Option(help="Precision of the network.")] = "bfloat16",
    batch_size: Annotated[
        int, typer.Option(min=4, help="Images that a chip computes at a time; a quarter as many for gradients.")
    ] = 64,
    chips: Annotated[
        list[int] | None, typer.Option(help="Number of chips, 1 or 8; repeat it for both (default: both)")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="List the program's kernels, loops and largest temporaries.")
    ] = False,
) -> None:
    """Compile for a TPU or GPU that is not here; report its memory and an estimate of the time."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # else JAX looks for the device, and the compiler is not there
    with messages():
        from ..experiments.benchmarks import compile_for

        options = {"roi": roi, "precision": precision, "batch_size": batch_size}
        for compiled in compile_for.compile_for(
            chip, berg_dir, subject_id, **options, counts=chips or compile_for.COUNTS
        ):
            typer.echo(str(compiled))
            if report:
                typer.echo(compiled.report())


@app.command("bench-stream", rich_help_panel=_GROUP)
def bench_stream(
    images: Annotated[int, typer.Option(min=1, help="Number of images to stream.")] = 20_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that a device computes at a time.")] = 32,
    berg_dir: BergDir = Path("demo"),
    subject_id: SubjectId = 1,
    repeats: Annotated[
        int,
        typer.Option(
            min=0, help="Number of times that the model, bare and streamed, and decoding are timed; 0: only the loop."
        ),
    ] = 5,
    seconds: Annotated[float, typer.Option(help="Approximate seconds that the bare model runs each time.")] = 5.0,
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
) -> None:
    """Measure what the stream costs: alone, next to the bare model, and in decoding JPEG files."""
    with messages():
        from ..experiments.benchmarks.stream import bench_stream

        options = {
            "berg_dir": berg_dir,
            "subject_id": subject_id,
            "repeats": repeats,
            "seconds": seconds,
            "output": output,
        }
        typer.echo(bench_stream(images, batch_size, **options))


@app.command("bench-store", rich_help_panel=_GROUP)
def bench_store(
    images: Annotated[int, typer.Option(min=1, help="Number of images; one of the whole brain takes 1.3 MB.")] = 1000,
    chunk_bytes: Annotated[
        int, typer.Option(min=1, help="Approximate size of a chunk of vertices; a large one: a block is one chunk.")
    ] = 2**19,
    repeats: Annotated[int, typer.Option(min=1, help="Number of times that each read is timed.")] = 3,
    folder: Annotated[Path | None, typer.Option(help="Folder for the store (default: for temporary files)")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
) -> None:
    """Measure how fast responses of the whole brain are written and read: by vertex, by region, by image."""
    with messages():
        from ..experiments.benchmarks.stores import bench_store

        options = {"chunk_bytes": chunk_bytes, "repeats": repeats, "folder": folder, "output": output}
        typer.echo(bench_store(images, **options))

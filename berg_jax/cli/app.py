"""``berg-jax``: one thin function a command. What a command needs is imported when it runs, so help is instant."""

from __future__ import annotations

import enum
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .benchmarks import app as benchmarks
from .experiments import app as experiments
from .options import (
    BatchSize,
    BergDir,
    Choose,
    Fit,
    Hemisphere,
    HemisphereName,
    MinExplainedVariance,
    MinNcsnr,
    Precision,
    PrecisionName,
    ProcessCount,
    ProcessIndex,
    Roi,
    SubjectNumber,
    TimeLimit,
    messages,
    seconds,
    show_tracebacks,
)
from .sweeps import app as sweeps
from .synthesis import app as synthesis

if TYPE_CHECKING:
    from ..model.checkpoint import Description

app = typer.Typer(
    name="berg-jax",
    help="The fMRI encoding model fmri-nsd_fsaverage-huze in JAX: images to responses of cortical vertices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(experiments)
app.add_typer(synthesis)
app.add_typer(sweeps)
app.add_typer(benchmarks)


class Size(enum.StrEnum):
    """Sizes of a synthetic subject."""

    published = "published"
    tiny = "tiny"


class Layout(enum.StrEnum):
    """Order of the axes of an array of images."""

    NCHW = "NCHW"
    NHWC = "NHWC"


class OnError(enum.StrEnum):
    """What to do with an image that cannot be read."""

    error = "error"
    skip = "skip"


class Dtype(enum.StrEnum):
    """What stored responses are rounded to."""

    float32 = "float32"
    float16 = "float16"


def main() -> None:
    """Run the command line."""
    app([at_home(argument) for argument in sys.argv[1:]])


def at_home(argument: str) -> str:
    """An argument with the user's folder in place of ``~``, which shells leave in ``--output=~/x``."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + os.path.expanduser(value)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with errors.")] = False) -> None:
    show_tracebacks(debug)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("berg_jax").setLevel(logging.INFO)


@app.command()
def convert(
    berg_dir: BergDir,
    subject: SubjectNumber,
    num_heads: Annotated[int | None, typer.Option(help="Attention heads [default: embed_dim / 64]")] = None,
    lora_scale: Annotated[float | None, typer.Option(help="Scale of the low-rank adapters [default: 0.2]")] = None,
    retina_sigma: Annotated[float | None, typer.Option(help="Retina mapper's sigma [default: 0.01]")] = None,
    config: Annotated[Path | None, typer.Option(help="The model's config.yaml, to take these numbers from.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="[default: …/model-huze/berg_jax/subjNN in the berg dir]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a converted subject.")] = False,
) -> None:
    """Convert a subject's two PyTorch checkpoints to Flax params."""
    with messages():
        from ..convert.subject import convert_subject
        from ..model.checkpoint import read_description

        folder = convert_subject(
            berg_dir,
            subject,
            num_heads=num_heads,
            lora_scale=lora_scale,
            retina_sigma=retina_sigma,
            config=config,
            output=output,
            overwrite=overwrite,
        )
        description = read_description(folder)
        typer.echo(_described(description))
        typer.echo(f"Converted: {folder}")


@app.command()
def info(berg_dir: BergDir, subject: SubjectNumber) -> None:
    """Print a subject's ROIs: vertices per hemisphere, median noise ceiling SNR and explained variance."""
    with messages():
        from ..published.berg_dir import SubjectFiles, check_subject_id
        from ..published.metadata import find_metadata, roi_table

        files = SubjectFiles(berg_dir, check_subject_id(subject))
        if files.is_demo and not any(place.is_file() for place in files.metadata_places):
            from ..subject import Subject

            Subject(berg_dir, subject)  # builds it
        typer.echo(roi_table(find_metadata(*files.metadata_places)))


@app.command()
def fetch(
    subject: Annotated[list[int], typer.Option("--subject", help="Number of a subject; give it again for more.")],
    berg_dir: Annotated[Path, typer.Option("--berg-dir", help="The folder to fetch into.")] = Path("berg_dir"),
    metadata_only: Annotated[bool, typer.Option("--metadata-only", help="Only the metadata, no weights.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ.")] = False,
    mirror: Annotated[
        str | None, typer.Option(help="s3://bucket, https://host or file:///folder [default: the public bucket]")
    ] = None,
) -> None:
    """Fetch the files that subjects need from the public bucket: 2.3 GB a subject. Given again, it goes on."""
    with messages():
        from ..published.fetch import fetch as fetch_files
        from ..published.fetch import plan, plan_text
        from ..published.mirror import PUBLIC

        options = {"mirror": mirror or PUBLIC, "metadata_only": metadata_only}
        if dry_run:
            typer.echo(plan_text(plan(subject, berg_dir, **options)))
            return
        found = fetch_files(subject, berg_dir, overwrite=overwrite, **options)
        fetched = sum(download.state != "complete" for download in found)
        typer.echo(f"{fetched} files fetched, {len(found) - fetched} were there already: {berg_dir}")


@app.command()
def verify(
    berg_dir: BergDir,
    subject: SubjectNumber,
    output: Annotated[
        Path | None, typer.Option(help="Folder for certificate.json and report.html [default: certificate-subjNN]")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another machine's certificate.json to compare with; needs no PyTorch.")
    ] = None,
    precision: Annotated[
        list[PrecisionName] | None, typer.Option(help="What to report besides float32 [default: all]")
    ] = None,
    num_heads: Annotated[
        int | None, typer.Option(help="The reference's attention heads [default: embed_dim / 64]")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The model's config.yaml, for the reference.")] = None,
) -> None:
    """Prove that the converted model equals the PyTorch one, on this machine and these files. Exit code 0 or 1."""
    with messages():
        from ..experiments.certificate.experiment import certify, check_against

        output = output or Path(f"certificate-subj{subject:02d}")
        if against is not None:
            certificate = check_against(berg_dir, subject, against, output)
        else:
            chosen = [item.value for item in precision or PrecisionName]
            certificate = certify(berg_dir, subject, output, config=config, num_heads=num_heads, precisions=chosen)
        typer.echo(certificate.summary())
    raise typer.Exit(0 if certificate.passed else 1)


@app.command()
def describe() -> None:
    """Print the model's card: what it is, what it takes and gives, how well it predicts, what to cite."""
    from ..published.card import card_text

    typer.echo(card_text())


@app.command()
def env() -> None:
    """Print versions, devices and settings, for a bug report."""
    from ..machine import environment

    typer.echo(environment())


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The folder to write.")] = Path("berg-jax-demo"),
    subject: Annotated[int, typer.Option(help="Which synthetic demo subject, 1 to 4.")] = 1,
    roi: Annotated[str, typer.Option(help="The region that a photograph is changed to drive.")] = "FFA-1",
) -> None:
    """Encode pictures with a synthetic subject, draw its brain, and change a photograph by gradient ascent."""
    with messages():
        from ..experiments.demo import demonstrate

        typer.echo(demonstrate(output, subject, roi))


@app.command("synthesize-subject")
def synthesize_subject(
    output: Annotated[Path, typer.Option(help="The berg dir to write into.")],
    size: Annotated[Size, typer.Option(help="published is ViT-B/14 with 327,684 vertices, 2.2 GB.")] = Size.tiny,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same subject.")] = 0,
    subject: SubjectNumber = 1,
) -> None:
    """Write a made-up subject in the real file formats, for trying everything without the published weights."""
    with messages():
        from ..convert.synthetic import make_synthetic_subject

        make_synthetic_subject(output, size=size.value, seed=seed, subject_id=subject)
        typer.echo(f"Synthetic subject {subject} (random weights, {size.value} size): {output}")


@app.command()
def photographs(output: Annotated[Path, typer.Option(help="Folder to copy them to.")]) -> None:
    """Copy the photographs that come with matplotlib and scikit-learn to a folder, to try things on."""
    with messages():
        from ..demo import photographs
        from ..files.disk import explained

        found = photographs()
        with explained("write", output):
            output.mkdir(parents=True, exist_ok=True)
            for name, path in found.items():
                shutil.copyfile(path, output / name)
        typer.echo(f"{len(found)} photographs: {output}")


@app.command()
def encode(
    path: Annotated[
        Path,
        typer.Argument(metavar="IMAGES", help="Folder, list or tars of image files; .npy, HDF5 (NSD) or zarr."),
    ],
    berg_dir: BergDir,
    subject: SubjectNumber,
    output: Annotated[
        str, typer.Option(help="The zarr store to write, or to go on with: a folder, s3://… or gs://….")
    ],
    images: Choose = None,
    layout: Annotated[
        Layout | None, typer.Option(help="Order of a file's axes, where its shape does not tell.")
    ] = None,
    roi: Roi = None,
    hemisphere: HemisphereName = Hemisphere.both,
    min_ncsnr: MinNcsnr = None,
    min_explained_variance: MinExplainedVariance = None,
    fit: Annotated[
        Fit, typer.Option("--fit", "--fit-images", help="What to do with an image that is not square.")
    ] = Fit.error,
    precision: Precision = PrecisionName.float32,
    dtype: Annotated[
        Dtype, typer.Option(help="Of the stored responses; float16 takes half the room.")
    ] = Dtype.float32,
    batch_size: BatchSize = 8,
    devices: Annotated[int | None, typer.Option(help="On how many local devices [default: all]")] = None,
    process_index: ProcessIndex = None,
    process_count: ProcessCount = None,
    on_error: Annotated[OnError, typer.Option(help="What to do with an image that cannot be read.")] = OnError.error,
    time_limit: TimeLimit = None,
) -> None:
    """Predict the vertices' responses to images, into a zarr store. Given again after an interruption, it goes on."""
    with messages():
        from ..machine import keep_compiled
        from ..stream.devices import find_process
        from ..stream.encode import encode_images

        keep_compiled()
        summary = encode_images(
            path,
            berg_dir,
            subject,
            output,
            images=images,
            layout=layout.value if layout else None,
            roi=roi,
            hemisphere=hemisphere.value,
            min_ncsnr=min_ncsnr,
            min_explained_variance=min_explained_variance,
            fit=fit.value,
            precision=precision.value,
            dtype=dtype.value,
            batch_size=batch_size,
            devices=devices,
            process=find_process(process_index, process_count),
            on_error=on_error.value,
            time_limit=seconds(time_limit),
        )
        typer.echo(summary)


@app.command()
def status(output: Annotated[str, typer.Argument(help="The output of a run, a folder or a URL.")]) -> None:
    """Say how far a run is: what is done, by whom, how fast, and what was skipped."""
    with messages():
        from ..stream.store.status import status_text

        typer.echo(status_text(output))


@app.command()
def merge(output: Annotated[str, typer.Argument(help="The output of a run, a folder or a URL.")]) -> None:
    """Finish a run whose images are all done but that no process has finished: merge what its reducers hold."""
    with messages():
        from ..stream.merge import merge_output

        typer.echo(merge_output(output))


def _described(description: Description) -> str:
    """What a converted subject is, in a few lines."""
    part = description.parts["part1"]
    origin = {
        "published": "the author's published files, by sha256",
        "synthetic": "SYNTHETIC weights, which predict nothing",
        "unrecognized": "not recognized by sha256 as the author's published files",
    }[description.origin]
    guessed = " (guessed: there are no metadata)" if description.layout_guessed else ""
    return (
        f"Subject {description.subject}: {origin}\n"
        f"{2 * description.hemisphere_size} vertices, layout {description.layout}{guessed}, rows {description.rows}\n"
        f"ViT: embed_dim {part.vit.embed_dim}, {part.vit.depth} blocks, {part.vit.num_heads} heads, LoRA rank "
        f"{part.vit.lora_rank}, scale {part.vit.lora_scale}; layers {list(part.layers)}, width {part.width}"
    )

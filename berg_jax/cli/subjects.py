"""Commands on subjects: fetch, convert, verify and describe them, and make synthetic ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .command import OneSubject, command
from .options import BergDir, EachPrecision, SubjectId, messages

if TYPE_CHECKING:
    from ..model.checkpoint import Description

app = typer.Typer()
_GROUP = "Subjects"


@command(app, _GROUP)
def fetch(
    subject_ids: Annotated[
        list[int], typer.Option("--subject", help="ID of a subject, such as 1; repeat it for more.")
    ],
    berg_dir: Annotated[Path, typer.Option("--berg-dir", help="Folder to fetch into.")] = Path("berg_dir"),
    metadata_only: Annotated[
        bool, typer.Option("--metadata-only", help="Fetch only the metadata, no weights.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ.")] = False,
    mirror: Annotated[
        str | None,
        typer.Option(help="Mirror of the bucket: s3://bucket, https://host or file:///folder (default: the bucket)"),
    ] = None,
) -> str:
    """Fetch the files that subjects need from the public bucket: 2.3 GB a subject. Rerun it to resume."""
    from ..published.fetch import fetch as fetch_files
    from ..published.fetch import plan, plan_text
    from ..published.mirror import PUBLIC

    options = {"mirror": mirror or PUBLIC, "metadata_only": metadata_only}
    if dry_run:
        return plan_text(plan(subject_ids, berg_dir, **options))
    found = fetch_files(subject_ids, berg_dir, overwrite=overwrite, **options)
    fetched = sum(download.state != "complete" for download in found)
    return f"{fetched} files fetched, {len(found) - fetched} were there already: {berg_dir}"


@command(app, _GROUP)
def convert(
    berg_dir: BergDir,
    subject_id: SubjectId,
    num_heads: Annotated[int | None, typer.Option(help="Number of attention heads (default: embed_dim / 64)")] = None,
    lora_scale: Annotated[float | None, typer.Option(help="Scale of the low-rank adapters (default: 0.2)")] = None,
    retina_sigma: Annotated[float | None, typer.Option(help="Sigma of the retina mapper (default: 0.01)")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="The model's config.yaml, which has --num-heads, --lora-scale and --retina-sigma."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the converted subject (default: …/model-huze/berg_jax/subjNN in the BERG directory)"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a converted subject.")] = False,
) -> str:
    """Convert a subject's two PyTorch checkpoints to Flax params."""
    from ..convert.subject import convert_subject
    from ..model.checkpoint import read_description

    folder = convert_subject(
        berg_dir,
        subject_id,
        num_heads=num_heads,
        lora_scale=lora_scale,
        retina_sigma=retina_sigma,
        config=config,
        output=output,
        overwrite=overwrite,
    )
    return f"{_described(read_description(folder))}\nConverted: {folder}"


@command(app, _GROUP)
def export_rois(
    subject: OneSubject,
    output: Annotated[
        Path, typer.Option(help="x.annot for lh.x.annot and rh.x.annot, or a folder of a label file for each ROI.")
    ],
    roi: Annotated[
        list[str] | None,
        typer.Option(help="ROI expression; repeat it for more (default: all ROIs, the first where they overlap)"),
    ] = None,
) -> str:
    """Write a subject's ROIs as FreeSurfer annotations or labels."""
    from ..errors import InvalidParameterError
    from ..surface import save_annot, save_labels

    names = roi or [name for name in subject.rois if sum(map(len, subject.metadata.roi(name)))]
    if not names:
        raise InvalidParameterError("The subject has no ROI. Give its metadata.")
    regions = {name: subject.vertices(name) for name in names}
    if output.suffix == ".annot":
        files = save_annot(regions, output, overlap="error" if roi else "first")
    else:
        files = save_labels(regions, output)
    return f"{len(regions)} ROIs of subject {subject.description.subject}: {len(files)} files, such as {files[0]}"


@app.command(rich_help_panel=_GROUP)
def verify(
    berg_dir: BergDir,
    subject_id: SubjectId,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of certificate.json and report.html (default: certificate-subjNN)"),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another machine's certificate.json to compare with; needs no PyTorch.")
    ] = None,
    precision: Annotated[
        list[EachPrecision] | None,
        typer.Option(help="Precision to report besides float32; repeat it for more (default: all)"),
    ] = None,
    num_heads: Annotated[
        int | None, typer.Option(help="Number of the reference's attention heads (default: embed_dim / 64)")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The model's config.yaml, for the reference.")] = None,
) -> None:
    """Prove that the converted model equals the PyTorch one, on this machine and these files. Exit code 0 or 1."""
    with messages():
        from ..experiments.certificate.experiment import certify, check_against

        output = output or Path(f"certificate-subj{subject_id:02d}")
        if against is not None:
            certificate = check_against(berg_dir, subject_id, against, output)
        else:
            chosen = [name.value for name in precision or EachPrecision]
            certificate = certify(berg_dir, subject_id, output, config=config, num_heads=num_heads, precisions=chosen)
        typer.echo(certificate.summary())
    raise typer.Exit(0 if certificate.passed else 1)


@command(app, _GROUP)
def info(
    berg_dir: BergDir,
    subject_id: Annotated[
        int | None, typer.Option("--subject", help="ID of the subject, such as 1 (default: only say which are there)")
    ] = None,
) -> str:
    """Print which subjects are there, and one's ROIs: vertices, median noise ceiling SNR, explained variance."""
    there = _subjects_there(berg_dir)
    if subject_id is None:
        return f"{there} Give --subject for a table of one's ROIs."
    from ..published.berg_dir import SubjectFiles, check_subject_id
    from ..published.metadata import find_metadata, roi_table

    files = SubjectFiles(berg_dir, check_subject_id(subject_id))
    if files.is_demo and not any(place.is_file() for place in files.metadata_places):
        from ..subject import Subject

        Subject(berg_dir, subject_id)  # builds it
    return f"{there}\n{roi_table(find_metadata(*files.metadata_places))}"


@command(app, _GROUP)
def describe(
    berg_dir: Annotated[
        Path | None, typer.Option("--berg-dir", help="BERG directory, to say which subjects are there, too.")
    ] = None,
) -> str:
    """Print the model's card: what it is, what it takes and gives, how well it predicts, what to cite."""
    from ..published.card import card_page

    return card_page() if berg_dir is None else f"{card_page()}\n\n{_subjects_there(berg_dir)}"


def _subjects_there(berg_dir: Path) -> str:
    """Return a sentence that names the subjects of a BERG directory."""
    from ..published.berg_dir import subjects_sentence

    return subjects_sentence(berg_dir)


Size = Literal["published", "tiny"]
_Output = Annotated[Path, typer.Option(help="BERG directory to write into.")]
_Size = Annotated[
    Size, typer.Option(help="Size of the network; published is ViT-B/14 with 327,684 vertices, 2.2 GB.")
]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the random weights; the same seed makes the same subject.")]


def make_synthetic_subject(output: _Output, size: _Size = "tiny", seed: _Seed = 0, subject_id: SubjectId = 1) -> str:
    """Write a subject of random weights in the real file formats, to try everything without the published ones."""
    from ..convert.synthetic import make_synthetic_subject

    make_synthetic_subject(output, size=size, seed=seed, subject_id=subject_id)
    return f"Synthetic subject {subject_id} (random weights, {size} size): {output}"


command(app, _GROUP, "make-synthetic-subject")(make_synthetic_subject)
command(app, _GROUP, "synthesize-subject", hidden=True)(make_synthetic_subject)  # its name in version 0.1.0


@command(app, _GROUP)
def photographs(output: Annotated[Path, typer.Option(help="Folder to copy them to.")]) -> str:
    """Copy the photographs that come with matplotlib and scikit-learn to a folder, to try things on."""
    from ..demo import photographs
    from ..files.disk import explained

    found = photographs()
    with explained("write", output):
        output.mkdir(parents=True, exist_ok=True)
        for name, path in found.items():
            shutil.copyfile(path, output / name)
    return f"{len(found)} photographs: {output}"


@command(app, _GROUP)
def env() -> str:
    """Print versions, devices and settings, for a bug report."""
    from ..machine import environment

    return environment()


def _described(description: Description) -> str:
    """Return a summary of a converted subject, in a few lines."""
    part = description.parts["part1"]
    origin = {
        "published": "the author's published files, by sha256",
        "synthetic": "SYNTHETIC weights, which predict nothing",
        "fitted": "fitted to a new person's responses (berg-jax fit)",
        "unrecognized": "not recognized by sha256 as the author's published files",
    }[description.origin]
    guessed = " (guessed: there are no metadata)" if description.layout_guessed else ""
    return (
        f"Subject {description.subject}: {origin}\n"
        f"{2 * description.hemisphere_size} vertices, layout {description.layout}{guessed}, rows {description.rows}\n"
        f"ViT: embed_dim {part.vit.embed_dim}, {part.vit.depth} blocks, {part.vit.num_heads} heads, LoRA rank "
        f"{part.vit.lora_rank}, scale {part.vit.lora_scale}; layers {list(part.layers)}, width {part.width}"
    )

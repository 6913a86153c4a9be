"""``berg-jax rsa``: how alike regions, people, features and behavior represent images.

Each region's dissimilarity matrix (1 − r of response patterns) is compared with others' by Spearman's correlation. On
the demo subject, with its drawings (5 × 8), 15 seconds on 2 cores; regions of one category agree most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...convert.dinov2 import load_dinov2
from ...demo.stimuli import CATEGORIES
from ...errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ...files.disk import explained, readable
from ...files.npy import read_npy
from ...stream.devices import find_process
from ...stream.loop import stream
from ...stream.sources.image_files import Source
from ...stream.store.output import Columns, is_complete
from ...stream.store.responses import open_responses
from ...subject import Subject
from ...vertices import Vertices
from ..reporting.command import command_line, settings_of
from ..reporting.page import Picture, Section, Table, write_report
from ..reporting.pictures import draw_brain, draw_table
from ..reporting.results import counted, folder_of, note, outlined, provenance, unfinished, write_results
from ..stimuli import drawn, find_people, given, require_demo
from .dinov2_baseline import class_tokens
from .dissimilarity import (
    dissimilarities,
    from_square,
    neighborhoods,
    searchable_vertices,
    searchlights,
    similarities,
)

ROIS = ("V1", "V2", "V3", "hV4", "OFA", "FFA-1", "FFA-2", "EBA", "FBA-1", "FBA-2", "OPA", "PPA", "RSC", "VWFA-1")
DEMO_EACH, DEMO_SEED = 8, 22
COARSE = "on the vertices of fsaverage5 alone, as nilearn has not fetched this subject's finer mesh"
STORE, PICTURE = "responses.zarr", "similarities.png"
ARGUMENTS = {"images": None, "subjects": "subject", "choose": "images", "rois": "roi", "matrices": "matrix"}


def compare_representations(
    berg_dir: str | Path,
    subjects: Sequence[int],
    output: str | Path,
    images: str | Path | None = None,
    *,
    choose: str | None = None,
    rois: Sequence[str] = (),
    features: Mapping[str, str | Path] | None = None,
    matrices: Mapping[str, str | Path] | None = None,
    searchlight: int | None = None,
    dinov2: str | Path | None = None,
    min_ncsnr: float | None = None,
    min_explained_variance: float | None = None,
    fit_images: str = "error",
    precision: str = "float32",
    batch_size: int = 8,
    process_index: int | None = None,
    process_count: int | None = None,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Compare representations of images in ROIs of one or more subjects with each other and with given ones.

    Parameters
    ----------
    berg_dir, subjects
        As for :func:`berg_jax.load`; one or more subjects.
    output
        The folder to write: ``similarities.npz``, with ``matrix`` (Spearman's correlation of each two) and their
        ``names``, mean over subjects; ``subjects`` (subject, subject, roi), between people; ``similarities.png``; of
        each subject ``subjNN/`` with its own, and with searchlights maps of each feature and matrix.
    images
        See :func:`~berg_jax.stream.sources.open.open_source`. For the demo subjects by default drawings.
    choose
        Of an array which images.
    rois
        ROI expressions; by default early and category-selective areas that all subjects have.
    features
        ``.npy`` files of (images, features), such as a network layer's, by name.
    matrices
        ``.npy`` files of dissimilarities (images, images), such as of behavior, by name.
    searchlight
        Also compare the features and matrices with the patterns of this many nearest vertices, around every vertex.
        For it the responses of all vertices (that pass the thresholds) are computed.
    dinov2
        A stock DINOv2 in Hugging Face's format, to compare with as a baseline: class tokens after four of its blocks,
        ``dinov2-<block>``. See :func:`berg_jax.convert.dinov2.load_dinov2`.
    min_ncsnr, min_explained_variance
        Which vertices, by default all: see :func:`berg_jax.rois.resolve`.
    fit_images, precision, batch_size, process_index, process_count, time_limit, show_progress
        As for :func:`~berg_jax.experiments.retinotopy.experiment.map_retinotopy`.

    Returns
    -------
    A few lines that say what came out.

    Raises
    ------
    BERGError
        Something is wrong with the images, the ROIs, the given files or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.
    """
    settings = settings_of(locals())
    process = find_process(process_index, process_count)
    output = Path(output)
    people = find_people(berg_dir, subjects)
    names = list(rois) or [name for name in ROIS if all(name in outlined(person, (name,)) for person in people)]
    limits = {"min_ncsnr": min_ncsnr, "min_explained_variance": min_explained_variance}
    regions = [{name: person.vertices(name, **limits) for name in names} for person in people]
    if small := [name for found in regions for name, region in found.items() if len(region) < 2]:
        raise InvalidParameterError(f"ROI {small[0]!r} has only one vertex; a pattern needs more.")
    source = _stimuli(people[0], output, images, choose, fit_images)
    targets = _given(features or {}, matrices or {}, len(source))
    baseline = None if dinov2 is None else load_dinov2(dinov2)
    if baseline is not None:
        targets |= {
            name: dissimilarities(tokens) for name, tokens in class_tokens(baseline, source, batch_size).items()
        }
    if clash := set(names) & set(targets):
        raise InvalidParameterError(f"{sorted(clash)} are names of ROIs and of features. Rename the features.")
    if searchlight is not None and not targets:
        raise InvalidParameterError("A searchlight needs features or matrices to compare with.")
    chosen, lit, coarse = [], [], False
    for person, found in zip(people, regions, strict=True):
        together = np.concatenate([region.global_indices for region in found.values()])
        if searchlight is not None:
            whole = person.vertices(None, **limits)
            lit.append(searchable_vertices(whole))
            coarse = lit[-1] is not whole
            next(neighborhoods(lit[-1], searchlight))
            together = np.concatenate([together, lit[-1].global_indices])
        chosen.append(Vertices.from_global(np.unique(together), person.hemisphere_size))
    for person, vertices in zip(people, chosen, strict=True):
        stream(
            person.model(vertices, precision=precision),
            source,
            [Columns(vertices)],
            output=folder_of(output, person) / STORE,
            identity=person.identity(vertices, precision),
            batch_size=batch_size,
            process=process,
            time_limit=time_limit,
            show_progress=show_progress,
        )
    if not all(is_complete(folder_of(output, person) / STORE) for person in people):
        return unfinished(output)
    own, facts, pictures = [], {}, []
    for index, (person, vertices, found) in enumerate(zip(people, chosen, regions, strict=True)):
        folder = folder_of(output, person)
        responses = open_responses(folder / STORE).data.values
        columns = {n: np.isin(vertices.global_indices, region.global_indices) for n, region in found.items()}
        own.append({name: dissimilarities(responses[:, inside]) for name, inside in columns.items()})
        made = {"images": len(source), "searchlight": searchlight}
        maps = {}
        if searchlight is not None:
            inside = np.isin(vertices.global_indices, lit[index].global_indices)
            maps = searchlights(responses[:, inside], lit[index], searchlight, targets)
            made["searchlights"] = f"{inside.sum():,}, {COARSE}" if coarse else int(inside.sum())
        facts[folder.name] = provenance(person, vertices, precision, experiment="rsa", **made)
        matrix = similarities({**own[-1], **targets})
        numbers = {"names": [*names, *targets], "similarities": matrix}
        write_results(folder, lit[index] if maps else vertices, maps, {**numbers, **facts[folder.name]})
        pictures += _draw_maps(person, lit[index], maps, made, folder) if maps else []
    mean, people_of = _compared(own, targets, names, output)
    labels = [*names, *targets]
    _draw_matrix(mean, labels, people[0], output)
    rows = _nearest(mean, labels, people_of)
    caption = "Spearman's correlation of dissimilarities (1 − r of response patterns) of the images"
    caption += f", mean over {len(people)} subjects." if len(people) > 1 else "."
    write_report(
        output,
        "Representations",
        [
            Section("Similarity", [Picture(output / PICTURE, caption, {"images": len(source)}), _table(rows)]),
            *([Section("Searchlights", pictures)] if pictures else []),
        ],
        lead=f"How alike {len(labels)} ROIs, features and matrices represent {len(source):,} images, in "
        f"{counted(people)}.",
        command=command_line("rsa", compare_representations, settings, ARGUMENTS),
        settings=settings,
        provenance=facts,
        synthetic=any(person.description.synthetic for person in people),
    )
    return _summary(people, rows, coarse, output)


def _stimuli(person: Subject, output: Path, images: str | Path | None, choose: str | None, fit_images: str) -> Source:
    if images is not None:
        return given(images, choose, fit_images, person)
    require_demo(person, choose, "Give images: a folder or an array, such as NSD's with --images test.")
    return drawn(output, dict.fromkeys(CATEGORIES, DEMO_EACH), DEMO_SEED)


def _given(
    features: Mapping[str, str | Path], matrices: Mapping[str, str | Path], images: int
) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Dissimilarities of given features and matrices, by name."""
    if clash := set(features) & set(matrices):
        raise InvalidParameterError(f"{sorted(clash)} are names of features and of matrices. Rename them.")
    found = {}
    for name, path in {**features, **matrices}.items():
        if "/" in name or "\\" in name:
            raise InvalidParameterError(f"{name!r} names files that are written, so it must be without slashes.")
        if not Path(path).is_file():
            raise ModelNotFoundError(f"There is no file {path}.")
        with readable(path, ValidationError, "Get the file again."):
            array = read_npy(Path(path))
        if array.dtype.kind not in "fiu" or array.ndim < 2 or len(array) != images:
            raise InvalidParameterError(
                f"{path} must be numbers for each of the {images} images, got {array.dtype} of shape {array.shape}."
            )
        flat = name in features
        found[name] = dissimilarities(array.reshape(images, -1)) if flat else from_square(array, str(path))
        if np.isnan(found[name]).any():
            raise InvalidParameterError(f"{path} has dissimilarities that are NaN: an image's features do not vary.")
    return found


def _draw_maps(
    person: Subject, vertices: Vertices, maps: Mapping[str, np.ndarray], made: Mapping[str, Any], folder: Path
) -> list[Picture]:
    pictures = []
    for name, values in maps.items():
        pictures += draw_brain(
            person,
            vertices,
            values,
            folder / f"{name}.png",
            f"{name} in searchlights: Spearman's correlation of its dissimilarities with those of the patterns of "
            f"the {made['searchlight']} vertices nearest to each vertex.",
            settings=made,
            label="Spearman's correlation of dissimilarities",
            title=f"{name} in searchlights of {made['searchlight']} vertices",
        )
    return pictures


def _compared(
    own: Sequence[Mapping[str, Float[np.ndarray, " pairs"]]],
    targets: Mapping[str, Float[np.ndarray, " pairs"]],
    names: Sequence[str],
    output: Path,
) -> tuple[Float[np.ndarray, "n n"], dict[str, Float[np.ndarray, "people people"]]]:
    """Similarities of ROIs and targets, mean over people; and of each ROI of people; both also into a file."""
    mean = np.mean([similarities({**found, **targets}) for found in own], axis=0)
    people_of = {name: similarities({str(i): found[name] for i, found in enumerate(own)}) for name in names}
    between = np.stack(list(people_of.values()), axis=-1)
    path = output / "similarities.npz"
    with explained("write", path):
        np.savez(path, matrix=mean, names=np.array([*names, *targets]), subjects=between, rois=np.array(names))
    return mean, people_of


def _draw_matrix(mean: Float[np.ndarray, "n n"], labels: Sequence[str], person: Subject, output: Path) -> None:
    options: dict[str, Any] = {"title": "Similarity of representations", "note": note(person)}
    draw_table(mean, labels, labels, "Spearman's correlation", output / PICTURE, **options)


def _nearest(
    mean: Float[np.ndarray, "n n"], labels: Sequence[str], people_of: Mapping[str, Float[np.ndarray, "p p"]]
) -> list[tuple[str, str, float, float | None]]:
    """Each ROI or target, what is most like it and how much, and how alike people are in it, if there are several."""
    others = mean - 2 * np.eye(len(labels))
    rows = []
    for index, name in enumerate(labels):
        nearest = int(np.nan_to_num(others[index], nan=-2).argmax())
        pairs = np.triu_indices(len(people_of.get(name, ())), 1)
        between = float(people_of[name][pairs].mean()) if len(pairs[0]) else None
        rows.append((name, labels[nearest], float(mean[index, nearest]), between))
    return rows


def _table(rows: Sequence[tuple[str, str, float, float | None]]) -> Table:
    several = any(row[3] is not None for row in rows)
    columns = ("representation", "most like", "correlation", "between people")
    shown = 4 if several else 3
    return Table("What is most alike (Spearman's correlation)", columns[:shown], [row[:shown] for row in rows])


def _summary(
    people: Sequence[Subject], rows: Sequence[tuple[str, str, float, float | None]], coarse: bool, output: Path
) -> str:
    lines = [f"Representations in {counted(people)}; Spearman's correlation of dissimilarities"]
    for name, nearest, r, between in rows:
        line = f"  {name:<14}most like {nearest:<14}{r:>7.3f}"
        lines.append(line if between is None else f"{line}   between people {between:.3f}")
    if coarse:
        lines.append(f"Searchlights are {COARSE}.")
    return "\n".join([*lines, f"Matrices, pictures and report.html: {output}"])

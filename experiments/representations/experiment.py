"""``berg-jax rsa``: how alike regions, subjects, features and behavior represent images.

Each region's dissimilarity matrix (1 − r of response patterns) is compared with others' by Spearman's correlation. On
the demo subject, with its drawings (5 × 8), 15 seconds on 2 cores; regions of one category agree most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...convert.dinov2 import load_dinov2
from ...demo.stimuli import CATEGORIES
from ...errors import InvalidParameterError
from ...files.disk import explained
from ...stream.execution import Execution, with_batch_size
from ...stream.images import Images
from ...stream.owed import unfinished
from ...stream.selection import Selection
from ...stream.sources.image_files import Source
from ...subject import Subject
from ...vertices import Vertices
from ..reporting.command import command_of
from ..reporting.figures import about, where
from ..reporting.outcome import ExperimentResult
from ..reporting.page import Picture, Section, Table, write_report
from ..reporting.pictures import draw_brain, draw_table, shared_limits
from ..reporting.results import (
    counted,
    folder_of,
    note,
    outlined,
    provenance,
    require_reporting,
    write_numbers,
    write_results,
)
from ..reporting.statistics import FEWEST_SUBJECTS
from ..responses import STORE, keep_responses
from ..stimuli import drawn, listed, refusing, require_demo, require_images
from .dinov2_baseline import class_tokens
from .dissimilarity import (
    FEWEST_IMAGES,
    dissimilarities,
    neighborhoods,
    searchable_vertices,
    searchlights,
    similarities,
)
from .given import given_dissimilarities
from .uncertainty import MostAlike, with_uncertainty

ROIS = ("V1", "V2", "V3", "hV4", "OFA", "FFA-1", "FFA-2", "EBA", "FBA-1", "FBA-2", "OPA", "PPA", "RSC", "VWFA-1")
DEMO_EACH, DEMO_SEED = 8, 22
COARSE = "on the vertices of fsaverage5 alone, as nilearn has not fetched this subject's finer mesh"
PICTURE = "similarities.png"


def compare_representations(
    subjects: Subject | Sequence[Subject],
    output: str | Path,
    images: Images | str | Path | None = None,
    *,
    rois: Sequence[str] = (),
    selection: Selection = Selection(),
    features: Mapping[str, str | Path] | None = None,
    matrices: Mapping[str, str | Path] | None = None,
    feature_names: str | Path | None = None,
    searchlight: int | None = None,
    dinov2: str | Path | None = None,
    precision: str = "float32",
    execution: Execution = Execution(),
) -> ExperimentResult:
    """Compare representations of images in ROIs of one or more subjects with each other and with given ones.

    The method is representational similarity analysis [1]_. Called again after an interruption, it goes on.

    Parameters
    ----------
    subjects
        One or more subjects.
    output
        Folder of the results: ``similarities.npz``, with ``matrix`` (Spearman's correlation of each two) and their
        ``names``, mean over subjects; ``subjects`` (subject, subject, roi), between subjects; ``similarities.png``;
        ``results.json``, with what is most alike, its intervals and p; for each subject ``subjNN/`` with its own, and
        with searchlights maps of each feature and matrix.
    images
        The images (drawings by default, for the demo subjects only).
    rois
        ROI expressions; by default early and category-selective areas that all subjects have.
    selection
        Hemisphere and thresholds of the ROIs' vertices; its ``roi`` is not used.
    features
        ``.npy`` files of (images, features), such as a network layer's, by name.
    matrices
        ``.npy`` files of dissimilarities (images, images), such as of behavior, by name.
    feature_names
        Text file with the name of an image a line, in the order of the rows of features and matrices, which may have
        more images than are given. By default the order is taken to be that of the images, and a line says so.
    searchlight
        Number of nearest vertices around every vertex, with whose patterns the features and matrices are compared,
        too. The responses of all vertices (that pass the thresholds) are then computed.
    dinov2
        Stock DINOv2 in Hugging Face's format, to compare with as a baseline: class tokens after four of its blocks,
        ``dinov2-<block>``. See :func:`berg_jax.convert.dinov2.load_dinov2`.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work; the last one to end
        writes the results.

    Returns
    -------
    ExperimentResult
        What each representation is most like, in a few lines.

    Raises
    ------
    BERGError
        Something is wrong with the images, the ROIs, the given files or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.

    References
    ----------
    .. [1] N. Kriegeskorte, M. Mur & P. Bandettini (2008). Representational similarity analysis: connecting the
       branches of systems neuroscience. Frontiers in Systems Neuroscience 2, 4.
    """
    subjects = listed(subjects)
    output = Path(output)
    images = None if images is None else Images.of(images)
    command = command_of(
        *("rsa", compare_representations, subjects, output, images, selection, execution),
        roi=rois,
        features=features,
        matrix=matrices,
        feature_names=feature_names,
        searchlight=searchlight,
        dinov2=dinov2,
        precision=precision,
    )
    require_reporting()
    limits = {name: value for name, value in selection.as_json().items() if name != "roi"}
    names = list(rois) or [name for name in ROIS if all(name in outlined(subject, (name,)) for subject in subjects)]
    regions = [{name: replace(selection, roi=name).of(subject) for name in names} for subject in subjects]
    if small := [name for found in regions for name, region in found.items() if len(region) < 2]:
        raise InvalidParameterError(f"ROI {small[0]!r} has only one vertex; a pattern needs more.")
    if searchlight is not None and not (features or matrices or dinov2):
        raise InvalidParameterError(
            "A searchlight needs features or matrices to compare with: give --features, --matrix or --dinov2."
        )
    chosen, lit, coarse = [], [], False
    for subject, found in zip(subjects, regions, strict=True):
        together = np.concatenate([region.global_indices for region in found.values()])
        if searchlight is not None:
            whole = replace(selection, roi=None).of(subject)
            lit.append(searchable_vertices(whole))
            coarse = lit[-1] is not whole
            next(neighborhoods(lit[-1], searchlight))
            together = np.concatenate([together, lit[-1].global_indices])
        chosen.append(Vertices.from_global(np.unique(together), subject.hemisphere_size))
    with refusing(output):
        source = _stimuli(subjects[0], output, images)
        require_images(source, FEWEST_IMAGES, "Representational similarity")
        targets = given_dissimilarities(features or {}, matrices or {}, source.ids, feature_names)
        baseline = None if dinov2 is None else load_dinov2(dinov2)
        if clash := set(names) & set(targets):
            raise InvalidParameterError(f"{sorted(clash)} are names of ROIs and of features. Rename the features.")
    folders = [folder_of(output, subject) for subject in subjects]
    execution = with_batch_size(execution, *(folder / STORE for folder in folders), precision=precision)
    command = command.computed_with(execution)
    if baseline is not None:
        targets |= {
            name: dissimilarities(tokens)
            for name, tokens in class_tokens(baseline, source, execution.batch_size).items()
        }
    facts_of_run = {"ROIs": names, "selection": limits, "searchlight": searchlight}
    kept = keep_responses(
        subjects, chosen, source, folders, precision=precision, execution=execution, facts=facts_of_run
    )
    if kept is None:
        raise unfinished(output, [folder / STORE for folder in folders], execution.process)
    own, facts, lights = [], {}, []
    for index, (subject, vertices, found) in enumerate(zip(subjects, chosen, regions, strict=True)):
        folder = folder_of(output, subject)
        responses = kept[index].values
        columns = {n: np.isin(vertices.global_indices, region.global_indices) for n, region in found.items()}
        own.append({name: dissimilarities(responses[:, inside]) for name, inside in columns.items()})
        made = {"images": len(source), "searchlight": searchlight}
        maps = {}
        if searchlight is not None:
            inside = np.isin(vertices.global_indices, lit[index].global_indices)
            maps = searchlights(responses[:, inside], lit[index], searchlight, targets)
            made["searchlights"] = f"{inside.sum():,}, {COARSE}" if coarse else int(inside.sum())
        facts[folder.name] = provenance(subject, vertices, precision, experiment="rsa", **made)
        matrix = similarities({**own[-1], **targets})
        numbers = {"names": [*names, *targets], "similarities": matrix}
        write_results(folder, lit[index] if maps else vertices, maps, {**numbers, **facts[folder.name]})
        lights += [(subject, lit[index], maps, made, folder)] if maps else []
    mean, subjects_of = _compared(own, targets, names, output)
    labels = [*names, *targets]
    pictures = _draw_maps(lights, where(replace(selection, roi=None)))
    _draw_matrix(mean, labels, len(names), subjects, len(source), output)
    rows = with_uncertainty(_nearest(mean, labels, subjects_of), [{**found, **targets} for found in own])
    write_numbers(output, {"most alike": [row.as_json() for row in rows], "subjects": list(facts.values())})
    caption = "Spearman's correlation of dissimilarities (1 − r of response patterns) of the images"
    caption += f", mean over {len(subjects)} subjects." if len(subjects) > 1 else "."
    write_report(
        output,
        "Representations",
        [
            Section("Similarity", [Picture(output / PICTURE, caption, {"images": len(source)}), _table(rows)]),
            *([Section("Searchlights", pictures)] if pictures else []),
        ],
        lead=f"How alike {len(labels)} ROIs, features and matrices represent {len(source):,} images, in "
        f"{counted(subjects)}.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=any(subject.description.synthetic for subject in subjects),
    )
    return ExperimentResult(_summary(subjects, rows, coarse, output), output)


def _stimuli(subject: Subject, output: Path, images: Images | None) -> Source:
    if images is not None:
        return images.open(subject, output=output)
    require_demo(subject, "Give images: a folder or an array, such as NSD's with --images test.")
    return drawn(output, dict.fromkeys(CATEGORIES, DEMO_EACH), DEMO_SEED)


def _draw_maps(
    lights: Sequence[tuple[Subject, Vertices, Mapping[str, np.ndarray], Mapping[str, Any], Path]], roi: str | None
) -> list[Picture]:
    """Draw each subject's maps, all on one scale."""
    if not lights:
        return []
    limits = shared_limits(*(values for _, _, maps, _, _ in lights for values in maps.values()))
    pictures = []
    for subject, vertices, maps, made, folder in lights:
        for name, values in maps.items():
            pictures += draw_brain(
                subject,
                vertices,
                values,
                folder / f"{name}.png",
                f"{name} in searchlights: Spearman's correlation of its dissimilarities with those of the patterns "
                f"of the {made['searchlight']} vertices nearest to each vertex. All maps have this scale.",
                roi=roi,
                images=made["images"],
                settings=made,
                limit=limits,
                label="Spearman's correlation (no unit)",
                title=f"{name} in searchlights of {made['searchlight']} vertices",
            )
    return pictures


def _compared(
    own: Sequence[Mapping[str, Float[np.ndarray, " pairs"]]],
    targets: Mapping[str, Float[np.ndarray, " pairs"]],
    names: Sequence[str],
    output: Path,
) -> tuple[Float[np.ndarray, "n n"], dict[str, Float[np.ndarray, "subjects subjects"]]]:
    """Similarities of ROIs and targets, mean over subjects; and of each ROI over subjects; both also into a file."""
    mean = np.mean([similarities({**found, **targets}) for found in own], axis=0)
    subjects_of = {name: similarities({str(i): found[name] for i, found in enumerate(own)}) for name in names}
    between = np.stack(list(subjects_of.values()), axis=-1)
    path = output / "similarities.npz"
    with explained("write", path):
        np.savez(path, matrix=mean, names=np.array([*names, *targets]), subjects=between, rois=np.array(names))
    return mean, subjects_of


def _draw_matrix(
    mean: Float[np.ndarray, "n n"],
    labels: Sequence[str],
    rois: int,
    subjects: Sequence[Subject],
    images: int,
    output: Path,
) -> None:
    ids = [subject.description.subject for subject in subjects]
    options: dict[str, Any] = {"title": "Similarity of representations", "note": note(subjects[0]), "corner": "name"}
    options["subtitle"] = about(ids, f"{rois} ROIs", images=images)
    draw_table(mean, labels, labels, "Spearman's correlation (no unit)", output / PICTURE, **options)


def _nearest(
    mean: Float[np.ndarray, "n n"], labels: Sequence[str], subjects_of: Mapping[str, Float[np.ndarray, "p p"]]
) -> list[tuple[str, str, str | None, float, float | None]]:
    """Return for each ROI or target its nearest and second, the first's correlation, and its own between subjects."""
    others = np.nan_to_num(mean - 2 * np.eye(len(labels)), nan=-2)
    rows = []
    for index, name in enumerate(labels):
        nearest, second = int(others[index].argmax()), None
        if len(labels) > 2:
            rest = others[index].copy()
            rest[nearest] = -np.inf
            second = labels[int(rest.argmax())]
        pairs = np.triu_indices(len(subjects_of.get(name, ())), 1)
        between = float(subjects_of[name][pairs].mean()) if len(pairs[0]) else None
        rows.append((name, labels[nearest], second, float(mean[index, nearest]), between))
    return rows


def _table(rows: Sequence[MostAlike]) -> Table:
    columns = ["representation", "most like", "correlation", "95% over images", "p"]
    cells = [[row.name, row.said, row.correlation, str(row.over_images), row.p] for row in rows]
    subjects = rows[0].subjects
    if subjects >= FEWEST_SUBJECTS:
        columns.append("95% over subjects")
        cells = [[*own, str(row.over_subjects)] for own, row in zip(cells, rows, strict=True)]
    if subjects > 1:
        columns += ["between subjects", "95% over images of that"]
        ends = ["–" if row.between is None else str(row.between_over_images) for row in rows]
        cells = [
            [*own, np.nan if row.between is None else row.between, end]
            for own, row, end in zip(cells, rows, ends, strict=True)
        ]
    return Table(
        f"What is most alike (Spearman's correlation); n = {rows[0].images:,} images, {subjects} subject"
        f"{'s' * (subjects > 1)}; bootstrap intervals over images, p by permutation of images; ≈: not told apart",
        columns,
        cells,
    )


def _summary(subjects: Sequence[Subject], rows: Sequence[MostAlike], coarse: bool, output: Path) -> str:
    lines = [
        f"Representations of {rows[0].images:,} images in {counted(subjects)}; Spearman's correlation of "
        "dissimilarities, 95% intervals over images"
    ]
    for row in rows:
        line = f"  {row.name:<14}most like {row.said:<14}{row.correlation:>7.3f}   {row.over_images!s:<16}"
        lines.append(line.rstrip() if row.between is None else f"{line}   between subjects {row.between:.3f}")
    if coarse:
        lines.append(f"Searchlights are {COARSE}.")
    return "\n".join([*lines, f"Matrices, pictures and report.html: {output}"])

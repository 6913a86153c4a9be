"""``berg-jax rsa``: how alike regions, subjects, features and behavior represent images.

Each region's dissimilarity matrix (1 − r of response patterns) is compared with others' by Spearman's correlation. On
the demo subject, with its drawings (5 × 8), half a minute on 2 cores; regions of one category agree most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...convert.dinov2 import load_dinov2
from ...errors import InvalidParameterError
from ...stream.execution import Execution, with_batch_size
from ...stream.images import Images
from ...stream.owed import unfinished
from ...stream.selection import Selection
from ...subject import Subject
from ...vertices import Vertices
from ..accuracy.measured import readers_of
from ..inputs.categories import shown_images
from ..inputs.responses import STORE, keep_responses
from ..inputs.stimuli import listed, refusing, require_images
from ..reporting.command import command_of
from ..reporting.figures import where
from ..reporting.outcome import ExperimentResult
from ..reporting.page import write_report
from ..reporting.results import (
    counted,
    folder_of,
    provenance,
    require_reporting,
    write_numbers,
    write_results,
)
from .dissimilarity import FEWEST_IMAGES, similarities
from .given import Given, class_tokens, read_given
from .measure import MeasureName, measure_of
from .reports import (
    LAYER,
    Searched,
    Study,
    check_names,
    dissimilarities_section,
    layers_section,
    measured_regions,
    measured_section,
    partition_section,
    scale_of,
    searchlights_section,
    similarity_section,
    targets_section,
    weighted_section,
)
from .reports.layers import check_layers
from .reports.partition import parse_partition
from .reports.weighted import check_weighted
from .rois import images_of, regions_of_all
from .searchlight import Correction, check_correction, searchable_vertices, searchlight_significance, size_of
from .weighted.similarity import Weighting

_FEWEST_VERTICES = 3  # of a pattern whose correlation with another is not always 1 or −1
COARSE = "on the vertices of fsaverage5 alone, as nilearn has not fetched this subject's finer mesh"


def compare_representations(
    subjects: Subject | Sequence[Subject],
    output: str | Path,
    images: Images | str | Path | None = None,
    *,
    rois: Sequence[str] = (),
    selection: Selection = Selection(),
    features: Mapping[str, str | Path] | None = None,
    layers: Mapping[str, str | Path] | None = None,
    embeddings: Mapping[str, str | Path] | None = None,
    language: Mapping[str, str | Path] | None = None,
    matrices: Mapping[str, str | Path] | None = None,
    feature_names: str | Path | None = None,
    measure: MeasureName = "rdm",
    partitions: Sequence[str] = (),
    weighted: Weighting | None = None,
    searchlight: int | str | None = None,
    searchlight_correction: Correction = "max",
    dinov2: str | Path | None = None,
    betas: str | Path | None = None,
    trials: str | Path | None = None,
    zscored: bool = False,
    categories: str | Path | None = None,
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
        Folder of the results: ``similarities.npz``, with ``matrix`` (the similarity of each two) and their
        ``names``, mean over subjects; ``subjects`` (subject, subject, roi), between subjects; ``results.json``, with
        all numbers, their intervals and p; ``targets.csv``, ``layers.csv``, ``partition.csv``, ``weighted.csv`` and
        ``measured.csv``, as far as they are asked for; pictures; for each subject ``subjNN/`` with its own, its
        dissimilarity matrices ``dissimilarities/<ROI>.npy`` (images, images) with the images' names in ``images.csv``
        there, and with searchlights maps of each target and, of layers, ``best_layer``, with ``*_thresholded`` where
        they pass and the corrected p, ``*_p`` or ``*_q``; ``searchlights.csv`` has how many vertices pass.
    images
        The images (drawings by default, for the demo subjects only).
    rois
        ROI expressions; by default early and category-selective areas that all subjects have.
    selection
        Hemisphere and thresholds of the ROIs' vertices; its ``roi`` is not used.
    features
        ``.npy`` files of (images, features), by name.
    layers
        The same of a network's layers, from the first to the last: which of them each ROI, and with a searchlight
        each vertex, is most like. See :func:`~berg_jax.experiments.representations.layer_hierarchy`.
    embeddings
        ``.npy`` files of (images, dimensions), by name, of behavior such as SPoSE's: see
        :func:`~berg_jax.experiments.representations.triplet_dissimilarities`.
    language
        ``.npy`` files of a language model's (images, features) or (images, captions, features), by name: see
        :func:`~berg_jax.experiments.representations.cosine_dissimilarities`.
    matrices
        ``.npy`` files of dissimilarities (images, images), such as of behavior, by name.
    feature_names
        Text file with the name of an image a line, in the order of the rows of all these files, which may have
        more images than are given. By default the order is taken to be that of the images, and a line says so.
    measure
        ``"rdm"``, Spearman's correlation of dissimilarities, or ``"cka"``, unbiased linear centered kernel alignment,
        which has no matrices.
    partitions
        Names of two to five targets to partition each ROI's variance among, such as ``"layer5 + behavior"``: see
        :func:`~berg_jax.experiments.representations.partition_variance`.
    weighted
        Weights of all features on held-out images, ``"encoding"`` or ``"features"``: see
        :func:`~berg_jax.experiments.representations.compare_weighted`.
    searchlight
        Number of nearest vertices around every vertex, or ``"geodesic:10"`` for those within 10 mm along the surface,
        with whose patterns all targets are compared, too. The responses of all vertices (that pass the thresholds)
        are then computed. Each target's map is tested by permutations of the images, and written as it is and where
        it passes.
    searchlight_correction
        Correction of these tests over the vertices of a map: ``"max"``, by the maximum statistic, or ``"fdr"``. See
        :func:`~berg_jax.experiments.representations.searchlight_significance`.
    dinov2
        Stock DINOv2 in Hugging Face's format, to compare with as a baseline: class tokens after four of its blocks,
        ``dinov2-<block>``, which are the layers if none are given. See
        :func:`berg_jax.convert.dinov2.load_dinov2`.
    betas, trials, zscored
        Measured responses to the same images, whose representations are shown beside the in silico ones, and for an
        array the table of its trials: see :func:`~berg_jax.experiments.accuracy.trial_reader`, whose ``table`` the
        trials are.
    categories
        Table (``.csv``) with the columns ``image`` and ``category``, by which figures order and color the images; by
        default the folders that they lie in.
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
        layer=layers,
        embedding=embeddings,
        language=language,
        matrix=matrices,
        feature_names=feature_names,
        measure=measure,
        partition=tuple(partitions),
        weighted=weighted,
        searchlight=None if searchlight is None else str(searchlight),
        searchlight_correction=searchlight_correction,
        dinov2=dinov2,
        betas=betas,
        trials=trials,
        zscored=zscored,
        categories=categories,
        precision=precision,
    )
    require_reporting("plotly")
    compared_by = measure_of(measure)
    size = None if searchlight is None else size_of(searchlight)
    check_correction(searchlight_correction)
    limits = {name: value for name, value in selection.as_json().items() if name != "roi"}
    names, regions = regions_of_all(subjects, rois, selection)
    if weighted is not None and compared_by.name != "rdm":
        raise InvalidParameterError("Weighted features are compared by dissimilarities: leave out --measure.")
    if size is not None and not (features or layers or embeddings or language or matrices or dinov2):
        raise InvalidParameterError(
            "A searchlight needs features or matrices to compare with: give --features, --layer, --embedding, "
            "--language, --matrix or --dinov2."
        )
    chosen, inside_regions, lit, coarse = [], [], [], False
    for subject, found in zip(subjects, regions, strict=True):
        together = np.concatenate([region.global_indices for region in found.values()])
        inside_regions.append(Vertices.from_global(np.unique(together), subject.hemisphere_size))
        if size is not None:
            whole = replace(selection, roi=None).of(subject)
            lit.append(searchable_vertices(whole))
            coarse = lit[-1] is not whole
            next(size.around(lit[-1]))
            together = np.concatenate([together, lit[-1].global_indices])
        chosen.append(Vertices.from_global(np.unique(together), subject.hemisphere_size))
    with refusing(output):
        source, drawn = images_of(subjects[0], output, images)
        shown = shown_images(source.ids, categories, drawn)
        require_images(source, FEWEST_IMAGES, "Representational similarity")
        given = read_given(
            source.ids,
            features={**(features or {}), **(layers or {})},
            embeddings=embeddings,
            language=language,
            matrices=matrices,
            names=feature_names,
            measure=compared_by,
        )
        if betas is None and (trials is not None or zscored):
            raise InvalidParameterError("trials and zscored are of measured responses: give betas, too.")
        readers = []
        if betas is not None:
            readers = readers_of(subjects, inside_regions, source, betas, table=trials, zscored=zscored)
        baseline = None if dinov2 is None else load_dinov2(dinov2)
        _check(given, names, features or {}, layers or {}, partitions, weighted, baseline is not None, len(source))
    folders = [folder_of(output, subject) for subject in subjects]
    execution = with_batch_size(execution, *(folder / STORE for folder in folders), precision=precision)
    command = command.computed_with(execution)
    in_order = list(layers or {})
    if baseline is not None:
        tokens = class_tokens(baseline, source, execution.batch_size)
        given.patterns.update(tokens)
        given.triangles.update({name: compared_by.triangle(patterns) for name, patterns in tokens.items()})
        in_order = in_order or list(tokens)
    targets = given.triangles
    chosen_targets = [parse_partition(text, list(targets)) for text in partitions]
    facts_of_run = {"ROIs": names, "selection": limits, "searchlight": searchlight}
    kept = keep_responses(
        subjects, chosen, source, folders, precision=precision, execution=execution, facts=facts_of_run
    )
    if kept is None:
        raise unfinished(output, [folder / STORE for folder in folders], execution.process)
    own, own_responses, facts, lights = [], [], {}, []
    for index, (subject, vertices, found) in enumerate(zip(subjects, chosen, regions, strict=True)):
        folder = folder_of(output, subject)
        responses = kept[index].values
        own_responses.append(
            {n: responses[:, np.isin(vertices.global_indices, r.global_indices)] for n, r in found.items()}
        )
        own.append({name: compared_by.triangle(patterns) for name, patterns in own_responses[-1].items()})
        made = {"images": len(source), "measure": measure, "searchlight": searchlight}
        maps, rows = {}, {}
        if size is not None:
            inside = np.isin(vertices.global_indices, lit[index].global_indices)
            tested = searchlight_significance(
                *(responses[:, inside], lit[index], size, targets),
                measure=compared_by,
                largest_of={LAYER: in_order} if in_order else {},
                correction=searchlight_correction,
            )
            searched = Searched(subject, lit[index], tested, size, compared_by, in_order)
            maps, rows = searched.maps(), {"tested maps": searched.rows()}
            made |= {"searchlight_correction": searchlight_correction}
            made["searchlights"] = f"{inside.sum():,}, {COARSE}" if coarse else int(inside.sum())
        facts[folder.name] = provenance(subject, vertices, precision, experiment="rsa", **made)
        matrix = similarities({**own[-1], **targets}, compared_by.unit)
        numbers = {"names": [*names, *targets], "similarities": matrix, **rows}
        write_results(folder, lit[index] if maps else vertices, maps, {**numbers, **facts[folder.name]})
        lights += [(searched, made, folder)] if maps else []
    study = Study(
        subjects, output, compared_by, len(source), names, own, own_responses, targets, given.patterns, in_order
    )
    squares = study.squares()
    parts = {"most alike": similarity_section(study, squares)}
    if compared_by.name == "rdm":
        parts["dissimilarities"] = dissimilarities_section(study, shown, source)
    if targets:
        parts["targets"] = targets_section(study, squares)
    if in_order and len(names) > 1:
        parts["layers"] = layers_section(study)
    if chosen_targets:
        parts["partition"] = partition_section(study, chosen_targets)
    if weighted is not None:
        parts["weighted"] = weighted_section(study, weighted)
    if readers:
        measured = [
            measured_regions(read, vertices, found, len(source), compared_by)
            for read, vertices, found in zip(readers, inside_regions, regions, strict=True)
        ]
        parts["measured"] = measured_section(study, measured)
    scale = scale_of([one for one, _, _ in lights])
    words = where(replace(selection, roi=None))
    found_sections = [searchlights_section(*light, roi=words, limits=scale) for light in lights]
    write_numbers(output, {**{name: part.numbers for name, part in parts.items()}, "subjects": list(facts.values())})
    write_report(
        output,
        "Representations",
        [*(part.section for part in parts.values()), *found_sections],
        lead=f"How alike {len(names) + len(targets)} ROIs, features and matrices represent {len(source):,} images, "
        f"in {counted(subjects)}.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=any(subject.description.synthetic for subject in subjects),
    )
    lines = [line for part in parts.values() for line in part.lines]
    lines += [line for searched, _, _ in lights for line in searched.lines()]
    lines += [f"Searchlights are {COARSE}."] if coarse else []
    lines += _too_small(names, regions, compared_by.name)
    return ExperimentResult("\n".join([*lines, f"Matrices, pictures and report.html: {output}"]), output)


def _too_small(names: Sequence[str], regions: Sequence[Mapping[str, Vertices]], measure: str) -> list[str]:
    """Return a warning on regions whose patterns have too few vertices for a correlation."""
    sizes = {name: min(len(own[name]) for own in regions) for name in names}
    small = ", ".join(f"{name} ({size})" for name, size in sizes.items() if size < _FEWEST_VERTICES)
    if measure != "rdm" or not small:
        return []
    return [f"WARNING: correlations of patterns of fewer than {_FEWEST_VERTICES} vertices mean nothing: {small}."]


def _check(
    given: Given,
    rois: Sequence[str],
    features: Mapping[str, Any],
    layers: Mapping[str, Any],
    partitions: Sequence[str],
    weighted: Weighting | None,
    has_baseline: bool,
    images: int,
) -> None:
    """Raise InvalidParameterError if targets do not fit the ROIs, each other, or what is asked for."""
    if clash := set(rois) & set(given.triangles):
        raise InvalidParameterError(f"{sorted(clash)} are names of ROIs and of features. Rename the features.")
    if clash := set(features) & set(layers):
        raise InvalidParameterError(f"{sorted(clash)} are names of features and of layers. Rename them.")
    check_names(given.triangles)
    check_layers(len(rois), len(layers))
    if not has_baseline:
        for text in partitions:
            parse_partition(text, list(given.triangles))
    if weighted is not None:
        check_weighted(len(given.patterns) + has_baseline, images)

"""``berg-jax control``: images that drive two regions together or apart, and sets that align or disentangle them.

Univariate: of all images those that drive both, suppress both, or drive one and suppress the other, each by a margin
over the mean image. Multivariate: the sets of images for which the regions' dissimilarity matrices are most or least
alike. With several subjects, images are chosen by all but one, and judged by that one. On the demo subject about
a minute on 2 cores, multivariate with 300 generations.

After Gifford et al. 2025, *In silico discovery of representational relationships across visual cortex*, Nature Human
Behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...demo.stimuli import CATEGORIES
from ...errors import InvalidParameterError
from ...stream.execution import Execution, with_batch_size
from ...stream.images import Images
from ...stream.owed import unfinished
from ...stream.selection import Selection
from ...stream.sources.image_files import Source
from ...subject import Subject
from ..inputs.responses import STORE, keep_responses
from ..inputs.stimuli import drawn, listed, refusing, require_demo
from ..reporting.command import command_of
from ..reporting.figures import remove_figure
from ..reporting.outcome import ExperimentResult
from ..reporting.page import Section, write_report
from ..reporting.results import counted, folder_of, provenance, require_reporting, write_numbers, write_results
from ..synthesis.areas import union
from .choosing import Known, answers_to, multivariate, synthesized_for, univariate
from .report import FIGURES, draw_maps, goal_maps, images_sections, judged, map_limits, numbers_section, summary

KINDS = ("univariate", "multivariate")
_LEADS = {
    "univariate": "Images that drive {} and {} together or apart",
    "multivariate": "Sets of images that {} and {} represent alike (align) or unlike (disentangle)",
}
_NATURAL, _EACH, _SEED = 200, 20, 7  # of the demo's images


def control_regions(
    subjects: Subject | Sequence[Subject],
    output: str | Path,
    images: Images | str | Path | None = None,
    *,
    rois: Sequence[str] = ("FFA-1", "PPA"),
    selection: Selection = Selection(),
    kind: str = "univariate",
    k: int = 25,
    margin: float = 0.04,
    synthesize: int = 0,
    steps: int = 128,
    set_size: int = 50,
    population: int = 200,
    generations: int = 2000,
    seed: int = 0,
    precision: str = "float32",
    execution: Execution = Execution(),
) -> ExperimentResult:
    """Choose images that control two regions' responses, or sets that control how alike they represent images.

    The method is that of [1]_. Called again after an interruption, it goes on.

    Parameters
    ----------
    subjects
        One or more subjects. With one, images are judged by the subject that they were chosen for.
    output
        Folder of the results: ``control.png``, ``bars.png``, ``responses.png``, ``search.png`` (of sets and of
        synthesized images) and ``dissimilarities.png`` (of sets), each with its numbers as CSV; ``images.csv`` (which
        images were chosen), ``chosen/`` (the first of them, or some of a set's), ``synthesized/``, ``results.json``,
        and of all this ``report.html``. For each subject ``subjNN/`` holds the responses to all images,
        ``responses.zarr``, and
        :func:`~berg_jax.experiments.control.report.goal_maps`: see
        :func:`~berg_jax.experiments.reporting.write_results`.
    images
        The images to choose from (drawings and natural-like images by default, for the demo subjects only).
    rois
        Two ROI expressions.
    selection
        Hemisphere and thresholds of the ROIs' vertices; its ``roi`` is not used.
    kind
        ``"univariate"`` (mean responses) or ``"multivariate"`` (dissimilarity matrices).
    k, margin
        Univariate: largest number of images, and least distance of each from the mean image in both regions, in z
        units.
    synthesize, steps
        Univariate: number of images that are also made for each goal, for the first subject, and steps to make them.
    set_size, population, generations, seed
        Multivariate: see :func:`~berg_jax.experiments.synthesis.evolve_sets`.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    execution
        Batch size, devices, time limit, and this process among those that share the work; the last one to end
        writes the results.

    Returns
    -------
    ExperimentResult
        How far the images drive or suppress each region, in a few lines.

    Raises
    ------
    BERGError
        Something is wrong with the images, the ROIs, the numbers or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.

    References
    ----------
    .. [1] A. T. Gifford et al. (2025). In silico discovery of representational relationships across visual cortex.
       Nature Human Behaviour.
    """
    subjects = listed(subjects)
    output, rois = Path(output), list(rois)
    images = None if images is None else Images.of(images)
    command = command_of(
        *("control", control_regions, subjects, output, images, selection, execution),
        roi=rois,
        kind=kind,
        k=k,
        margin=margin,
        synthesize=synthesize,
        steps=steps,
        set_size=set_size,
        population=population,
        generations=generations,
        seed=seed,
        precision=precision,
    )
    require_reporting()
    if len(set(rois)) != 2 or len(rois) != 2:
        raise InvalidParameterError(f"Control is of two ROIs, got {rois}.")
    if kind not in KINDS:
        raise InvalidParameterError(f"kind must be one of {list(KINDS)}, got {kind!r}.")
    if k < 1 or synthesize < 0 or steps < 1:
        raise InvalidParameterError(
            f"Give k and steps of at least 1 and synthesize of at least 0, got {k}, {steps} and {synthesize}."
        )
    limits = {name: value for name, value in selection.as_json().items() if name != "roi"}
    regions = [union(subject, {name: name for name in rois}, selection) for subject in subjects]
    if kind == "multivariate":
        for name, size in ((name, (w > 0).sum()) for _, weights in regions for name, w in weights.items()):
            if size < 2:
                raise InvalidParameterError(f"ROI {name!r} has only one vertex; a pattern needs more.")
        for name, number, least in (
            ("set_size", set_size, 3),
            ("population", population, 8),
            ("generations", generations, 1),
        ):
            if number < least:
                raise InvalidParameterError(f"{name} must be at least {least}, got {number}.")
    with refusing(output):
        source = _stimuli(subjects[0], output, images)
        if kind == "multivariate" and 2 * set_size > len(source):
            raise InvalidParameterError(f"A set may have at most half of the {len(source)} images, got {set_size}.")
    if selection.hemisphere == "both":
        del limits["hemisphere"]  # which runs of earlier versions do not have
    folders = [folder_of(output, subject) for subject in subjects]
    execution = with_batch_size(execution, *(folder / STORE for folder in folders), precision=precision)
    command = command.computed_with(execution)
    kept = keep_responses(
        subjects,
        [vertices for vertices, _ in regions],
        source,
        folders,
        precision=precision,
        execution=execution,
        membership=[{name: own > 0 for name, own in weights.items()} for _, weights in regions],
        run={"rois": rois, "precision": precision, **limits},
        facts={"hemisphere": selection.hemisphere},
    )
    if kept is None:
        raise unfinished(output, [folder / STORE for folder in folders], execution.process)
    known = []
    for subject, (vertices, weights), responses in zip(subjects, regions, kept, strict=True):
        values = responses.values.astype(np.float32)
        known.append(Known(subject, vertices, [weights[name] for name in rois], values))
    for name in FIGURES:  # of an earlier run of another kind
        remove_figure(output / name)
    running = {"time_limit": execution.time_limit, "show_progress": execution.show_progress}
    made: dict[str, Any] = {"kind": kind, "rois": rois, "images": len(source), "seed": seed}
    synthesized = {}
    if kind == "univariate":
        made |= {"k": k, "margin": margin, "synthesize": synthesize, "steps": steps if synthesize else None}
        if synthesize:
            synthesized = synthesized_for(known[0], rois, synthesize, steps, precision, seed, running, output)
        answers = [answers_to(one, synthesized, precision) for one in known]
        rows, chosen = univariate(known, rois, source, synthesized, answers, k, margin, output)
    else:
        options = {"set_size": set_size, "population": population, "generations": generations}
        made |= options
        answers = [{} for _ in known]
        rows, chosen = multivariate(known, rois, source, output, {**options, "seed": seed, **running})
    shown = numbers_section(kind, rois, [one.number for one in known], rows, made, output)
    means = {goal: responses @ known[0].by_region for goal, responses in answers[0].items()}
    z = (rois, known[0].means, means)
    parts = [shown, *images_sections(kind, source, chosen[0], synthesized, made, output, z)]
    facts = {}
    every = [goal_maps(one.responses, indices, own) for one, indices, own in zip(known, chosen, answers, strict=True)]
    limits = map_limits(every)
    for one, maps in zip(known, every, strict=True):
        folder = folder_of(output, one.subject)
        facts[folder.name] = provenance(one.subject, one.vertices, precision, experiment="control", **made)
        write_results(folder, one.vertices, maps, facts[folder.name])
        if pictures := draw_maps(one.subject, one.vertices, maps, rois, chosen[0], limits, made, folder):
            parts.append(Section(f"Maps of subject {one.number}", pictures))
    write_numbers(output, {"goals": rows, "subjects": list(facts.values())})
    write_report(
        output,
        "Control",
        parts,
        lead=f"{_LEADS[kind].format(*rois)}: {len(source):,} images, {counted(subjects)}, {judged(subjects)}.",
        command=command.line,
        settings=command.settings,
        provenance=facts,
        synthetic=any(subject.description.synthetic for subject in subjects),
    )
    return ExperimentResult(summary(subjects, rois, rows, len(source), output), output)


def _stimuli(subject: Subject, output: Path, images: Images | None) -> Source:
    if images is not None:
        return images.open(subject, output=output)
    require_demo(subject, "Give images: a folder or an array, such as NSD's.")
    return drawn(output, {"natural": _NATURAL, **dict.fromkeys(CATEGORIES, _EACH)}, _SEED)

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
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ...demo.stimuli import CATEGORIES
from ...errors import InvalidParameterError
from ...files.csv_tables import write_table
from ...stream.execution import Execution, with_batch_size
from ...stream.images import Images
from ...stream.owed import unfinished
from ...stream.selection import Selection
from ...stream.sources.image_files import Source
from ...subject import Subject
from ...vertices import Vertices
from ..inputs.responses import STORE, keep_responses
from ..inputs.stimuli import drawn, listed, refusing, require_demo
from ..reporting.command import command_of
from ..reporting.figures import about
from ..reporting.outcome import ExperimentResult
from ..reporting.page import Section, write_report
from ..reporting.results import counted, folder_of, note, provenance, require_reporting, write_numbers, write_results
from ..synthesis import objectives
from ..synthesis.areas import union
from ..synthesis.optimize import optimize
from ..synthesis.parametrizations.fourier import fourier
from ..synthesis.search.sets import evolve_sets, random_sets, set_values
from ..synthesis.search.stored import control_among
from .pictures import Chosen, draw_quadrants, draw_sets
from .report import PICTURE, draw_maps, goal_maps, images_sections, judged, map_limits, numbers_section, summary
from .uncertainty import alignment_interval, goal_p, shift_intervals

KINDS = ("univariate", "multivariate")
_GOALS = {"align": objectives.align, "disentangle": objectives.disentangle}
_BASELINE = 1000  # random sets that a chosen one is compared with
_LEADS = {
    "univariate": "Images that drive {} and {} together or apart",
    "multivariate": "Sets of images that {} and {} represent alike (align) or unlike (disentangle)",
}
_NATURAL, _EACH, _SEED = 200, 20, 7  # of the demo's images


class _Known(NamedTuple):
    """A subject, the vertices of both regions, the regions' weights over them, and its responses to all images."""

    subject: Subject
    vertices: Vertices
    weights: list[Float[np.ndarray, " vertices"]]
    responses: Float[np.ndarray, "images vertices"]

    @property
    def number(self) -> int:
        return self.subject.description.subject

    @property
    def means(self) -> Float[np.ndarray, "images 2"]:
        return self.responses @ self.by_region

    @property
    def by_region(self) -> Float[np.ndarray, "vertices 2"]:
        return np.stack(self.weights, axis=1)


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
        Folder of the results: ``control.png``, ``images.csv`` (which images were chosen), ``chosen/`` (the first of
        them, or some of a set's), ``synthesized/``, ``results.json``, and of all this ``report.html``. For each
        subject ``subjNN/`` holds the responses to all images, ``responses.zarr``, and
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
        known.append(_Known(subject, vertices, [weights[name] for name in rois], values))
    running = {"time_limit": execution.time_limit, "show_progress": execution.show_progress}
    made: dict[str, Any] = {"kind": kind, "rois": rois, "images": len(source), "seed": seed}
    synthesized = {}
    if kind == "univariate":
        made |= {"k": k, "margin": margin, "synthesize": synthesize, "steps": steps if synthesize else None}
        if synthesize:
            synthesized = _synthesized(known[0], rois, synthesize, steps, precision, seed, running)
        answers = [_answers(one, synthesized, precision) for one in known]
        rows, chosen = _univariate(known, rois, source, synthesized, answers, k, margin, output)
    else:
        options = {"set_size": set_size, "population": population, "generations": generations}
        made |= options
        answers = [{} for _ in known]
        rows, chosen = _multivariate(known, rois, source, output, {**options, "seed": seed, **running})
    shown = numbers_section(kind, rois, [one.number for one in known], rows, made, output)
    parts = [shown, *images_sections(kind, source, chosen[0], synthesized, made, output)]
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


def goals(rois: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The four ways to drive (1) or suppress (−1) two regions, by name."""
    first, second = rois
    return {
        "both up": (1, 1),
        "both down": (-1, -1),
        f"{first} up, {second} down": (1, -1),
        f"{first} down, {second} up": (-1, 1),
    }


def judges(count: int) -> list[Bool[np.ndarray, " subjects"]]:
    """For each subject who chooses for it: all others, or itself if there are none."""
    return [np.arange(count) != index if count > 1 else np.ones(1, bool) for index in range(count)]


def _stimuli(subject: Subject, output: Path, images: Images | None) -> Source:
    if images is not None:
        return images.open(subject, output=output)
    require_demo(subject, "Give images: a folder or an array, such as NSD's.")
    return drawn(output, {"natural": _NATURAL, **dict.fromkeys(CATEGORIES, _EACH)}, _SEED)


def _univariate(
    subjects: Sequence[_Known],
    rois: Sequence[str],
    source: Source,
    made: dict[str, UInt8[np.ndarray, "n 3 h w"]],
    answers: Sequence[dict[str, Float[np.ndarray, "n vertices"]]],
    k: int,
    margin: float,
    output: Path,
) -> tuple[list[dict[str, Any]], list[dict[str, Int[np.ndarray, " n"]]]]:
    """Return for each goal what came out, and for each subject which images were chosen for each goal."""
    baselines = [np.nanmean(one.means.astype(np.float64), axis=0) for one in subjects]
    away = np.stack([one.means - baseline for one, baseline in zip(subjects, baselines, strict=True)])
    rows, named, shown, chosen = [], [], [], [{} for _ in subjects]
    for goal, directions in goals(rois).items():
        gone, intervals = [], []
        for index, choosing in enumerate(judges(len(subjects))):
            found = control_among(
                source.ids, away[choosing].mean(axis=0), directions, k=k, margin=margin, baseline=np.zeros(2)
            ).found
            own = np.array(directions) * away[index][found.indices]
            gone.append(own.mean(axis=0) if len(own) else np.full(2, np.nan))
            intervals.append(shift_intervals(own))
            chosen[index][goal] = found.indices
            named += [
                (goal, subjects[index].number, image, *way) for image, way in zip(found.names, own, strict=True)
            ]
        shown.append(Chosen(goal, subjects[0].means[chosen[0][goal]]))
        counts = [len(own[goal]) for own in chosen]
        rows.append({"goal": goal, "directions": directions, "ways": gone, "images": counts[0], "counts": counts})
        rows[-1]["intervals"] = intervals
        if goal in made:
            means = [own[goal] @ one.by_region for one, own in zip(subjects, answers, strict=True)]
            own = [np.array(directions) * (mean - base) for mean, base in zip(means, baselines, strict=True)]
            rows[-1] |= {"synthesized": [way.mean(axis=0) for way in own]}
            rows[-1] |= {"synthesized intervals": [shift_intervals(way) for way in own]}
            shown[-1] = shown[-1]._replace(made=means[0])
    write_table(output / "images.csv", ("goal", "subject", "image", *(f"way in {name}" for name in rois)), named)
    options = _titles(subjects, rois, "Images", len(source)) | {"baseline": baselines[0]}
    draw_quadrants(subjects[0].means, rois, shown, output / PICTURE, **options)
    return rows, chosen


def _multivariate(
    subjects: Sequence[_Known], rois: Sequence[str], source: Source, output: Path, options: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Int[np.ndarray, " n"]]]]:
    """As :func:`_univariate`."""
    longest = max(len(one.vertices) for one in subjects)
    every = np.stack([np.pad(one.responses, ((0, 0), (0, longest - len(one.vertices)))) for one in subjects])
    weights = [
        np.stack([np.pad(one.weights[i], (0, longest - len(one.vertices))) for one in subjects]) for i in (0, 1)
    ]
    there = np.flatnonzero(np.isfinite(every).all(axis=(0, 2)))
    every = every[:, there]
    usual = random_sets(len(there), options["set_size"], _BASELINE, options["seed"])
    before = [set_values(every[i], objectives.align(*(w[i] for w in weights)), usual) for i in range(len(subjects))]
    rows, named, shown, checkpoints, chosen = [], [], [], [], [{} for _ in subjects]
    for goal, objective in _GOALS.items():
        reached, p, intervals = [], [], []
        for index, choosing in enumerate(judges(len(subjects))):
            number = subjects[index].number
            among = objectives.group(objective(*(w[choosing] for w in weights)))
            checkpoints.append(output / f"{goal}-subj{number:02d}.npz")
            result = evolve_sets(every[choosing], among, checkpoint=checkpoints[-1], **options)
            own = objectives.align(*(w[index] for w in weights))
            reached.append(float(set_values(every[index], own, result.latents)[0]))
            p.append(goal_p(goal, reached[-1], before[index]))
            intervals.append(alignment_interval(every[index][result.latents[0]], *(w[index] for w in weights)))
            best = np.sort(there[result.latents[0]])
            chosen[index][goal] = best
            named += [(goal, number, source.ids[image]) for image in best]
        shown.append(Chosen(goal, np.array(reached), interval=intervals[0]))
        usually = [float(values.mean()) for values in before]
        rows.append({"goal": goal, "alignment": reached, "random sets": usually, "images": options["set_size"]})
        ends = [np.quantile(values, [0.025, 0.975]) for values in before]
        rows[-1] |= {"intervals": intervals, "random range": ends, "p": p, "random count": _BASELINE}
    write_table(output / "images.csv", ("goal", "subject", "image"), named)
    kind = f"Sets of {options['set_size']} images"
    draw_sets(before[0], rois, shown, output / PICTURE, **_titles(subjects, rois, kind, len(there)))
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return rows, chosen


def _synthesized(
    one: _Known, rois: Sequence[str], n: int, steps: int, precision: str, seed: int, running: dict[str, Any]
) -> dict[str, UInt8[np.ndarray, "n 3 224 224"]]:
    """Images made for each goal; the goals share one program."""
    model, baseline = one.subject.model(one.vertices, precision=precision), np.nanmean(one.means, axis=0)
    made = {}
    for goal, directions in goals(rois).items():
        objective = objectives.control(one.weights, directions, baseline)
        result = optimize(model, objective, fourier(), n=n, steps=steps, seed=seed, **running)
        made[goal] = np.asarray(result.images[np.argsort(-result.values)]).round().astype(np.uint8)
    return made


def _answers(
    one: _Known, made: dict[str, UInt8[np.ndarray, "n 3 h w"]], precision: str
) -> dict[str, Float[np.ndarray, "n vertices"]]:
    """Return a subject's responses to the images made for each goal."""
    model = one.subject.model(one.vertices, precision=precision) if made else None
    return {goal: np.asarray(model(images)) for goal, images in made.items()}


def _titles(subjects: Sequence[_Known], rois: Sequence[str], kind: str, images: int) -> dict[str, str | None]:
    """Return the texts of a figure of the first subject."""
    whose = "its own responses" if len(subjects) == 1 else "other subjects' responses"
    subtitle = about([subjects[0].number], " and ".join(rois), images=images)
    return {"title": f"{kind} chosen by {whose}", "subtitle": subtitle, "note": note(subjects[0].subject)}

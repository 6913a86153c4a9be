"""Choice of images that control two regions, and of sets, and what each subject that judges them makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ...files.csv_tables import write_table
from ...stream.sources.image_files import Source
from ...subject import Subject
from ...vertices import Vertices
from ..reporting.figures import about, remove_figure
from ..reporting.results import note
from ..synthesis import objectives
from ..synthesis.optimize import optimize
from ..synthesis.parametrizations.fourier import fourier
from ..synthesis.search.sets import evolve_sets, random_sets, set_values
from ..synthesis.search.stored import control_among
from .bars import PICTURE as BARS
from .bars import draw_alignments, draw_shifts
from .curves import PICTURE as CURVES
from .curves import Curve, draw_curves
from .matrices import DISSIMILARITIES, RESPONSES, draw_dissimilarities, draw_responses
from .pictures import Chosen, draw_quadrants, draw_sets
from .report import PICTURE
from .uncertainty import alignment_interval, goal_p, shift_intervals

_GOALS = {"align": objectives.align, "disentangle": objectives.disentangle}
_BASELINE = 1000  # random sets that a chosen one is compared with


class Known(NamedTuple):
    """A subject, the vertices of both regions, the regions' weights over them, and its responses to all images."""

    subject: Subject
    vertices: Vertices
    weights: list[Float[np.ndarray, " vertices"]]
    responses: Float[np.ndarray, "images vertices"]

    @property
    def number(self) -> int:
        """Number of the subject."""
        return self.subject.description.subject

    @property
    def means(self) -> Float[np.ndarray, "images 2"]:
        """Mean response of each region to each image."""
        return self.responses @ self.by_region

    @property
    def by_region(self) -> Float[np.ndarray, "vertices 2"]:
        """Weights of both regions, a column each."""
        return np.stack(self.weights, axis=1)


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


def univariate(
    subjects: Sequence[Known],
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
    texts = {**_titles(subjects, rois, "Images", len(source)), "title": "Change in the wanted direction"}
    numbers = [one.number for one in subjects]
    subtitle = about(numbers, " and ".join(rois), images=len(source))
    draw_shifts(rows, rois, numbers, output / BARS, **{**texts, "subtitle": subtitle})
    _responses_of_chosen(subjects[0], rois, chosen[0], source, output)
    return rows, chosen


def multivariate(
    subjects: Sequence[Known], rois: Sequence[str], source: Source, output: Path, options: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Int[np.ndarray, " n"]]]]:
    """As :func:`univariate`."""
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
    curves, names = [], {"align": "align", "disentangle": "disentangle (absolute value)"}
    for goal, objective in _GOALS.items():
        reached, p, intervals = [], [], []
        for index, choosing in enumerate(judges(len(subjects))):
            number = subjects[index].number
            among = objectives.group(objective(*(w[choosing] for w in weights)))
            checkpoints.append(output / f"{goal}-subj{number:02d}.npz")
            result = evolve_sets(every[choosing], among, checkpoint=checkpoints[-1], **options)
            for kind, values in (("best", result.looks), ("mean", result.history)):
                sign = 1 if goal == "align" else -1  # of what is maximized
                curves.append(Curve(names[goal], f"judge {number}", kind, sign * values[:, 0]))
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
    texts = _titles(subjects, rois, kind, len(there))
    draw_sets(before[0], rois, shown, output / PICTURE, **texts)
    numbers = [one.number for one in subjects]
    told = {**texts, "subtitle": about(numbers, " and ".join(rois), images=len(there))}
    draw_alignments(rows, numbers, output / BARS, **{**told, "title": "Alignment of chosen and of random sets"})
    label = "alignment (no unit)"
    told |= {"title": "Course of the search, in the subjects that choose", "step": "generation", "label": label}
    draw_curves(curves, output / CURVES, **told)
    texts["title"] = f"Dissimilarities of the chosen sets of {options['set_size']} images"
    own = dict(zip(rois, subjects[0].weights, strict=True))
    draw_dissimilarities(subjects[0].responses, own, chosen[0], source, output / DISSIMILARITIES, **texts)
    _responses_of_chosen(subjects[0], rois, chosen[0], source, output)
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return rows, chosen


def synthesized_for(
    one: Known,
    rois: Sequence[str],
    n: int,
    steps: int,
    precision: str,
    seed: int,
    running: dict[str, Any],
    output: Path,
) -> dict[str, UInt8[np.ndarray, "n 3 224 224"]]:
    """Return images made for each goal, and draw the course of their making; the goals share one program."""
    model, baseline = one.subject.model(one.vertices, precision=precision), np.nanmean(one.means, axis=0)
    made, curves = {}, []
    for goal, directions in goals(rois).items():
        objective = objectives.control(one.weights, directions, baseline)
        result = optimize(model, objective, fourier(), n=n, steps=steps, seed=seed, **running)
        order = np.argsort(-result.values)
        made[goal] = np.asarray(result.images[order]).round().astype(np.uint8)
        curves += [
            Curve(goal, f"image {number}", "value", values)
            for number, values in enumerate(result.history[:, order].T, 1)
        ]
    subtitle = about([one.number], " and ".join(rois), images=f"{n} synthesized")
    texts = {"title": "Course of the synthesis", "subtitle": subtitle, "note": note(one.subject)}
    draw_curves(curves, output / CURVES, **texts, step="step", label="sum of both regions' ways (z)")
    return made


def answers_to(
    one: Known, made: dict[str, UInt8[np.ndarray, "n 3 h w"]], precision: str
) -> dict[str, Float[np.ndarray, "n vertices"]]:
    """Return a subject's responses to the images made for each goal."""
    model = one.subject.model(one.vertices, precision=precision) if made else None
    return {goal: np.asarray(model(images)) for goal, images in made.items()}


def _responses_of_chosen(
    one: Known, rois: Sequence[str], chosen: dict[str, Int[np.ndarray, " n"]], source: Source, output: Path
) -> None:
    """Draw both regions' responses to a subject's chosen images, unless there are none."""
    if not any(map(len, chosen.values())):
        remove_figure(output / RESPONSES)
        return
    texts = {**_titles([one], rois, "", len(source)), "title": "Responses to the chosen images"}
    own = dict(zip(rois, one.weights, strict=True))
    draw_responses(one.responses, own, one.vertices, chosen, source, output / RESPONSES, **texts)


def _titles(subjects: Sequence[Known], rois: Sequence[str], kind: str, images: int) -> dict[str, str | None]:
    """Return the texts of a figure of the first subject."""
    whose = "the subject's own responses" if len(subjects) == 1 else "other subjects' responses"
    subtitle = about([subjects[0].number], " and ".join(rois), images=images)
    return {"title": f"{kind} chosen by {whose}", "subtitle": subtitle, "note": note(subjects[0].subject)}

"""``berg-jax control``: images that drive two regions together or apart, and sets that align or disentangle them.

Univariate: of all images those that drive both, suppress both, or drive one and suppress the other, each by a margin
over the mean image. Multivariate: the sets of images for which the regions' dissimilarity matrices are most or least
alike. With several subjects, images are chosen by all but one, and judged by that one. On the demo subject about
a minute on 2 cores, multivariate with 300 generations.

After Gifford et al. 2025, *In silico discovery of representational relationships across visual cortex*, Nature Human
Behaviour.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from ..demo import images as drawings
from ..demo.stimuli import CATEGORIES
from ..encoding import choose_images
from ..errors import InvalidParameterError
from ..files import explained
from ..rois import Vertices
from ..stream.arrays import ArraySource
from ..stream.loop import stream
from ..stream.opening import open_source
from ..stream.responses import open_responses
from ..stream.sources import Source
from ..stream.stores import Columns, is_complete
from ..subject import Subject
from .control_pictures import Row, draw_quadrants, draw_sets
from .results import note, provenance, write_numbers
from .synthesis import objectives
from .synthesis.areas import union
from .synthesis.evolve import evolve_sets, random_sets, set_values
from .synthesis.images import fourier
from .synthesis.optimize import optimize
from .synthesis.search import control_among

KINDS = ("univariate", "multivariate")
_GOALS = {"align": objectives.align, "disentangle": objectives.disentangle}
_BASELINE = 1000  # random sets that a chosen one is compared with
_SHOWN = 6  # chosen images in a line of the picture
_NATURAL, _EACH, _SEED = 200, 20, 7  # of the demo's images


class _Person(NamedTuple):
    """A subject, the vertices of both regions, the regions' weights over them, and responses to all images."""

    subject: Subject
    vertices: Vertices
    weights: list[Float[np.ndarray, " vertices"]]
    responses: Float[np.ndarray, "images vertices"]

    @property
    def means(self) -> Float[np.ndarray, "images 2"]:
        return self.responses @ np.stack(self.weights, axis=1)


def control_regions(
    berg_dir: str | Path,
    subjects: Sequence[int],
    output: str | Path,
    images: str | Path | None = None,
    *,
    rois: Sequence[str] = ("FFA-1", "PPA"),
    kind: str = "univariate",
    choose: str | None = None,
    k: int = 25,
    margin: float = 0.04,
    synthesize: int = 0,
    steps: int = 128,
    set_size: int = 50,
    population: int = 200,
    generations: int = 2000,
    seed: int = 0,
    min_ncsnr: float | None = None,
    min_explained_variance: float | None = None,
    fit_images: str = "error",
    precision: str = "float32",
    batch_size: int = 8,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Choose images that control two regions' responses, or sets that control how alike they represent images.

    Parameters
    ----------
    berg_dir, subjects
        As for :func:`berg_jax.load`; one or more subjects. With one, images are judged by whom they were chosen for.
    output
        The folder to write: ``control.png``, ``images.csv`` (which images were chosen), ``results.json``; responses
        of all images in ``subjNN/responses.zarr``.
    images
        To choose from: see :func:`~berg_jax.stream.opening.open_source`. For the demo subjects by default drawings
        and natural-like images.
    rois
        Two ROI expressions.
    kind
        ``"univariate"`` or ``"multivariate"``.
    choose
        Of an array which images.
    k, margin
        Univariate: how many images, at most, and how far each is from the mean image in both regions, z units.
    synthesize, steps
        Univariate: also make so many images for each goal, for the first subject, in so many steps.
    set_size, population, generations, seed
        Multivariate: see :func:`~berg_jax.experiments.synthesis.evolve.evolve_sets`.
    min_ncsnr, min_explained_variance
        Which vertices, by default all: see :func:`berg_jax.rois.resolve`.
    fit_images, precision, batch_size, time_limit, show_progress
        As for :func:`~berg_jax.experiments.retinotopy.map_retinotopy`.

    Returns
    -------
    A few lines that say what came out.

    Raises
    ------
    BERGError
        Something is wrong with the images, the ROIs, the numbers or the output; found before work starts.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; what was finished is recorded.
    """
    output, subjects, rois = Path(output), list(subjects), list(rois)
    if not subjects or len(set(subjects)) < len(subjects):
        raise InvalidParameterError(f"Give one or more subjects, each once, got {subjects}.")
    if len(set(rois)) != 2 or len(rois) != 2:
        raise InvalidParameterError(f"Control is of two ROIs, got {rois}.")
    if kind not in KINDS:
        raise InvalidParameterError(f"kind must be one of {list(KINDS)}, got {kind!r}.")
    if k < 1 or synthesize < 0:
        raise InvalidParameterError(f"Give k of at least 1 and synthesize of at least 0, got {k} and {synthesize}.")
    limits = {"min_ncsnr": min_ncsnr, "min_explained_variance": min_explained_variance}
    people = [Subject(berg_dir, subject) for subject in subjects]
    regions = [union(person, {name: name for name in rois}, **limits) for person in people]
    if kind == "multivariate":
        for name, size in ((name, (w > 0).sum()) for _, weights in regions for name, w in weights.items()):
            if size < 2:
                raise InvalidParameterError(f"ROI {name!r} has only one vertex; a pattern needs more.")
    source = _stimuli(people[0], output, images, choose, fit_images)
    if kind == "multivariate" and 2 * set_size > len(source):
        raise InvalidParameterError(f"A set may have at most half of the {len(source)} images, got {set_size}.")
    running = {"time_limit": time_limit, "show_progress": show_progress}
    known = []
    for person, (vertices, weights) in zip(people, regions, strict=True):
        store = output / f"subj{person.description.subject:02d}" / "responses.zarr"
        stream(
            person.model(vertices, precision=precision),
            source,
            [Columns(vertices, {name: own > 0 for name, own in weights.items()})],
            output=store,
            identity=person.identity(vertices, precision),
            batch_size=batch_size,
            **running,
        )
        if not is_complete(store):
            return f"This process has done its share of {output}; others have not yet."
        responses = open_responses(store).data.values.astype(np.float32)
        known.append(_Person(person, vertices, [weights[name] for name in rois], responses))
    settings = {"experiment": "control", "kind": kind, "rois": rois, "images": len(source), "seed": seed}
    if kind == "univariate":
        made = _synthesized(known[0], rois, synthesize, steps, precision, seed, running) if synthesize else {}
        settings |= {"k": k, "margin": margin, "synthesize": synthesize, "steps": steps if synthesize else None}
        rows = _univariate(known, rois, source, made, k, margin, precision, output)
    else:
        options = {"set_size": set_size, "population": population, "generations": generations}
        settings |= options
        rows = _multivariate(known, rois, source, output, {**options, "seed": seed, **running})
    facts = [provenance(one.subject, one.vertices, precision, **settings) for one in known]
    write_numbers(output, {"goals": rows, "subjects": facts})
    return _summary(known, rois, rows, len(source), output)


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


def _stimuli(person: Subject, output: Path, images: str | Path | None, choose: str | None, fit_images: str) -> Source:
    if images is not None:
        source = open_source(images, fit_images)
        return source if choose is None else choose_images(source, choose, person)
    if person.metadata.raw.get("synthetic") != "berg_jax demo":
        raise InvalidParameterError("Give images: a folder or an array, such as NSD's.")
    kinds = {"natural": _NATURAL, **dict.fromkeys(CATEGORIES, _EACH)}
    path = output / "images.npy"
    with explained("write", path):
        output.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate([drawings(name, count, _SEED) for name, count in kinds.items()]))
    return ArraySource(path)


def _univariate(
    people: Sequence[_Person],
    rois: Sequence[str],
    source: Source,
    made: dict[str, UInt8[np.ndarray, "n 3 h w"]],
    k: int,
    margin: float,
    precision: str,
    output: Path,
) -> list[dict[str, Any]]:
    baselines = [np.nanmean(one.means.astype(np.float64), axis=0) for one in people]
    away = np.stack([one.means - baseline for one, baseline in zip(people, baselines, strict=True)])
    rows, chosen, shown = [], [], []
    for goal, directions in goals(rois).items():
        gone = []
        for index, choosing in enumerate(judges(len(people))):
            found = control_among(
                source.ids, away[choosing].mean(axis=0), directions, k=k, margin=margin, baseline=np.zeros(2)
            ).found
            own = np.array(directions) * away[index][found.indices]
            gone.append(own.mean(axis=0) if len(own) else np.full(2, np.nan))
            name = people[index].subject.description.subject
            chosen += [(goal, name, image, *way) for image, way in zip(found.names, own, strict=True)]
            if index == 0:
                dots = people[0].means[found.indices]
                shown.append(Row(goal, source.read(found.indices[:_SHOWN]) if len(own) else None, dots))
        rows.append({"goal": goal, "directions": directions, "ways": gone, "images": shown[-1].number})
        if goal in made:
            responses = [_means(one, made[goal], precision) for one in people]
            ways = [np.array(directions) * (r - b).mean(axis=0) for r, b in zip(responses, baselines, strict=True)]
            rows[-1]["synthesized"] = ways
            shown[-1] = shown[-1]._replace(made=made[goal], made_dots=responses[0])
    _save_images(output, made)
    _write_chosen(output, ("goal", "subject", "image", *(f"way in {name}" for name in rois)), chosen)
    options = {"note": note(people[0].subject), "baseline": baselines[0], "title": _title(people, len(source))}
    draw_quadrants(people[0].means, rois, shown, output / "control.png", **options)
    return rows


def _multivariate(
    people: Sequence[_Person], rois: Sequence[str], source: Source, output: Path, options: dict[str, Any]
) -> list[dict[str, Any]]:
    longest = max(len(one.vertices) for one in people)
    every = np.stack([np.pad(one.responses, ((0, 0), (0, longest - len(one.vertices)))) for one in people])
    weights = [np.stack([np.pad(one.weights[i], (0, longest - len(one.vertices))) for one in people]) for i in (0, 1)]
    there = np.flatnonzero(np.isfinite(every).all(axis=(0, 2)))
    every = every[:, there]
    usual = random_sets(len(there), options["set_size"], _BASELINE, options["seed"])
    before = [set_values(every[i], objectives.align(*(w[i] for w in weights)), usual) for i in range(len(people))]
    rows, chosen, shown, checkpoints = [], [], [], []
    for goal, objective in _GOALS.items():
        reached = []
        for index, choosing in enumerate(judges(len(people))):
            number = people[index].subject.description.subject
            among = objectives.group(objective(*(w[choosing] for w in weights)))
            checkpoints.append(output / f"{goal}-subj{number:02d}.npz")
            result = evolve_sets(every[choosing], among, checkpoint=checkpoints[-1], **options)
            own = objectives.align(*(w[index] for w in weights))
            reached.append(float(set_values(every[index], own, result.latents)[0]))
            best = np.sort(there[result.latents[0]])
            chosen += [(goal, number, source.ids[image]) for image in best]
            if index == 0:
                spread = np.linspace(0, len(best) - 1, min(3 * _SHOWN, len(best))).astype(int)
                shown.append(Row(goal, source.read(best[spread]), np.array(reached)))
        usually = [float(values.mean()) for values in before]
        rows.append({"goal": goal, "alignment": reached, "random sets": usually, "images": options["set_size"]})
    _write_chosen(output, ("goal", "subject", "image"), chosen)
    options = {"note": note(people[0].subject), "title": _title(people, len(source))}
    draw_sets(before[0], rois, shown, output / "control.png", **options)
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return rows


def _synthesized(
    one: _Person, rois: Sequence[str], n: int, steps: int, precision: str, seed: int, running: dict[str, Any]
) -> dict[str, UInt8[np.ndarray, "n 3 224 224"]]:
    """Images made for each goal; the goals share one program."""
    model, baseline = one.subject.model(one.vertices, precision=precision), np.nanmean(one.means, axis=0)
    made = {}
    for goal, directions in goals(rois).items():
        objective = objectives.control(one.weights, directions, baseline)
        result = optimize(model, objective, fourier(), n=n, steps=steps, seed=seed, **running)
        made[goal] = np.asarray(result.images[np.argsort(-result.values)]).round().astype(np.uint8)
    return made


def _means(one: _Person, images: UInt8[np.ndarray, "n 3 h w"], precision: str) -> Float[np.ndarray, "n 2"]:
    responses = np.asarray(one.subject.model(one.vertices, precision=precision)(images))
    return responses @ np.stack(one.weights, axis=1)


def _save_images(output: Path, made: dict[str, UInt8[np.ndarray, "n 3 h w"]]) -> None:
    with explained("write", output):
        for goal, images in made.items():
            for number, image in enumerate(images, 1):
                name = goal.replace(", ", " ").replace(" ", "-").replace("/", "-")
                path = output / "synthesized" / f"{name}-{number}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(image.transpose(1, 2, 0)).save(path)


def _write_chosen(output: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path = output / "images.csv"
    with explained("write", path), path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows([f"{x:.6g}" if isinstance(x, np.floating) else x for x in row] for row in rows)


def _title(people: Sequence[_Person], images: int) -> str:
    whose = "its own responses" if len(people) == 1 else "other subjects' responses"
    return f"Subject {people[0].subject.description.subject}: of {images} images those chosen by {whose}"


def _summary(
    people: Sequence[_Person], rois: Sequence[str], rows: Sequence[dict[str, Any]], images: int, output: Path
) -> str:
    origin = " (SYNTHETIC weights)" if people[0].subject.description.synthetic else ""
    judged = "judged by the one who chose" if len(people) == 1 else "chosen by all but one, judged by that one"
    subjects = "1 subject" if len(people) == 1 else f"{len(people)} subjects"
    lines = [f"Control of {rois[0]} and {rois[1]} in {subjects}{origin}: {images} images, {judged}"]
    for row in rows:
        if "ways" not in row:
            text = f"alignment {np.mean(row['alignment']):.3f}, of random sets {np.mean(row['random sets']):.3f}"
        elif not row["images"]:
            text = "no image passes the margin"
        else:
            ways = np.nanmean(row["ways"], axis=0)
            text = f"{row['images']:>3} images, by {ways[0]:.2f} and {ways[1]:.2f} z"
        if "synthesized" in row:
            own = row["synthesized"][0]
            text += f"; synthesized ones by {own[0]:.2f} and {own[1]:.2f} z"
        lines.append(f"  {row['goal']:<28}{text}")
    return "\n".join([*lines, f"Pictures and numbers: {output}"])

"""``berg-jax synthesize``: images that drive and suppress a subject's regions, and what it takes to repeat them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, UInt8
from PIL import Image

from ...errors import IntegrityError, InvalidParameterError, ResourceError
from ...files.disk import explained, read_small, readable, write_whole
from ...machine import environment
from ...stream.selection import Selection
from ...stream.store.changes import differences_of
from ...subject import Subject
from ...surface.meshes import require
from ..inputs.stimuli import refusing
from ..reporting.command import command_of
from ..reporting.figures import about, save_figure
from ..reporting.outcome import ExperimentResult
from ..reporting.page import Picture
from ..reporting.results import note
from . import augmentations, objectives, priors
from .areas import union
from .judging.course import CURVES, MOST_PAIRS, PAIRS, draw_course, draw_pairs, start_images
from .judging.crops import photograph_crops
from .judging.natural import Baseline, natural_baseline, percentiles, relative_scores
from .judging.page import write_page
from .judging.regions import RegionResponses, region_responses, regions_part
from .judging.sheets import contact_sheet, scores_csv
from .judging.winner import Judge, judge_images, judged_section
from .optimize import Result, optimize
from .parametrizations.inputs import check_inputs, input_contents
from .parametrizations.photographs import make_parametrization, projection, read_one, read_squares
from .recipe import GUIDANCE, Recipe

_RENAMED = {"photograph_folder": "photographs"}  # settings as version 0.1.0 wrote them
SHEET = "contact_sheet.png"


def synthesize(
    subject: Subject,
    output: str | Path,
    *,
    drive: Sequence[str] = (),
    suppress: Sequence[str] = (),
    margin: float | None = None,
    selection: Selection = Selection(),
    recipe: Recipe = Recipe(),
    baseline: str | Path | None = None,
    prior: str | None = None,
    guidance: float | None = None,
    held_out: Sequence[int] | None = None,
    n: int = 8,
    precision: str = "float32",
    microbatch: int | None = None,
    devices: int = 1,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> ExperimentResult:
    """Make images that drive some regions of a subject's model and suppress others, into a folder.

    It holds the images as ``.png``, best first, ``contact_sheet.png``, ``scores.csv``, ``synthesis.json``,
    ``course.png`` (a curve for each restart), ``pairs.png`` (each image beside its start), ``regions.png`` (what each
    image drives), and of all this ``report.html`` with ``config.json``
    (:mod:`berg_jax.experiments.reporting.page`). The scores are of the images as they are in the files, rounded to 8
    bits, with percentiles among natural images: crops of photographs, unless a ``baseline`` is given. A synthesis
    that was interrupted goes on where it was when called again with the same arguments.

    Parameters
    ----------
    subject
        The subject.
    output
        The folder.
    drive, suppress
        ROI expressions: the sum of the means of the ones, less that of the others, is maximized.
    margin
        How far from 0, or from the baseline's mean, each region shall be driven or suppressed, in z units; what goes
        beyond counts for nothing.
    selection
        Hemisphere and thresholds of the regions' vertices; its ``roi`` is not used.
    recipe
        Parametrization, start, steps and penalties.
    baseline
        Natural images, or a store of the subject's responses to them: see
        :func:`~berg_jax.experiments.synthesis.judging.natural_baseline`. Regions are driven and suppressed from
        their mean on, and each score is also given relative to it and as a percentile.
    prior
        ``"diffusion"`` draws the images from the diffusion model of the demo's drawings, guided by the objective,
        in place of gradient ascent (:func:`~berg_jax.experiments.synthesis.priors.sample`). Of the recipe, only the
        steps and the seed count, and a break starts it anew.
    guidance
        Guidance scale of the prior; by default 3.
    held_out
        Numbers of subjects of the same directory that take no part, in whose models the images are judged.
    n
        Number of images, each from a start of its own.
    precision
        Precision of the network: see :meth:`berg_jax.Subject.model`.
    microbatch, devices, time_limit, show_progress
        See :func:`~berg_jax.experiments.synthesis.optimize`.

    Returns
    -------
    ExperimentResult
        The best image's scores, in a few lines.

    Raises
    ------
    BERGError
        Something of this makes no sense, is not there, or cannot be written.
    Interrupted
        Ctrl-C, SIGTERM or the time limit came; the same call goes on.

    See Also
    --------
    berg_jax.experiments.synthesis.optimize : The optimization itself, of any objective.
    """
    output = Path(output)
    command = command_of(
        *("synthesize", synthesize, [subject], output, selection, recipe),
        drive=drive,
        suppress=suppress,
        margin=margin,
        baseline=baseline,
        prior=prior,
        guidance=guidance,
        held_out=list(held_out or ()) or None,
        n=n,
        precision=precision,
        microbatch=microbatch,
    )
    require("matplotlib")  # for the contact sheet
    _check_prior(prior, guidance, recipe)
    if not drive and not suppress:
        raise InvalidParameterError("Give at least one ROI to drive or to suppress.")
    if set(drive) & set(suppress):
        raise InvalidParameterError(f"A ROI cannot be driven and suppressed: {sorted(set(drive) & set(suppress))}.")
    if subject.description.subject in (held_out or ()):
        raise InvalidParameterError(f"Subject {subject.description.subject} takes part, and cannot be held out.")
    settings = {name: value for name, value in command.settings.items() if name != "output"}
    if recipe.fit in ("error", "crop"):  # which make the same image, or none, and earlier versions always cropped
        del settings["fit_images"]
    directions = dict.fromkeys(drive, 1) | dict.fromkeys(suppress, -1)
    areas = {name: name for name in directions}
    vertices, area = union(subject, areas, selection)
    inputs = {"start": recipe.start, "photographs": recipe.photographs, "baseline": baseline}
    if _is_done(output, settings, subject.identity(vertices, precision), inputs):
        return ExperimentResult(f"Complete already, nothing was computed: {output}", output)
    others = {f"subject {number}": Subject(subject.berg_dir, number) for number in held_out or ()}
    unions = {name: union(other, areas, selection) for name, other in others.items()}
    photograph = None if recipe.start is None else read_one(recipe.start, recipe.fit)
    parametrized, source = make_parametrization(recipe.parametrization, photograph, recipe.photographs)
    project = projection(photograph, recipe.radius)
    model = subject.model(vertices, precision=precision)
    natural = None
    if baseline is not None:
        number = subject.description.subject
        natural = natural_baseline(baseline, model, vertices, area, subject_id=number, batch=microbatch or 8)
    start_from = None if natural is None else [natural.means[name] for name in directions]
    weights = [area[name] for name in directions]
    objective = objectives.control(weights, list(directions.values()), start_from, margin)
    with refusing(output):
        with explained("write", output):
            output.mkdir(parents=True, exist_ok=True)
        checkpoint = output / "checkpoint.npz"
        climb = optimize if prior is None else partial(_guided, GUIDANCE if guidance is None else guidance)
        result = climb(
            model,
            objective,
            parametrized,
            n=n,
            steps=recipe.steps,
            optimizer=optax.adam(recipe.learning_rate),
            penalties=recipe.total_variation * priors.total_variation() if recipe.total_variation else None,
            project=project,
            augment=augmentations.jitter(recipe.jitter) if recipe.jitter else None,
            draws=recipe.draws,
            seed=recipe.seed,
            microbatch=microbatch,
            devices=devices,
            checkpoint=checkpoint,
            settings={**settings, "identity": subject.identity(vertices, precision)},
            time_limit=time_limit,
            show_progress=show_progress,
        )
    order = np.argsort(-result.values, kind="stable")
    shown = np.asarray(result.images)[order].round().astype(np.uint8)
    responses = _responses(model, shown, microbatch or 8)
    scores = {"value": np.asarray(objective(jnp.asarray(responses)))}
    scores |= {name: responses @ weights for name, weights in area.items()}
    judges = {}
    for name, (own_vertices, own) in unions.items():
        rows = [own[roi] for roi in directions]
        own_objective = objectives.control(rows, list(directions.values()), start_from, margin)
        judges[name] = Judge(others[name].model(own_vertices, precision=precision), own_objective)
    relative = {}
    if natural is not None:
        relative = relative_scores(scores, {"value": natural.values(directions, margin), **natural.areas})
    seen = _regions(subject, areas, shown, selection, precision, microbatch or 8)
    if natural is None and seen is not None:
        crops = Baseline({name: seen.natural[:, seen.rois.index(name)] for name in areas}, seen.source)
        relative = percentiles(scores, crops, directions, margin)
    usual = photograph_crops()[0] if natural is None and seen is not None else None
    if natural is not None and not natural.stored:
        usual = read_squares(baseline)[0]
    judged = judge_images(model, objective, result.images[order], others=judges, natural=usual, batch=microbatch or 8)
    facts = {
        "settings": settings,
        "inputs": input_contents(inputs),
        "weights": subject.description.origin,
        "identity": subject.identity(vertices, precision),
        "vertices": {name: int((weights > 0).sum()) for name, weights in area.items()},
        "spectrum of": source,
        "baseline": None if natural is None else {"source": natural.source, "means": natural.means},
        "natural images": natural.source if natural else seen and seen.source,
        "regions": {} if seen is None else dict(zip(seen.rois, seen.images.T.astype(float).tolist(), strict=True)),
        "environment": environment().splitlines(),
        "judged": judged.as_json(),
        **_course(result, order),
    }
    title = _title(subject, settings, facts["vertices"], n)
    _write(output, shown, scores, relative, facts, subject.description.synthetic, title)
    section = judged_section(judged, output, subtitle=title.partition(" · ")[2], note=note(subject))
    course = result.history[:, order]
    begun, worth = None, ()
    if prior is None:
        begun = start_images(parametrized, n=n, seed=recipe.seed, project=project)[order[:MOST_PAIRS]]
        first = np.asarray(objective(jnp.asarray(_responses(model, begun, microbatch or 8))))
        worth = list(zip(first.tolist(), scores["value"].tolist(), strict=False))
    figures = _course_figures(subject, output, areas, course, begun, shown, worth)
    drawn = [] if seen is None else regions_part(subject, seen, list(areas), output)
    write_page(output, command, {**scores, **relative}, course, facts, subject, section, figures, drawn)
    checkpoint.unlink(missing_ok=True)
    best = ", ".join(f"{name} {values[0]:.2f}" for name, values in scores.items())
    synthetic = ["The weights are SYNTHETIC and predict nothing about brains."] * subject.description.synthetic
    lines = [f"{n} images after {len(result.history)} steps; of the best (z): {best}", *synthetic]
    if relative:
        least = np.floor(10 * relative["value percentile"].min()) / 10
        means = [f"{name} {relative[f'{name} over baseline'][0]:+.2f}" for name in area] if natural else []
        over = f"{', '.join(means)} z; " if means else ""
        natural_images = facts["natural images"]
        lines.append(f"Against {natural_images}: {over}each image's value is above at least {least:g}% of them.")
    return ExperimentResult("\n".join([*lines, f"Images, contact sheet, scores and settings: {output}"]), output)


def _regions(
    subject: Subject,
    areas: Mapping[str, str],
    images: UInt8[np.ndarray, "n 3 224 224"],
    selection: Selection,
    precision: str,
    batch: int,
) -> RegionResponses | None:
    """Return ROIs' responses to the images and to natural ones; None where there are no photographs."""
    try:
        return region_responses(subject, list(areas), images, selection=selection, precision=precision, batch=batch)
    except ResourceError:  # the packages that the photographs come with are optional
        return None


def _course_figures(
    subject: Subject,
    output: Path,
    areas: Mapping[str, str],
    history: Float[np.ndarray, "steps n"],
    begun: UInt8[np.ndarray, "m 3 h w"] | None,
    images: UInt8[np.ndarray, "n 3 h w"],
    worth: Sequence[tuple[float, float]],
) -> list[Picture]:
    """Draw a curve for each restart, and each of the best images beside its start."""
    subtitle = about([subject.description.subject], ", ".join(areas), images=len(images))
    texts = {"subtitle": subtitle, "note": note(subject)}
    if not len(history):
        return []
    draw_course(history, output / CURVES, **texts)
    counts = {"images": len(images), "steps": len(history)}
    curves = Picture(
        output / CURVES,
        "The objective's value at each step, of each restart, the best image first; with --jitter under each step's "
        "random shift.",
        counts,
    )
    if begun is None:
        return [curves]
    draw_pairs(begun, images[: len(begun)], worth, output / PAIRS, **texts)
    caption = "The best images beside what they started from, with the objective's value (z), rounded to 8 bits both."
    return [curves, Picture(output / PAIRS, caption, {"images": len(begun)})]


def _check_prior(prior: str | None, guidance: float | None, recipe: Recipe) -> None:
    if prior not in (None, "diffusion"):
        raise InvalidParameterError(f"prior must be 'diffusion' or None, got {prior!r}.")
    if prior is None and guidance is not None:
        raise InvalidParameterError("guidance is the scale of a prior: give prior 'diffusion', too.")
    plain = Recipe(steps=recipe.steps, seed=recipe.seed)
    if prior is not None and (other := [f for f in vars(plain) if getattr(plain, f) != getattr(recipe, f)]):
        raise InvalidParameterError(
            f"Prior 'diffusion' takes steps and seed of the recipe; leave out {', '.join(other)}, or the prior."
        )


def _guided(scale: float, model: Any, objective: Any, _: Any, *, n: int, steps: int, **options: Any) -> Result:
    """Draw images from the prior, with the result of an optimization."""
    given = {"scale": scale, "steps": steps, "seed": options["seed"], "microbatch": options["microbatch"]}
    found = priors.sample(priors.drawings_diffusion(), n, model=model, objective=objective, **given)
    return Result(
        images=found.images,
        values=found.values,
        latents=found.latents[:, None],
        history=found.history,
        gradient_lengths=np.full_like(found.history, np.nan),
        looks=found.values[None],
        best_steps=np.full(n, steps),
        skipped=np.zeros(n, int),
    )


def _is_done(output: Path, settings: dict[str, Any], identity: str, inputs: Mapping[str, str | Path | None]) -> bool:
    """Return whether the folder holds this synthesis; raise an error if it holds one of anything else."""
    path = output / "synthesis.json"
    if not path.exists():
        return False
    with readable(path, IntegrityError, "Remove it, or give another folder."):
        facts = json.loads(read_small(path))
        settings_there, identity_there = dict(facts["settings"]), str(facts.get("identity", identity))
        there = {_RENAMED.get(name, name): value for name, value in settings_there.items()}
    if other := differences_of(there, settings):
        raise InvalidParameterError(
            f"{output} holds a synthesis of other settings: {'; '.join(other)}. Give another folder."
        )
    if identity_there != identity:
        raise InvalidParameterError(
            f"{output} holds a synthesis with other weights or vertices. Give another folder."
        )
    check_inputs(facts.get("inputs"), inputs, output)
    return True


def _responses(model: Any, images: UInt8[np.ndarray, "n 3 224 224"], batch: int) -> Float[np.ndarray, "n vertices"]:
    return np.concatenate([np.asarray(model(images[at : at + batch])) for at in range(0, len(images), batch)])


def _course(result: Result, order: np.ndarray) -> dict[str, Any]:
    """How it went, of the images in their order."""
    return {
        "steps": len(result.history),
        "best steps": result.best_steps[order].tolist(),
        "skipped steps": result.skipped[order].tolist(),
        "history": np.round(result.history[:, order].astype(float), 6).tolist(),
    }


def _title(subject: Subject, settings: Mapping[str, Any], vertices: Mapping[str, int], n: int) -> str:
    wanted = [
        f"{', '.join(settings[name])} {word}" for name, word in (("drive", "driven"), ("suppress", "suppressed"))
    ]
    parts = [words for words, name in zip(wanted, ("drive", "suppress"), strict=True) if settings[name]]
    counts = ", ".join(f"{count:,} of {name}" for name, count in vertices.items())
    who = f"subject {subject.description.subject} · {'; '.join(parts)}"
    return f"Synthesized images · {who} · n = {n:,} images, vertices: {counts}; values in z"


def _write(
    output: Path,
    images: UInt8[np.ndarray, "n 3 224 224"],
    scores: dict[str, Float[np.ndarray, " n"]],
    relative: dict[str, Float[np.ndarray, " n"]],
    facts: dict[str, Any],
    synthetic: bool,
    title: str,
) -> None:
    names = [f"{number:0{len(str(len(images)))}d}.png" for number in range(1, len(images) + 1)]
    shown = {**scores, **{name: relative[name] for name in ("value percentile",) if name in relative}}
    rows = ([name, *row] for name, *row in zip(names, *shown.values(), strict=True))
    save_figure(contact_sheet(images, shown, synthetic, title), output / SHEET, ("image", *shown), rows)
    with explained("write", output):
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image.transpose(1, 2, 0)).save(output / name)
        (output / "scores.csv").write_text(scores_csv(names, {**scores, **relative}), encoding="utf-8")
        facts["images"] = {
            name: hashlib.sha256(image.tobytes()).hexdigest() for name, image in zip(names, images, strict=True)
        }
        facts["scores"] = {
            name: np.asarray(values, float).tolist() for name, values in {**scores, **relative}.items()
        }
        facts["devices"] = [device.device_kind for device in jax.local_devices()]
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(output / "synthesis.json", text.encode())

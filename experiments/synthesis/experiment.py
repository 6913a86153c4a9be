"""``berg-jax synthesize``: images that drive and suppress a subject's regions, and what it takes to repeat them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, UInt8
from PIL import Image

from ...errors import IntegrityError, InvalidParameterError
from ...files.disk import explained, read_small, readable, write_whole
from ...machine import environment
from ...subject import Subject
from ..reporting.command import command_line, settings_of
from ..reporting.page import Gallery, Section, Table, write_report
from ..reporting.results import origin
from . import augmentations, objectives, priors
from .areas import union
from .judging.natural import natural_baseline, relative_scores
from .judging.sheets import contact_sheet, scores_csv
from .optimize import Result, optimize
from .parametrizations.photographs import PARAMETRIZATIONS, make_parametrization, projection, read_squares

ARGUMENTS = {"photograph_folder": "photographs"}  # that an option of another name stands for
_TILES = 60  # images that the report shows


def synthesize(
    berg_dir: str | Path,
    subject: int,
    output: str | Path,
    *,
    drive: Sequence[str] = (),
    suppress: Sequence[str] = (),
    margin: float | None = None,
    hemisphere: str = "both",
    min_ncsnr: float | None = None,
    images: str = "fourier",
    photograph_folder: str | Path | None = None,
    start: str | Path | None = None,
    radius: float | None = None,
    baseline: str | Path | None = None,
    n: int = 8,
    steps: int = 256,
    learning_rate: float = 0.05,
    jitter: int = 8,
    total_variation: float = 0.0,
    draws: int = 1,
    seed: int = 0,
    precision: str = "float32",
    microbatch: int | None = None,
    devices: int = 1,
    time_limit: float | None = None,
    show_progress: bool = True,
) -> str:
    """Make images that drive some regions of a subject's model and suppress others, into a folder.

    It holds the images as ``.png``, best first, ``contact_sheet.png``, ``scores.csv``, ``synthesis.json``, and of all
    this ``report.html`` with ``config.json`` (:mod:`berg_jax.experiments.reporting.page`). The
    scores are of the images as they are in the files, rounded to 8 bits. A synthesis that was interrupted goes on
    where it was when called again with the same arguments.

    Parameters
    ----------
    berg_dir, subject
        As for :func:`berg_jax.load`.
    output
        The folder.
    drive, suppress
        ROI expressions: the sum of the means of the ones, less that of the others, is maximized.
    margin
        How far from 0, or from the baseline's mean, each region shall be driven or suppressed, in z units; what goes
        beyond counts for nothing.
    hemisphere, min_ncsnr
        Of the regions' vertices.
    images
        ``"pixels"``, ``"fourier"`` or ``"phases"``.
    photograph_folder
        Photographs whose magnitude spectrum ``"phases"`` takes: anything that ``berg-jax encode`` takes, up to
        1,000 of them; by default those that come with matplotlib and scikit-learn.
    start
        A photograph to start from, with ``"pixels"`` or ``"fourier"``.
    radius
        How far from it an image may go: root mean square, in grey levels.
    baseline
        Natural images, or a store of the subject's responses to them: see
        :func:`~berg_jax.experiments.synthesis.judging.natural.natural_baseline`. Regions are driven and suppressed
        from their mean on, and each score is also given relative to it and as a percentile.
    n, steps, seed, draws, microbatch, devices, time_limit, show_progress
        As of :func:`~berg_jax.experiments.synthesis.optimize.optimize`.
    learning_rate
        Adam's.
    jitter
        By how many pixels images are shifted at random at every step.
    total_variation
        Weight of the total variation that is taken off, z units per grey level.
    precision
        Of the network.

    Returns
    -------
    What was made, in a few lines.

    Raises
    ------
    BERGError
        Something of this makes no sense, is not there, or cannot be written.
    """
    settings = settings_of(locals())
    output = Path(settings.pop("output"))
    if not drive and not suppress:
        raise InvalidParameterError("Give at least one ROI to drive or to suppress.")
    if set(drive) & set(suppress):
        raise InvalidParameterError(f"A ROI cannot be driven and suppressed: {sorted(set(drive) & set(suppress))}.")
    if images not in PARAMETRIZATIONS:
        raise InvalidParameterError(f"images must be one of {list(PARAMETRIZATIONS)}, got {images!r}.")
    if _is_done(output, settings):
        return f"Everything was there already: {output}"
    person = Subject(berg_dir, subject)
    directions = dict.fromkeys(drive, 1) | dict.fromkeys(suppress, -1)
    areas = {name: name for name in directions}
    vertices, area = union(person, areas, hemisphere=hemisphere, min_ncsnr=min_ncsnr)
    model = person.model(vertices, precision=precision)
    photograph = None if start is None else read_squares(start)[0][0]
    written, source = make_parametrization(images, photograph, photograph_folder)
    project = projection(photograph, radius)
    usual = None
    if baseline is not None:
        usual = natural_baseline(baseline, model, vertices, area, subject_id=subject, batch=microbatch or 8)
    start_from = None if usual is None else [usual.means[name] for name in directions]
    weights = [area[name] for name in directions]
    objective = objectives.control(weights, list(directions.values()), start_from, margin)
    with explained("write", output):
        output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / "checkpoint.npz"
    result = optimize(
        model,
        objective,
        written,
        n=n,
        steps=steps,
        optimizer=optax.adam(learning_rate),
        penalties=total_variation * priors.total_variation() if total_variation else None,
        project=project,
        augment=augmentations.jitter(jitter) if jitter else None,
        draws=draws,
        seed=seed,
        microbatch=microbatch,
        devices=devices,
        checkpoint=checkpoint,
        time_limit=time_limit,
        show_progress=show_progress,
    )
    order = np.argsort(-result.values, kind="stable")
    shown = np.asarray(result.images)[order].round().astype(np.uint8)
    responses = _responses(model, shown, microbatch or 8)
    scores = {"value": np.asarray(objective(jnp.asarray(responses)))}
    scores |= {name: responses @ weights for name, weights in area.items()}
    relative = {}
    if usual is not None:
        relative = relative_scores(scores, {"value": usual.values(directions, margin), **usual.areas})
    facts = {
        "settings": settings,
        "weights": person.description.origin,
        "identity": person.identity(vertices, precision),
        "vertices": {name: int((weights > 0).sum()) for name, weights in area.items()},
        "spectrum of": source,
        "baseline": None if usual is None else {"source": usual.source, "means": usual.means},
        "environment": environment().splitlines(),
        **_course(result, order),
    }
    _write(output, shown, scores, relative, facts, person.description.synthetic)
    _report(output, {**settings, "output": str(output)}, {**scores, **relative}, result.history, facts, person)
    checkpoint.unlink(missing_ok=True)
    best = ", ".join(f"{name} {values[0]:.2f}" for name, values in scores.items())
    synthetic = ["The weights are SYNTHETIC and predict nothing about brains."] * person.description.synthetic
    lines = [f"{n} images after {len(result.history)} steps; of the best (z): {best}", *synthetic]
    if usual is not None:
        least = relative["value percentile"].min()
        over = ", ".join(f"{name} {relative[f'{name} over baseline'][0]:+.2f}" for name in area)
        lines.append(f"Against {usual.source}: {over} z; each image's value is above at least {least:.2f}% of them.")
    return "\n".join([*lines, f"Images, contact sheet, scores and settings: {output}"])


def _report(
    output: Path,
    settings: dict[str, Any],
    scores: dict[str, Float[np.ndarray, " n"]],
    history: Float[np.ndarray, "steps n"],
    facts: dict[str, Any],
    person: Subject,
) -> None:
    count = len(next(iter(scores.values())))
    tiles = [
        (output / name, [f"{number + 1}", *(f"{score} {values[number]:.2f}" for score, values in scores.items())])
        for number, name in enumerate(list(facts["images"])[:_TILES])
    ]
    caption = "Images, the best first, with the objective's value and the mean responses of the ROIs (z)"
    caption += f": {len(tiles)} of {count:,}." if len(tiles) < count else "."
    made = {name: settings[name] for name in ("drive", "suppress", "images", "steps", "seed")}
    table = Table(
        "Responses to the images in the files: the objective's value, and ROIs' means (z)",
        ("image", *scores),
        [(number + 1, *(float(values[number]) for values in scores.values())) for number in range(count)],
    )
    steps = (
        sorted({round(share * (len(history) - 1)) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)}) if len(history) else []
    )
    course = Table(
        "How it went: the objective's value, of the images as they are optimized",
        ("step", "best image", "mean"),
        [(step + 1, float(np.nanmax(history[step])), float(np.nanmean(history[step]))) for step in steps],
    )
    told = {name: facts[name] for name in ("weights", "identity", "vertices", "spectrum of", "devices")}
    told["environment"] = dict(line.split(" ", 1) for line in facts["environment"] if " " in line)
    write_report(
        output,
        "Stimulus synthesis",
        [Section("Images", [Gallery(tiles, caption, made), table]), Section("Course", [course])],
        lead=f"{count} images by gradient ascent through the model of subject {person.description.subject}"
        f"{origin(person)}"
        + (f"; driven: {', '.join(settings['drive'])}" if settings["drive"] else "")
        + (f"; suppressed: {', '.join(settings['suppress'])}" if settings["suppress"] else "")
        + ".",
        command=command_line("synthesize", synthesize, settings, ARGUMENTS),
        settings=settings,
        provenance=told,
        synthetic=person.description.synthetic,
    )


def _is_done(output: Path, settings: dict[str, Any]) -> bool:
    path = output / "synthesis.json"
    if not path.exists():
        return False
    with readable(path, IntegrityError, "Remove it, or give another folder."):
        there = dict(json.loads(read_small(path))["settings"])
    other = [name for name in settings if there.get(name) != settings[name]]
    if other:
        raise InvalidParameterError(
            f"{output} holds a synthesis of other settings ({', '.join(other)}). Give another folder."
        )
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


def _write(
    output: Path,
    images: UInt8[np.ndarray, "n 3 224 224"],
    scores: dict[str, Float[np.ndarray, " n"]],
    relative: dict[str, Float[np.ndarray, " n"]],
    facts: dict[str, Any],
    synthetic: bool,
) -> None:
    names = [f"{number:0{len(str(len(images)))}d}.png" for number in range(1, len(images) + 1)]
    with explained("write", output):
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image.transpose(1, 2, 0)).save(output / name)
        shown = {**scores, **{name: relative[name] for name in ("value percentile",) if name in relative}}
        contact_sheet(images, shown, synthetic).save(output / "contact_sheet.png")
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

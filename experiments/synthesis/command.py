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
from jaxtyping import Float, Num, UInt8
from PIL import Image

from ...demo import photographs
from ...environment import environment
from ...errors import IntegrityError, InvalidParameterError
from ...files import explained, read_small, readable, write_whole
from ...nn.config import IMAGE
from ...stream.opening import open_source
from ...stream.sources import FilesSource, PathFile, Source, resize
from ...subject import Subject
from . import augmentations, objectives, priors
from .areas import union
from .images import Parametrization, fourier, measure_spectrum, phases, pixels
from .optimize import Result, optimize
from .sheets import contact_sheet, table

PARAMETRIZATIONS = ("pixels", "fourier", "phases")
_MOST = 1000  # photographs whose spectrum is measured


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

    It holds the images as ``.png``, best first, ``contact_sheet.png``, ``scores.csv`` and ``synthesis.json``. The
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
        How far from 0 each region shall be driven or suppressed, in z units; what goes beyond counts for nothing.
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
    settings = {name: _plain(value) for name, value in locals().items() if name not in _NOT_THE_RESULT}
    output = Path(output)
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
    objective = objectives.control([area[name] for name in directions], list(directions.values()), margin=margin)
    photograph = None if start is None else _squares(start)[0][0]
    written, source = _parametrization(images, photograph, photograph_folder)
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
        project=_projection(photograph, radius),
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
    facts = {
        "settings": settings,
        "weights": person.description.origin,
        "identity": person.identity(vertices, precision),
        "vertices": {name: int((weights > 0).sum()) for name, weights in area.items()},
        "spectrum of": source,
        "environment": environment().splitlines(),
        **_course(result, order),
    }
    _write(output, shown, scores, facts, person.description.synthetic)
    checkpoint.unlink(missing_ok=True)
    best = ", ".join(f"{name} {values[0]:.2f}" for name, values in scores.items())
    synthetic = ["The weights are SYNTHETIC and predict nothing about brains."] * person.description.synthetic
    lines = [f"{n} images after {len(result.history)} steps; of the best (z): {best}", *synthetic]
    return "\n".join([*lines, f"Images, contact sheet, scores and settings: {output}"])


_NOT_THE_RESULT = {"output", "devices", "time_limit", "show_progress"}


def _plain(value: Any) -> Any:
    """As JSON has it."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


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


def _parametrization(
    name: str, photograph: UInt8[np.ndarray, "3 224 224"] | None, folder: str | Path | None
) -> tuple[Parametrization, str | None]:
    """How images are written, and what the spectrum is of, where one is measured."""
    if name != "phases":
        if folder is not None:
            raise InvalidParameterError("photograph_folder is for images 'phases', whose spectrum is measured.")
        return {"pixels": pixels, "fourier": fourier}[name](start=photograph), None
    if photograph is not None:
        raise InvalidParameterError("Images of 'phases' start from random ones; start is for 'pixels' and 'fourier'.")
    if folder is None:
        found = np.concatenate([_squares(path)[0] for path in photographs().values()])
        source = f"the photographs {', '.join(photographs())} of matplotlib and scikit-learn"
    else:
        found, count = _squares(folder)
        source = f"{len(found)} of {count} images of {folder}"
    return phases(measure_spectrum(found, source)), source


def _squares(path: str | Path) -> tuple[Float[np.ndarray, "n 3 224 224"], int]:
    """The first images at a path, cut to squares and resized; and how many there are."""
    path = Path(path)
    if path.is_file() and path.suffix.lower() in Image.registered_extensions():
        source: Source = FilesSource([PathFile(path.name, path, path.stat().st_size)], "crop")
    else:
        source = open_source(path, fit="crop")
    some = np.asarray(source.read(range(min(len(source), _MOST))))
    return np.stack([_resized(image.transpose(1, 2, 0)) for image in some]), len(source)


def _resized(image: Num[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 224 224"]:
    return np.asarray(image if image.shape[0] == IMAGE else resize(image), np.float32).transpose(2, 0, 1)


def _projection(photograph: np.ndarray | None, radius: float | None) -> Any:
    if radius is None:
        return None
    if photograph is None:
        raise InvalidParameterError("radius is the distance from a photograph: give start, too.")
    return priors.within(photograph, radius)


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
    facts: dict[str, Any],
    synthetic: bool,
) -> None:
    names = [f"{number:0{len(str(len(images)))}d}.png" for number in range(1, len(images) + 1)]
    with explained("write", output):
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image.transpose(1, 2, 0)).save(output / name)
        contact_sheet(images, scores, synthetic).save(output / "contact_sheet.png")
        (output / "scores.csv").write_text(table(names, scores), encoding="utf-8")
        facts["images"] = {
            name: hashlib.sha256(image.tobytes()).hexdigest() for name, image in zip(names, images, strict=True)
        }
        facts["devices"] = [device.device_kind for device in jax.local_devices()]
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(output / "synthesis.json", text.encode())

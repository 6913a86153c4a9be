"""Side by side with PyTorch: the same inputs, in one process, in turn, with the answers compared.

berg-jax bench                                   a synthetic subject of published size; made on the first run
berg-jax bench --berg-dir … --subject 1          any subject
berg-jax bench --precision float32 --precision bfloat16
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, UInt8

from ...convert.synthetic import make_synthetic_subject, natural_like_images
from ...errors import BERGError, InvalidParameterError
from ...files.disk import explained
from ...machine import processor
from ...model.checkpoint import read_part
from ...model.encoding_model import EncodingModel, build, features_of, pixels_of, slots_of
from ...model.gradients import value_and_pixel_gradient
from ...model.nn.readout import TILE
from ...published.berg_dir import cache_folder
from ...subject import Subject
from ...vertices import Vertices
from .measures import in_turn, peak_memory, product_rate, products, rows_of, synthesis_memory

REGION = 900  # vertices
NEAR = 0.2  # of half the image's width: how far from its middle the vertices of a foveal region look


class _Case(NamedTuple):
    """What is timed: on our side a function of ``arguments``, on PyTorch's a function of ``images``.

    Synthesis is so many ``steps``, and ``memory`` measures what many restarts take.
    """

    name: str
    images: Num[np.ndarray, "b 3 h w"]
    ours: Callable[..., jax.Array]
    arguments: tuple[Any, ...]
    theirs: Callable[[np.ndarray], Any] | None
    steps: int = 1
    memory: Callable[[str], dict[str, int | None]] | None = None


def benchmark(
    berg_dir: Path | None = None,
    subject: int = 1,
    *,
    precisions: Sequence[str] = ("float32",),
    batch_size: int = 8,
    repeats: int = 5,
    output: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time the full brain, regions, pixel gradients, synthesis and the readout, beside PyTorch where it is installed.

    Parameters
    ----------
    berg_dir, subject
        As for ``berg_jax.load``. By default a synthetic subject of published size, made in the cache folder.
    precisions
        Of both sides: TF32 off for ``"float32"``, TF32, autocast for ``"bfloat16"``. Where ``"bfloat16"`` is among
        them, it is also compared with PyTorch in float32, as the reference ships.
    batch_size
        Images of a batch; half as many for gradients.
    repeats
        How often each side is timed.
    output
        A JSON file to write; a picture of the same name is drawn beside it.
    say
        Gets each line as it is measured.

    Returns
    -------
    ``machine`` and ``cases``: what the JSON file holds.

    Raises
    ------
    InvalidParameterError
        ``batch_size`` is below 2 or ``repeats`` below 1.
    BERGError
        As ``berg_jax.load``; or the file cannot be written.
    """
    if batch_size < 2 or repeats < 1:
        raise InvalidParameterError(f"Give a batch of at least 2 and a repeat: got {batch_size} and {repeats}.")
    if berg_dir is None:
        berg_dir = _published_size(subject, say)
    person = Subject(berg_dir, subject)
    pytorch = _pytorch(say)
    reference = pytorch and pytorch.load(Path(berg_dir), subject)
    report = {"machine": _machine(person, pytorch), "cases": []}
    say(f"{report['machine']['device']} ({report['machine']['processor']}); {report['machine']['subject']}")

    images = natural_like_images(batch_size, 0)
    synthesis = _synthesis(say)
    for precision in precisions:
        rate = product_rate(precision)
        say(f"{precision}: peak memory is measured first, in processes of their own …")
        memory = {"ours": peak_memory("jax", berg_dir, subject, batch_size, precision)}
        if pytorch:
            memory["theirs"] = peak_memory("torch", berg_dir, subject, batch_size, precision)
        for case in _cases(berg_dir, person, precision, images, reference, pytorch, synthesis):
            for theirs in (precision, "float32") if pytorch and precision == "bfloat16" else (precision,):
                measured = _measured(case, theirs, repeats, pytorch)
                measured |= {"precision": precision, "share": measured["products_a_second"] / rate}
                if case.name == "full brain":
                    measured["peak_memory"] = memory
                elif case.memory:
                    sides = {"ours": "jax", **({"theirs": "torch"} if pytorch else {})}
                    measured["peak_memory"] = {side: case.memory(library) for side, library in sides.items()}
                    measured["restarts"] = synthesis.RESTARTS
                report["cases"].append(measured)
                say(line(measured))
    if output is not None:
        with explained("write", output):
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            draw(report, output.with_suffix(".png"))
    return report


def line(measured: dict[str, Any]) -> str:
    """One measurement as text."""
    text = f"{measured['case']}, batch {measured['batch']}, {measured['precision']}: {_span(measured['ours'])}, "
    text += f"{measured['products_a_second'] / 1e9:,.0f} GFLOP/s ({measured['share']:.0%} of a matrix product's)"
    if "theirs" in measured:
        text += f"; PyTorch {measured['their_precision']} {_span(measured['theirs'])}: {measured['ratio']:.1f} times "
        text += f"as fast, largest difference {measured['difference']:.0e} of {measured['largest']:.0e}"
    if measured["steps"] > 1:
        text += f"; {measured['image_steps_a_second']:.3g} images × steps a second"
    if "peak_memory" in measured:
        sizes = [f"{side['host'] / 1e9:.1f} GB" for side in measured["peak_memory"].values()]
        text += f"; peak memory {', PyTorch '.join(sizes)}"
        text += f" for {measured['restarts']} restarts" if "restarts" in measured else ""
    return text


def _span(times: dict[str, float]) -> str:
    return f"{times['median']:.3g} s ({times['fastest']:.3g} to {times['slowest']:.3g})"


def draw(report: dict[str, Any], path: Path) -> None:
    """A bar for each side of each case, in milliseconds an image."""
    from matplotlib.figure import Figure

    cases = report["cases"]
    figure = Figure(figsize=(9, 1.5 + 0.7 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for place, case in enumerate(cases):
        for offset, side, color in ((-0.2, "ours", "tab:blue"), (0.2, "theirs", "silver")):
            if side in case:
                milliseconds = 1000 * case[side]["median"] / (case["batch"] * case["steps"])
                axes.barh(place + offset, milliseconds, 0.38, color=color)
                ratio = f" ({case['ratio']:.1f} times as fast)" if "ratio" in case and side == "ours" else ""
                axes.text(milliseconds, place + offset, f" {milliseconds:,.0f}{ratio}", va="center", fontsize=9)
    axes.set_yticks(range(len(cases)), [f"{c['case']}\n{c['precision']}, batch {c['batch']}" for c in cases])
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("milliseconds an image, of synthesis an image and step: less is better")
    axes.set_title(
        f"berg_jax (blue) and PyTorch (grey) on {report['machine']['processor']}, {report['machine']['device']}\n"
        f"{report['machine']['subject']}",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def _published_size(subject: int, say: Callable[[str], None]) -> Path:
    berg_dir = cache_folder() / "synthetic-published"
    try:
        Subject(berg_dir, subject)
    except BERGError:
        say(f"Making a synthetic subject of published size in {berg_dir} (5 GB, some minutes) …")
        make_synthetic_subject(berg_dir, size="published", subject_id=subject)
    return berg_dir


def _pytorch(say: Callable[[str], None]) -> Any:
    try:
        from ...convert import torch_benchmark
    except ImportError:
        say("PyTorch is not installed: only berg_jax is timed.")
        return None
    return torch_benchmark


def _synthesis(say: Callable[[str], None]) -> Any:
    try:
        from . import synthesis as synthesis_benchmark
    except ModuleNotFoundError as error:
        say(f"{error.name} is not installed: synthesis is not timed.")
        return None
    return synthesis_benchmark


def _machine(person: Subject, pytorch: Any) -> dict[str, Any]:
    versions = {"berg_jax": version("berg_jax"), "jax": jax.__version__, "python": platform.python_version()}
    machine = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "device": jax.devices()[0].device_kind,
        "subject": f"{person.description.origin} subject, {2 * person.hemisphere_size:,} vertices",
        "versions": versions,
    }
    if pytorch:
        versions["torch"], machine["their_device"] = pytorch.version(), pytorch.device()
    return machine


def _cases(
    berg_dir: Path,
    person: Subject,
    precision: str,
    images: UInt8[np.ndarray, "b 3 h w"],
    reference: Any,
    pytorch: Any,
    synthesis: Any,
) -> Iterator[_Case]:
    some = images[: len(images) // 2]
    model = person.model(precision=precision)
    yield _Case("full brain", images, answer, (model, images), reference and pytorch.whole_brain(reference))
    for place, vertices in zip(("near the fovea", "anywhere"), _regions(model), strict=True):
        if not len(vertices):  # of a small subject none may look near the fovea
            continue
        region = model.select(vertices).crop()
        name = f"{len(vertices)} vertices that look {place}"
        rows = reference and rows_of(vertices.global_indices, reference)
        yield _Case(name, images, answer, (region, images), reference and pytorch.region(reference, rows))
        theirs = reference and pytorch.region_gradient(reference, rows)
        yield _Case(f"{name}, with pixel gradient", some, gradient, (region, some), theirs)
    if synthesis:
        theirs = reference and pytorch.synthesis(reference, rows, synthesis.STEPS, synthesis.RATE)
        latents, place = synthesis.start(some), (vertices.global_indices, person.hemisphere_size, precision)
        yield _Case(
            f"{synthesis.STEPS} steps of synthesis for these",
            latents,
            synthesis.ascend,
            (region, latents),
            theirs,
            synthesis.STEPS,
            lambda library: synthesis_memory(library, Path(berg_dir), person.description.subject, *place),
        )
    del model
    theirs = reference and pytorch.readout(reference, images)
    arguments = _features(person, precision, images)
    yield _Case("readout alone", images, partial(_read_out, precision), arguments, theirs)


def answer(model: EncodingModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "b vertices"]:
    """A step of encoding."""
    return model(images)


def gradient(model: EncodingModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "b 3 h w"]:
    """A step of ascent: the pixel gradient of the vertices' mean response."""
    return value_and_pixel_gradient(model, images, jnp.mean)[1]


def _read_out(
    precision: str,
    readout: dict[str, jax.Array],
    corners: Int[jax.Array, " tiles"],
    order: Int[jax.Array, " vertices"],
    maps: Float[jax.Array, "l b 16 16 d"],
    vectors: Float[jax.Array, "l b d"],
) -> Float[jax.Array, "b vertices"]:
    return slots_of(readout, corners, maps, vectors, precision)[:, order]


def _features(person: Subject, precision: str, images: UInt8[np.ndarray, "b 3 h w"]) -> tuple[Any, ...]:
    """What the readout of part 2 takes, for every one of its rows."""
    part, size = read_part(person.folder, "part2"), person.hemisphere_size
    vertices = Vertices.from_global(np.sort(part.vertices), size)
    model = build({"part2": part}, size, vertices, precision=precision)
    (_, config), params = model.config.parts[0], model.params["part2"]
    pixels, plan = pixels_of(images, precision), model.config.compute_plan
    _, maps, vectors = features_of(params["vit"], params["heads"], config, precision, pixels, plan)
    return params["readout"], model.corners["part2"], model.order, maps, vectors


def _regions(model: EncodingModel) -> tuple[Vertices, Vertices]:
    """Vertices of part 1: some that look close to the fovea, and some of all."""
    order, known, size = np.asarray(model.order), np.asarray(model.vertices), int(model.hemisphere_size)
    of_part1 = order < TILE * len(model.corners["part1"])
    vertices = known[of_part1]
    centers = np.asarray(model.params["part1"]["readout"]["rf_center"]).reshape(-1, 2)[order[of_part1]]
    random = np.random.default_rng(0)
    near, anywhere = (
        Vertices.from_global(np.sort(random.permutation(some)[:REGION]), size)
        for some in (vertices[(np.abs(centers) <= NEAR).all(axis=1)], vertices)
    )
    return near, anywhere


def _measured(case: _Case, their_precision: str, repeats: int, pytorch: Any) -> dict[str, Any]:
    """Time a case on both sides and compare the answers."""

    def theirs() -> Any:
        with pytorch.precision(their_precision):
            return pytorch.finished(case.theirs(case.images))

    sides = {"ours": lambda: jax.block_until_ready(case.ours(*case.arguments))}
    if case.theirs is not None:
        sides["theirs"] = theirs
    start = time.perf_counter()
    answer = np.asarray(sides["ours"](), np.float64)
    first = time.perf_counter() - start
    measured = {"case": case.name, "batch": len(case.images), "steps": case.steps}
    if case.theirs is not None:
        expected = np.asarray(theirs().float().cpu(), np.float64)
        measured |= {"their_precision": their_precision, "largest": np.abs(expected).max()}
        measured["difference"] = np.abs(answer - expected).max()
    measured |= in_turn(sides, repeats)
    if case.theirs is not None:
        measured["ratio"] = measured["theirs"]["median"] / measured["ours"]["median"]
    measured["first_call"] = first  # with compilation
    measured["products"] = products(case.ours, *case.arguments)
    measured["image_steps_a_second"] = len(case.images) * case.steps / measured["ours"]["median"]
    measured["products_a_second"] = measured["products"] / measured["ours"]["median"]
    return measured

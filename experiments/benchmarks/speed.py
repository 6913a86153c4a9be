"""Speed and memory benchmark beside PyTorch: the same inputs in one process, in turn, with the answers compared.

::

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
from ...surface.style import default_style
from ...vertices import Vertices
from .measures import count_operations, part1_rows, peak_memory, product_rate, synthesis_memory, time_in_turn

REGION = 900  # vertices in a region
NEAR = 0.2  # largest distance of a foveal region's vertices from fixation, as a share of half the image's width


class _Case(NamedTuple):
    """A computation to time: on our side a function of ``arguments``, on PyTorch's a function of ``images``.

    Synthesis has several ``steps``, and a function ``memory`` that measures the peak memory of many restarts.
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
    subject_id: int = 1,
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
    berg_dir, subject_id
        The model: see :func:`berg_jax.load`. By default a synthetic subject of published size, made in the cache
        folder.
    precisions
        Precisions of both sides. PyTorch's are TF32 off for ``"float32"``, TF32 on for ``"tensorfloat32"``, and
        autocast for ``"bfloat16"``. ``"bfloat16"`` is also compared with PyTorch in float32, as the reference ships.
    batch_size
        Images in a batch; gradients take half as many.
    repeats
        Number of times each side is timed.
    output
        A JSON file to write; a picture of the same name is drawn beside it.
    say
        Function that takes each line of text as soon as it is measured.

    Returns
    -------
    The contents of the JSON file: ``machine`` and ``cases``.

    Raises
    ------
    InvalidParameterError
        ``batch_size`` is below 2 or ``repeats`` below 1.
    BERGError
        The model cannot be loaded (see :func:`berg_jax.load`), or the file cannot be written.

    See Also
    --------
    berg_jax.experiments.benchmarks.precision.precision_errors : Measure the errors of lower precisions.
    berg_jax.experiments.benchmarks.stream.bench_stream : Measure the cost of the stream around the model.
    """
    if batch_size < 2 or repeats < 1:
        raise InvalidParameterError(f"Give a batch of at least 2 and a repeat: got {batch_size} and {repeats}.")
    if berg_dir is None:
        berg_dir = _published_size(subject_id, say)
    subject = Subject(berg_dir, subject_id)
    pytorch = _pytorch(say)
    reference = pytorch and pytorch.load(Path(berg_dir), subject_id)
    report = {"machine": _machine(subject, pytorch), "cases": []}
    say(f"{report['machine']['device']} ({report['machine']['processor']}); {report['machine']['subject']}")

    images = natural_like_images(batch_size, 0)
    synthesis = _synthesis(say)
    for precision in precisions:
        rate = product_rate(precision)
        say(f"{precision}: peak memory is measured first, in processes of their own …")
        memory = {"ours": peak_memory("jax", berg_dir, subject_id, batch_size, precision)}
        if pytorch:
            memory["theirs"] = peak_memory("torch", berg_dir, subject_id, batch_size, precision)
        their_precisions = (precision, "float32") if pytorch and precision == "bfloat16" else (precision,)
        for case in _cases(berg_dir, subject, precision, images, reference, pytorch, synthesis):
            for their_precision in their_precisions:
                measured = _measured(case, their_precision, repeats, pytorch)
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
    """Return one measurement as a line of text."""
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


@default_style(math=True)
def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the milliseconds an image of each case, a bar for each side."""
    from matplotlib.figure import Figure

    cases = report["cases"]
    figure = Figure(figsize=(9, 1.5 + 0.7 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for row, case in enumerate(cases):
        for offset, side, color in ((-0.2, "ours", "tab:blue"), (0.2, "theirs", "silver")):
            if side in case:
                milliseconds = 1000 * case[side]["median"] / (case["batch"] * case["steps"])
                axes.barh(row + offset, milliseconds, 0.38, color=color)
                ratio = f" ({case['ratio']:.1f} times as fast)" if "ratio" in case and side == "ours" else ""
                axes.text(milliseconds, row + offset, f" {milliseconds:,.0f}{ratio}", va="center", fontsize=9)
    labels = [f"{case['case']}\n{case['precision']}, batch {case['batch']}" for case in cases]
    axes.set_yticks(range(len(cases)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("milliseconds per image (synthesis: per image and step); less is better")
    axes.set_title(
        f"berg_jax (blue) and PyTorch (grey) on {report['machine']['processor']}, {report['machine']['device']}\n"
        f"{report['machine']['subject']}",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def _published_size(subject_id: int, say: Callable[[str], None]) -> Path:
    """Return the folder of a synthetic subject of published size, which is made unless it is there."""
    berg_dir = cache_folder() / "synthetic-published"
    try:
        Subject(berg_dir, subject_id)
    except BERGError:
        say(f"Making a synthetic subject of published size in {berg_dir} (5 GB, some minutes) …")
        make_synthetic_subject(berg_dir, size="published", subject_id=subject_id)
    return berg_dir


def _pytorch(say: Callable[[str], None]) -> Any:
    """Return the module that times PyTorch, or None without PyTorch."""
    try:
        from ...convert import torch_benchmark
    except ImportError:
        say("PyTorch is not installed: only berg_jax is timed.")
        return None
    return torch_benchmark


def _synthesis(say: Callable[[str], None]) -> Any:
    """Return the module with the steps of synthesis, or None if a package that it needs is not installed."""
    try:
        from . import synthesis as synthesis_benchmark
    except ModuleNotFoundError as error:
        say(f"{error.name} is not installed: synthesis is not timed.")
        return None
    return synthesis_benchmark


def _machine(subject: Subject, pytorch: Any) -> dict[str, Any]:
    versions = {"berg_jax": version("berg_jax"), "jax": jax.__version__, "python": platform.python_version()}
    machine = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "device": jax.devices()[0].device_kind,
        "subject": f"{subject.description.origin} subject, {2 * subject.hemisphere_size:,} vertices",
        "versions": versions,
    }
    if pytorch:
        versions["torch"], machine["their_device"] = pytorch.version(), pytorch.device()
    return machine


def _cases(
    berg_dir: Path,
    subject: Subject,
    precision: str,
    images: UInt8[np.ndarray, "b 3 h w"],
    reference: Any,
    pytorch: Any,
    synthesis: Any,
) -> Iterator[_Case]:
    half = images[: len(images) // 2]
    model = subject.model(precision=precision)
    yield _Case(
        name="full brain",
        images=images,
        ours=encode_step,
        arguments=(model, images),
        theirs=reference and pytorch.whole_brain(reference),
    )
    for place, vertices in zip(("near the fovea", "anywhere"), _regions(model), strict=True):
        if not len(vertices):  # a small subject may have none that look near the fovea
            continue
        region = model.select(vertices).crop()
        name = f"{len(vertices)} vertices that look {place}"
        rows = reference and part1_rows(vertices.global_indices, reference)
        yield _Case(
            name=name,
            images=images,
            ours=encode_step,
            arguments=(region, images),
            theirs=reference and pytorch.region(reference, rows),
        )
        yield _Case(
            name=f"{name}, with pixel gradient",
            images=half,
            ours=gradient_step,
            arguments=(region, half),
            theirs=reference and pytorch.region_gradient(reference, rows),
        )
    if synthesis:
        latents = synthesis.start(half)
        subject_id = subject.description.subject
        selection = (vertices.global_indices, subject.hemisphere_size, precision)
        yield _Case(
            name=f"{synthesis.STEPS} steps of synthesis for these",
            images=latents,
            ours=synthesis.ascend,
            arguments=(region, latents),
            theirs=reference and pytorch.synthesis(reference, rows, synthesis.STEPS, synthesis.RATE),
            steps=synthesis.STEPS,
            memory=lambda library: synthesis_memory(library, Path(berg_dir), subject_id, *selection),
        )
    del model
    yield _Case(
        name="readout alone",
        images=images,
        ours=partial(_read_out, precision),
        arguments=_features(subject, precision, images),
        theirs=reference and pytorch.readout(reference, images),
    )


def encode_step(model: EncodingModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "b vertices"]:
    """Return the responses to a batch of images: one step of encoding."""
    return model(images)


def gradient_step(model: EncodingModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "b 3 h w"]:
    """Return the pixel gradient of the vertices' mean response: one step of gradient ascent."""
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


def _features(subject: Subject, precision: str, images: UInt8[np.ndarray, "b 3 h w"]) -> tuple[Any, ...]:
    """Return the arguments of part 2's readout, for all of its rows."""
    part, size = read_part(subject.folder, "part2"), subject.hemisphere_size
    vertices = Vertices.from_global(np.sort(part.vertices), size)
    model = build({"part2": part}, size, vertices, precision=precision)
    (_, config), params = model.config.parts[0], model.params["part2"]
    pixels, plan = pixels_of(images, precision), model.config.compute_plan
    _, maps, vectors = features_of(params["vit"], params["heads"], config, precision, pixels, plan)
    return params["readout"], model.corners["part2"], model.order, maps, vectors


def _regions(model: EncodingModel) -> tuple[Vertices, Vertices]:
    """Draw two regions from part 1 at random, one that looks close to fixation and one that looks anywhere."""
    order, all_vertices, size = np.asarray(model.order), np.asarray(model.vertices), int(model.hemisphere_size)
    in_part1 = order < TILE * len(model.corners["part1"])
    vertices = all_vertices[in_part1]
    centers = np.asarray(model.params["part1"]["readout"]["rf_center"]).reshape(-1, 2)[order[in_part1]]
    near = vertices[(np.abs(centers) <= NEAR).all(axis=1)]
    random = np.random.default_rng(0)
    near_region = np.sort(random.permutation(near)[:REGION])
    any_region = np.sort(random.permutation(vertices)[:REGION])
    return Vertices.from_global(near_region, size), Vertices.from_global(any_region, size)


def _measured(case: _Case, their_precision: str, repeats: int, pytorch: Any) -> dict[str, Any]:
    """Time a case on both sides, and compare the answers."""

    def theirs() -> Any:
        with pytorch.precision(their_precision):
            return pytorch.finished(case.theirs(case.images))

    sides = {"ours": lambda: jax.block_until_ready(case.ours(*case.arguments))}
    if case.theirs is not None:
        sides["theirs"] = theirs
    start = time.perf_counter()
    answer = np.asarray(sides["ours"](), np.float64)
    first_call = time.perf_counter() - start
    measured = {"case": case.name, "batch": len(case.images), "steps": case.steps}
    if case.theirs is not None:
        expected = np.asarray(theirs().float().cpu(), np.float64)
        measured |= {"their_precision": their_precision, "largest": np.abs(expected).max()}
        measured["difference"] = np.abs(answer - expected).max()
    measured |= time_in_turn(sides, repeats)
    if case.theirs is not None:
        measured["ratio"] = measured["theirs"]["median"] / measured["ours"]["median"]
    measured["first_call"] = first_call  # with compilation
    measured["products"] = count_operations(case.ours, *case.arguments)
    measured["image_steps_a_second"] = len(case.images) * case.steps / measured["ours"]["median"]
    measured["products_a_second"] = measured["products"] / measured["ours"]["median"]
    return measured

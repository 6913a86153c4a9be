"""Speed and memory benchmark beside PyTorch: the same inputs in one process, in turn, with the answers compared.

::

    berg-jax bench                                   a synthetic subject of published size; made on the first run
    berg-jax bench --berg-dir … --subject 1          any subject
    berg-jax bench --precision float32 --precision bfloat16
    berg-jax bench --case ROI-gradient               one case, in about a minute
    berg-jax bench --device gpu                      refused where JAX has no GPU
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...convert.synthetic import make_synthetic_subject, natural_like_images
from ...errors import BERGError, InvalidParameterError
from ...files.disk import explained
from ...machine import find_devices, processor
from ...published.berg_dir import cache_folder
from ...subject import Subject
from ...surface.style import SMALLEST, default_style
from ..reporting.figures import new_figure, save_figure
from .cases import CASES, SYNTHESIS, Case, Computation, Inputs
from .measures import count_operations, product_rate, time_in_turn


def benchmark(
    berg_dir: Path | None = None,
    subject_id: int = 1,
    *,
    precisions: Sequence[str] = ("float32",),
    batch_size: int = 8,
    repeats: int = 5,
    cases: Sequence[str] = (),
    device: str = "auto",
    torch_compile: bool = False,
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
    cases
        Names of the cases to measure, of those in ``experiments/benchmarks/cases.py``; all if none
        is given. One alone takes about a minute.
    device
        Device to measure: ``"auto"`` for JAX's first one, ``"cpu"``, ``"gpu"`` or ``"tpu"``.
    torch_compile
        Whether PyTorch's networks are compiled by ``torch.compile``, instead of as the reference ships.
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
        ``batch_size`` is below 2 or ``repeats`` below 1, or there is no such case.
    ResourceError
        JAX sees no such device.
    BERGError
        The model cannot be loaded (see :func:`berg_jax.load`), or the file cannot be written.

    See Also
    --------
    berg_jax.experiments.benchmarks.precision.precision_errors : Measure the errors of lower precisions.
    berg_jax.experiments.benchmarks.stream.bench_stream : Measure the cost of the stream around the model.
    """
    if batch_size < 2 or repeats < 1:
        raise InvalidParameterError(f"Give a batch of at least 2 and a repeat: got {batch_size} and {repeats}.")
    names = [case.name for case in CASES]
    if unknown := set(cases) - set(names):
        raise InvalidParameterError(f"cases must be of {names}, got {sorted(unknown)}.")
    chosen = [case for case in CASES if not cases or case.name in cases]
    found = find_devices(device)[0]
    if berg_dir is None:
        berg_dir = published_size_folder(subject_id, say)
    subject = Subject(berg_dir, subject_id)
    pytorch = _pytorch(say, found)
    reference = pytorch and pytorch.load(Path(berg_dir), subject_id, torch_compile)
    report = {"machine": _machine(subject, pytorch, found) | {"torch_compile": torch_compile}, "cases": []}
    say(f"{report['machine']['device']} ({report['machine']['processor']}); {report['machine']['subject']}")
    if pytorch and torch_compile:
        say("PyTorch's networks are compiled by torch.compile.")

    images = natural_like_images(batch_size, 0)
    synthesis = _synthesis(say) if any(case.name == SYNTHESIS for case in chosen) else None
    with jax.default_device(found):
        for precision in precisions:
            rate = product_rate(precision)
            their_precisions = (precision, "float32") if pytorch and precision == "bfloat16" else (precision,)
            inputs = Inputs(subject, precision, images, pytorch, reference, synthesis)
            for case in chosen:
                if case.name == SYNTHESIS and not synthesis:
                    continue
                # A small subject may have no vertices that look near the fovea.
                if case.region and not len(inputs.regions[case.region]):
                    say(f"{case.name}: this subject has no vertices that look {case.region}.")
                    continue
                memory = _memory(case, inputs, found.platform, say) if case.memory else {}
                computation = case.make(inputs, case.region)
                for their_precision in their_precisions:
                    measured = _measured(computation, their_precision, repeats, pytorch)
                    measured |= {"precision": precision, "share": measured["products_a_second"] / rate, **memory}
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
    cases = report["cases"]
    machine = report["machine"]
    where = f"{machine['processor']}, {machine['device']}; {machine['subject']}"
    figure = new_figure(0.4 + 0.36 * len(cases), "Time of berg_jax (blue) and of PyTorch (grey)", where)
    axes = figure.subplots()
    rows = []
    for row, case in enumerate(cases):
        for offset, side, color in ((-0.2, "ours", "tab:blue"), (0.2, "theirs", "silver")):
            if side in case:
                milliseconds = 1000 * case[side]["median"] / (case["batch"] * case["steps"])
                axes.barh(row + offset, milliseconds, 0.38, color=color)
                ratio = f" ({case['ratio']:.1f} times as fast)" if "ratio" in case and side == "ours" else ""
                axes.text(milliseconds, row + offset, f" {milliseconds:,.0f}{ratio}", va="center", fontsize=SMALLEST)
                rows.append((case["case"], case["precision"], case["batch"], side, milliseconds))
    labels = [f"{case['case']}\n{case['precision']}, batch {case['batch']}" for case in cases]
    axes.set_yticks(range(len(cases)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.set_xlabel("milliseconds per image (synthesis: per image and step)")
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, ("case", "precision", "batch", "side", "milliseconds"), rows)


def published_size_folder(subject_id: int, say: Callable[[str], None]) -> Path:
    """Return the folder of a synthetic subject of published size, which is made unless it is there."""
    berg_dir = cache_folder() / "synthetic-published"
    try:
        Subject(berg_dir, subject_id)
    except BERGError:
        say(f"Making a synthetic subject of published size in {berg_dir} (5 GB, some minutes) …")
        make_synthetic_subject(berg_dir, size="published", subject_id=subject_id)
    return berg_dir


def _pytorch(say: Callable[[str], None], device: jax.Device) -> Any:
    """Return the module that times PyTorch on the same kind of device, or None where it cannot."""
    try:
        from ...convert import torch_benchmark
    except ImportError:
        say("PyTorch is not installed: only berg_jax is timed.")
        return None
    if not torch_benchmark.use(device.platform):
        say(f"PyTorch has no {device.platform.upper()} here: only berg_jax is timed.")
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


def _machine(subject: Subject, pytorch: Any, device: jax.Device) -> dict[str, Any]:
    versions = {"berg_jax": version("berg_jax"), "jax": jax.__version__, "python": platform.python_version()}
    machine = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "device": device.device_kind,
        "subject": f"{subject.description.origin} subject, {2 * subject.hemisphere_size:,} vertices",
        "versions": versions,
    }
    if pytorch:
        versions["torch"], machine["their_device"] = pytorch.version(), pytorch.device()
    return machine


def _memory(case: Case, inputs: Inputs, platform: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the peak memory of each side, measured in a process of its own, and say how long that takes."""
    sides = {"ours": "jax", **({"theirs": "torch"} if inputs.pytorch else {})}
    where = "two processes of their own" if len(sides) > 1 else "a process of its own"
    say(f"{case.name}, {inputs.precision}: peak memory is measured first, in {where} …")
    start = time.perf_counter()
    sizes = {side: case.memory(inputs, case.region, library, platform) for side, library in sides.items()}
    say(f"{case.name}, {inputs.precision}: peak memory took {time.perf_counter() - start:.0f} s to measure.")
    restarts = {"restarts": inputs.synthesis.RESTARTS} if case.name == SYNTHESIS else {}
    return {"peak_memory": sizes, **restarts}


def _measured(case: Computation, their_precision: str, repeats: int, pytorch: Any) -> dict[str, Any]:
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
    measured = {"case": case.title, "batch": len(case.images), "steps": case.steps}
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

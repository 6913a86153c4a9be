"""Measurements for the benchmark: times in turn, floating-point operations, a device's rate, peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Int

from ...errors import ResourceError
from ...machine import find_devices
from ...model.nn.config import IMAGE
from ...model.nn.precision import PRECISIONS


def time_in_turn(computations: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Time computations one after the other, again and again, so that a disturbance hits all of them alike.

    Parameters
    ----------
    computations
        Functions by name. Each returns once its result is there, and has been run before, so that it is compiled.
    repeats
        Number of runs of each.

    Returns
    -------
    The ``median``, ``fastest`` and ``slowest`` time of each in seconds.
    """
    seconds = {name: [] for name in computations}
    for _ in range(repeats):
        for name, compute in computations.items():
            start = time.perf_counter()
            compute()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {"median": statistics.median(times), "fastest": min(times), "slowest": max(times)}
        for name, times in seconds.items()
    }


def count_operations(function: Callable[..., Any], *arguments: Any) -> int:
    """Count the floating-point operations, additions included, of a program's matrix products and convolutions.

    XLA's own count takes a loop's body once, and these programs loop over blocks. Results that nobody reads, such as
    the gradient of weights beside that of pixels, are not computed and not counted.

    Parameters
    ----------
    function, arguments
        The program, and arguments of the shapes to count for.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    used, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _jaxpr_operations(used)


def _jaxpr_operations(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            ((contracted, _), _), left = params["dimension_numbers"], equation.invars[0].aval.shape
            total += 2 * prod(equation.outvars[0].aval.shape) * prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel, (outputs, *_) = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec
            total += 2 * prod(equation.outvars[0].aval.shape) * prod(kernel) // kernel[outputs]
        times = params["length"] if name == "scan" else 1
        total += times * sum(_jaxpr_operations(inner) for inner in jaxprs_in_params(params))
    return total


def product_rate(precision: str) -> float:
    """Measure the floating-point operations a second of a 4096 × 4096 matrix product on the first device."""
    kind, size = PRECISIONS[precision], 4096
    matrix = jax.random.normal(jax.random.key(0), (size, size)).astype(kind.operands)
    multiply = jax.jit(lambda a, b: kind.einsum("ij,jk->ik", a, b))
    jax.block_until_ready(multiply(matrix, matrix))
    times = time_in_turn({"product": lambda: jax.block_until_ready(multiply(matrix, matrix))}, 5)
    return 2 * size**3 / times["product"]["fastest"]


def peak_memory(
    library: str, berg_dir: Path, subject_id: int, batch_size: int, precision: str, device: str = "auto"
) -> dict[str, int | None]:
    """Measure the peak memory of loading a subject and encoding one batch for the full brain.

    The work runs in a process of its own.

    Parameters
    ----------
    library
        ``"jax"`` or ``"torch"``.
    berg_dir, subject_id, precision
        The model: see :func:`berg_jax.load`.
    batch_size
        Images in the batch.
    device
        Device of our side, by its kind: see :func:`berg_jax.machine.find_devices`.

    Returns
    -------
    Peak bytes on the ``host`` and on the ``device``; the latter is None on a CPU.

    Raises
    ------
    ResourceError
        The process failed, such as for lack of memory.

    See Also
    --------
    synthesis_memory
    """
    return _in_own_process("_encode_once", library, device, str(berg_dir), subject_id, batch_size, precision)


def synthesis_memory(
    library: str,
    berg_dir: Path,
    subject_id: int,
    vertices: Int[np.ndarray, " n"],
    size: int,
    precision: str,
    device: str = "auto",
) -> dict[str, int | None]:
    """Measure the peak memory of a step of Adam on 64 images, 4 at a time, for the mean of part 1's vertices.

    The work runs in a process of its own.

    Parameters
    ----------
    library, berg_dir, subject_id, precision, device
        See :func:`peak_memory`.
    vertices, size
        Global indices of the vertices, and the number of vertices in a hemisphere.

    Returns
    -------
    Peak bytes on the ``host`` and on the ``device``; the latter is None on a CPU.

    Raises
    ------
    ResourceError
        The process failed, such as for lack of memory.
    """
    model = (str(berg_dir), subject_id, vertices.tolist(), size, precision)
    return _in_own_process("_restarts_once", library, device, *model)


def _in_own_process(work: str, library: str, device: str, *arguments: Any) -> dict[str, int | None]:
    """Return the peak memory of a function of this module, called in a process of its own.

    The process reads the arguments from a file, as there may be more than a command line takes, and writes its
    result beside it.
    """
    with tempfile.TemporaryDirectory(prefix="berg_jax_bench_") as folder:
        asked, answer = Path(folder, "asked.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps([work, library, device, arguments]), encoding="utf-8")
        code = f"import sys; from {__name__} import _answer; _answer(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(asked), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ResourceError(f"Measuring peak memory failed with exit code {done.returncode}: {last[:500]}")
        return json.loads(answer.read_text(encoding="utf-8"))


def _answer(asked: str, answer: str) -> None:
    """Call the function that a file asks for, with the arguments in it, and write this process's peak memory."""
    work, library, device, arguments = json.loads(Path(asked).read_text(encoding="utf-8"))
    if library == "torch":
        from ...convert import torch_benchmark as pytorch

        found = None
        pytorch.use("cpu" if device == "cpu" else "gpu")
    else:
        found = find_devices(device)[0]
        jax.config.update("jax_default_device", found)
    _WORK[work](library, *arguments)
    Path(answer).write_text(json.dumps(_peak(found)), encoding="utf-8")


def _restarts_once(
    library: str, berg_dir: str, subject_id: int, vertices: list[int], size: int, precision: str
) -> None:
    from .synthesis import MICROBATCH, RATE, RESTARTS, restarts_once

    if library == "torch":
        from ...convert import torch_benchmark as pytorch

        reference = pytorch.load(Path(berg_dir), subject_id)
        latents = np.random.default_rng(0).normal(0, 0.1, (RESTARTS, 3, IMAGE, IMAGE)).astype(np.float32)
        with pytorch.precision(precision):
            pytorch.restarts(reference, part1_rows(np.array(vertices), reference), latents, RATE, MICROBATCH)
    else:
        restarts_once(berg_dir, subject_id, np.array(vertices), size, precision)


def part1_rows(vertices: Int[np.ndarray, " n"], reference: Any) -> Int[np.ndarray, " n"]:
    """Return the rows of the PyTorch model's part 1 that hold these vertices."""
    known = reference.part1_vertices.cpu().numpy()
    order = np.argsort(known)
    return order[np.searchsorted(known, vertices, sorter=order)]


def _encode_once(library: str, berg_dir: str, subject_id: int, batch_size: int, precision: str) -> None:
    from ...convert.synthetic import natural_like_images

    images = natural_like_images(batch_size, 0)
    if library == "torch":
        from ...convert import torch_benchmark as pytorch

        with pytorch.precision(precision):
            pytorch.finished(pytorch.whole_brain(pytorch.load(Path(berg_dir), subject_id))(images))
    else:
        from ...subject import load

        jax.block_until_ready(load(berg_dir, subject_id, precision=precision)(jnp.asarray(images)))


_WORK = {"_encode_once": _encode_once, "_restarts_once": _restarts_once, "nothing": lambda library: None}


def _peak(device: jax.Device | None) -> dict[str, int | None]:
    """Return this process's peak memory; ``device`` is JAX's, or None for PyTorch's."""
    if device is None:
        from ...convert import torch_benchmark as pytorch

        most = pytorch.peak_device_memory()
    else:
        most = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {"host": _host_memory(), "device": most}


def _host_memory() -> int:
    """Return this process's peak memory in bytes."""
    if sys.platform == "linux":
        # A process inherits getrusage's figure from the one that started it, which may be larger.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

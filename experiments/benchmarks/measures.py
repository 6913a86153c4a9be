"""How the benchmark measures: two computations in turn, the products in a program, a machine's rate, peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
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

from ...model.nn.config import IMAGE
from ...model.nn.precision import PRECISIONS


def in_turn(computations: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Run the computations one after the other, again and again, so that what disturbs one disturbs all.

    Each returns once its result is there. They have been run before.

    Returns
    -------
    For each its ``median``, ``fastest`` and ``slowest`` time in seconds.
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


def products(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of a program's matrix products and convolutions, additions counted, too.

    XLA's own count takes a loop's body once, and these programs loop over blocks. What nobody reads, such as the
    gradient of weights beside that of pixels, is not computed, and not counted.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    read, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _of_jaxpr(read)


def _of_jaxpr(jaxpr: Any) -> int:
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
        total += times * sum(_of_jaxpr(inner) for inner in jaxprs_in_params(params))
    return total


def product_rate(precision: str) -> float:
    """Floating-point operations a second in a product of two 4096 × 4096 matrices on the first device."""
    kind, size = PRECISIONS[precision], 4096
    matrix = jax.random.normal(jax.random.key(0), (size, size)).astype(kind.operands)
    multiply = jax.jit(lambda a, b: kind.einsum("ij,jk->ik", a, b))
    jax.block_until_ready(multiply(matrix, matrix))
    times = in_turn({"": lambda: jax.block_until_ready(multiply(matrix, matrix))}, 5)
    return 2 * size**3 / times[""]["fastest"]


def peak_memory(library: str, berg_dir: Path, subject: int, batch_size: int, precision: str) -> dict[str, int | None]:
    """What loading a subject and encoding one batch for the full brain takes at most, in a process of its own.

    Parameters
    ----------
    library
        ``"jax"`` or ``"torch"``.

    Returns
    -------
    ``host`` and ``device``: bytes; the latter nothing on a CPU.
    """
    return _alone("_encode_once", library, str(berg_dir), subject, batch_size, precision)


def synthesis_memory(
    library: str, berg_dir: Path, subject: int, vertices: Int[np.ndarray, " n"], size: int, precision: str
) -> dict[str, int | None]:
    """As :func:`peak_memory`, of a step of Adam on 64 images, 4 at a time, for the mean of part 1's vertices."""
    return _alone("_restarts_once", library, str(berg_dir), subject, vertices.tolist(), size, precision)


def _alone(function: str, *arguments: Any) -> dict[str, int | None]:
    """What a function of this module takes at most, called in a process of its own."""
    code = f"from berg_jax.experiments import benchmark_measures as m; m.{function}(*{arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _restarts_once(library: str, berg_dir: str, subject: int, vertices: list[int], size: int, precision: str) -> None:
    from .synthesis import MICROBATCH, RATE, RESTARTS, restarts_once

    if library == "torch":
        from ...convert import torch_benchmark as pytorch

        reference = pytorch.load(Path(berg_dir), subject)
        latents = np.random.default_rng(0).normal(0, 0.1, (RESTARTS, 3, IMAGE, IMAGE)).astype(np.float32)
        with pytorch.precision(precision):
            pytorch.restarts(reference, rows_of(np.array(vertices), reference), latents, RATE, MICROBATCH)
    else:
        restarts_once(berg_dir, subject, np.array(vertices), size, precision)
    _report(library)


def rows_of(vertices: Int[np.ndarray, " n"], reference: Any) -> Int[np.ndarray, " n"]:
    """Which rows of PyTorch's part 1 vertices are."""
    known = reference.part1_vertices.cpu().numpy()
    order = np.argsort(known)
    return order[np.searchsorted(known, vertices, sorter=order)]


def _encode_once(library: str, berg_dir: str, subject: int, batch_size: int, precision: str) -> None:
    from ...convert.synthetic import natural_like_images

    images = natural_like_images(batch_size, 0)
    if library == "torch":
        from ...convert import torch_benchmark as pytorch

        with pytorch.precision(precision):
            pytorch.finished(pytorch.whole_brain(pytorch.load(Path(berg_dir), subject))(images))
    else:
        from ...subject import load

        jax.block_until_ready(load(berg_dir, subject, precision=precision)(jnp.asarray(images)))
    _report(library)


def _report(library: str) -> None:
    """Print what this process has taken at most."""
    if library == "torch":
        from ...convert import torch_benchmark as pytorch

        device = pytorch.peak_device_memory()
    else:
        device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    print(json.dumps({"host": _host_memory(), "device": device}))


def _host_memory() -> int:
    """Bytes that this process has taken at most."""
    if sys.platform == "linux":
        # Not getrusage's: a process inherits that from the one that started it, which may be the larger.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

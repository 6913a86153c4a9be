"""Ahead-of-time compilation of the encoding and gradient steps for TPUs and GPUs, on a machine that has none.

::

    berg-jax compile-for v5e --berg-dir … --subject 1        needs pip install 'berg_jax[tpu]'
    berg-jax compile-for h100 --berg-dir … --subject 1       needs pip install 'berg_jax[cuda12]'

It shows that XLA's own compilers accept the programs, that the encoding step has no communication between chips, how
much memory a chip needs, and how long a step takes by an estimate: for TPUs by the compiler's cycles, for GPUs by a
roofline, in which each kernel takes the longer of the times for its arithmetic and for the bytes that it moves at the
rates of NVIDIA's data sheets, and 2 µs to be launched. An estimate is no measurement. ``--report`` lists the kernels
that take most of it, the loops and the largest temporaries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ...errors import InvalidParameterError, ResourceError
from ...model.encoding_model import EncodingModel
from ...model.nn.config import IMAGE
from ...model.tuned import untuned_variant
from ...subject import Subject
from .cases import encode_step, gradient_step
from .programs import Kernel, Program, read_program, report_lines


class _Gpu(NamedTuple):
    """The description of a GPU that XLA needs, from NVIDIA's data sheets.

    ``units`` (float32 units) and ``shared`` (shared memory in kB) belong to one multiprocessor; ``cache`` (level 2)
    and ``memory`` are in bytes, ``bandwidth`` in bytes a second. ``rates`` are dense operations a second of products,
    by the type of their factors: bfloat16, TF32, and float32 without tensor cores.
    """

    capability: tuple[int, int]
    ghz: float
    multiprocessors: int
    units: int
    shared: int
    cache: int
    memory: int
    bandwidth: float
    rates: tuple[float, float, float]


# Cycles a second, from the published rates: 197 TFLOP/s of four 128 × 128 arrays, 918 of four 256 × 256.
_TPUS = {"v5e": 1.5e9, "v6e": 1.75e9}
_TPU_TOPOLOGIES = {1: ("1x1", {"chips_per_host_bounds": (1, 1, 1)}), 8: ("2x4", {})}
_GPUS = {
    "a100": _Gpu((8, 0), 1.41, 108, 64, 164, 40 * 2**20, 80 * 2**30, 2.04e12, (312e12, 156e12, 19.5e12)),
    "h100": _Gpu((9, 0), 1.98, 132, 128, 228, 50 * 2**20, 80 * 2**30, 3.35e12, (989e12, 494e12, 67e12)),
    "h200": _Gpu((9, 0), 1.98, 132, 128, 228, 50 * 2**20, 141 * 10**9, 4.8e12, (989e12, 494e12, 67e12)),
}
CHIPS = (*_TPUS, *_GPUS)
COUNTS = tuple(_TPU_TOPOLOGIES)
_LAUNCH = 2e-6  # seconds, about what a GPU takes between two kernels
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


class Compiled(NamedTuple):
    """The compiler's figures for one step on one or more chips.

    Attributes
    ----------
    chip
        One of ``CHIPS``.
    chips
        Number of chips that share the images.
    step
        ``"encode"`` or ``"gradient"``.
    n_images
        Images in a step, on all chips together.
    precision
        Precision of the model.
    memory
        Bytes that a chip needs for arguments, results and temporary values.
    seconds
        Estimated time of a step: by the compiler's cycles for a TPU, by a roofline for a GPU.
    collectives
        Kinds of communication between chips in the program.
    program
        Kernels and loops of the program.
    """

    chip: str
    chips: int
    step: str
    n_images: int
    precision: str
    memory: int
    seconds: float
    collectives: tuple[str, ...]
    program: Program

    def __str__(self) -> str:
        """Return the figures as one line of text."""
        between = f"communicates: {', '.join(self.collectives)}" if self.collectives else "no communication"
        return (
            f"{self.chip} × {self.chips}, {self.step}, {self.n_images} images: {self.memory / 1e9:.2f} GB a chip, "
            f"estimated {1000 * self.seconds:,.1f} ms, {self.n_images / self.seconds:,.0f} images/s; {between}"
        )

    def report(self) -> str:
        """Return the program's arithmetic, bytes, kernels, loops and largest temporaries as lines of text."""
        seconds = partial(kernel_seconds, self.chip, self.precision)
        return "\n".join(report_lines(self.program, seconds, arithmetic=self.chip in _GPUS))


def compile_for(
    chip: str,
    berg_dir: str | Path,
    subject_id: int = 1,
    *,
    roi: str | None = None,
    precision: str = "bfloat16",
    batch_size: int = 64,
    counts: Sequence[int] = COUNTS,
    variant: Mapping[str, Any] | None = None,
) -> Iterator[Compiled]:
    """Compile the encoding step and the pixel-gradient step for a kind of chip.

    Parameters
    ----------
    chip
        A TPU, ``"v5e"`` or ``"v6e"``, or a GPU, ``"a100"``, ``"h100"`` or ``"h200"``.
    berg_dir, subject_id, roi, precision
        The model to compile: see :func:`berg_jax.load`.
    batch_size
        Images on each chip; gradients take a quarter as many.
    counts
        Numbers of chips that share the images: 1, 8 or both.
    variant
        How to compute, as :meth:`berg_jax.Subject.model` takes it (default: as on such a device that was not tuned).

    Yields
    ------
    The compiler's figures for each step and number of chips.

    Raises
    ------
    ResourceError
        XLA's compiler for the chip is not installed, or JAX was not told (``JAX_PLATFORMS=cpu``) to leave this
        machine's GPUs alone.
    InvalidParameterError
        ``batch_size`` is below 4, or there is no such chip or count.

    See Also
    --------
    berg_jax.experiments.benchmarks.speed.benchmark : Measure on this machine.
    """
    if chip not in CHIPS:
        raise InvalidParameterError(f"chip must be one of {list(CHIPS)}, got {chip!r}.")
    if not counts or not set(counts) <= set(COUNTS):
        raise InvalidParameterError(f"counts must be of {list(COUNTS)}, got {list(counts)}.")
    if batch_size < 4:
        raise InvalidParameterError(f"batch_size must be at least 4, got {batch_size}.")
    meshes = [_mesh(chip, count) for count in counts]
    if variant is None:
        variant = untuned_variant("tpu" if chip in _TPUS else "gpu", precision)
    model = Subject(berg_dir, subject_id).model(roi=roi, precision=precision, variant=variant)
    for mesh in meshes:
        yield _compiled(chip, mesh, "encode", encode_step, model, mesh.size * batch_size)
        yield _compiled(chip, mesh, "gradient", gradient_step, model, mesh.size * (batch_size // 4))


def _mesh(chip: str, count: int) -> Mesh:
    if chip in _TPUS:
        platform, extra = "tpu", "tpu"
        shape, options = _TPU_TOPOLOGIES[count]
        name = f"{chip}:{shape}"
    else:
        platform, extra = "cuda", "cuda12"
        name, options = "", {"topology": f"1x1x{count}", "target_config": _target(chip)}
    try:
        topology = topologies.get_topology_desc(name, platform=platform, **options)
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ResourceError(
            f"XLA's compiler for {chip} cannot be used: {reason}. Install it: pip install 'berg_jax[{extra}]'; and "
            "set JAX_PLATFORMS=cpu."
        ) from error
    return Mesh(np.array(topology.devices), ("data",))


def _target(chip: str) -> str:
    """Return the description of a GPU that XLA's compiler takes, in protobuf's text form."""
    gpu = _GPUS[chip]
    major, minor = gpu.capability
    facts = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_core": gpu.shared * 1024,
        "shared_memory_per_block_optin": (gpu.shared - 1) * 1024,
        "threads_per_core_limit": 2048,
        "clock_rate_ghz": gpu.ghz,
        "core_count": gpu.multiprocessors,
        "fpus_per_core": gpu.units,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "registers_per_core_limit": 2**16,
        "registers_per_block_limit": 2**16,
        "l2_cache_size": gpu.cache,
        "device_memory_size": gpu.memory,
        "memory_bandwidth": int(gpu.bandwidth),
    }
    fields = " ".join(f"{name}: {value}" for name, value in facts.items())
    return (
        f"gpu_device_info {{ {fields} cuda_compute_capability {{ major: {major} minor: {minor} }} }} "
        f'platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }} device_description_str: "{chip}"'
    )


def _compiled(
    chip: str, mesh: Mesh, step: str, function: Callable[..., Any], model: EncodingModel, n_images: int
) -> Compiled:
    replicated = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    model_shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated), model)
    pixels = jax.ShapeDtypeStruct((n_images, 3, IMAGE, IMAGE), jnp.uint8, sharding=split)
    compiled = jax.jit(function).lower(model_shapes, pixels).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    program = read_program(text)
    precision = model.config.precision
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return Compiled(
        chip=chip,
        chips=mesh.size,
        step=step,
        n_images=n_images,
        precision=precision,
        memory=sum(getattr(memory, size) for size in sizes),
        seconds=sum(kernel.runs * kernel_seconds(chip, precision, kernel) for kernel in program.kernels),
        collectives=tuple(kind for kind in COLLECTIVES if re.search(rf" {kind}(-start)?\(", text)),
        program=program,
    )


def kernel_seconds(chip: str, precision: str, kernel: Kernel) -> float:
    """Return the estimated time of a kernel each time it runs: by the compiler, or by a roofline and its launch."""
    if chip in _TPUS:
        return kernel.cycles / _TPUS[chip]
    gpu = _GPUS[chip]
    half, tensorfloat, single = gpu.rates
    rate = half if kernel.dtype == "bf16" else single if precision == "float32" else tensorfloat
    return max(kernel.operations / rate, kernel.moved / gpu.bandwidth) + _LAUNCH

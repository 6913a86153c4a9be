"""The real steps compiled by XLA's own compilers for TPUs and GPUs, on a machine that has none.

berg-jax compile-for v5e --berg-dir … --subject 1        needs pip install 'berg_jax[tpu]'
berg-jax compile-for h100 --berg-dir … --subject 1       needs pip install 'berg_jax[cuda12]'

What it tells: that the programs compile, that the encoding step has no communication between chips, the memory a
chip needs, and of a TPU the compiler's own estimate of the cycles. An estimate is no measurement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
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
from ...subject import Subject
from .speed import answer, gradient

# Cycles a second, from the published rates: 197 TFLOP/s of four 128 × 128 arrays, 918 of four 256 × 256.
_TPUS = {"v5e": 1.5e9, "v6e": 1.75e9}
_TPU_TOPOLOGIES = {1: ("1x1", {"chips_per_host_bounds": (1, 1, 1)}), 8: ("2x4", {})}
# What XLA asks of a GPU, from NVIDIA's data sheets: compute capability, GHz, multiprocessors, of one the units of
# float32 and the kB of shared memory, bytes of the second cache, of memory, and of it a second.
_GPUS = {
    "a100": ((8, 0), 1.41, 108, 64, 164, 40 * 2**20, 80 * 2**30, 2.04e12),
    "h100": ((9, 0), 1.98, 132, 128, 228, 50 * 2**20, 80 * 2**30, 3.35e12),
    "h200": ((9, 0), 1.98, 132, 128, 228, 50 * 2**20, 141 * 10**9, 4.8e12),
}
CHIPS = (*_TPUS, *_GPUS)
COUNTS = tuple(_TPU_TOPOLOGIES)
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


class Compiled(NamedTuple):
    """What the compiler says of one step on some chips.

    Attributes
    ----------
    chip, chips
        One of ``CHIPS``, and how many share the images.
    step
        ``"encode"`` or ``"gradient"``.
    images
        Images a step, of all chips together.
    memory
        Bytes a chip needs: arguments, results and what is held in between.
    seconds
        Estimated time of a step; None of a GPU, whose compiler has none.
    collectives
        Kinds of communication between chips in the program.
    """

    chip: str
    chips: int
    step: str
    images: int
    memory: int
    seconds: float | None
    collectives: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        between = f"communicates: {', '.join(self.collectives)}" if self.collectives else "no communication"
        time = ""
        if self.seconds is not None:
            time = f", estimated {1000 * self.seconds:,.1f} ms, {self.images / self.seconds:,.0f} images/s"
        return (
            f"{self.chip} × {self.chips}, {self.step}, {self.images} images: {self.memory / 1e9:.2f} GB a chip"
            f"{time}; {between}"
        )


def compile_for(
    chip: str,
    berg_dir: str | Path,
    subject: int = 1,
    *,
    roi: str | None = None,
    precision: str = "bfloat16",
    batch_size: int = 64,
    counts: Sequence[int] = COUNTS,
) -> Iterator[Compiled]:
    """Compile encoding and the pixel gradient for a kind of chip.

    Parameters
    ----------
    chip
        ``"v5e"`` or ``"v6e"``, TPUs; ``"a100"``, ``"h100"`` or ``"h200"``, GPUs.
    berg_dir, subject, roi, precision
        As for ``berg_jax.load``.
    batch_size
        Images a chip; a quarter as many for gradients.
    counts
        How many chips share the images: 1, 8 or both.

    Raises
    ------
    ResourceError
        XLA's compiler for the chip is not installed; or it is one for GPUs and JAX has not been told to leave those
        of this machine alone.
    InvalidParameterError
        ``batch_size`` is below 4, or there is no such chip or count.
    """
    if chip not in CHIPS:
        raise InvalidParameterError(f"chip must be one of {list(CHIPS)}, got {chip!r}.")
    if not counts or not set(counts) <= set(COUNTS):
        raise InvalidParameterError(f"counts must be of {list(COUNTS)}, got {list(counts)}.")
    if batch_size < 4:
        raise InvalidParameterError(f"batch_size must be at least 4, got {batch_size}.")
    meshes = [_mesh(chip, count) for count in counts]
    model = Subject(berg_dir, subject).model(roi=roi, precision=precision)
    for mesh in meshes:
        yield _compiled(chip, mesh, "encode", answer, model, mesh.size * batch_size)
        yield _compiled(chip, mesh, "gradient", gradient, model, mesh.size * (batch_size // 4))


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
    """A GPU as XLA's compiler is told of it, in protobuf's text form."""
    (major, minor), clock, cores, units, shared, cache, memory, bandwidth = _GPUS[chip]
    facts = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_core": shared * 1024,
        "shared_memory_per_block_optin": (shared - 1) * 1024,
        "threads_per_core_limit": 2048,
        "clock_rate_ghz": clock,
        "core_count": cores,
        "fpus_per_core": units,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "registers_per_core_limit": 2**16,
        "registers_per_block_limit": 2**16,
        "l2_cache_size": cache,
        "device_memory_size": memory,
        "memory_bandwidth": int(bandwidth),
    }
    described = " ".join(f"{name}: {value}" for name, value in facts.items())
    return (
        f"gpu_device_info {{ {described} cuda_compute_capability {{ major: {major} minor: {minor} }} }} "
        f'platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }} device_description_str: "{chip}"'
    )


def _compiled(
    chip: str, mesh: Mesh, step: str, function: Callable[..., Any], model: EncodingModel, images: int
) -> Compiled:
    whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), model)
    pixels = jax.ShapeDtypeStruct((images, 3, IMAGE, IMAGE), jnp.uint8, sharding=split)
    compiled = jax.jit(function).lower(described, pixels).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return Compiled(
        chip,
        mesh.size,
        step,
        images,
        sum(getattr(memory, size) for size in sizes),
        estimated_cycles(text) / _TPUS[chip] if chip in _TPUS else None,
        tuple(kind for kind in COLLECTIVES if re.search(rf" {kind}(-start)?\(", text)),
    )


def estimated_cycles(text: str) -> int:
    """The compiler's estimate for a TPU program in its text form, with loops' bodies as often as they run.

    (The compiled program's ``cost_analysis`` takes a loop's body once.)
    """
    bodies: dict[str, list[str]] = {}
    for line in text.splitlines():
        start = re.match(r"(ENTRY )?%([\w.-]+) \(", line)
        if start:
            name = "ENTRY" if start[1] else start[2]
            bodies[name] = []
        elif bodies:
            bodies[name].append(line)
    return _cycles("ENTRY", bodies)


def _cycles(name: str, bodies: dict[str, list[str]]) -> int:
    total = 0
    for line in bodies[name]:
        own = re.search(r'"estimated_cycles":"(\d+)"', line)
        total += int(own[1]) if own else 0
        loop = re.search(r"condition=%([\w.-]+), body=%([\w.-]+)", line)
        if loop:
            limits = [int(n) for n in re.findall(r" constant\((\d+)\)", "\n".join(bodies[loop[1]]))]
            total += max(limits) * _cycles(loop[2], bodies)
    return total

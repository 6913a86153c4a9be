"""The real steps compiled by XLA's own TPU compiler, on a machine that has no TPU.

berg-jax compile-tpu --berg-dir … --subject 1        needs pip install 'berg_jax[tpu]'

What it tells: that the programs compile, that the encoding step has no communication between chips, the memory a
chip needs, and the compiler's own estimate of the cycles. An estimate is no measurement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import InvalidParameterError, ResourceError
from ..model import EncodingModel
from ..nn.config import IMAGE
from ..subject import Subject
from .benchmark import answer, gradient

# Cycles a second, from the published rates: 197 TFLOP/s of four 128 × 128 arrays, 918 of four 256 × 256.
_CLOCK = {"v5e": 1.5e9, "v6e": 1.75e9}
_TOPOLOGIES = {1: ("1x1", {"chips_per_host_bounds": (1, 1, 1)}), 8: ("2x4", {})}
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


class Compiled(NamedTuple):
    """What the compiler says of one step on one slice of chips.

    Attributes
    ----------
    chip, chips
        ``"v5e"`` or ``"v6e"``, and how many share the images.
    step
        ``"encode"`` or ``"gradient"``.
    images
        Images a step, of all chips together.
    memory
        Bytes a chip needs: arguments, results and what is held in between.
    seconds
        Estimated time of a step.
    collectives
        Kinds of communication between chips in the program.
    """

    chip: str
    chips: int
    step: str
    images: int
    memory: int
    seconds: float
    collectives: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        between = f"communicates: {', '.join(self.collectives)}" if self.collectives else "no communication"
        return (
            f"{self.chip} × {self.chips}, {self.step}, {self.images} images: {self.memory / 1e9:.2f} GB a chip, "
            f"estimated {1000 * self.seconds:,.1f} ms, {self.images / self.seconds:,.0f} images/s; {between}"
        )


def compile_for_tpu(
    berg_dir: str | Path,
    subject: int = 1,
    *,
    roi: str | None = None,
    precision: str = "bfloat16",
    batch_size: int = 64,
) -> Iterator[Compiled]:
    """Compile encoding and the pixel gradient for v5e and v6e, one chip and eight.

    Parameters
    ----------
    berg_dir, subject, roi, precision
        As for ``berg_jax.load``.
    batch_size
        Images a chip; a quarter as many for gradients.

    Raises
    ------
    ResourceError
        XLA's TPU compiler is not installed.
    InvalidParameterError
        ``batch_size`` is below 4.
    """
    if batch_size < 4:
        raise InvalidParameterError(f"batch_size must be at least 4, got {batch_size}.")
    model = Subject(berg_dir, subject).model(roi=roi, precision=precision)
    for chip in _CLOCK:
        for chips in _TOPOLOGIES:
            yield _compiled(chip, chips, "encode", answer, model, chips * batch_size)
            yield _compiled(chip, chips, "gradient", gradient, model, chips * (batch_size // 4))


def _compiled(chip: str, chips: int, step: str, function: Callable, model: EncodingModel, images: int) -> Compiled:
    shape, options = _TOPOLOGIES[chips]
    try:
        topology = topologies.get_topology_desc(f"{chip}:{shape}", platform="tpu", **options)
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ResourceError(
            f"XLA's TPU compiler cannot be used: {reason}. Install it: pip install 'berg_jax[tpu]'."
        ) from error
    mesh = Mesh(np.array(topology.devices), ("data",))
    whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), model)
    pixels = jax.ShapeDtypeStruct((images, 3, IMAGE, IMAGE), jnp.uint8, sharding=split)
    compiled = jax.jit(function).lower(described, pixels).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return Compiled(
        chip,
        chips,
        step,
        images,
        sum(getattr(memory, size) for size in sizes),
        estimated_cycles(text) / _CLOCK[chip],
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

"""Cases of the speed benchmark: a table of what is timed, and the computations of both sides that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, UInt8

from ...model.checkpoint import read_part
from ...model.encoding_model import EncodingModel, build, features_of, pixels_of, slots_of
from ...model.gradients import value_and_pixel_gradient
from ...model.nn.readout import TILE
from ...model.stacking import StackedModel, stack
from ...model.tuned import tuned_variant
from ...subject import Subject
from ...vertices import Vertices
from .measures import part1_rows, peak_memory, synthesis_memory

REGION = 900  # vertices in a region
NEAR = 0.2  # largest distance of a foveal region's vertices from fixation, as a share of half the image's width
_STACKED = 3  # subjects in one program; their networks are of one size, so one subject's three times takes as long
FOVEA, ANYWHERE = "near the fovea", "anywhere"


class Computation(NamedTuple):
    """A case of one model: on our side a function of ``arguments``, on PyTorch's a function of ``images``.

    Synthesis has several ``steps``.
    """

    title: str
    images: Num[np.ndarray, "b 3 h w"]
    ours: Callable[..., jax.Array]
    arguments: tuple[Any, ...]
    theirs: Callable[[np.ndarray], Any] | None
    steps: int = 1


class Inputs:
    """Images and models that cases share, each made when a case first needs it.

    Parameters
    ----------
    subject, precision, images
        The subject, the precision of our side, and a batch of images.
    pytorch, reference
        The module that times PyTorch and its model, or None.
    synthesis
        The module with the steps of synthesis, or None.
    """

    def __init__(
        self,
        subject: Subject,
        precision: str,
        images: UInt8[np.ndarray, "b 3 h w"],
        pytorch: Any,
        reference: Any,
        synthesis: Any,
    ) -> None:
        self.subject, self.precision, self.images = subject, precision, images
        self.pytorch, self.reference, self.synthesis = pytorch, reference, synthesis

    @property
    def half(self) -> UInt8[np.ndarray, "b 3 h w"]:
        """Half of the images, for gradients."""
        return self.images[: len(self.images) // 2]

    @cached_property
    def model(self) -> EncodingModel:
        """The model of every vertex, computed as ``berg-jax tune`` has found, if it was run."""
        return self.subject.model(precision=self.precision, variant=tuned_variant(self.precision))

    @cached_property
    def regions(self) -> dict[str, Vertices]:
        """Vertices of each region by where they look; a small subject may have none near the fovea."""
        return dict(zip((FOVEA, ANYWHERE), _regions(self.model), strict=True))

    def rows(self, region: str) -> Int[np.ndarray, " n"]:
        """Return the rows of a region's vertices in PyTorch's part 1."""
        return part1_rows(self.regions[region].global_indices, self.reference)


def _full_brain(inputs: Inputs, region: str) -> Computation:
    theirs = inputs.reference and inputs.pytorch.whole_brain(inputs.reference)
    return Computation("full brain", inputs.images, encode_step, (inputs.model, inputs.images), theirs)


def _region_title(inputs: Inputs, region: str) -> str:
    return f"{len(inputs.regions[region])} vertices that look {region}"


def _encode_region(inputs: Inputs, region: str) -> Computation:
    model = inputs.model.select(inputs.regions[region]).crop()
    theirs = inputs.reference and inputs.pytorch.region(inputs.reference, inputs.rows(region))
    title = _region_title(inputs, region)
    return Computation(title, inputs.images, encode_step, (model, inputs.images), theirs)


def _region_gradient(inputs: Inputs, region: str) -> Computation:
    model = inputs.model.select(inputs.regions[region]).crop()
    theirs = inputs.reference and inputs.pytorch.region_gradient(inputs.reference, inputs.rows(region))
    title = f"{_region_title(inputs, region)}, with pixel gradient"
    return Computation(title, inputs.half, gradient_step, (model, inputs.half), theirs)


def _synthesis(inputs: Inputs, region: str) -> Computation:
    steps = inputs.synthesis
    model = inputs.model.select(inputs.regions[region]).crop()
    latents = steps.start(inputs.half)
    theirs = inputs.reference and inputs.pytorch.synthesis(
        inputs.reference, inputs.rows(region), steps.STEPS, steps.RATE
    )
    title = f"{steps.STEPS} steps of synthesis for these"
    return Computation(title, latents, steps.ascend, (model, latents), theirs, steps.STEPS)


def _stack(inputs: Inputs, region: str) -> Computation:
    model = inputs.model.select(inputs.regions[region])
    group = stack([model] * _STACKED)
    title = f"{_STACKED} subjects stacked, {_region_title(inputs, region)}"
    return Computation(title, inputs.images, _encode_stack, (group, inputs.images), None)


def _readout(inputs: Inputs, region: str) -> Computation:
    inputs.__dict__.pop("model", None)  # it is not needed any more, and part 2's features take memory
    return Computation(
        title="readout alone",
        images=inputs.images,
        ours=partial(_read_out, inputs.precision),
        arguments=_features(inputs.subject, inputs.precision, inputs.images),
        theirs=inputs.reference and inputs.pytorch.readout(inputs.reference, inputs.images),
    )


def _full_brain_memory(inputs: Inputs, region: str, library: str, device: str) -> dict[str, int | None]:
    subject = inputs.subject
    number, count = subject.description.subject, len(inputs.images)
    return peak_memory(library, Path(subject.berg_dir), number, count, inputs.precision, device)


def _synthesis_memory(inputs: Inputs, region: str, library: str, device: str) -> dict[str, int | None]:
    subject = inputs.subject
    vertices, number = inputs.regions[region].global_indices, subject.description.subject
    place = (library, Path(subject.berg_dir), number)
    return synthesis_memory(*place, vertices, subject.hemisphere_size, inputs.precision, device)


class Case(NamedTuple):
    """A case of the benchmark.

    Attributes
    ----------
    name
        Name by which it is chosen.
    make
        Function that makes its computation, given the inputs and the region.
    region
        Where its vertices look; empty where it has no region.
    memory
        Function that measures one side's peak memory, or None.
    """

    name: str
    make: Callable[[Inputs, str], Computation]
    region: str = ""
    memory: Callable[[Inputs, str, str, str], dict[str, int | None]] | None = None


SYNTHESIS = "synthesis"
CASES = (
    Case("full-brain", _full_brain, memory=_full_brain_memory),
    Case("foveal-ROI", _encode_region, FOVEA),
    Case("foveal-ROI-gradient", _region_gradient, FOVEA),
    Case("ROI", _encode_region, ANYWHERE),
    Case("ROI-gradient", _region_gradient, ANYWHERE),
    Case(SYNTHESIS, _synthesis, ANYWHERE, _synthesis_memory),
    Case("stack", _stack, ANYWHERE),
    Case("readout", _readout),
)


def encode_step(model: EncodingModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "b vertices"]:
    """Return the responses to a batch of images: one step of encoding."""
    return model(images)


def _encode_stack(group: StackedModel, images: Num[Array, "b 3 h w"]) -> Float[Array, "subjects b vertices"]:
    return group(images)


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

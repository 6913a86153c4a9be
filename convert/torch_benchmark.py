"""Computations of the PyTorch reference that the benchmark times, as functions to be called repeatedly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from .torch_reference import ReferenceModel, load_reference

Computation = Callable[[np.ndarray], Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load(berg_dir: Path, subject_id: int, compiled: bool = False) -> ReferenceModel:
    """Load the reference model to PyTorch's fastest device, its networks compiled by ``torch.compile`` if asked."""
    model = load_reference(berg_dir, subject_id).to(DEVICE)
    if compiled:
        for part in (model.part1, model.part2):
            part.features, part.readout = torch.compile(part.features), torch.compile(part.readout)
    return model


def use(platform: str) -> bool:
    """Compute on this platform, ``"cpu"`` or ``"gpu"``, from now on; return whether PyTorch has it."""
    global DEVICE
    if platform == "cpu":
        DEVICE = "cpu"
        return True
    return DEVICE == "cuda"


def version() -> str:
    """Return PyTorch's version."""
    return torch.__version__


def device() -> str:
    """Return the name of the device."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def finished(result: Tensor) -> Tensor:
    """Wait until the device has computed the result, and return it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return result


def peak_device_memory() -> int | None:
    """Return the largest number of allocated bytes, or None on a CPU."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Set PyTorch's precision: TF32 off, TF32 on, or autocast to bfloat16."""
    allow = name == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow
    with torch.autocast(DEVICE, torch.bfloat16, enabled=name == "bfloat16"):
        yield


def whole_brain(model: ReferenceModel) -> Computation:
    """Return a function from images to responses of every vertex."""

    def compute(images: np.ndarray) -> Tensor:
        with torch.no_grad():
            return model(torch.from_numpy(images).to(DEVICE))

    return compute


def region(model: ReferenceModel, rows: Int[np.ndarray, " n"]) -> Computation:
    """Return a function from images to responses of rows of part 1, whose tables are computed beforehand."""
    forward = _region(model, rows)

    def compute(images: np.ndarray) -> Tensor:
        with torch.no_grad():
            return forward(torch.from_numpy(images).to(DEVICE))

    return compute


def region_gradient(model: ReferenceModel, rows: Int[np.ndarray, " n"]) -> Computation:
    """Return a function from images to the pixel gradient of the mean response of rows of part 1."""
    forward = _region(model, rows)
    model.requires_grad_(False)

    def compute(images: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(images).to(DEVICE, torch.float32).requires_grad_()
        (gradient,) = torch.autograd.grad(forward(pixels).mean(dim=1).sum(), pixels)
        return gradient

    return compute


def synthesis(model: ReferenceModel, rows: Int[np.ndarray, " n"], steps: int, rate: float) -> Computation:
    """Return a function from latents to values (steps, images) in an optimization of pixels by Adam.

    The values are the mean responses of rows of part 1 before each step.
    """
    forward = _region(model, rows)
    model.requires_grad_(False)

    def compute(latents: np.ndarray) -> Tensor:
        return torch.stack(list(_ascent(forward, latents, steps, rate, len(latents))))

    return compute


def restarts(
    model: ReferenceModel, rows: Int[np.ndarray, " n"], latents: np.ndarray, rate: float, microbatch: int
) -> None:
    """Compute one step of Adam on many images, a few at a time."""
    forward = _region(model, rows)
    model.requires_grad_(False)
    finished(next(_ascent(forward, latents, 1, rate, microbatch)))


def readout(model: ReferenceModel, images: np.ndarray) -> Computation:
    """Return a function that reads out part 2's responses to these images.

    Features and tables are computed beforehand.
    """
    with torch.no_grad():
        _, maps, vectors = model.part2.features(model.normalize(torch.from_numpy(images).to(DEVICE)))
        tables = model.part2.tables()

    def compute(_: np.ndarray) -> Tensor:
        with torch.no_grad():
            return model.part2.readout(maps, vectors, *tables)

    return compute


def _ascent(
    forward: Callable[[Tensor], Tensor], latents: np.ndarray, steps: int, rate: float, microbatch: int
) -> Iterator[Tensor]:
    """Yield the objective's values before each step of gradient ascent."""
    parameters = torch.from_numpy(latents.copy()).to(DEVICE).requires_grad_()
    adam = torch.optim.Adam([parameters], rate, maximize=True)
    for _ in range(steps):
        adam.zero_grad()
        values = []
        for chunk in parameters.split(microbatch):
            values.append(forward(255 * torch.sigmoid(chunk)).mean(dim=1))
            values[-1].sum().backward()
        adam.step()
        yield torch.cat(values).detach()


def _region(model: ReferenceModel, rows: Int[np.ndarray, " n"]) -> Callable[[Tensor], Tensor]:
    chosen = torch.from_numpy(rows).to(DEVICE)
    with torch.no_grad():
        layer_weights, centers = (table[chosen] for table in model.part1.tables())

    def forward(images: Tensor) -> Tensor:
        _, maps, vectors = model.part1.features(model.normalize(images))
        return model.part1.readout(maps, vectors, layer_weights, centers, chosen)

    return forward

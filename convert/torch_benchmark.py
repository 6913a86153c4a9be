"""What the benchmark times in PyTorch: the reference's computations, ready to be called again and again."""

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


def load(berg_dir: Path, subject: int) -> ReferenceModel:
    """The reference model on PyTorch's fastest device."""
    return load_reference(berg_dir, subject).to(DEVICE)


def version() -> str:
    """PyTorch's version."""
    return torch.__version__


def device() -> str:
    """The name of the device."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def finished(result: Tensor) -> Tensor:
    """The result, once the device has computed it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return result


def peak_device_memory() -> int | None:
    """Bytes; nothing on a CPU."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """PyTorch's settings of that name: TF32 off, TF32 on, or autocast to bfloat16."""
    allow = name == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow
    with torch.autocast(DEVICE, torch.bfloat16, enabled=name == "bfloat16"):
        yield


def whole_brain(model: ReferenceModel) -> Computation:
    """Images → responses of every vertex."""

    def compute(images: np.ndarray) -> Tensor:
        with torch.no_grad():
            return model(torch.from_numpy(images).to(DEVICE))

    return compute


def region(model: ReferenceModel, rows: Int[np.ndarray, " n"]) -> Computation:
    """Images → responses of rows of part 1, whose tables are computed beforehand."""
    forward = _region(model, rows)

    def compute(images: np.ndarray) -> Tensor:
        with torch.no_grad():
            return forward(torch.from_numpy(images).to(DEVICE))

    return compute


def region_gradient(model: ReferenceModel, rows: Int[np.ndarray, " n"]) -> Computation:
    """Images → the gradient of the mean response of rows of part 1, to the pixels."""
    forward = _region(model, rows)
    model.requires_grad_(False)

    def compute(images: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(images).to(DEVICE, torch.float32).requires_grad_()
        (gradient,) = torch.autograd.grad(forward(pixels).mean(dim=1).sum(), pixels)
        return gradient

    return compute


def synthesis(model: ReferenceModel, rows: Int[np.ndarray, " n"], steps: int, rate: float) -> Computation:
    """Latents → (steps, images), the mean response of rows of part 1 before each step of Adam on the pixels."""
    forward = _region(model, rows)
    model.requires_grad_(False)

    def compute(latents: np.ndarray) -> Tensor:
        return torch.stack(list(_ascent(forward, latents, steps, rate, len(latents))))

    return compute


def restarts(
    model: ReferenceModel, rows: Int[np.ndarray, " n"], latents: np.ndarray, rate: float, microbatch: int
) -> None:
    """One step of many images, a few at a time."""
    forward = _region(model, rows)
    model.requires_grad_(False)
    finished(next(_ascent(forward, latents, 1, rate, microbatch)))


def readout(model: ReferenceModel, images: np.ndarray) -> Computation:
    """Nothing → what part 2 reads out of these images' features, which are computed beforehand, as its tables are."""
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
    """Steps uphill; the values before each."""
    written = torch.from_numpy(latents.copy()).to(DEVICE).requires_grad_()
    adam = torch.optim.Adam([written], rate, maximize=True)
    for _ in range(steps):
        adam.zero_grad()
        values = []
        for some in written.split(microbatch):
            values.append(forward(255 * torch.sigmoid(some)).mean(dim=1))
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

"""Sizes of a network, frozen and checked, so that they can be static arguments of compiled functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PATCH = 14  # width of a patch in pixels
GRID = 16  # width of an image in patches
IMAGE = PATCH * GRID  # width in pixels of an image that the network takes
STEP = 4  # a window's width and height are multiples of 4 cells, so that more windows share a program


def _check_size(name: str, value: int, least: int = 1) -> None:
    if not hasattr(value, "__index__") or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, got {value!r:.40}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a DINOv2 vision transformer with patches of 14 pixels, at 224 × 224 pixels.

    ``lora_rank`` is 0 if the low-rank factors have been added to the weights.
    """

    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    lora_rank: int = 0
    lora_scale: float = 0.2

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads", "mlp_dim"):
            _check_size(name, getattr(self, name))
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} does not divide into {self.num_heads} heads")
        _check_size("lora_rank", self.lora_rank, 0)

    @classmethod
    def vit_s14(cls, lora_rank: int = 0) -> ViTConfig:
        """Return the sizes of DINOv2 ViT-S/14."""
        return cls(384, 12, 6, 1536, lora_rank)

    @classmethod
    def vit_b14(cls, lora_rank: int = 0) -> ViTConfig:
        """Return the sizes of DINOv2 ViT-B/14, the published subjects' backbone."""
        return cls(768, 12, 12, 3072, lora_rank)

    @classmethod
    def vit_l14(cls, lora_rank: int = 0) -> ViTConfig:
        """Return the sizes of DINOv2 ViT-L/14."""
        return cls(1024, 24, 16, 4096, lora_rank)

    @classmethod
    def tiny(cls, lora_rank: int = 0) -> ViTConfig:
        """Return the sizes of a network for tests and notebooks, smaller than any published one."""
        return cls(32, 4, 2, 128, lora_rank)


@dataclass(frozen=True)
class PartConfig:
    """Sizes of one of a subject's two networks.

    ``layers`` are the 0-based blocks whose outputs the heads read, ascending; ``width`` is the number D of features
    that a vertex weighs.
    """

    vit: ViTConfig
    layers: tuple[int, ...]
    width: int

    def __post_init__(self) -> None:
        for layer in self.layers:
            _check_size("layers", layer, 0)
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers must be ascending and not empty, got {self.layers}")
        if self.layers[0] < 0 or self.layers[-1] >= self.vit.depth:
            raise ValueError(f"layers {self.layers} do not fit a network of {self.vit.depth} blocks")
        _check_size("width", self.width)

    def global_size(self, layer: int) -> int:
        """Return the length of a layer's pooled vector: one embedding for the last block, two for the others."""
        return self.vit.embed_dim * (1 if layer == self.vit.depth - 1 else 2)


@dataclass(frozen=True)
class Window:
    """Rectangle of cells of the 16 × 16 map: ``top`` ≤ row < ``bottom`` and ``left`` ≤ column < ``right``."""

    top: int = 0
    bottom: int = GRID
    left: int = 0
    right: int = GRID

    def __post_init__(self) -> None:
        for low, high in ((self.top, self.bottom), (self.left, self.right)):
            if not 0 <= low < high <= GRID or (high - low) % STEP:
                raise ValueError(f"A window lies in 0 to {GRID} and is a multiple of {STEP} wide, got {self}")

    def grown(self, cells: int) -> Window:
        """Return the window with ``cells`` more cells on each side, rounded up to multiples of 4, within the map."""
        rows, columns = _fitted(self.top - cells, self.bottom + cells), _fitted(self.left - cells, self.right + cells)
        return Window(*rows, *columns)


def window_around(top: int, bottom: int, left: int, right: int) -> Window:
    """Return the smallest window that contains these cells."""
    return Window(*_fitted(top, bottom), *_fitted(left, right))


def _fitted(low: int, high: int) -> tuple[int, int]:
    low, high = max(low, 0), min(high, GRID)
    size = -(-(high - low) // STEP) * STEP
    low = min(low, GRID - size)
    return low, low + size


CONVOLUTIONS = ("NHWC", "NCHW", "im2col", "shifted")
ATTENTIONS = ("halves", "plain", "xla", "cudnn")
# Fields that change only rounding.
VARIANT = ("winograd", "convolution", "attention", "unroll", "tiles_per_step", "narrow_products")


@dataclass(frozen=True)
class ComputePlan:
    """Static choices of how a network is computed, none of which changes its function.

    Attributes
    ----------
    winograd
        Whether the heads' 5 × 5 kernels are in Winograd's form.
    window
        Cells of the feature maps that are computed; the others are zero.
    rematerialize
        Whether a gradient keeps only the input of each block, and computes the block again.
    convolution
        Form of the heads' convolutions where they are not in Winograd's: see
        :func:`~berg_jax.model.nn.convolutions.convolve`.
    attention
        Form of attention: see :func:`~berg_jax.model.nn.attention.attend`.
    unroll
        Whether the blocks are written out one after the other, instead of a loop.
    tiles_per_step
        Tiles of the readout that are multiplied at once.
    narrow_products
        Whether the products of the blocks' linear layers are rounded to the precision's type before their bias is
        added. In bfloat16 this moves fewer bytes, and makes the products of the backward pass take bfloat16, too; in
        float32 it changes nothing.

    Raises
    ------
    ValueError
        There is no such form, or a value has the wrong type.
    """

    winograd: bool = False
    window: Window = Window()
    rematerialize: bool = False
    convolution: str = "NHWC"
    attention: str = "halves"
    unroll: bool = False
    tiles_per_step: int = 16  # on CPU, 1 to 16 are equally fast and 64 is 1.5 times slower
    narrow_products: bool = False

    def __post_init__(self) -> None:
        for name, known in (("convolution", CONVOLUTIONS), ("attention", ATTENTIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {getattr(self, name)!r:.40}")
        for name in ("winograd", "rematerialize", "unroll", "narrow_products"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r:.40}")
        _check_size("tiles_per_step", self.tiles_per_step)


DEFAULT_PLAN = ComputePlan()


def plan_of(variant: Mapping[str, Any], winograd: bool) -> ComputePlan:
    """Return the plan with a variant's fields; ``winograd`` counts if the variant does not say.

    Raises
    ------
    ValueError
        The variant has a field that is none, or a value that makes no sense.
    """
    if unknown := set(variant) - set(VARIANT):
        raise ValueError(f"A variant has {list(VARIANT)}, got {sorted(unknown)}")
    return ComputePlan(**{"winograd": winograd, **variant})


def variant_of(plan: ComputePlan, default: ComputePlan) -> dict[str, Any]:
    """Return the fields of a plan that change rounding, as far as they differ from the default's."""
    return {name: getattr(plan, name) for name in VARIANT if getattr(plan, name) != getattr(default, name)}

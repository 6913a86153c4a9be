"""The key table: every tensor of a part's state dict, its shape, and its path in the converted part.

The table is strict both ways: every tensor in the table must be in the state dict, every tensor in the state dict
must be in the table, and all shapes must follow from the same few sizes. All sizes are read from the shapes
themselves, by a majority vote of the tensors that have the size, so that a misshapen tensor is found by means of the
others.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelLoadError
from ..model.nn.config import PATCH
from ..model.nn.heads import KERNEL


def linear(weight: np.ndarray) -> np.ndarray:
    """Transpose PyTorch's (out, in) to Flax's (in, out)."""
    return weight.T


def convolution(weight: np.ndarray) -> np.ndarray:
    """Transpose PyTorch's (out, in, height, width) to Flax's (height, width, in, out)."""
    return weight.transpose(2, 3, 1, 0)


def as_is(tensor: np.ndarray) -> np.ndarray:
    """Return the tensor unchanged."""
    return tensor


def torch_convolution(kernel: np.ndarray) -> np.ndarray:
    """Transpose Flax's (height, width, in, out) to PyTorch's (out, in, height, width)."""
    return kernel.transpose(3, 2, 0, 1)


def flat(tensor: np.ndarray) -> np.ndarray:
    """Drop the leading axes, which have length one."""
    return tensor.reshape(tensor.shape[-1])


def first(tensor: np.ndarray) -> np.ndarray:
    """Drop the first axis, which has length one."""
    return tensor[0]


_BACK = {linear: linear, convolution: torch_convolution}  # the ways back; of the other forms it is a reshaping


@dataclass(frozen=True)
class Key:
    """A row of the key table.

    Attributes
    ----------
    pattern
        Name of one tensor. With {i} it stands for one tensor of every block, with {l} for one of every selected
        layer; {subject} stands for the subject's name.
    shape
        Lengths of the axes: numbers, names of sizes, or (factor, name).
    path
        Path of the tensor in the converted part, where the tensors of all blocks are stacked; None if the model does
        not use it at inference.
    transform
        Function that brings the tensor into Flax's form.
    """

    pattern: str
    shape: tuple[int | str | tuple[int, str], ...]
    path: str | None
    transform: Callable[[np.ndarray], np.ndarray] = as_is


_VIT = "model.backbone.vision_model."
_BLOCK = _VIT + "blocks.{i}.block."


def _norm(pattern: str, path: str) -> tuple[Key, ...]:
    return (Key(f"{pattern}.weight", ("E",), f"{path}/scale"), Key(f"{pattern}.bias", ("E",), f"{path}/bias"))


def _adapted(name: str, path: str, outputs: Any, inputs: Any) -> tuple[Key, ...]:
    pattern, path = _BLOCK + name, "vit/blocks/" + path
    return (
        Key(f"{pattern}.fc.weight", (outputs, inputs), f"{path}/kernel", linear),
        Key(f"{pattern}.fc.bias", (outputs,), f"{path}/bias"),
        Key(f"{pattern}.fc_lora.down.weight", ("R", inputs), f"{path}/lora_down", linear),
        Key(f"{pattern}.fc_lora.up.weight", (outputs, "R"), f"{path}/lora_up", linear),
    )


def _coordinate_mlp(name: str, hidden: str, outputs: int | str) -> tuple[Key, ...]:
    sizes = ((1, 192, hidden), (3, hidden, hidden), (5, hidden, outputs))
    return tuple(
        key
        for index, inputs, out in sizes
        for key in (
            Key(f"model.{name}.{{subject}}.mlp.{index}.weight", (out, inputs), f"{name}/{index}/weight"),
            Key(f"model.{name}.{{subject}}.mlp.{index}.bias", (out,), f"{name}/{index}/bias"),
        )
    )


TABLE: tuple[Key, ...] = (
    Key(_VIT + "cls_token", (1, 1, "E"), "vit/cls_token", flat),
    Key(_VIT + "pos_embed", (1, "P", "E"), "pos_embed", first),
    Key(_VIT + "mask_token", (1, "E"), None),
    Key(_VIT + "patch_embed.proj.weight", ("E", 3, PATCH, PATCH), "vit/patch_kernel", convolution),
    Key(_VIT + "patch_embed.proj.bias", ("E",), "vit/patch_bias"),
    Key(_VIT + "norm.weight", ("E",), None),
    Key(_VIT + "norm.bias", ("E",), None),
    *_norm(_BLOCK + "norm1", "vit/blocks/norm1"),
    *_adapted("attn.qkv", "attn/qkv", (3, "E"), "E"),
    *_adapted("attn.proj", "attn/proj", "E", "E"),
    Key(_BLOCK + "ls1.gamma", ("E",), "vit/blocks/ls1"),
    *_norm(_BLOCK + "norm2", "vit/blocks/norm2"),
    *_adapted("mlp.fc1", "mlp/fc1", "M", "E"),
    *_adapted("mlp.fc2", "mlp/fc2", "E", "M"),
    Key(_BLOCK + "ls2.gamma", ("E",), "vit/blocks/ls2"),
    Key(_VIT + "blocks.{i}.adaLN.adaLN_modulation.0.weight", ((6, "E"), "A"), None),
    *(
        key
        for index, outputs in ((0, "E"), (1, "E"), (2, "D"))
        for key in (
            Key(
                f"model.conv_blocks.blocks_dict.{{l}}.block.{index}.0.weight",
                (outputs, "E", KERNEL, KERNEL),
                f"heads/map_{{l}}/conv_{index}",
                convolution,
            ),
            *(
                _norm(f"model.conv_blocks.blocks_dict.{{l}}.block.{index}.1", f"heads/map_{{l}}/norm_{index}")
                if index < 2
                else ()
            ),
        )
    ),
    # G is the length of the layer's pooled vector: E for the last block, 2E for the others.
    Key("model.cls_blocks.mlp_dict.{l}.fc1.weight", ("G", "G"), "heads/global_{l}_fc1/kernel", linear),
    Key("model.cls_blocks.mlp_dict.{l}.fc1.bias", ("G",), "heads/global_{l}_fc1/bias"),
    Key("model.cls_blocks.mlp_dict.{l}.fc2.weight", ("D", "G"), "heads/global_{l}_fc2/kernel", linear),
    Key("model.cls_blocks.mlp_dict.{l}.fc2.bias", ("D",), "heads/global_{l}_fc2/bias"),
    *_coordinate_mlp("layer_selector", "S", "L"),
    *_coordinate_mlp("retina_mapper", "T", 2),
    Key("model.voxel_outs_weight.{subject}.weight", ("N", "D"), "readout/weight"),
    Key("model.voxel_outs_weight.{subject}.bias", ("N",), "readout/bias"),
    Key("coord_dict.{subject}", ("N", 3), "coordinates"),
)

_MEANING = {
    "E": "embed_dim",
    "P": "position embeddings",
    "R": "LoRA rank",
    "M": "MLP width",
    "A": "condition width",
    "D": "feature width",
    "S": "layer selector width",
    "T": "retina mapper width",
    "N": "vertices",
}
_SHOWN = 1000  # problems listed in one message


@dataclass(frozen=True)
class Sizes:
    """Sizes of a part, read from the shapes in its state dict.

    Attributes
    ----------
    depth
        Number of blocks.
    layers
        Selected layers, ascending.
    values
        Sizes by the letter that stands for them in the key table.
    """

    depth: int
    layers: tuple[int, ...]
    values: Mapping[str, int]

    def shape(self, key: Key, layer: int | None) -> tuple[int, ...]:
        """Return the shape that a row of the table requires."""
        return tuple(self._size(size, layer) for size in key.shape)

    def _size(self, size: int | str | tuple[int, str], layer: int | None) -> int:
        if isinstance(size, int):
            return size
        factor, name = size if isinstance(size, tuple) else (1, size)
        if name == "G":
            return self.values["E"] * (1 if layer == self.depth - 1 else 2)
        if name == "L":
            return len(self.layers)
        return factor * self.values[name]


def check_part(state: Mapping[str, np.ndarray], subject_name: str, source: str) -> Sizes:
    """Compare a state dict with the key table by names, shapes and types, without reading values.

    Parameters
    ----------
    state
        Tensors by key.
    subject_name
        Name of the subject inside the keys, such as ``subj01``.
    source
        Name of the file in messages.

    Returns
    -------
    The sizes of the part.

    Raises
    ------
    ModelLoadError
        Tensors are missing, unexpected, misshapen or not numeric. One message lists them all.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ModelLoadError(f"{source} holds a {type(state).__name__}, expected a state dict: tensors by name.")
    swiglu = [key for key in state if re.search(r"\.mlp\.w(12|[123])\.", str(key))]
    if swiglu:
        raise ModelLoadError(
            f"{source} is of a network with SwiGLU layers (as DINOv2's ViT-g), such as {swiglu[0]}. "
            "Only networks with plain MLPs (ViT-S, B and L) can be converted."
        )
    sizes = _sizes(state, subject_name)
    expected = tensors(sizes, subject_name)
    problems = [f"missing: {name} {shape}" for name, (_, shape) in expected.items() if name not in state]
    problems += [f"unexpected: {name}" for name in state if name not in expected]
    for name, (_, shape) in expected.items():
        tensor = state.get(name)
        if name not in state:
            continue
        if not isinstance(tensor, np.ndarray):
            problems.append(f"not a tensor: {name} is a {type(tensor).__name__}")
        elif tensor.shape != shape:
            problems.append(f"misshapen: {name} is {tensor.shape}, expected {shape}")
        elif any(step == 0 and n > 1 for step, n in zip(tensor.strides, shape, strict=True)):
            problems.append(f"expanded from fewer elements: {name}")
        elif not (tensor.dtype.kind == "f" or tensor.dtype.name == "bfloat16"):
            problems.append(f"not floating point: {name} is {tensor.dtype}")
    if problems:
        shown = "\n  ".join(problems[:_SHOWN])
        more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        read = ", ".join(f"{_MEANING[name]} {value}" for name, value in sizes.values.items())
        raise ModelLoadError(
            f"{source} is not a part of this model's {subject_name}: {len(problems)} of its tensors do not fit.\n"
            f"  {shown}{more}\n"
            f"Sizes read from the shapes: {sizes.depth} blocks, layers {list(sizes.layers)}, {read}. "
            "Check that the file is the subject's, whole, and of fmri-nsd_fsaverage-huze."
        )
    return sizes


def convert_part(state: Mapping[str, np.ndarray], sizes: Sizes, subject_name: str, source: str) -> dict[str, Any]:
    """Return a checked state dict's tensors as nested dicts of float32 arrays, by the table's paths.

    Raises
    ------
    ModelLoadError
        A tensor holds NaN or infinity.
    """
    tree: dict[str, Any] = {}
    for key in TABLE:
        converted: dict[str, list[np.ndarray]] = {}
        for name, number in _expand(key, subject_name, sizes.depth, sizes.layers):
            if key.path is None:
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # overflow gives infinity, which is found below
                tensor = key.transform(state[name]).astype(np.float32)
            if not np.isfinite(tensor).all():
                raise ModelLoadError(f"{source}: {name} holds NaN or infinity. The file is damaged; get it again.")
            converted.setdefault(key.path.format(l=number), []).append(tensor)
        for path, arrays in converted.items():
            *branches, leaf = path.split("/")
            node = tree
            for branch in branches:
                node = node.setdefault(branch, {})
            value = np.stack(arrays) if "{i}" in key.pattern else arrays[0]
            node[leaf] = np.ascontiguousarray(value)
    return tree


def replace_tensors(
    state: Mapping[str, np.ndarray], tree: Mapping[str, Any], sizes: Sizes, subject_name: str
) -> dict[str, np.ndarray]:
    """Return a state dict with the tensors of nested dicts in place of its own: the way back of :func:`convert_part`.

    Parameters
    ----------
    state
        Tensors by key, of a checked state dict.
    tree
        Nested dicts of arrays, by the table's paths. Tensors that are not among them stay as they are.
    sizes
        Sizes of the part.
    subject_name
        Name of the subject inside the keys, such as ``subj01``.
    """
    replaced = dict(state)
    for key in TABLE:
        for name, number in _expand(key, subject_name, sizes.depth, sizes.layers):
            node: Any = tree if key.path else None
            for branch in (key.path or "").format(l=number).split("/"):
                node = node.get(branch) if isinstance(node, Mapping) else None
            if node is not None:
                array = np.asarray(node[number] if "{i}" in key.pattern else node)
                back = _BACK.get(key.transform, as_is)(array).reshape(sizes.shape(key, number))
                replaced[name] = np.ascontiguousarray(back, np.float32)
    return replaced


def _sizes(state: Mapping[str, np.ndarray], subject_name: str) -> Sizes:
    shapes = {name: tensor.shape for name, tensor in state.items() if isinstance(tensor, np.ndarray)}
    blocks = _numbers(shapes, r"model\.backbone\.vision_model\.blocks\.(0|[1-9]\d{0,4})\.")
    layers = _numbers(shapes, r"model\.conv_blocks\.blocks_dict\.(0|[1-9]\d{0,4})\.")
    # Blocks are counted, so a misnumbered block is reported as unexpected, and another one as missing.
    depth = max(len(blocks), 1)
    layers = tuple(layer for layer in layers if layer < depth)
    votes: dict[str, Counter[int]] = {name: Counter() for name in _MEANING}
    for key in TABLE:
        for name, _ in _expand(key, subject_name, depth, layers):
            for size, length in zip(key.shape, shapes.get(name, ()), strict=False):
                factor, letter = size if isinstance(size, tuple) else (1, size)
                if letter in votes and length % factor == 0:
                    votes[letter][length // factor] += 1
    values = {name: count.most_common(1)[0][0] if count else 1 for name, count in votes.items()}
    values["P"] = 1 + max(math.isqrt(max(values["P"] - 1, 0)), 1) ** 2  # a class token and a square grid
    return Sizes(depth, layers, values)


def _numbers(names: Mapping[str, Any], pattern: str) -> list[int]:
    return sorted({int(match[1]) for name in names if (match := re.match(pattern, str(name)))})


def tensors(sizes: Sizes, subject_name: str) -> dict[str, tuple[Key, tuple[int, ...]]]:
    """Return the row of the table and the shape of every tensor of a part, by its name."""
    return {
        name: (key, sizes.shape(key, number))
        for key in TABLE
        for name, number in _expand(key, subject_name, sizes.depth, sizes.layers)
    }


def _expand(key: Key, subject_name: str, depth: int, layers: tuple[int, ...]) -> list[tuple[str, int | None]]:
    if "{i}" in key.pattern:
        return [(key.pattern.replace("{i}", str(index)), index) for index in range(depth)]
    if "{l}" in key.pattern:
        return [(key.pattern.replace("{l}", str(layer)), layer) for layer in layers]
    return [(key.pattern.replace("{subject}", subject_name), None)]

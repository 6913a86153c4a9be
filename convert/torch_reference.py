"""The model in plain, eager PyTorch, computed as in the published package: an independent reference.

The benchmark, the certificate and the tests compare with it. Modules have the names of the state dict's keys, so that
``load_state_dict(strict=True)`` fills them. Vertices are read out in chunks, each layer by one ``grid_sample``, and
both networks run for every image.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.torch_archive import read_pickled_npy, read_torch
from ..published.berg_dir import SubjectFiles
from .torch_layers import ClassMLP, ConvolutionBlock, CoordinateMLP, VisionTransformer

CHUNK = 4096  # vertices that are read out at once


class ReferencePart(nn.Module):
    """One of a subject's two networks, built from its state dict."""

    def __init__(
        self,
        state: dict[str, Tensor],
        subject_name: str,
        num_heads: int | None = None,
        lora_scale: float = 0.2,
        retina_sigma: float = 0.01,
    ):
        super().__init__()
        state = {key.removeprefix("model."): value for key, value in state.items()}
        vit = "backbone.vision_model."
        depth = 1 + max(int(key.split(".")[3]) for key in state if key.startswith(vit + "blocks."))
        hidden, size = state[vit + "blocks.0.block.mlp.fc1.fc.weight"].shape
        sizes = {
            "embed": size,
            "depth": depth,
            "hidden": hidden,
            "rank": len(state[vit + "blocks.0.block.mlp.fc1.fc_lora.down.weight"]),
            "positions": state[vit + "pos_embed"].shape[1],
            "condition": state[vit + "blocks.0.adaLN.adaLN_modulation.0.weight"].shape[1],
        }
        self.subject_name, self.retina_sigma = subject_name, retina_sigma
        self.layers = sorted({int(key.split(".")[2]) for key in state if key.startswith("conv_blocks.")})
        rows, width = state[f"voxel_outs_weight.{subject_name}.weight"].shape
        self.backbone = nn.Module()
        self.backbone.vision_model = VisionTransformer(sizes, num_heads or size // 64, lora_scale)
        self.conv_blocks, self.cls_blocks = nn.Module(), nn.Module()
        self.conv_blocks.blocks_dict = nn.ModuleDict(
            {str(layer): ConvolutionBlock(size, width) for layer in self.layers}
        )
        self.cls_blocks.mlp_dict = nn.ModuleDict(
            {
                str(layer): ClassMLP(state[f"cls_blocks.mlp_dict.{layer}.fc1.weight"].shape[1], width)
                for layer in self.layers
            }
        )
        for name, outputs in (("layer_selector", len(self.layers)), ("retina_mapper", 2)):
            hidden = tuple(len(state[f"{name}.{subject_name}.mlp.{index}.weight"]) for index in (1, 3))
            setattr(self, name, nn.ModuleDict({subject_name: CoordinateMLP(hidden, outputs)}))
        readout = nn.Module()
        readout.weight = nn.Parameter(torch.zeros(rows, width))
        readout.bias = nn.Parameter(torch.zeros(rows))
        self.voxel_outs_weight = nn.ModuleDict({subject_name: readout})
        self.register_buffer("coordinates", state.pop(f"coord_dict.{subject_name}").float(), persistent=False)
        self.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
        self.eval()

    def encoding(self) -> Tensor:
        """Return the positional encoding of every vertex's coordinates, (vertices, 192)."""
        low, high = self.coordinates.min(0).values, self.coordinates.max(0).values
        position = (self.coordinates - low) * 100 / (high - low).max()
        omega = 100 ** torch.linspace(0, 1 / 32 - 1, 32, device=position.device)
        angle = position[:, :, None] * omega
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Return the layer weights (vertices, layers) and receptive-field centers (vertices, 2)."""
        encoding = self.encoding()
        weights = self.layer_selector[self.subject_name](encoding).softmax(-1)
        return weights, self.retina_mapper[self.subject_name](encoding).tanh() * (1 - self.retina_sigma)

    def features(self, images: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return the tapped tokens, feature maps and global vectors of each layer for normalized images."""
        outputs = self.backbone.vision_model(images)
        taps = [outputs[layer] for layer in self.layers]
        maps, vectors = [], []
        for layer, tokens in zip(self.layers, taps, strict=True):
            patches = tokens[:, 1:]
            side = math.isqrt(patches.shape[1])
            maps.append(self.conv_blocks.blocks_dict[str(layer)](patches.transpose(1, 2).unflatten(2, (side, side))))
            last = layer == len(outputs) - 1
            pooled = tokens[:, 0] if last else torch.cat([patches.mean(1), patches.amax(1)], dim=-1)
            vectors.append(self.cls_blocks.mlp_dict[str(layer)](pooled))
        return taps, maps, vectors

    def forward(self, images: Tensor) -> Tensor:
        """Return the responses (batch, rows) to normalized images."""
        _, maps, vectors = self.features(images)
        return self.readout(maps, vectors, *self.tables())

    def readout(
        self,
        maps: list[Tensor],
        vectors: list[Tensor],
        layer_weights: Tensor,
        centers: Tensor,
        rows: Tensor | slice = slice(None),
    ) -> Tensor:
        """Return the responses (batch, rows) for features; ``rows`` are the rows that the two tables belong to."""
        weights = self.voxel_outs_weight[self.subject_name]
        weight, bias = weights.weight[rows], weights.bias[rows]
        responses = []
        for start in range(0, len(centers), CHUNK):
            chunk = slice(start, start + CHUNK)
            grid = centers[chunk][None, :, None].expand(len(vectors[0]), -1, -1, -1)
            mixed = 0
            for index, (feature_map, vector) in enumerate(zip(maps, vectors, strict=True)):
                sampled = F.grid_sample(feature_map, grid, align_corners=False)[..., 0].transpose(1, 2)
                mixed = mixed + layer_weights[chunk, index, None] * (sampled + vector[:, None])
            responses.append((mixed * weight[chunk]).mean(-1) + bias[chunk])
        return torch.cat(responses, dim=1)


class ReferenceModel(nn.Module):
    """Both parts of a subject: pixels in 0–255 → responses of every vertex.

    Parameters
    ----------
    parts
        ``part1`` and ``part2``.
    part1_vertices
        Global vertex of each row of part 1.
    overlay
        Whether part 2 has every vertex.
    """

    def __init__(self, parts: dict[str, ReferencePart], part1_vertices: np.ndarray, overlay: bool):
        super().__init__()
        self.part1, self.part2 = parts["part1"], parts["part2"]
        self.overlay = overlay
        self.register_buffer("part1_vertices", torch.tensor(np.asarray(part1_vertices).tolist()), persistent=False)

    def normalize(self, images: Tensor) -> Tensor:
        """Return images (batch, 3, height, width) in 0–255, resized to 224 × 224 and normalized."""
        pixels = images.float() / 255
        if pixels.shape[-1] != 224:
            pixels = F.interpolate(pixels, (224, 224), mode="bilinear", align_corners=False)
        mean = torch.tensor((0.485, 0.456, 0.406), device=images.device)[None, :, None, None]
        std = torch.tensor((0.229, 0.224, 0.225), device=images.device)[None, :, None, None]
        return (pixels - mean) / std

    def forward(self, images: Tensor) -> Tensor:
        """Return the responses (batch, vertices), left hemisphere first."""
        normalized = self.normalize(images)
        first, second = self.part1(normalized), self.part2(normalized)
        if self.overlay:
            return second.index_copy(1, self.part1_vertices, first)
        total = first.shape[1] + second.shape[1]
        rest = torch.ones(total, dtype=torch.bool, device=first.device)
        rest[self.part1_vertices] = False
        result = first.new_empty(len(images), total)
        result = result.index_copy(1, self.part1_vertices, first)
        return result.index_copy(1, rest.nonzero()[:, 0], second)


def load_reference(berg_dir: str | Path, subject_id: int, **options: Any) -> ReferenceModel:
    """Load the reference model from a subject's PyTorch files.

    Parameters
    ----------
    berg_dir
        The folder that contains ``encoding_models/…``, in BERG's layout.
    subject_id
        ID of the subject.
    **options
        ``num_heads``, ``lora_scale`` and ``retina_sigma``, as for
        :func:`~berg_jax.convert.subject.convert_subject`.

    Raises
    ------
    ModelNotFoundError, ModelLoadError
        A file is missing or damaged.
    RuntimeError
        PyTorch's error, if the tensors do not fit the model.

    See Also
    --------
    run : Compute the responses to images.
    pixel_gradient : Compute a gradient with respect to pixels.
    """
    files = SubjectFiles(Path(berg_dir), subject_id)
    files.require()
    parts = {}
    for name, path in (("part1", files.part1), ("part2", files.part2)):
        state = {key: torch.from_numpy(np.array(value, np.float32)) for key, value in read_torch(path).items()}
        parts[name] = ReferencePart(state, files.name, **options)
    indices = np.asarray(read_torch(files.indices)[files.name])
    rows = len(parts["part2"].coordinates)
    if files.metadata.is_file():
        fmri = read_pickled_npy(files.metadata)["fmri"]
        overlay = rows == len(fmri["lh_ncsnr"]) + len(fmri["rh_ncsnr"])
    else:
        overlay = bool((indices < rows).all())
    return ReferenceModel(parts, indices, overlay)


def run(
    model: ReferenceModel, images: np.ndarray
) -> tuple[np.ndarray, dict[tuple[str, str, int], np.ndarray], np.ndarray]:
    """Compute responses and intermediate results, from NumPy arrays to NumPy arrays.

    Parameters
    ----------
    model
        Model from :func:`load_reference`.
    images
        Images (batch, 3, height, width), RGB in 0–255, square.

    Returns
    -------
    responses
        (batch, vertices), in z units.
    intermediate
        Results by part, kind and layer, as in ``intermediate["part1", "tokens", 2]``: ``tokens``
        (batch, 257, embed_dim) after the block, ``map`` (batch, width, 16, 16) and ``vector`` (batch, width).
    second
        (batch, rows) responses of part 2, before part 1's replace some of them or are put among them.
    """
    intermediate = {}

    def keep(key: Any) -> Any:
        return lambda module, inputs, output: intermediate.update({key: output.numpy()})

    hooks = [model.part2.register_forward_hook(keep("second"))]
    for name, part in (("part1", model.part1), ("part2", model.part2)):
        for layer in part.layers:
            modules = {
                "tokens": part.backbone.vision_model.blocks[layer],
                "map": part.conv_blocks.blocks_dict[str(layer)],
                "vector": part.cls_blocks.mlp_dict[str(layer)],
            }
            hooks += [module.register_forward_hook(keep((name, kind, layer))) for kind, module in modules.items()]
    try:
        with torch.no_grad():
            responses = model(torch.tensor(images)).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    second = intermediate.pop("second")
    return responses, intermediate, second


def pixel_gradient(model: ReferenceModel, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the gradient of Σ weight · response, over images and vertices, with respect to the pixels.

    Parameters
    ----------
    model
        Model from :func:`load_reference`.
    images
        Images (batch, 3, height, width), RGB in 0–255, square.
    weights
        (vertices,) weight of each response.

    Returns
    -------
    (batch, 3, height, width), float32.
    """
    pixels = torch.tensor(images, dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad((model(pixels) * torch.tensor(weights)).sum(), pixels)
    return gradient.numpy()

"""Layers of the PyTorch reference, whose attributes have the names of the state dict's keys.

A module's ``load_state_dict(strict=True)`` can therefore fill them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AdaptedLinear(nn.Module):
    """A linear layer plus its scaled low-rank adapter."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float):
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)
        self.fc_lora = nn.ModuleDict(
            {"down": nn.Linear(inputs, rank, bias=False), "up": nn.Linear(rank, outputs, bias=False)}
        )
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.fc(x) + self.scale * self.fc_lora["up"](self.fc_lora["down"](x))


class Attention(nn.Module):
    """Multi-head self-attention, written out without fused kernels."""

    def __init__(self, size: int, heads: int, rank: int, scale: float):
        super().__init__()
        self.heads = heads
        self.qkv = AdaptedLinear(size, 3 * size, rank, scale)
        self.proj = AdaptedLinear(size, size, rank, scale)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        batch, tokens, size = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, size))


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, size: int, hidden: int, rank: int, scale: float):
        super().__init__()
        self.fc1 = AdaptedLinear(size, hidden, rank, scale)
        self.fc2 = AdaptedLinear(hidden, size, rank, scale)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """Scaling of each channel by a factor."""

    def __init__(self, size: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * self.gamma


class TransformerBlock(nn.Module):
    """A transformer block of DINOv2."""

    def __init__(self, size: int, heads: int, hidden: int, rank: int, scale: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size, eps=1e-6), nn.LayerNorm(size, eps=1e-6)
        self.attn = Attention(size, heads, rank, scale)
        self.mlp = MLP(size, hidden, rank, scale)
        self.ls1, self.ls2 = LayerScale(size), LayerScale(size)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class AdaptedBlock(nn.Module):
    """A block and its adaptive norm, which is the identity because the condition is zero."""

    def __init__(self, size: int, heads: int, hidden: int, rank: int, scale: float, condition: int):
        super().__init__()
        self.block = TransformerBlock(size, heads, hidden, rank, scale)
        self.adaLN = nn.Module()
        self.adaLN.adaLN_modulation = nn.Sequential(nn.Linear(condition, 6 * size, bias=False), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.block(x)


class VisionTransformer(nn.Module):
    """Vision transformer: normalized images → tokens after every block."""

    def __init__(self, sizes: dict[str, int], heads: int, scale: float):
        super().__init__()
        size = sizes["embed"]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size))
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes["positions"], size))
        self.mask_token = nn.Parameter(torch.zeros(1, size))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, size, 14, stride=14)
        arguments = (size, heads, sizes["hidden"], sizes["rank"], scale, sizes["condition"])
        self.blocks = nn.ModuleList(AdaptedBlock(*arguments) for _ in range(sizes["depth"]))
        self.norm = nn.LayerNorm(size, eps=1e-6)

    def position_embedding(self, side: int) -> Tensor:
        """Return the position embedding resized to side × side patches, as in DINOv2."""
        grid = math.isqrt(self.pos_embed.shape[1] - 1)
        if grid == side:
            return self.pos_embed
        patches = self.pos_embed[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        factor = (side + 0.1) / grid
        resized = F.interpolate(patches, scale_factor=(factor, factor), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def forward(self, images: Tensor) -> list[Tensor]:  # noqa: D102
        x = self.patch_embed.proj(images)
        side = x.shape[-1]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + self.position_embedding(side)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map at each position."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvolutionBlock(nn.Module):
    """Convolutions that turn a map of patch tokens into a layer's feature map."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.block = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(size, size, 5, padding="same", bias=False), ChannelNorm(size, eps=1e-6)),
                nn.Sequential(nn.Conv2d(size, size, 5, padding="same", bias=False), ChannelNorm(size, eps=1e-6)),
                nn.Sequential(nn.Conv2d(size, width, 5, padding="same", bias=False)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x + F.silu(self.block[0](x))
        x = x + F.silu(self.block[1](x))
        return F.silu(self.block[2](x))


class ClassMLP(nn.Module):
    """Network that turns a layer's pooled vector into its global features."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(size, size), nn.Linear(size, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.fc2(F.gelu(self.fc1(x)))


class CoordinateMLP(nn.Module):
    """Network that turns encoded coordinates into layer weights or receptive-field centers."""

    def __init__(self, sizes: tuple[int, int], outputs: int):
        super().__init__()
        hidden_1, hidden_2 = sizes
        self.mlp = nn.Sequential(
            nn.Identity(),
            nn.Linear(192, hidden_1),
            nn.GELU(),
            nn.Linear(hidden_1, hidden_2),
            nn.GELU(),
            nn.Linear(hidden_2, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.mlp(x)

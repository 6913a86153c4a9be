"""DINOv2's vision transformer with optional LoRA, from normalized images to tokens.

Blocks are pre-norm with layer scale (Oquab et al. 2024, arXiv:2304.07193) and have low-rank adapters on all four
linear layers (Hu et al. 2022, arXiv:2106.09685). The position embedding is already at 16 × 16, and the model's
adaptive layer norm, which is the identity at inference, is left out.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from .attention import attend
from .config import DEFAULT_PLAN, GRID, PATCH, ComputePlan, ViTConfig
from .precision import Precision

_weights = nn.initializers.lecun_normal()
_tokens = nn.initializers.normal(0.02)


def layer_norm(precision: Precision, name: str) -> nn.LayerNorm:
    """Return a layer norm over the last axis, in at least float32, with DINOv2's epsilon."""
    return nn.LayerNorm(
        epsilon=1e-6, use_fast_variance=False, dtype=precision.accumulate, param_dtype=jnp.float32, name=name
    )


class Linear(nn.Module):
    """Linear layer x·W + b, plus scale · (x·down)·up if it has a low-rank adapter."""

    features: int
    precision: Precision
    lora_rank: int = 0
    lora_scale: float = 0.0
    narrow: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:  # noqa: D102
        product = self.precision.einsum
        shape, x = x.shape, x.reshape(-1, x.shape[-1])  # one axis of rows: on CPU a tenth faster than two
        y = product("ni,io->no", x, self.param("kernel", _weights, (x.shape[-1], self.features)), narrow=self.narrow)
        if self.lora_rank:
            down = self.param("lora_down", _weights, (x.shape[-1], self.lora_rank))
            up = self.param("lora_up", nn.initializers.zeros, (self.lora_rank, self.features))
            y += self.lora_scale * product("nr,ro->no", product("ni,ir->nr", x, down), up)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return (y + bias[None]).reshape(*shape[:-1], -1)


class Attention(nn.Module):
    """Softmax self-attention over all tokens, in a form of :func:`~berg_jax.model.nn.attention.attend`."""

    config: ViTConfig
    precision: Precision
    form: str = DEFAULT_PLAN.attention
    narrow: bool = DEFAULT_PLAN.narrow_products

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:  # noqa: D102
        c, p = self.config, self.precision
        lora = {"lora_rank": c.lora_rank, "lora_scale": c.lora_scale}
        qkv = checkpoint_name(Linear(3 * c.embed_dim, p, **lora, narrow=self.narrow, name="qkv")(x), "qkv")
        # (batch, head, token, channel): products of contiguous matrices, which are faster on CPU than strided ones
        q, k, v = qkv.reshape(*x.shape[:2], 3, c.num_heads, -1).transpose(2, 0, 3, 1, 4)
        y = attend(q, k, v, p, self.form)
        return Linear(c.embed_dim, p, **lora, narrow=self.narrow, name="proj")(
            y.transpose(0, 2, 1, 3).reshape(x.shape)
        )


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them."""

    config: ViTConfig
    precision: Precision
    narrow: bool = DEFAULT_PLAN.narrow_products

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:  # noqa: D102
        c, p = self.config, self.precision
        lora = {"lora_rank": c.lora_rank, "lora_scale": c.lora_scale}
        hidden = checkpoint_name(Linear(c.mlp_dim, p, **lora, narrow=self.narrow, name="fc1")(x), "hidden")
        return Linear(c.embed_dim, p, **lora, narrow=self.narrow, name="fc2")(jax.nn.gelu(hidden, approximate=False))


class Block(nn.Module):
    """One transformer block: attention, then MLP, each on the normalized stream and scaled per channel."""

    config: ViTConfig
    precision: Precision
    attention: str = DEFAULT_PLAN.attention
    narrow: bool = DEFAULT_PLAN.narrow_products

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], _: None) -> tuple[Float[Array, "b n c"], Float[Array, "b n c"]]:  # noqa: D102
        c, p = self.config, self.precision
        scale_1 = self.param("ls1", nn.initializers.ones, (c.embed_dim,))
        scale_2 = self.param("ls2", nn.initializers.ones, (c.embed_dim,))
        x += scale_1[None, None] * Attention(c, p, self.attention, self.narrow, name="attn")(
            layer_norm(p, "norm1")(x)
        )
        x = checkpoint_name(x, "attended")
        x += scale_2[None, None] * MLP(c, p, self.narrow, name="mlp")(layer_norm(p, "norm2")(x))
        return x, x  # one for the next block, one for the tap


class ViT(nn.Module):
    """Vision transformer: normalized images → tokens after the last block, and after each block of ``taps``.

    The blocks' parameters are stacked: their first axis is the block. Tokens are (batch, 257, embed_dim): the class
    token, then 16 × 16 patches row by row. There is no final norm.
    """

    config: ViTConfig
    precision: Precision
    taps: tuple[int, ...] = ()
    compute_plan: ComputePlan = DEFAULT_PLAN

    @nn.compact
    def __call__(  # noqa: D102
        self, images: Float[Array, "b 3 224 224"]
    ) -> tuple[Float[Array, "b 257 c"], dict[int, Float[Array, "b 257 c"]]]:
        c, p = self.config, self.precision
        kernel = self.param("patch_kernel", _weights, (PATCH, PATCH, 3, c.embed_dim))
        bias = self.param("patch_bias", nn.initializers.zeros, (c.embed_dim,))
        cls_token = self.param("cls_token", _tokens, (c.embed_dim,))
        pos_embed = self.param("pos_embed", _tokens, (1 + GRID * GRID, c.embed_dim))

        b = images.shape[0]
        patches = images.reshape(b, 3, GRID, PATCH, GRID, PATCH).transpose(0, 2, 4, 3, 5, 1)
        patches = patches.reshape(b, GRID * GRID, -1)
        x = p.einsum("bni,io->bno", patches, kernel.reshape(-1, c.embed_dim)) + bias[None, None]
        x = jnp.concatenate([jnp.broadcast_to(cls_token, (b, 1, c.embed_dim)), x], axis=1) + pos_embed[None]

        plan = self.compute_plan
        # One traced block serves all: gradients compile several times faster than with twelve copies.
        # A gradient keeps the named results of a block; computing the others again costs less than keeping them.
        kept = () if plan.rematerialize else ("qkv", "attended", "hidden")
        policy = jax.checkpoint_policies.save_only_these_names(*kept)
        block = nn.remat(Block, prevent_cse=False, policy=policy)
        unroll = c.depth if plan.unroll else 1
        blocks = nn.scan(
            block, variable_axes={"params": 0}, split_rngs={"params": True}, length=c.depth, unroll=unroll
        )
        x, after = blocks(c, p, plan.attention, plan.narrow_products, name="blocks")(x, None)
        return x, {layer: after[layer] for layer in self.taps}

"""Forms of softmax attention, equal but for rounding, of which one or the other is faster on a device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .precision import Precision


def attend(
    q: Float[Array, "b h n d"],
    k: Float[Array, "b h m d"],
    v: Float[Array, "b h m d"],
    precision: Precision,
    form: str,
) -> Float[Array, "b h n d"]:
    """Return values weighted by the softmax of scaled scores.

    Parameters
    ----------
    q, k, v
        Queries, keys and values of every head.
    precision
        Precision of the products.
    form
        ``"halves"`` of the queries, one after the other, ``"plain"``, or ``"xla"`` or ``"cudnn"``, the
        implementations of ``jax.nn.dot_product_attention``.
    """
    if form in ("xla", "cudnn"):
        return _of_jax(q, k, v, precision, form)
    q = q * q.shape[-1] ** -0.5
    if form == "plain":
        return _attended(q, k, v, precision)
    # Half of the queries at a time: their scores stay in a CPU's cache, which saves a fifth of a batch of 8's time.
    return jnp.concatenate([_attended(half, k, v, precision) for half in jnp.array_split(q, 2, axis=2)], axis=2)


def _attended(
    q: Float[Array, "b h n d"], k: Float[Array, "b h m d"], v: Float[Array, "b h m d"], precision: Precision
) -> Float[Array, "b h n d"]:
    """Return values weighted by softmax, which divides after the sum over tokens, where there are fewer numbers."""
    scores = precision.einsum("bhnd,bhmd->bhnm", q, k)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    return precision.einsum("bhnm,bhmd->bhnd", weights, v) / weights.sum(axis=-1, keepdims=True)


def _of_jax(
    q: Float[Array, "b h n d"],
    k: Float[Array, "b h m d"],
    v: Float[Array, "b h m d"],
    precision: Precision,
    form: str,
) -> Float[Array, "b h n d"]:
    """Return values weighted by softmax, as ``jax.nn.dot_product_attention`` computes it."""
    # (batch, token, head, channel), as JAX wants it.
    q, k, v = (x.transpose(0, 2, 1, 3).astype(precision.operands) for x in (q, k, v))
    queries, tokens = q.shape[1], k.shape[1]
    options = {}
    if form == "cudnn" and (queries % 2 or tokens % 2):  # its gradient takes even numbers of tokens only
        q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
        lengths = (jnp.full(len(q), count, jnp.int32) for count in (queries, tokens))
        options = dict(zip(("query_seq_lengths", "key_value_seq_lengths"), lengths, strict=True))
    with jax.default_matmul_precision(precision.products.name.lower()):
        y = jax.nn.dot_product_attention(q, k, v, implementation=form, **options)
    return y[:, :queries].astype(precision.accumulate).transpose(0, 2, 1, 3)

"""Conversions between PyTorch's tensors and JAX's arrays: without a copy on one device, else through the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..errors import ResourceError

if TYPE_CHECKING:
    import torch


def require_torch() -> Any:
    """Return PyTorch, or raise ResourceError if it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise ResourceError(
            "The bridge needs PyTorch, which is not installed: pip install 'berg_jax[torch]'."
        ) from error
    return torch


def tensor_of(array: Any) -> torch.Tensor:
    """Return a NumPy or JAX array as a tensor on the same device; arrays that must not be written to are copied."""
    torch = require_torch()
    if isinstance(array, np.ndarray):
        if array.dtype.name == "bfloat16":
            return torch.tensor(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    return torch.from_dlpack(array)


def array_of(tensor: torch.Tensor) -> Array:
    """Return a tensor as an array, on its device if JAX has it, else on JAX's default device."""
    tensor = tensor.detach().contiguous()
    platforms = {device.platform for device in jax.local_devices()}
    if {"cuda": "gpu"}.get(tensor.device.type, tensor.device.type) in {*platforms, "cpu"}:
        return jnp.from_dlpack(tensor)
    return jnp.asarray(as_numpy(tensor))


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as a NumPy array, through the host."""
    torch = require_torch()
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # which NumPy lacks
        return tensor.view(torch.uint16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


def array_beside(tensor: torch.Tensor, tree: Any) -> Array:
    """Return a tensor as an array on the device of the arrays in a tree, or on any if there are none."""
    array = array_of(tensor)
    there = next((leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)), jnp.zeros(()))
    # A NumPy array is bound to no device, so that JAX puts it where the others are.
    return array if array.devices() == there.devices() else jnp.asarray(np.asarray(array))


def tensor_like(array: Array, like: torch.Tensor) -> torch.Tensor:
    """Return an array as a tensor of the type and on the device of another, once it is computed."""
    return tensor_of(jax.block_until_ready(array)).to(device=like.device, dtype=like.dtype)

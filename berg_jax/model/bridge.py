"""PyTorch bridge: torch functions inside JAX programs, and models and objectives inside PyTorch, with gradients.

PyTorch is imported by the functions, so that the package works without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import InvalidParameterError
from .images import check_values
from .nn.precision import x64_enabled
from .tensors import array_beside, array_of, as_numpy, require_torch, tensor_like, tensor_of

if TYPE_CHECKING:
    import torch

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def from_torch(function: Callable[..., Any], *, device: Any = None) -> Callable[..., Array]:
    """Return a PyTorch module or function as a JAX function with a gradient.

    The gradient is that of torch's own autograd. The function works under ``jit``, ``grad`` and ``vmap``, and so as
    the ``decode`` of a :class:`~berg_jax.experiments.synthesis.parametrizations.base.Parametrization`; ``vmap``
    makes one larger batch, not a loop. Arrays stay where they are, without a copy, if they are concrete and on the
    module's device; in a compiled program they pass through the host.

    Parameters
    ----------
    function
        A ``torch.nn.Module`` in evaluation mode, or a function of tensors. Its arguments and its result have the
        batch as their first axis, and rows of the batch must not depend on each other. It returns one tensor.
    device
        Device on which the function computes, such as ``"cuda"``; by default that of the module's weights, and the
        CPU for a function.

    Returns
    -------
    A function of arrays. It is differentiable with respect to its floating-point arguments, once.

    Raises
    ------
    ResourceError
        PyTorch is not installed.
    InvalidParameterError
        The module is in training mode, or its weights are on several devices; and, when the function is called:
        an argument has another type than the weights or another batch, the module changes its input in place, or
        its result is no tensor of floating-point numbers with one row for each of the batch.

    See Also
    --------
    to_torch : The other way.

    Examples
    --------
    ::

        decode = berg_jax.bridge.from_torch(generator.eval())
        latents = Parametrization(lambda key, n: jax.random.normal(key, (n, 128)), decode)
        result = optimize(model, objective, latents)
    """
    require_torch()
    module = _Module(function, device)

    @jax.custom_vjp
    def call(*arguments: Array) -> Array:
        return module.forward(arguments)

    def forward(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
        return module.forward(arguments), arguments

    def backward(arguments: tuple[Array, ...], cotangent: Array) -> tuple[Any, ...]:
        return module.backward(arguments, cotangent)

    call.defvjp(forward, backward)

    def from_torch_call(*arguments: Any) -> Array:
        return call(*map(jnp.asarray, arguments))

    return from_torch_call


def to_torch(
    function: Callable[[Array], Array], objective: Callable[[Array], Array] | None = None
) -> torch.nn.Module:
    """Return a model, or a model with an objective, as a differentiable PyTorch module.

    A PyTorch pipeline can then use the encoding model as its reward or guidance. Weights stay with JAX and are no
    parameters of the module. Tensors are exchanged without copies where PyTorch and JAX share a device, and through
    the host otherwise; results are on the input's device.

    Parameters
    ----------
    function
        An :class:`~berg_jax.EncodingModel`, a stacked model, or a function of one array.
    objective
        Function of the responses that is applied to them, such as one of
        :mod:`berg_jax.experiments.synthesis.objectives`. By default the module returns the responses.

    Returns
    -------
    A module: tensor (batch, 3, height, width) in 0–255 → responses (batch, vertices), or values (batch,).

    Raises
    ------
    ResourceError
        PyTorch is not installed.
    InvalidParameterError
        When the module is called: the input is no floating-point tensor. When its gradient is computed: the input
        was modified in place since.
    StimulusError
        When the module is called: values are not in 0–255, or look like 0–1. Multiply images in 0–1 by 255.

    See Also
    --------
    from_torch : The other way.

    Examples
    --------
    ::

        reward = berg_jax.bridge.to_torch(model, objectives.mean(weights))
        loss = -reward(255 * pipeline_images).mean()
        loss.backward()
    """
    torch = require_torch()
    checks = bool(hasattr(function, "hemisphere_size") or hasattr(function, "mask"))
    pure = _composed(function, objective)

    class Encode(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, images: torch.Tensor) -> torch.Tensor:
            array = array_beside(images, pure)
            if checks:
                check_values(array)
            if not context.needs_input_grad[0]:
                return tensor_like(_value(pure, array), images)
            value, context.pullback = _value_and_pullback(pure, array)
            context.save_for_backward(images)  # PyTorch then notices when it is modified in place
            return tensor_like(value, images)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context: Any, cotangent: torch.Tensor) -> torch.Tensor:
            try:
                (images,) = context.saved_tensors
            except RuntimeError as error:
                raise InvalidParameterError(
                    "The images were modified in place after the model had seen them, so their gradient is lost. "
                    f"Modify a copy, images.clone(), or call backward() before. (PyTorch: {error})"
                ) from error
            gradient = _pulled_back(context.pullback, array_beside(cotangent, context.pullback))
            return tensor_like(gradient, images)

    class EncodingModule(torch.nn.Module):
        """A JAX function as a module."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """Return the function's value for a batch."""
            if not (isinstance(images, torch.Tensor) and images.is_floating_point()):
                kind = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
                raise InvalidParameterError(f"The input must be a floating-point tensor, got {kind}: images.float().")
            if images.dtype == torch.float64 and not x64_enabled():
                raise InvalidParameterError(f"The input is float64, {_NO_X64}")
            return Encode.apply(images)

    return EncodingModule()


class _Module:
    """A torch function, called with arrays: directly where they are concrete, else as a callback of the program."""

    def __init__(self, function: Callable[..., Any], device: Any):
        torch = require_torch()
        weights = []
        if isinstance(function, torch.nn.Module):
            weights = [*function.parameters(), *function.buffers()]
            if any(part.training for part in function.modules()):
                raise InvalidParameterError(
                    "The module is in training mode, in which dropout and batch normalization make its gradient "
                    "another function's: call module.eval() first."
                )
        devices = {weight.device for weight in weights}
        if len(devices) > 1:
            raise InvalidParameterError(
                f"The module's weights are on several devices, {sorted(map(str, devices))}: module.to(one of them)."
            )
        chosen = next(iter(devices), torch.device("cpu")) if device is None else torch.device(device)
        if devices and chosen.type != next(iter(devices)).type:
            raise InvalidParameterError(
                f"The module's weights are on {next(iter(devices))}, not on {device}: module.to({str(device)!r}), or "
                "leave device out."
            )
        self.function, self.device = function, chosen
        self.dtypes = {str(w.dtype).removeprefix("torch.") for w in weights if w.is_floating_point()}
        self.results: dict[Any, tuple[tuple[int, ...], Any]] = {}

    def forward(self, arguments: tuple[Array, ...]) -> Array:
        """Return the result for arrays, traced or not."""
        result = self._result(arguments)
        if not any(isinstance(argument, jax.core.Tracer) for argument in arguments):
            return self._returned(self._run(arguments), arguments[0])
        host = partial(self._forward_on_host, tuple(argument.ndim for argument in arguments))
        return jax.pure_callback(host, result, *arguments, vmap_method="broadcast_all")

    def backward(self, arguments: tuple[Array, ...], cotangent: Array) -> tuple[Any, ...]:
        """Return the gradient by each argument; integers have none."""
        floating = [jnp.issubdtype(argument.dtype, jnp.floating) for argument in arguments]
        if not any(isinstance(argument, jax.core.Tracer) for argument in (*arguments, cotangent)):
            found = self._gradients(arguments, cotangent)
            gradients = iter([self._returned(gradient, arguments[0]) for gradient in found])
        else:
            host = partial(self._backward_on_host, tuple(argument.ndim for argument in (*arguments, cotangent)))
            shapes = tuple(
                jax.ShapeDtypeStruct(argument.shape, argument.dtype)
                for argument, is_floating in zip(arguments, floating, strict=True)
                if is_floating
            )
            gradients = iter(jax.pure_callback(host, shapes, *arguments, cotangent, vmap_method="broadcast_all"))
        return tuple(
            next(gradients) if is_floating else np.zeros(argument.shape, jax.dtypes.float0)
            for argument, is_floating in zip(arguments, floating, strict=True)
        )

    def _forward_on_host(self, dimensions: tuple[int, ...], *arguments: Any) -> np.ndarray:
        leading = _leading(arguments[0], dimensions[0])
        rows = [_as_one_batch(array, n) for array, n in zip(arguments, dimensions, strict=True)]
        return _in_batches(as_numpy(self._run(rows)), leading)

    def _backward_on_host(self, dimensions: tuple[int, ...], *arguments: Any) -> tuple[np.ndarray, ...]:
        leading = _leading(arguments[0], dimensions[0])
        *rows, cotangent = (_as_one_batch(array, n) for array, n in zip(arguments, dimensions, strict=True))
        return tuple(_in_batches(as_numpy(gradient), leading) for gradient in self._gradients(rows, cotangent))

    def _run(self, arguments: Any) -> torch.Tensor:
        torch = require_torch()
        tensors = [self._tensor(argument) for argument in arguments]
        with torch.no_grad():
            result = self.function(*tensors)
        if any(tensor._version for tensor in tensors):
            raise InvalidParameterError(_IN_PLACE)
        return result

    def _gradients(self, arguments: Any, cotangent: Any) -> tuple[torch.Tensor, ...]:
        torch = require_torch()
        tensors = [self._tensor(argument) for argument in arguments]
        floating = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
        with torch.enable_grad():
            result = self.function(*tensors)
        zeros = [torch.zeros_like(tensor) for tensor in floating]
        if not result.requires_grad:
            return tuple(zeros)
        found = torch.autograd.grad(result, floating, self._tensor(cotangent), allow_unused=True)
        return tuple(zero if one is None else one for one, zero in zip(found, zeros, strict=True))

    def _tensor(self, array: Any) -> torch.Tensor:
        """Return an array as a tensor on the function's device, without a copy if it is there already."""
        return tensor_of(array).to(self.device)

    def _returned(self, tensor: torch.Tensor, like: Array) -> Array:
        array = array_of(tensor)
        return array if array.devices() == like.devices() else jax.device_put(array, like.sharding)

    def _result(self, arguments: tuple[Array, ...]) -> jax.ShapeDtypeStruct:
        """Check the arguments, and return the shape and type of the result, known from one row of zeros."""
        shapes = [(argument.shape, str(argument.dtype)) for argument in arguments]
        if not arguments or any(len(shape) == 0 or shape[0] != shapes[0][0][0] for shape, _ in shapes):
            raise InvalidParameterError(
                f"Every argument has the batch as its first axis; got the shapes {[shape for shape, _ in shapes]}."
            )
        floats = {kind for _, kind in shapes if kind in _FLOATS}
        if not floats:
            kinds = sorted({kind for _, kind in shapes})
            raise InvalidParameterError(f"No argument is of floating-point numbers, got {kinds}: x.astype(float).")
        if self.dtypes and not floats & self.dtypes:
            raise InvalidParameterError(
                f"The module's weights are {', '.join(sorted(self.dtypes))} and the input "
                f"{', '.join(sorted(floats))}: convert one of them, module.float() or x.astype(…)."
            )
        key = tuple((shape[1:], kind) for shape, kind in shapes)
        if key not in self.results:
            self.results[key] = self._probed([np.zeros((1, *shape[1:]), kind) for shape, kind in shapes])
        shape, kind = self.results[key]
        return jax.ShapeDtypeStruct((shapes[0][0][0], *shape), kind)

    def _probed(self, zeros: list[np.ndarray]) -> tuple[tuple[int, ...], Any]:
        torch = require_torch()
        result = self._run(zeros)
        if not isinstance(result, torch.Tensor):
            raise InvalidParameterError(
                f"The function must return one tensor, got {type(result).__name__}: take it out, "
                "lambda x: module(x).sample."
            )
        kind = str(result.dtype).removeprefix("torch.")
        if kind not in _FLOATS or result.ndim == 0 or result.shape[0] != 1:
            raise InvalidParameterError(
                "The function must return floating-point numbers with the batch as the first axis; for a batch of 1 "
                f"it returned {kind} of shape {tuple(result.shape)}."
            )
        if kind == "float64" and not x64_enabled():
            raise InvalidParameterError(f"The function returns float64, {_NO_X64}")
        return tuple(result.shape[1:]), jnp.dtype(kind)


_NO_X64 = "and 64-bit types are off in JAX: use tensor.float(), or set JAX_ENABLE_X64=1."
_IN_PLACE = (
    "The function modifies its input in place, which would change JAX's arrays: let it work on a copy, "
    "lambda x: module(x.clone())."
)


def _leading(array: Any, dimensions: int) -> tuple[int, ...]:
    """Return the axes that ``vmap`` has added, together with the batch."""
    return tuple(array.shape[: array.ndim - dimensions + 1])


def _as_one_batch(array: Any, dimensions: int) -> np.ndarray:
    array = np.asarray(array)
    return array.reshape(math.prod(_leading(array, dimensions)), *array.shape[array.ndim - dimensions + 1 :])


def _in_batches(array: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
    return array.reshape(*leading, *array.shape[1:])


def _composed(function: Callable[..., Array], objective: Callable[..., Array] | None) -> jax.tree_util.Partial:
    """Return functions as one pytree, so that a model's weights are an argument of the program, not constants."""
    if objective is None:
        return _as_pytree(function)
    return jax.tree_util.Partial(_applied, _as_pytree(function), _as_pytree(objective))


def _as_pytree(function: Callable[..., Array]) -> Any:
    leaves = jax.tree.leaves(function)
    return jax.tree_util.Partial(function) if any(callable(leaf) for leaf in leaves) else function


def _applied(function: Callable[..., Array], objective: Callable[..., Array], images: Array) -> Array:
    return objective(function(images))


@jax.jit
def _value(function: Any, images: Array) -> Array:
    return function(images)


@jax.jit
def _value_and_pullback(function: Any, images: Float[Array, "batch ..."]) -> tuple[Array, Any]:
    return jax.vjp(lambda images: function(images), images)


@jax.jit
def _pulled_back(pullback: Any, cotangent: Array) -> Array:
    (gradient,) = pullback(cotangent)
    return gradient

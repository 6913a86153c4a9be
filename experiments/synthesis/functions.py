"""Functions with numbers inside, as pytrees: what stimuli are made for, and of, as an argument of the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Function:
    """A function and the numbers that it is applied to first, as a pytree.

    Objectives, penalties, decoders and augmentations are such functions. Two of the same ``call`` and other
    numbers of the same shapes (other ROIs, targets, scales) share one compiled program; nothing is baked into it.
    They add, subtract and scale: ``mean(faces) - 0.5 * mean(places)``. Plain functions can be used in their place.

    Attributes
    ----------
    call
        Static: takes ``numbers``, then the arguments. Define it once, outside loops.
    numbers
        Arrays, or pytrees of them, such as another function.
    """

    call: Callable[..., Any] = flax.struct.field(pytree_node=False)
    numbers: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        """The function's value."""
        return self.call(*self.numbers, *arguments)

    def __add__(self, other: Callable[..., Any]) -> Function:
        return Function(_sum, (self, as_function(other)))

    def __radd__(self, other: Callable[..., Any]) -> Function:
        return as_function(other) + self

    def __mul__(self, scale: float | jax.Array) -> Function:
        return Function(_scaled, (jnp.asarray(scale, float), self))

    __rmul__ = __mul__

    def __neg__(self) -> Function:
        return self * -1.0

    def __sub__(self, other: Callable[..., Any]) -> Function:
        return self + -as_function(other)


def as_function(function: Callable[..., Any]) -> Function:
    """A plain function as a :class:`Function`; one that is one already is passed on."""
    return function if isinstance(function, Function) else Function(function)


def _sum(first: Function, second: Function, *arguments: Any) -> Any:
    return first(*arguments) + second(*arguments)


def _scaled(scale: jax.Array, function: Function, *arguments: Any) -> Any:
    return scale * function(*arguments)

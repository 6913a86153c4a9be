"""Functions that hold arrays, as pytrees: objectives, priors and decoders as arguments of the compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Function:
    """A function and the arrays that it takes as its first arguments, as a pytree.

    Objectives, penalties, decoders and augmentations are such functions. Two functions with the same ``call``, and
    with numbers of the same shapes (other ROIs, targets, scales), share one compiled program; no number is compiled
    into it. Functions can be added, subtracted and scaled: ``mean(faces) - 0.5 * mean(places)``. Plain functions can
    be used in their place.

    Attributes
    ----------
    call
        Function of ``numbers``, followed by the arguments (static). Define it once, outside loops.
    numbers
        Arrays, or pytrees of arrays, such as another function.

    Examples
    --------
    >>> def scaled(factor, values):
    ...     return factor * values
    >>> triple = Function(scaled, (jnp.asarray(3.0),))
    >>> float(triple(jnp.asarray(2.0))), float((triple - 1.5 * triple)(jnp.asarray(2.0)))
    (6.0, -3.0)
    """

    call: Callable[..., Any] = flax.struct.field(pytree_node=False)
    numbers: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        """Return the function's value."""
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
    """Return a plain function as a :class:`Function`; a :class:`Function` is returned as it is."""
    return function if isinstance(function, Function) else Function(function)


def _sum(first: Function, second: Function, *arguments: Any) -> Any:
    return first(*arguments) + second(*arguments)


def _scaled(scale: jax.Array, function: Function, *arguments: Any) -> Any:
    return scale * function(*arguments)

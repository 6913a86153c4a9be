"""The protocol of reducers, checks of their names and sizes, and the base class of this package's reducers."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import InvalidParameterError
from .pairs import Indices, Responses, Results, State, Valid, full

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST = 100  # largest number of characters of a name


class Reducer(Protocol):
    """Protocol of a reducer of responses, which users can implement.

    Attributes
    ----------
    name
        Name of the results: a valid file name, unique in a run.
    vertices
        Number of columns of the responses.
    images
        Number of images of the source, or None for any number.
    whole
        Number of consecutive images that must be in one block, so that block sizes are multiples of it; usually 1.

    See Also
    --------
    berg_jax.stream.stream : Run reducers on the responses to a source of images.
    """

    name: str
    vertices: int
    images: int | None
    whole: int

    @property
    def fingerprint(self) -> str:
        """sha256 of all settings, which must be the same when a run is resumed."""

    def init(self) -> State:
        """Return the state of no images."""

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Return the state with a batch added; a pure function, for ``jax.jit``.

        ``indices`` are the images' numbers in the source. Images that are not ``valid`` have no effect, whatever
        their responses.
        """

    def merge(self, a: State, b: State) -> State:
        """Return the state of the union of two disjoint sets of images."""

    def finalize(self, state: State) -> Results:
        """Return results by name; ``"count"`` is the number of images."""


def check_names(reducers: Sequence[Reducer]) -> None:
    """Raise InvalidParameterError unless every reducer has a valid name of its own.

    Raises
    ------
    InvalidParameterError
        A name is not a valid file name, occurs twice, or would be taken for a state or for the stored responses.
    """
    check_file_names(reducer.name for reducer in reducers)
    names = [reducer.name.casefold() for reducer in reducers]  # some file systems do not distinguish A from a
    if len(set(names)) < len(names):
        raise InvalidParameterError(f"Every reducer of a run needs its own name, got {sorted(names)}.")


def check_file_names(names: Iterable[str]) -> None:
    """Raise InvalidParameterError if a name would lead out of a run's folder, or be taken for another file there.

    Raises
    ------
    InvalidParameterError
        A name is not a valid file name, or would be taken for a state or for the stored responses.
    """
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _LONGEST:
            raise InvalidParameterError(
                f"name must be of at most {_LONGEST} letters, digits, '.', '_' and '-', as a file's, got {name!r}."
            )
        if name.casefold() == "responses" or name.casefold().endswith(".state"):
            raise InvalidParameterError(
                f"A reducer cannot be named {name!r}: a run keeps something else under that name. Choose another one."
            )


def check_reducers(reducers: Sequence[Reducer], images: int, vertices: int, block: int) -> None:
    """Raise InvalidParameterError if reducers do not fit a run.

    Parameters
    ----------
    reducers
        Reducers of the run.
    images, vertices
        Number of images of the source, and of columns of the responses.
    block
        Number of images in a block.

    Raises
    ------
    InvalidParameterError
        A reducer is for another number of images or vertices, or for other blocks.
    """
    for reducer in reducers:
        if reducer.vertices != vertices or reducer.images not in (None, images):
            expected = "any number of" if reducer.images is None else reducer.images
            raise InvalidParameterError(
                f"Reducer {reducer.name!r} is for {expected} images and {reducer.vertices} vertices, got {images} "
                f"images and {vertices} vertices. Make it for this source and model."
            )
        if block % reducer.whole and block < images:
            raise InvalidParameterError(
                f"Reducer {reducer.name!r} needs blocks of a multiple of {reducer.whole} images, got {block}."
            )


class BaseReducer:
    """Base class of this package's reducers, which are dataclasses of their settings.

    It checks the settings, and updates a state by merging it with the state of a batch.
    """

    images: int | None = None
    whole: int = 1
    _state_of: Callable[[Responses, Indices, Valid], State]  # a method: the state of one batch

    def __post_init__(self) -> None:
        check_names([self])
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                    raise InvalidParameterError(f"{field.name} must be a positive integer, got {value!r}.")
                object.__setattr__(self, field.name, int(value))

    def _set_table(self, name: str, kinds: str = "biuf", ndim: int = 2) -> None:
        """Replace a setting by a finite array of its own, of float64, or of int64 if only integers are allowed."""
        try:
            array = np.asarray(getattr(self, name))
        except ValueError:  # rows of different lengths
            array = np.empty(0, object)
        largest = np.finfo(np.float32).max
        valid = array.ndim == ndim and array.size and array.dtype.kind in kinds
        if not valid or not (np.abs(array) <= largest).all():  # a comparison that NaN fails, too
            raise InvalidParameterError(
                f"{name} must be of {'finite numbers' if 'f' in kinds else 'integers'} that float32 can hold, "
                f"{ndim}-dimensional and not empty; got {array.dtype} of shape {array.shape}."
            )
        # Narrow integer types are not kept, because sums could overflow: 288 ones overflow int8.
        array = np.array(array, np.float64 if "f" in kinds else np.int64)
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    @property
    def fingerprint(self) -> str:
        """sha256 of all settings."""
        digest = hashlib.sha256(type(self).__name__.encode())
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            array = isinstance(value, np.ndarray)
            fact = f"{value.dtype.str} {value.shape}" if array else repr(value)
            digest.update(f"\0{field.name}\0{fact}\0".encode())
            if array:
                digest.update(np.ascontiguousarray(value))
        return digest.hexdigest()

    def init(self) -> State:
        """Return the state of no images."""
        batch = jax.ShapeDtypeStruct((1, self.vertices), jnp.float32)
        index, valid = (jax.ShapeDtypeStruct((1,), dtype) for dtype in (jnp.int32, jnp.bool_))
        return jax.tree.map(lambda x: full(x.shape, 0, x.dtype), jax.eval_shape(self._state_of, batch, index, valid))

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Return the state with a batch added."""
        return self.merge(state, self._state_of(responses, indices, valid))

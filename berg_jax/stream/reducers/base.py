"""What a reducer is, and what those of this package share: their settings, and updating by merging."""

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
_LONGEST = 100  # characters of a name


class Reducer(Protocol):
    """What the loop needs of a reduction.

    Attributes
    ----------
    name
        Of its results: a valid file name, unique in a run.
    vertices
        Columns of the responses that it takes.
    images
        Length of the source that it is for; None for any.
    whole
        So many images must not be divided between blocks: a block is a multiple of it. For most 1.
    """

    name: str
    vertices: int
    images: int | None
    whole: int

    @property
    def fingerprint(self) -> str:
        """sha256 of all settings; a run is not resumed with others."""

    def init(self) -> State:
        """The state of no images."""

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in; pure, for ``jax.jit``.

        ``indices`` are the images' numbers in the source. What is not ``valid`` counts nowhere, whatever it holds.
        """

    def merge(self, a: State, b: State) -> State:
        """The state of two disjoint sets of images."""

    def finalize(self, state: State) -> Results:
        """Results by name; ``"count"`` is the number of images."""


def check_names(reducers: Sequence[Reducer]) -> None:
    """Refuse names under which a run cannot keep results beside all else that it keeps.

    Raises
    ------
    InvalidParameterError
        A name is no file's, is another's, or would be taken for a state or for the stored responses.
    """
    check_file_names(reducer.name for reducer in reducers)
    names = [reducer.name.casefold() for reducer in reducers]  # some file systems do not tell A from a
    if len(set(names)) < len(names):
        raise InvalidParameterError(f"Every reducer of a run needs its own name, got {sorted(names)}.")


def check_file_names(names: Iterable[str]) -> None:
    """Refuse names that would lead out of a run's folder, or be taken for something else there.

    Raises
    ------
    InvalidParameterError
        A name is no file's, or would be taken for a state or for the stored responses.
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
    """Refuse reducers that do not fit a run.

    Parameters
    ----------
    reducers
        Of one run.
    images, vertices
        Length of the source, and columns of the responses.
    block
        Images of a block.

    Raises
    ------
    InvalidParameterError
        One is for another number of images or vertices, or for other blocks.
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


class Settings:
    """Shared by all reducers, which are dataclasses of their settings: checks, and updating by merging."""

    images: int | None = None
    whole: int = 1
    _of: Callable[[Responses, Indices, Valid], State]  # a method: the state of one batch

    def __post_init__(self) -> None:
        check_names([self])
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                    raise InvalidParameterError(f"{field.name} must be a positive integer, got {value!r}.")
                object.__setattr__(self, field.name, int(value))

    def _set_table(self, name: str, kinds: str = "biuf", ndim: int = 2) -> None:
        """Keep a setting as a finite array of its own: float64, or int64 where only integers are allowed."""
        try:
            array = np.asarray(getattr(self, name))
        except ValueError:  # rows of different lengths
            array = np.empty(0, object)
        most = np.finfo(np.float32).max  # a comparison that NaN fails, too
        if array.ndim != ndim or not array.size or array.dtype.kind not in kinds or not (np.abs(array) <= most).all():
            raise InvalidParameterError(
                f"{name} must be of {'finite numbers' if 'f' in kinds else 'integers'} that float32 can hold, "
                f"{ndim}-dimensional and not empty; got {array.dtype} of shape {array.shape}."
            )
        # Never in the integer type that was given: 288 ones overflow int8.
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
        """The state of no images."""
        batch = jax.ShapeDtypeStruct((1, self.vertices), jnp.float32)
        index, valid = (jax.ShapeDtypeStruct((1,), dtype) for dtype in (jnp.int32, jnp.bool_))
        return jax.tree.map(lambda x: full(x.shape, 0, x.dtype), jax.eval_shape(self._of, batch, index, valid))

    def update(self, state: State, responses: Responses, indices: Indices, valid: Valid) -> State:
        """Take a batch in."""
        return self.merge(state, self._of(responses, indices, valid))

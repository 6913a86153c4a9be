"""Selected vertices of the two hemispheres in the order of a model's columns, and checks of their indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from .errors import InvalidParameterError

HEMISPHERES = ("lh", "rh")


@dataclass(frozen=True, eq=False)
class Vertices:
    """Selected vertices as indices within each hemisphere, in the order of a model's columns.

    Parameters
    ----------
    lh, rh
        0-based indices within the left and within the right hemisphere. Their order is kept.
    hemisphere_size
        Number of vertices of one hemisphere (163,842 for fsaverage).

    Raises
    ------
    InvalidParameterError
        An index is not an integer, is out of range or occurs twice.

    See Also
    --------
    berg_jax.Subject.vertices : Vertices of a ROI expression, above thresholds.

    Examples
    --------
    >>> Vertices(lh=np.array([12, 7]), rh=np.array([300]), hemisphere_size=163_842).global_indices
    array([    12,      7, 164142])
    """

    lh: Int[np.ndarray, " lh"]
    rh: Int[np.ndarray, " rh"]
    hemisphere_size: int

    def __post_init__(self) -> None:
        size = self.hemisphere_size
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise InvalidParameterError(f"hemisphere_size must be a positive integer, got {size!r}.")
        object.__setattr__(self, "hemisphere_size", int(size))
        for name in HEMISPHERES:
            object.__setattr__(self, name, self._checked(name, getattr(self, name)))

    def _checked(self, name: str, indices: Any) -> np.ndarray:
        array = np.asarray(indices)
        if array.size == 0 and array.ndim == 1:
            array = array.astype(np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            hint = " For a mask pass numpy.flatnonzero(mask)." if array.dtype.kind == "b" else ""
            raise InvalidParameterError(
                f"{name} must be a one-dimensional array of integer vertex indices, got {array.dtype} of shape "
                f"{array.shape}.{hint}"
            )
        wrong = array[(array < 0) | (array >= self.hemisphere_size)]
        if len(wrong):
            raise InvalidParameterError(
                f"{name} must hold indices within the hemisphere, 0 to {self.hemisphere_size - 1}, got {wrong[0]}"
                f" and {len(wrong) - 1} more outside. Right-hemisphere indices start at 0, too."
            )
        array = array.astype(np.int64)
        values, counts = np.unique(array, return_counts=True)
        if (counts > 1).any():
            raise InvalidParameterError(
                f"{name} holds {int((counts > 1).sum())} vertices more than once, such as "
                f"{values[counts > 1][0]}. Pass each vertex once, for example numpy.unique({name})."
            )
        array.setflags(write=False)
        return array

    @classmethod
    def all(cls, hemisphere_size: int) -> Vertices:
        """Return every vertex, ascending.

        Examples
        --------
        >>> len(Vertices.all(hemisphere_size=10_242))
        20484
        """
        return cls(np.arange(hemisphere_size), np.arange(hemisphere_size), hemisphere_size)

    @classmethod
    def from_global(cls, indices: Int[np.ndarray, " n"], hemisphere_size: int) -> Vertices:
        """Return vertices from global indices, in which the right hemisphere follows the left one.

        The order within each hemisphere is kept.

        Examples
        --------
        >>> Vertices.from_global(np.array([12, 7, 642]), hemisphere_size=642).rh
        array([0])
        """
        indices = np.asarray(indices)
        left = indices < hemisphere_size
        return cls(indices[left], indices[~left] - hemisphere_size, hemisphere_size)

    @property
    def global_indices(self) -> Int[np.ndarray, " n"]:
        """Global indices: the left hemisphere's, then the right one's, which are counted on after the left ones."""
        return np.concatenate([self.lh, self.rh + self.hemisphere_size])

    @property
    def indices(self) -> Int[np.ndarray, " n"]:
        """Indices within the hemisphere: the left hemisphere's, then the right one's."""
        return np.concatenate([self.lh, self.rh])

    @property
    def hemispheres(self) -> np.ndarray:
        """Name of each vertex's hemisphere, "lh" or "rh"."""
        return np.repeat(HEMISPHERES, [len(self.lh), len(self.rh)])

    def __repr__(self) -> str:
        """Return one line: the number of vertices in each hemisphere."""
        return f"Vertices({len(self.lh):,} lh + {len(self.rh):,} rh of 2 × {self.hemisphere_size:,})"

    def __len__(self) -> int:
        return len(self.lh) + len(self.rh)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the global indices, for functions of NumPy."""
        return self.global_indices.astype(dtype or np.int64)

    def __getitem__(self, key: Any) -> Any:
        """Return global indices by position."""
        return self.global_indices[key]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vertices):
            return NotImplemented
        return (
            self.hemisphere_size == other.hemisphere_size
            and np.array_equal(self.lh, other.lh)
            and np.array_equal(self.rh, other.rh)
        )

    def __hash__(self) -> int:
        return hash((self.hemisphere_size, self.lh.tobytes(), self.rh.tobytes()))


def places_in(
    known: Int[np.ndarray, " k"], wanted: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the position of each wanted index in ``known``, and whether it is missing there.

    ``known`` may be in any order.
    """
    order = np.argsort(known)
    rank = np.searchsorted(known, wanted, sorter=order)
    positions = order[np.minimum(rank, len(known) - 1)]
    return positions, known[positions] != wanted


def check_hemisphere(hemisphere: str) -> None:
    """Raise InvalidParameterError unless ``hemisphere`` is ``"lh"`` or ``"rh"``."""
    if hemisphere not in HEMISPHERES:
        raise InvalidParameterError(f"hemisphere must be 'lh' or 'rh', got {hemisphere!r}.")


def check_vertices(vertices: Any, hemisphere_size: int) -> None:
    """Raise InvalidParameterError unless ``vertices`` are Vertices of hemispheres of this size."""
    if not isinstance(vertices, Vertices):
        raise InvalidParameterError(
            f"vertices must be berg_jax.Vertices, such as model.vertices or subject.vertices('V1'), got "
            f"{type(vertices).__name__}. For a ROI pass roi=…; for arrays pass "
            f"vertices=Vertices(lh, rh, hemisphere_size={hemisphere_size})."
        )
    if vertices.hemisphere_size != hemisphere_size:
        raise InvalidParameterError(
            f"The selection is of hemispheres of {vertices.hemisphere_size} vertices, this subject or model of "
            f"{hemisphere_size}. Build it with hemisphere_size={hemisphere_size}."
        )


def mask_or_indices(values: Any, size: int, name: str) -> Int[np.ndarray, " n"]:
    """Return vertex indices from indices or from a mask, which has a boolean, 0 or 1 for every vertex.

    Raises
    ------
    InvalidParameterError
        The array is neither a mask nor indices.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # a ragged list
        raise InvalidParameterError(f"{name}: expected a mask or a list of vertex indices, got {error}.") from error
    is_mask = array.dtype.kind == "b" or (array.shape == (size,) and size > 2 and np.isin(array, (0, 1)).all())
    if not is_mask:
        return Vertices(array, np.array([], np.int64), size).lh
    if array.shape != (size,):
        raise InvalidParameterError(f"{name}: a mask must have {size} elements, got shape {array.shape}.")
    return np.flatnonzero(array)

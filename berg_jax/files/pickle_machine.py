"""A pickle machine that runs no code: it knows the names in :mod:`.pickle_objects` and refuses all others."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..errors import UnsafeFileError
from .pickle_objects import ALLOWED, Parts, abbreviated, checked_key, resolve

_LONG = (str, bytes, bytearray, tuple, list, set, frozenset)  # types whose items a call may iterate over


def unpickle(file: Any, persistent_load: Callable[[Any], np.ndarray]) -> Any:
    """Return the object in a pickle: plain containers, NumPy arrays and scalars.

    Parameters
    ----------
    file
        A binary file, positioned at the beginning of the pickle.
    persistent_load
        Function that turns a persistent ID into a storage, a one-dimensional array, or :func:`no_storage`.

    Raises
    ------
    UnsafeFileError
        The pickle asks for any other object. Damage can raise any exception.
    """
    return resolve(_Unpickler(file, persistent_load).load(), {})


def no_storage(persistent_id: Any) -> Any:
    """Raise UnsafeFileError, for pickles that have no storages."""
    raise UnsafeFileError(f"a reference to {abbreviated(persistent_id)}")


# This subclasses the pickle module's Python implementation. Unlike the C one, it can be restricted opcode by opcode,
# and it allocates no memory merely because the file claims some length.
class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: Any, persistent_load: Any):
        super().__init__(file, encoding="latin1")
        self.persistent_load = persistent_load
        start = file.tell()
        size = file.seek(0, io.SEEK_END) - start
        self.allowance = 4 * size + 2**20  # bytes and items that calls may iterate over
        file.seek(start)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise UnsafeFileError(f"the object {module:.200}.{name:.200}")
        return ALLOWED[module, name]

    def load_reduce(self) -> None:
        if type(self.stack[-1]) is not tuple:
            raise UnsafeFileError(f"a call with a {type(self.stack[-1]).__name__} for its arguments")
        self._spend(self.stack[-1])
        pickle._Unpickler.load_reduce(self)  # type: ignore[attr-defined]

    dispatch[pickle.REDUCE[0]] = load_reduce

    def _spend(self, given: tuple) -> None:
        """Refuse calls that receive the same long arguments so often that their work far exceeds the file's size."""
        self.allowance -= len(given) + sum(len(item) for item in given if isinstance(item, _LONG))
        if self.allowance < 0:
            raise UnsafeFileError("more memory or time than its size warrants")

    def get_extension(self, code: int) -> None:
        raise UnsafeFileError(f"the registered extension {code}")

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is OrderedDict:
            # A module's state dict is pickled with its _metadata, which are irrelevant to the weights.
            if not (isinstance(state, dict) and set(state) <= {"_metadata"}):
                raise UnsafeFileError("an OrderedDict with attributes of its own")
        elif type(target) is Parts and isinstance(target.value, np.dtype):
            target.value = target.value.newbyteorder(_byte_order(state))
        elif type(target) is Parts and target.value is None:
            self._spend(state if type(state) is tuple else ())
            target.value = state
        else:
            raise UnsafeFileError(f"state for an object of type {type(target).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        data = self.read(count)
        if len(data) != count:
            raise EOFError("the file ends inside an array")
        self.append(data)

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def load_readonly_buffer(self) -> None:
        """Do nothing: the bytes that stand for a buffer are read-only here anyway."""

    dispatch[pickle.READONLY_BUFFER[0]] = load_readonly_buffer

    def _refuse_object(self) -> None:
        raise UnsafeFileError("an object built from its class")

    for _code in (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX):
        dispatch[_code[0]] = _refuse_object

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _mapping(self.stack[-1])[checked_key(key)] = value

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        items = self.pop_mark()
        target = _mapping(self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({checked_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    dispatch[pickle.DICT[0]] = load_dict

    def load_additems(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise UnsafeFileError("items for an object that is not a set")
        self.stack[-1].update(map(checked_key, items))

    dispatch[pickle.ADDITEMS[0]] = load_additems

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # first, because it replaces self.append
        self.append(frozenset(map(checked_key, items)))

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def load_append(self) -> None:
        value = self.stack.pop()
        _list(self.stack[-1]).append(value)

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        items = self.pop_mark()
        _list(self.stack[-1]).extend(items)

    dispatch[pickle.APPENDS[0]] = load_appends


def _mapping(target: Any) -> dict:
    if type(target) not in (dict, OrderedDict):
        raise UnsafeFileError(f"items for an object of type {type(target).__name__}")
    return target


def _list(target: Any) -> list:
    if type(target) is not list:
        raise UnsafeFileError(f"elements for an object of type {type(target).__name__}")
    return target


def _byte_order(state: Any) -> str:
    match state:
        case (int(), ("<" | ">" | "=" | "|") as order, None, None, None, int(), int(), int()):
            return order
        case _:
            raise UnsafeFileError("a NumPy dtype with fields or metadata")

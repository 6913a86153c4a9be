"""The objects allowed in a pickle: a fixed list of names, each bound to a small function that checks its arguments.

NumPy's objects are built in two steps, because a dtype may receive its byte order late. They are therefore kept in
parts until the pickle has ended, and built then.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import Any

import ml_dtypes
import numpy as np

from ..errors import ModelLoadError, UnsafeFileError

_STORAGE_DTYPES = {
    "DoubleStorage": np.dtype("f8"),
    "FloatStorage": np.dtype("f4"),
    "HalfStorage": np.dtype("f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("i8"),
    "IntStorage": np.dtype("i4"),
    "ShortStorage": np.dtype("i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# torch.uint16, uint32 and uint64 have no storage class of their own; their tensors name the dtype instead.
_TORCH_DTYPES = {"uint16": np.dtype("u2"), "uint32": np.dtype("u4"), "uint64": np.dtype("u8")}
_NUMPY_DTYPE = re.compile(r"[<>=|]?([biufc][0-9]{1,2}|[SU][0-9]{1,6}|O8?|b1|\?)")
# An expanded tensor (stride 0) may have any shape, whatever its storage holds, so the elements are limited here.
_MAX_ELEMENTS = 2**33
_MAX_NUMBER = 2**48  # of a shape or stride; products of larger numbers could take hours to compute


class Parts:
    """A pickled NumPy object before its state has arrived."""

    def __init__(self, value: Any = None):
        self.value = value


class _Scalar(Parts):
    """A NumPy scalar, built at the end, because its dtype may receive its byte order late."""

    def __init__(self, dtype: Any, data: Any):
        self.dtype, self.data = dtype, data


class _Buffered(Parts):
    """An array from a buffer of protocol 5, built at the end, because its dtype may receive its byte order late."""

    def __init__(self, buffer: Any, dtype: Any, shape: Any, order: Any):
        self.buffer, self.dtype, self.shape, self.order = buffer, dtype, shape, order


class _Marker:
    """A class that a pickle may name but never calls."""


def _new_array(kind: Any, shape: Any, typecode: Any) -> Parts:
    if kind is not _Marker:
        raise UnsafeFileError("an array of another class than numpy.ndarray")
    return Parts()


def _new_dtype(name: Any, align: Any = False, copy: Any = True) -> Parts:
    name = name.decode("ascii") if isinstance(name, bytes) else name
    if not (isinstance(name, str) and _NUMPY_DTYPE.fullmatch(name)) or align:
        raise UnsafeFileError(f"the NumPy dtype {abbreviated(name)}")
    return Parts(np.dtype(name))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise UnsafeFileError(f"a string encoded as {abbreviated(encoding)}")
    return text.encode("latin1")


def _new_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """Return a strided view of a storage; offset and strides count elements."""
    if any(rest[2:]):  # such as {"neg": True}; the values would differ from the storage's
        raise UnsafeFileError("a tensor with a negated or conjugated view")
    _check_storage(storage)
    size, stride = tuple(_items(size)), tuple(_items(stride))
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > 32 or not all(map(_is_number, numbers)):
        raise ModelLoadError("a tensor whose size, strides and offset are not plain numbers that fit each other")
    if math.prod(size) > _MAX_ELEMENTS:
        raise ModelLoadError(f"a tensor of size {size}, more than {_MAX_ELEMENTS} elements")
    if 0 in size:
        return np.empty(size, storage.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= len(storage):
        raise ModelLoadError(f"a tensor that reaches element {last} of a storage of {len(storage)}")
    strides = tuple(s * storage.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _check_storage(storage: Any) -> None:
    """Refuse expanded tensors: they have fewer elements in memory than their length, which a view could leave."""
    if not (type(storage) is np.ndarray and storage.ndim == 1 and storage.flags.c_contiguous):
        raise UnsafeFileError("a tensor of something that is no storage")


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_NUMBER


def _items(value: Any) -> Any:
    """Return a container that may be iterated over, because its items are in memory, unlike an expanded tensor's."""
    if type(value) not in (tuple, list, set, frozenset):
        raise UnsafeFileError(f"the items of a {type(value).__name__}")
    return value


def _new_size(items: Any = ()) -> tuple:
    return tuple(_items(items))


def _new_tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> np.ndarray:
    """Return a tensor of a dtype that has no storage class: its storage is bytes, in this machine's byte order."""
    _check_storage(storage)
    usable = len(storage) // dtype.itemsize * dtype.itemsize
    return _new_tensor(storage[:usable].view(dtype), offset, size, stride, requires_grad, hooks, *rest)


def _new_parameter(data: Any, requires_grad: Any, hooks: Any) -> np.ndarray:
    return data


def _new_ordered_dict(*pairs: Any) -> OrderedDict:
    return OrderedDict((checked_key(key), value) for key, value in map(_items, _items(pairs[0]) if pairs else ()))


def _new_bytes() -> bytes:
    """Return b"", which protocol 2 pickles as a call of bytes()."""
    return b""


def _new_set(items: Any = ()) -> set:
    return set(map(checked_key, _items(items)))


def _new_frozenset(items: Any = ()) -> frozenset:
    return frozenset(map(checked_key, _items(items)))


def _new_complex(real: Any, imaginary: Any) -> complex:
    return complex(float(real), float(imaginary))


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _new_ordered_dict,
    ("_codecs", "encode"): _encode,
    ("torch", "Size"): _new_size,
    ("numpy", "ndarray"): _Marker,
    ("numpy", "dtype"): _new_dtype,
    ("torch._utils", "_rebuild_tensor_v2"): _new_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _new_tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _new_parameter,
    ("torch.storage", "UntypedStorage"): np.dtype("u1"),
    **{("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()},
    **{("torch", name): dtype for name, dtype in _TORCH_DTYPES.items()},
    **{(module, "bytes"): _new_bytes for module in ("__builtin__", "builtins")},
    **{(module, "set"): _new_set for module in ("__builtin__", "builtins")},
    **{(module, "frozenset"): _new_frozenset for module in ("__builtin__", "builtins")},
    **{(module, "complex"): _new_complex for module in ("__builtin__", "builtins")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _new_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffered for core in ("core", "_core")},
}


def checked_key(value: Any) -> Any:
    """Return a dictionary key or set element that can be hashed quickly, or raise UnsafeFileError.

    Hashing nested tuples that share their parts, or huge integers that collide, could take forever.
    """
    if not isinstance(value, (str, bytes, int, float, type(None))) or (
        isinstance(value, (int, float)) and not abs(value) < 2**61 - 1
    ):
        raise UnsafeFileError(f"a dictionary key or set element of type {type(value).__name__}, or beyond 61 bits")
    return value


def abbreviated(value: Any) -> str:
    """Return a short text for a value in a message. A tuple's text could be endless if it shares its parts often."""
    return repr(value)[:80] if isinstance(value, (str, bytes, float, type(None))) else f"a {type(value).__name__}"


def resolve(value: Any, done: dict[int, Any]) -> Any:
    """Replace the parts of NumPy objects by the objects themselves, at every reference to them.

    ``done`` holds the objects that have been replaced already, by id.

    Raises
    ------
    UnsafeFileError, ModelLoadError
        The data contain any other object; parts do not fit each other.
    """
    if isinstance(value, (str, bytes, int, float, type(None), np.ndarray)):
        return value
    if id(value) in done:
        return done[id(value)][1]
    result: Any
    match value:
        case dict():
            done[id(value)] = (value, result := {})
            result.update((key, resolve(item, done)) for key, item in value.items())
        case list():
            done[id(value)] = (value, result := [])
            result.extend(resolve(item, done) for item in value)
        case tuple():
            result = tuple(resolve(item, done) for item in value)
        case set() | frozenset() | complex() | bytearray():
            result = value
        case _Scalar():
            result = _scalar(value)
        case _Buffered():
            result = _buffered(value)
        case Parts():
            result = _array(value, done)
        case _:
            raise UnsafeFileError(f"a {type(value).__name__} among the data")
    done[id(value)] = (value, result)  # keeps the value alive, so that its id is not reused
    return result


def _dtype_of(parts: Any) -> np.dtype:
    if not (type(parts) is Parts and isinstance(parts.value, np.dtype)):
        raise UnsafeFileError("a NumPy object without a plain dtype")
    return parts.value


def _shape_of(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(map(_is_number, shape)):
        raise ModelLoadError("an array whose shape is not plain numbers")
    return shape


def _array(parts: Parts, done: dict[int, Any]) -> np.ndarray:
    match parts.value:
        case (int(), tuple() as shape, Parts() as kind, bool() as fortran, (bytes() | list()) as data):
            shape, dtype = _shape_of(shape), _dtype_of(kind)
        case np.dtype():
            raise UnsafeFileError("a NumPy dtype among the data")
        case _:
            raise UnsafeFileError("an array without plain data")
    if dtype.kind == "O":
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise ModelLoadError(f"an array of objects of shape {shape} whose data do not fit")
        result = np.empty(len(data), object)
        done[id(parts)] = (parts, result)
        for index, item in enumerate(data):
            result[index] = resolve(item, done)
    else:
        if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
            raise ModelLoadError(f"an array of {dtype} and shape {shape} whose data do not fit")
        result = from_bytes(data, dtype)
    return result.reshape(shape, order="F" if fortran else "C")


def _scalar(parts: _Scalar) -> Any:
    dtype = _dtype_of(parts.dtype)
    if dtype.kind == "O" or not isinstance(parts.data, bytes) or len(parts.data) != dtype.itemsize:
        raise ModelLoadError(f"a scalar of {dtype} whose data do not fit")
    return from_bytes(parts.data, dtype)[0]


def _buffered(parts: _Buffered) -> np.ndarray:
    dtype, shape = _dtype_of(parts.dtype), _shape_of(parts.shape)
    if dtype.kind == "O" or not isinstance(parts.buffer, (bytes, bytearray)) or parts.order not in ("C", "F"):
        raise ModelLoadError("an array from a buffer that is not plain")
    if len(parts.buffer) != math.prod(shape) * dtype.itemsize:
        raise ModelLoadError(f"an array of {dtype} and shape {shape} whose data do not fit")
    return from_bytes(parts.buffer, dtype).reshape(shape, order=parts.order)


def from_bytes(data: bytes | bytearray, dtype: np.dtype) -> np.ndarray:
    """Return a flat array of these bytes, or raise ModelLoadError if text has characters that do not exist."""
    if not data:
        return np.empty(0, dtype)
    if dtype.kind == "U" and np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder)).max() > 0x10FFFF:
        raise ModelLoadError("text with characters that do not exist")
    return np.frombuffer(data, dtype)

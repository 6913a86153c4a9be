"""HDF5 data sets of images, and checks of their packed chunks, which must not expand to more than a chunk's size.

HDF5 would unpack them however large they become, and however long it takes.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import itertools
import math
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from ...errors import StimulusError
from ...files.disk import Unsuitable

NSD_DATASET = "imgBrick"  # data set in nsd_stimuli.hdf5, channels last
LARGEST_CHUNK = 1 << 30  # bytes; a chunk is always read as a whole
# Sizes in bytes up to which packed chunks need no check, because they cannot become too large. Deflated data expand
# at most 1032 times, LZF's 88 times, but HDF5 tries larger and larger buffers for LZF.
HARMLESS = {"gzip": LARGEST_CHUNK // 1032, "lzf": 1 << 17}


def open_dataset(path: Path, name: str | None = None) -> Any:
    """Open an HDF5 file's data set of this name; by default ``imgBrick``, or the only one with four axes.

    Raises
    ------
    Unsuitable
        Which data set is not clear, or it cannot be read as it is.
    OSError
        The file cannot be read.
    """
    import h5py

    with _explained_locks():
        file = h5py.File(path, "r")
    found: dict[str, Any] = {}
    file.visititems(lambda name, item: found.update({name: item}) if getattr(item, "ndim", 0) == 4 else None)
    dataset = found[choose(found, name, path, "datasets", NSD_DATASET)]
    if dataset.is_virtual or dataset.external:
        raise Unsuitable("its images lie in other files, which are not read. Copy them into one file.")
    facts = dataset.id.get_create_plist()
    filters = [facts.get_filter(place)[0] for place in range(facts.get_nfilters())]
    if sum(number not in (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32) for number in filters) > 1:
        raise Unsuitable("its chunks are packed several times. Pack them once.")
    _require_filters(filters)
    harmless = dataset.compression is None or path.stat().st_size <= min(HARMLESS.values())
    return dataset if harmless else PackedDataset(dataset)


def choose(found: Collection[str], name: str | None, path: Path, kind: str, first: str | None = None) -> str:
    """Return the name of the array to read: the one that is asked for, the first choice, or the only one.

    Raises
    ------
    Unsuitable
        There is no such array, or there are several and none is asked for.
    """
    if name is None and first in found:
        return str(first)
    if name is None and len(found) == 1:
        return next(iter(found))
    names = sorted(found)
    listed = f"{names[:5]}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
    if name is not None and name in found:
        return name
    if not names:
        raise Unsuitable(f"it has 0 {kind} of four axes, and images have four. Give a file of images.")
    if name is not None:
        raise Unsuitable(f"it has no {kind.removesuffix('s')} {name!r} of four axes; it has {listed}.")
    expected = f"expected {first!r} or exactly one" if first else "expected exactly one"
    raise Unsuitable(
        f"it has {len(names)} {kind} of four axes {listed}, {expected}. Choose one by its name: {path}::{names[0]}"
    )


def written_by_matlab(dataset: Any) -> bool:
    """Return whether MATLAB wrote a data set, which stores axes in the reverse of the order that its users see."""
    return "MATLAB_class" in getattr(dataset, "attrs", {})


def _require_filters(filters: list[int]) -> None:
    """Raise Unsuitable unless HDF5 has these filters; those of hdf5plugin are loaded if they are needed."""
    import h5py

    if missing := [number for number in filters if not h5py.h5z.filter_avail(number)]:
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")
    if missing := [number for number in missing if not h5py.h5z.filter_avail(number)]:
        raise Unsuitable(
            f"its chunks are packed by HDF5's filter {missing[0]}, which is not installed here. pip install "
            "hdf5plugin has the usual filters; or write the file again with gzip."
        )


@contextlib.contextmanager
def _explained_locks() -> Iterator[None]:
    """Turn HDF5's error at a file that another program holds open, or that cannot be locked, into advice."""
    try:
        yield
    except OSError as error:
        text = str(error)
        if "unable to lock file" in text and error.errno not in (errno.EAGAIN, errno.EACCES):
            raise Unsuitable(
                f"its file system has no locks ({error}). Set HDF5_USE_FILE_LOCKING=FALSE and run this again."
            ) from error
        if "unable to lock file" in text:
            raise Unsuitable(
                "another program holds it open for writing. Close it there; if nothing writes to it any more, set "
                "HDF5_USE_FILE_LOCKING=FALSE and run this again."
            ) from error
        if "already open for" in text:
            raise Unsuitable(
                "it is marked as open for writing. Close it in the program that writes it; if that has ended without "
                "closing it, h5clear --status (of HDF5's tools) removes the mark."
            ) from error
        raise


class PackedDataset:
    """An HDF5 data set with packed chunks, whose unpacked sizes are checked before HDF5 unpacks them."""

    def __init__(self, dataset: Any) -> None:
        self._dataset, self.shape, self.dtype, self.chunks = dataset, dataset.shape, dataset.dtype, dataset.chunks
        self.attrs, self.name = dataset.attrs, dataset.name

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int[np.ndarray, " n"]) -> Num[np.ndarray, "n a b c"]:
        rest = [range(0, n, step) for n, step in zip(self.shape[1:], self.chunks[1:], strict=True)]
        first = np.unique(rows // self.chunks[0] * self.chunks[0]).tolist()
        for corner in itertools.product(first, *rest):
            self._check(corner)
        return self._dataset[rows]

    def _check(self, corner: tuple[int, ...]) -> None:
        limit = math.prod(self.chunks) * self.dtype.itemsize
        size = self._dataset.id.get_chunk_info_by_coord(corner).size or 0
        kind = self._dataset.compression
        if kind not in HARMLESS or size <= HARMLESS[kind]:
            return
        skipped, packed = self._dataset.id.read_direct_chunk(corner)
        if not skipped and _is_larger(packed, kind, limit):
            raise StimulusError(f"a chunk becomes more than the {limit:,} bytes that it has")


def _is_larger(packed: bytes, kind: str, limit: int) -> bool:
    """Return whether a packed chunk unpacks to more than ``limit`` bytes."""
    if kind == "lzf":
        return _unpacked_by_lzf(packed, limit) > limit
    unpacker = zlib.decompressobj()
    unpacker.decompress(packed, limit)
    return bool(unpacker.unconsumed_tail and unpacker.decompress(unpacker.unconsumed_tail, 1))


def _unpacked_by_lzf(packed: bytes, limit: int) -> int:
    """Return the unpacked size of LZF's runs and references in bytes, counted until it exceeds ``limit``."""
    position = size = 0
    while position < len(packed) - 1 and size <= limit:
        first = packed[position]
        if first < 32:  # a run of ``first`` + 1 bytes
            size, position = size + first + 1, position + first + 2
        elif first < 224:  # a short reference
            size, position = size + (first >> 5) + 2, position + 2
        else:  # a long reference
            size, position = size + 9 + packed[position + 1], position + 3
    return size

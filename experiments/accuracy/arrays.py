"""Arrays of trials on disk: NumPy's, an HDF5 data set, or zarr, of which only the asked rows and columns are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ...errors import ModelNotFoundError, ValidationError
from ...files.disk import Unsuitable, readable
from ...files.npy import read_npy
from ...stream.sources.arrays import HDF5, NUMPY, ZARR, split_name

ARRAYS = NUMPY + HDF5 + ZARR


def is_array(path: str | Path) -> bool:
    """Return whether a path is that of an array, by its ending."""
    return split_name(path)[0].suffix.lower() in ARRAYS


class TrialArray:
    """Array with two axes in a ``.npy``, ``.h5``, ``.hdf5`` or ``.zarr``.

    Parameters
    ----------
    path
        The file, or zarr's folder. ``x.h5::betas`` names one of several data sets; by default it is the only one with
        two axes.

    Attributes
    ----------
    shape, dtype
        Shape and type of the array.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ValidationError
        The file cannot be read, or it is not clear which array is meant.
    """

    def __init__(self, path: str | Path) -> None:
        file, name = split_name(path)
        self.path = path
        if not file.exists():
            raise ModelNotFoundError(f"There is no file {file}.")
        with readable(path, ValidationError, "Get the file again."):
            self._array = _open(file, name)
        self.shape = tuple(self._array.shape)
        self.dtype = np.dtype(getattr(self._array.dtype, "numpy_dtype", self._array.dtype))

    def read(self, rows: Int[np.ndarray, " r"], columns: Int[np.ndarray, " c"]) -> Float[np.ndarray, "r c"]:
        """Read some rows and columns, in this order, as float32."""
        if not len(rows) or not len(columns):
            return np.empty((len(rows), len(columns)), np.float32)
        ascending, place = np.unique(rows, return_inverse=True)
        start, stop = int(columns.min()), int(columns.max()) + 1
        with (
            readable(self.path, ValidationError, "Get the file again."),
            np.errstate(over="ignore", invalid="ignore"),  # values that become infinite, and signaling NaNs
        ):
            found = self._array[ascending, start:stop]
            if hasattr(found, "read"):  # tensorstore's, which reads when it is told to
                found = found.read().result()
            return np.asarray(np.asarray(found)[place][:, columns - start], np.float32)


def _open(file: Path, name: str | None) -> Any:
    suffix = file.suffix.lower()
    if suffix in NUMPY:
        return read_npy(file)
    if suffix in HDF5:
        return _open_hdf5(file, name)
    import tensorstore

    place = file / name if name else file
    driver = "zarr3" if (place / "zarr.json").is_file() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(place.resolve())}}
    return tensorstore.open(spec, open=True, read=True).result()


def _open_hdf5(file: Path, name: str | None) -> Any:
    import h5py

    opened = h5py.File(file, "r")
    if name is not None:
        dataset = opened.get(name)
        if not isinstance(dataset, h5py.Dataset):
            raise Unsuitable(f"it has no data set {name!r}, but {sorted(opened)}.")
    else:
        found: list[Any] = []
        opened.visititems(lambda _, item: found.append(item) if getattr(item, "ndim", 0) == 2 else None)
        if len(found) != 1:
            names = [item.name.strip("/") for item in found]
            raise Unsuitable(f"it has {len(found)} data sets with two axes, {names}. Name one: {file}::{names[:1]}")
        (dataset,) = found
    if dataset.is_virtual or dataset.external:
        raise Unsuitable("its values lie in other files, which are not read. Copy them into one file.")
    return dataset

"""Files of cortical maps that other programs read: GIFTI, FreeSurfer's MGZ, NumPy's npz, and tables."""

from __future__ import annotations

import csv
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ..files.disk import Unsuitable, explained, read_small, readable
from ..files.gifti import check_gifti
from ..files.npy import read_npy, read_npz
from ..vertices import HEMISPHERES, Vertices
from .cifti import CIFTI, Spheres, save_cifti
from .meshes import require
from .spaces import hint, whole_map

GIFTI, MGZ, NPZ, CSV = ".func.gii", ".mgz", ".npz", ".csv"
FORMATS = (GIFTI, MGZ, NPZ, CSV)
_MOST_VALUES = 1 << 24  # in one map
_LARGEST = 1 << 27  # bytes of an MGH file
_STRUCTURES = {"lh": "CortexLeft", "rh": "CortexRight"}


def save(
    values: Float[np.ndarray, " n"],
    path: str | Path,
    vertices: Vertices | None = None,
    *,
    spheres: Spheres | None = None,
) -> list[Path]:
    """Write one value per vertex to files that other programs read, and return their paths.

    Parameters
    ----------
    values
        Without ``vertices``, one value for each vertex, (2 · hemisphere_size,), left hemisphere first. With
        ``vertices``, one value for each of them, in their order.
    path
        Path whose ending determines the format. ``x.func.gii`` and ``x.mgz`` stand for two files, ``x.lh.func.gii``
        and ``x.rh.func.gii``, with float32 values of every vertex of a hemisphere, NaN where there is no value.
        ``x.npz`` has the same values as arrays ``lh`` and ``rh``, in float64. ``x.csv`` is a table of hemisphere,
        vertex (within the hemisphere) and value for the vertices that have a value. ``x.dscalar.nii`` is CIFTI-2 on
        fs_LR 32k.
    vertices
        Vertices of the values. The default is all vertices.
    spheres
        Spherical surfaces by which a map of another mesh is resampled to fs_LR 32k, for ``.dscalar.nii``: see
        :func:`berg_jax.surface.cifti.save_cifti`.

    Returns
    -------
    Paths of the files.

    Raises
    ------
    InvalidParameterError
        There is no such format, or the values do not fit the vertices, are infinite, or are too large for float32.
    ResourceError
        nibabel is not installed, or the files cannot be written.

    See Also
    --------
    read : Read such files.
    berg_jax.surface.plot : Draw values on the cortex.
    berg_jax.surface.save_annot, berg_jax.surface.save_labels : Regions for FreeSurfer.
    berg_jax.surface.to_pycortex : Values for pycortex.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = save(np.arange(2 * 642), Path(folder, "map.npz"))
    ...     read(paths[0], hemisphere_size=642)[-1]
    np.float64(1283.0)
    """
    path = Path(path)
    if path.name.endswith(CIFTI):
        return [save_cifti(values, path, vertices, spheres=spheres)]
    if spheres is not None:
        raise InvalidParameterError(f"spheres are for {CIFTI}, and {path.name} is none. Leave them out.")
    ending = next((ending for ending in FORMATS if path.name.endswith(ending)), None)
    if ending is None:
        raise InvalidParameterError(f"A map's file must end in {', '.join((*FORMATS, CIFTI))}, got {str(path)!r}.")
    whole, size = whole_map(values, vertices)
    if ending in (GIFTI, MGZ):
        require("nibabel")
        with np.errstate(over="ignore"):
            halves = whole.astype(np.float32).reshape(2, size)
        if np.isinf(halves).any():
            raise InvalidParameterError(
                "Some values are too large for float32, which the files hold. Scale them first."
            )
        paths = [_beside(path, ending, hemisphere) for hemisphere in HEMISPHERES]
        for half, one, hemisphere in zip(halves, paths, HEMISPHERES, strict=True):
            with explained("write", one):
                _image(half, ending, hemisphere).to_filename(one)
        return paths
    with explained("write", path):
        if ending == NPZ:
            np.savez(path, **dict(zip(HEMISPHERES, whole.reshape(2, size), strict=True)))
        else:
            _write_table(path, whole, size)
    return [path]


def read(path: str | Path, hemisphere_size: int | None = None) -> Float[np.ndarray, " n"]:
    """Read one value per vertex, left hemisphere first, from files that :func:`save` or other programs have written.

    Parameters
    ----------
    path
        Path as for :func:`save`, except a table. The two files of ``x.mgz``, ``x.mgh`` and ``x.func.gii`` may also
        have names as in FreeSurfer and NSD: ``lh.x.mgz`` and ``rh.x.mgz``. ``x.npy`` has both hemispheres in one
        array.
    hemisphere_size
        Number of vertices that a hemisphere must have.

    Returns
    -------
    (2 · hemisphere_size,) values, NaN where there is none.

    Raises
    ------
    ModelNotFoundError
        There are no such files.
    InvalidParameterError
        The ending is not that of a format, or the map is in another space. The message names the space that it seems
        to be in.
    ValidationError
        A file cannot be read.

    See Also
    --------
    save : Write such files.
    """
    path = Path(path)
    ending = next((e for e in (GIFTI, MGZ, ".mgh", NPZ, ".npy") if path.name.endswith(e)), None)
    if ending is None:
        raise InvalidParameterError(
            f"A map's file must end in .func.gii, .mgz, .mgh, .npz or .npy, got {str(path)!r}."
        )
    if ending in (NPZ, ".npy"):
        halves = _from_numpy(path, ending)
    else:
        require("nibabel")
        halves = [_from_image(_found(path, ending, hemisphere)) for hemisphere in HEMISPHERES]
    expected = hemisphere_size or len(halves[0])
    for hemisphere, half in zip(HEMISPHERES, halves, strict=True):
        if len(half) != expected:
            like = hint(len(half)) or hint(sum(map(len, halves))).replace("which looks", "and both look")
            raise InvalidParameterError(
                f"{path} has {len(half)} values for {hemisphere}{like}; expected {expected}"
                f"{hint(expected).replace(', which looks like', ',')}. Resample the map to this space."
            )
    return np.concatenate(halves)


def _beside(path: Path, ending: str, hemisphere: str) -> Path:
    return path.with_name(f"{path.name.removesuffix(ending)}.{hemisphere}{ending}")


def _found(path: Path, ending: str, hemisphere: str) -> Path:
    candidates = [_beside(path, ending, hemisphere), path.with_name(f"{hemisphere}.{path.name}")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ModelNotFoundError(f"There is neither {candidates[0]} nor {candidates[1]}. Give both hemispheres' files.")


def _image(half: Float[np.ndarray, " n"], ending: str, hemisphere: str) -> Any:
    from nibabel import gifti
    from nibabel.freesurfer.mghformat import MGHImage

    if ending == MGZ:
        return MGHImage(half.reshape(-1, 1, 1), np.eye(4))
    array = gifti.GiftiDataArray(half, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
    meta = gifti.GiftiMetaData(AnatomicalStructurePrimary=_STRUCTURES[hemisphere])
    return gifti.GiftiImage(meta=meta, darrays=[array])


def _from_image(path: Path) -> Float[np.ndarray, " n"]:
    import nibabel
    from nibabel import MGHImage

    with readable(path, ValidationError, "Get the file again."):
        if path.name.endswith(".gii"):
            check_gifti(path)
            arrays = nibabel.load(path).darrays
            if len(arrays) != 1:
                raise Unsuitable(
                    f"it has {len(arrays)} arrays, expected one map. Write that map to a file of its own."
                )
            values = arrays[0].data
        else:
            image = MGHImage.from_bytes(unpacked_mgh(path))
            _check_amount(math.prod(map(int, image.shape)))  # before its numbers are read
            values = np.asanyarray(image.dataobj)
        if max(values.shape) != values.size:
            shape = values.shape
            raise Unsuitable(f"it has shape {shape}, expected one value for each vertex. Write one map to a file.")
        return _real(values.reshape(-1))


def unpacked_mgh(path: Path) -> bytes:
    """Return the unpacked bytes of an MGH file, which nibabel would unpack without any limit."""
    contents = read_small(path)
    if not contents.startswith(b"\x1f\x8b"):
        return contents
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    contents = unpacker.decompress(contents, _LARGEST)
    if not unpacker.eof:
        raise ValueError(f"it is cut short, or takes more than {_LARGEST:,} bytes")
    return contents


def _check_amount(values: int) -> None:
    if values > _MOST_VALUES:
        raise ValueError(f"it has {values:,} values, more than any map")


def _from_numpy(path: Path, ending: str) -> list[Float[np.ndarray, " n"]]:
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}.")
    with readable(path, ValidationError, "Expected arrays 'lh' and 'rh', or one array of both."):
        if ending == NPZ:
            halves = list(read_npz(path, HEMISPHERES, compressed=True).values())
        else:
            halves = np.split(read_npy(path), 2)
        return [_real(half).reshape(len(half)) for half in halves]


def _real(values: Any) -> Float[np.ndarray, " n"]:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"it holds {values.dtype}, expected numbers")
    _check_amount(values.size)
    with np.errstate(invalid="ignore"):  # from signaling NaNs, which become ordinary NaNs
        return values.astype(np.float64)


def _write_table(path: Path, whole: Float[np.ndarray, " n"], size: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("hemisphere", "vertex", "value"))
        for index in np.flatnonzero(~np.isnan(whole)):
            table.writerow((HEMISPHERES[index // size], index % size, repr(float(whole[index]))))

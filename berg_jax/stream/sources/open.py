"""From a path to the source of images that it stands for."""

from __future__ import annotations

from pathlib import Path

from ...errors import InvalidParameterError, ModelNotFoundError, StimulusError
from ...files.disk import readable
from .arrays import HDF5, NUMPY, ZARR, ArraySource, split_name
from .image_files import EXTENSIONS, FolderSource, ListSource, Source
from .tars import COMPRESSED, TarSource, refusal

LISTS = (".txt", ".csv")
TARS = (".tar",)


_EXPECTED = f"a folder of image files, or a {', '.join(NUMPY + HDF5 + ZARR + TARS + LISTS)} file"


def require_there(path: str | Path) -> None:
    """Raise ModelNotFoundError unless there is something at a path: what can be said before images are opened.

    Raises
    ------
    ModelNotFoundError, StimulusError
        There is nothing; it cannot be looked at.
    """
    path, _ = split_name(path)
    with readable(str(path)[:200], StimulusError, "Check the path and its permissions."):
        there = path.exists()  # which raises at names that are too long, or in folders that may not be entered
    if not there:
        kind = "folder" if path.suffix.lower() in ("", *ZARR) else "file"
        raise ModelNotFoundError(f"There is no {kind} {path}. Give {_EXPECTED}.")


def open_source(path: str | Path, fit: str = "error", layout: str | None = None) -> Source:
    """The images at a path.

    Parameters
    ----------
    path
        A folder of image files, or of ``.tar`` files and no images; a ``.tar`` file; a ``.txt`` or ``.csv`` file
        with the path of one image a line; or an array: ``.npy``, ``.h5``, ``.hdf5`` or a ``.zarr`` folder, of the
        last three also one by name, such as ``images.h5::test``.
    fit
        What to do with images that are not square: ``"error"``, ``"crop"``, ``"pad"`` or ``"stretch"``.
    layout
        Of an array, ``"NCHW"``, ``"NHWC"``, ``"NCWH"`` or ``"NWHC"``, where its shape does not tell.

    Raises
    ------
    ModelNotFoundError
        There is nothing at the path.
    StimulusError
        The images cannot be used.
    InvalidParameterError
        An option makes no sense here, or the path's name does not say what it holds.
    """
    whole, (path, name) = path, split_name(path)
    require_there(path)
    suffix = path.suffix.lower()
    if suffix in ZARR or name is not None or (suffix in NUMPY + HDF5 and not path.is_dir()):
        return ArraySource(whole, fit, layout)
    if layout is not None:
        raise InvalidParameterError(f"layout is for arrays, and {path} is none. Leave it out.")
    if path.is_dir():
        return TarSource(path, fit) if _holds_shards(path) else FolderSource(path, fit)
    if suffix in LISTS:
        return ListSource(path, fit)
    if suffix in TARS:
        return TarSource(path, fit)
    if suffix in COMPRESSED:
        raise InvalidParameterError(refusal(path, suffix))
    raise InvalidParameterError(f"{path} is no source of images: give {_EXPECTED}.")


def _holds_shards(folder: Path) -> bool:
    """Whether there are tar files in a folder, and no images."""
    with readable(folder, StimulusError, "Check its permissions, and that folders are not nested too deeply."):
        if not any(path.suffix.lower() in TARS for path in folder.iterdir()):
            return False
        return not any(path.suffix.lower() in EXTENSIONS for path in folder.rglob("*"))

"""From a path to the source of images that it stands for."""

from __future__ import annotations

import logging
from pathlib import Path

from ...errors import InvalidParameterError, ModelNotFoundError, StimulusError
from ...files.disk import readable
from .arrays import HDF5, NUMPY, ZARR, ArraySource, split_name
from .folders import TARS, FolderSource, ListSource, search
from .image_files import FilesSource, OnError, Source
from .kinds import is_picture, passed_over
from .tars import COMPRESSED, TarSource, refusal

LISTS = (".txt", ".csv")
PACKED = (".zip", ".7z", ".rar")
_EXPECTED = f"a folder of image files, or a {', '.join(NUMPY + HDF5 + ZARR + TARS + LISTS)} file"
_log = logging.getLogger(__name__)


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


def open_source(
    path: str | Path,
    fit: str = "error",
    layout: str | None = None,
    *,
    on_error: OnError = "error",
    output: str | Path | None = None,
) -> Source:
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
        Order of an array's axes, ``"NCHW"``, ``"NHWC"``, ``"NCWH"`` or ``"NWHC"``, where its shape does not tell.
    on_error
        Treatment of image files that cannot be used: ``"error"``, or ``"skip"``, which leaves them to be found when
        they are read.
    output
        Folder that the command writes. Files in it are no stimuli.

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
        if output is not None and path.resolve() == Path(output).resolve():
            raise InvalidParameterError(
                f"{path} is the folder of the images; results beside them become images of a "
                "later run. Choose another output."
            )
        shards = _holds_shards(path)
        return TarSource(path, fit, on_error) if shards else FolderSource(path, fit, on_error, output)
    if suffix in LISTS:
        return ListSource(path, fit, on_error)
    if suffix in TARS:
        return TarSource(path, fit, on_error)
    if suffix in COMPRESSED:
        raise InvalidParameterError(refusal(path, suffix))
    advice = "Unpack it and give the folder" if suffix in PACKED else f"Give {_EXPECTED}"
    raise InvalidParameterError(f"{path} is no source of images. {advice}.")


def log_account(path: object, source: Source) -> None:
    """Log how many of the image files at a path are usable, skipped and passed over."""
    if isinstance(source, FilesSource):
        _log.info("Images in %s: %s", path, source.account)


def _holds_shards(folder: Path) -> bool:
    """Return whether there are tar files in a folder, and neither images nor folders of images beside them."""
    with readable(folder, StimulusError, "Check its permissions, and that folders are not nested too deeply."):
        entries = [entry for entry in folder.iterdir() if passed_over(entry.name) is None]
        if not any(entry.suffix.lower() in TARS for entry in entries):
            return False
    return not any(is_picture(entry.name, None) or entry.is_dir() for entry in entries) or not search(folder).files

"""ROIs from label files: FreeSurfer's .label and .annot, and maps in .mgz, .mgh or GIFTI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ....errors import InvalidParameterError, ModelNotFoundError, ValidationError
from ....files.disk import Unsuitable, read_small, readable
from ....files.gifti import check_gifti
from ....surface.maps import unpacked_mgh
from ....surface.meshes import require
from ....surface.spaces import hint
from ....vertices import HEMISPHERES

Rois = dict[str, dict[str, Int[np.ndarray, " roi"]]]
ENDINGS = (".label", ".annot", ".mgz", ".mgh", ".label.gii", ".func.gii", ".shape.gii", ".gii")
_HEMISPHERE = re.compile(r"(?:^|[._-])(lh|rh|L|R)(?=[._-])")
_ENTITY = re.compile(r"(?:sub|ses|space|den|res|desc)-[^_]*")  # of a BIDS name, which say nothing of the region
_NONE = ("", "???", "unknown", "medial_wall")  # names of what is no region


def read_rois(paths: Sequence[str | Path], hemisphere_size: int) -> Rois:
    """Read ROIs from label files of the two hemispheres.

    Parameters
    ----------
    paths
        Files, or folders of them. A file's name says its hemisphere: ``lh.V1.label``, ``rh.rois.annot``,
        ``lh.floc-faces.mgz``, ``sub-01_hemi-L_rois.label.gii``. A ``.label`` is one ROI of its own name; an
        annotation and a GIFTI label file have names for their regions; of another map, 1, 2, … are ROIs ``name-1``,
        ``name-2``, …, or, if there is only one, ``name``; 0, negative values and NaN are none.
    hemisphere_size
        Number of vertices of a hemisphere.

    Returns
    -------
    ``{"lh": {name: vertices}, "rh": …}``, with every name in both, ascending.

    Raises
    ------
    ModelNotFoundError
        There is no such file, or a folder without any.
    InvalidParameterError
        A name does not say its hemisphere, or two files have the same ROI.
    ValidationError
        A file cannot be read, or is of another surface.
    """
    rois: Rois = {hemisphere: {} for hemisphere in HEMISPHERES}
    for path in _files(paths):
        match = _HEMISPHERE.search(path.name)
        if match is None:
            raise InvalidParameterError(
                f"{path} does not say its hemisphere. Name it lh.… or rh.…, or with hemi-L or hemi-R."
            )
        hemisphere = {"L": "lh", "R": "rh"}.get(match[1], match[1])
        with readable(path, ValidationError, "Get the file again."):
            regions = _regions(path, _stem(path, match), hemisphere_size)
        for name, vertices in regions.items():
            if name in rois[hemisphere]:
                raise InvalidParameterError(f"Two files have the ROI {name!r} in {hemisphere}. Give each once.")
            rois[hemisphere][name] = vertices
    names = dict.fromkeys(name for half in rois.values() for name in half)
    empty = np.array([], np.int64)
    return {hemisphere: {name: half.get(name, empty) for name in names} for hemisphere, half in rois.items()}


def _files(paths: Sequence[str | Path]) -> list[Path]:
    found = []
    for path in map(Path, paths):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files = [file for file in inside if file.is_file() and file.name.endswith(ENDINGS)]
        if not files:
            what = "no label files" if path.exists() else "nothing"
            raise ModelNotFoundError(f"There is {what} at {path}. ROIs are read from {', '.join(ENDINGS[:5])} files.")
        found += files
    return found


def _stem(path: Path, hemisphere: re.Match[str]) -> str:
    """Return a file's name without its hemisphere, its ending, and what BIDS says of subject and space.

    Examples
    --------
    >>> stems = ("lh.V1.label", "sub-01_hemi-L_space-fsaverage_label-V1_mask.func.gii")
    >>> [_stem(Path(name), _HEMISPHERE.search(name)) for name in stems]
    ['V1', 'V1_mask']
    """
    name = path.name.removesuffix(next(ending for ending in ENDINGS if path.name.endswith(ending)))
    name = name[: hemisphere.start(1)].removesuffix("hemi-") + name[hemisphere.end(1) + 1 :]
    kept = [part.removeprefix("label-") for part in name.split("_") if not _ENTITY.fullmatch(part)]
    return "_".join(kept).strip("._-") or path.name


def _regions(path: Path, stem: str, size: int) -> dict[str, Int[np.ndarray, " n"]]:
    if path.name.endswith(".label"):
        return {stem: _label(path, size)}
    require("nibabel")
    if path.name.endswith(".annot"):
        from nibabel.freesurfer import read_annot

        read_small(path)  # for its size
        numbers, _, names = read_annot(path)
        by_number = {index: name.decode() for index, name in enumerate(names)}
    else:
        numbers, by_number = _map(path)
    if len(numbers) != size:
        raise Unsuitable(f"it has {len(numbers)} vertices{hint(len(numbers))}, expected {size}.")
    present = [int(number) for number in np.unique(numbers) if number > 0 or (by_number and number == 0)]
    if by_number:
        names = {number: by_number.get(number, f"{stem}-{number}") for number in present}
    else:
        names = {number: stem if len(present) == 1 else f"{stem}-{number}" for number in present}
    return {name: np.flatnonzero(numbers == n) for n, name in names.items() if name.lower() not in _NONE}


def _label(path: Path, size: int) -> Int[np.ndarray, " n"]:
    lines = read_small(path).decode("utf-8").splitlines()
    count = int(lines[1])
    vertices = np.array([int(line.split()[0]) for line in lines[2 : 2 + count]], np.int64)
    if len(vertices) != count or (count and not 0 <= vertices.min() <= vertices.max() < size):
        raise Unsuitable(f"it has {len(vertices)} of {count} vertices, expected indices from 0 to {size - 1}.")
    return np.unique(vertices)


def _map(path: Path) -> tuple[Int[np.ndarray, " vertices"], dict[int, str]]:
    """Return the whole numbers of a map, and their names if it is a GIFTI label file."""
    import nibabel
    from nibabel import MGHImage

    by_number: dict[int, str] = {}
    if path.name.endswith(".gii"):
        check_gifti(path)
        image = nibabel.load(path)
        if len(image.darrays) != 1:
            raise Unsuitable(f"it has {len(image.darrays)} arrays, expected one. Write one map to a file.")
        values = np.asarray(image.darrays[0].data)
        if path.name.endswith(".label.gii"):
            by_number = {int(key): str(name) for key, name in image.labeltable.get_labels_as_dict().items()}
    else:
        values = np.asanyarray(MGHImage.from_bytes(unpacked_mgh(path)).dataobj)
    values = np.where(np.isnan(values), 0, values).ravel() if values.dtype.kind == "f" else values.ravel()
    if values.dtype.kind not in "iuf" or not (values == np.floor(values)).all():
        raise Unsuitable("its values are no whole numbers, which stand for regions.")
    return values.astype(np.int64), by_number

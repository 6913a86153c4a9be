"""Result of an experiment: the summary, and the values, maps and files of its folder."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import surface
from ...errors import IntegrityError, InvalidParameterError
from ...files.disk import explained, read_small, readable
from ...files.npy import read_npz
from ...vertices import HEMISPHERES, Vertices
from .results import MAPS, NUMBERS, SYNTHETIC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SYNTHESIS = "synthesis.json"
_SIZE = "hemisphere_size"
_STORE = "zarr.json"  # file in the folder of a stream, whose responses or states only a resumed run needs


class ExperimentResult(str):
    """Summary of an experiment as text, with its values by name.

    Printed, and at the end of a notebook's cell, it is the summary. The values are read from the experiment's folder
    when they are asked for.

    Attributes
    ----------
    output
        Folder of the experiment.

    See Also
    --------
    berg_jax.experiments.localize : An experiment that returns such a result.
    """

    output: Path

    def __new__(cls, summary: str, output: str | Path) -> ExperimentResult:
        """Return the result with this summary, whose files are in this folder."""
        result = super().__new__(cls, summary)
        result.output = Path(output)
        return result

    def __getnewargs__(self) -> tuple[str, Path]:
        return str(self), self.output

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    @cached_property
    def values(self) -> dict[str, Any]:
        """Maps (vertices,) and numbers by name; of several subjects as ``"subj01/t_faces"``.

        Raises
        ------
        IntegrityError
            A file is damaged.
        """
        found: dict[str, Any] = {}
        for folder in self._folders:
            prefix = "" if folder == self.output else f"{folder.name}/"
            for name in (NUMBERS, _SYNTHESIS):
                if (folder / name).is_file():
                    with readable(folder / name, IntegrityError, "Run the experiment again."):
                        numbers = dict(json.loads(read_small(folder / name)))
                    found |= {f"{prefix}{key}": value for key, value in numbers.items()}
            found |= {f"{prefix}{name}": values for name, values in self._maps(folder).items()}
        return found

    @property
    def maps(self) -> list[str]:
        """Names of those values that are maps of the cortex."""
        return [
            name if folder == self.output else f"{folder.name}/{name}"
            for folder in self._folders
            for name in self._maps(folder)
        ]

    def vertices(self, name: str) -> Vertices:
        """Return the vertices of a map.

        Raises
        ------
        InvalidParameterError
            There is no map of this name.
        """
        if name not in self.maps:
            raise InvalidParameterError(f"There is no map {name!r} in {self.output}; the maps are {self.maps}.")
        arrays = self._arrays(self.output / name.rpartition("/")[0])
        return Vertices(*(arrays[hemisphere] for hemisphere in HEMISPHERES), int(arrays[_SIZE]))

    def plot(self, name: str, **options: Any) -> Figure:
        """Draw a map on the cortex; of polar angles with a wheel of colors.

        Parameters
        ----------
        name
            One of ``maps``.
        options
            Further arguments of :func:`berg_jax.surface.plot`.

        Raises
        ------
        InvalidParameterError
            There is no map of this name, or it cannot be drawn.
        """
        folder, _, short = name.rpartition("/")
        prefix = f"{folder}/" if folder else ""
        vertices = self.vertices(name)
        given: dict[str, Any] = {"label": short, "title": short}
        if (subject := self.values.get(f"{prefix}subject")) is not None:
            given["subtitle"] = f"subject {subject} · n = {len(vertices):,} vertices"
        if short.endswith("angle"):
            given |= {"wheel": True, "label": f"{short} (°)"}
        if self.values.get(f"{prefix}synthetic"):
            given["note"] = SYNTHETIC
        given |= options
        return surface.plot(self.values[name], vertices, **given)

    def save(self, folder: str | Path) -> Path:
        """Copy the report, maps, numbers and pictures to a new folder, without what only a resumed run needs.

        Raises
        ------
        InvalidParameterError
            The folder is there already.
        ResourceError
            The folder cannot be written.
        """
        folder = Path(folder)
        if folder.exists():
            raise InvalidParameterError(f"{folder} is there already. Give a new folder.")
        with explained("write", folder):
            shutil.copytree(self.output, folder, ignore=_stores)
        return folder

    @property
    def _folders(self) -> list[Path]:
        return [self.output, *sorted(path for path in self.output.glob("subj[0-9][0-9]") if path.is_dir())]

    def _arrays(self, folder: Path) -> dict[str, np.ndarray]:
        if not (folder / MAPS).is_file():
            return {}
        with readable(folder / MAPS, IntegrityError, "Run the experiment again."):
            return read_npz(folder / MAPS)

    def _maps(self, folder: Path) -> dict[str, np.ndarray]:
        return {name: values for name, values in self._arrays(folder).items() if name not in (*HEMISPHERES, _SIZE)}


def _stores(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name / _STORE).is_file()]

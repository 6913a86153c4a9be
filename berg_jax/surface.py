"""Responses on the cortical surface: pictures, and files that surface viewers read.

Pictures show fsaverage5 (10,242 vertices a hemisphere), whose surfaces come with nilearn; nothing is downloaded.
The meshes of fsaverage are nested: a finer one has a coarser one's vertices first, in the same order (Fischl et al.
1999, High-resolution intersubject averaging and a coordinate system for the cortical surface, Human Brain Mapping 8).
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from .errors import InvalidParameterError
from .files import explained
from .rois import HEMISPHERES, Vertices, check_vertices
from .surface_drawing import DPI, SHOWN, VIEWS, Halves, draw_frame, draw_legend, draw_rows, fsaverage5, require

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MESHES = {642: "fsaverage3", 2_562: "fsaverage4", SHOWN: "fsaverage5", 40_962: "fsaverage6", 163_842: "fsaverage"}
PICTURES = (".pdf", ".png", ".svg")
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"


def plot(
    values: Float[np.ndarray, " n"],
    vertices: Vertices | None = None,
    *,
    views: Sequence[str] = ("lateral", "ventral", "medial"),
    flat: bool = True,
    label: str = "response (z)",
    title: str | None = None,
    outlines: Mapping[str, Vertices] | None = None,
    limit: float | None = None,
    colormap: str | Colormap | None = None,
    note: str | None = None,
    output: str | Path | None = None,
) -> Figure:
    """Draw one value per vertex on the inflated and on the flattened cortex, the left hemisphere at left.

    Vertices without a value (NaN, or not among ``vertices``) stay grey: light gyri, dark sulci. The color scale
    goes from -limit to limit if values of both signs are shown, else from 0 to the one side.

    Parameters
    ----------
    values
        Without ``vertices`` one value for each vertex, (2 · hemisphere_size,), left hemisphere first; with
        ``vertices`` one for each of them, in their order. See :func:`to_fsaverage5` for which are shown.
    vertices
        Which vertices the values are of, by default all.
    views
        Rows of inflated hemispheres, of ``lateral``, ``medial``, ``ventral``, ``dorsal``, ``posterior`` and
        ``anterior``.
    flat
        Whether a row of flattened hemispheres follows. The medial wall is cut out of them.
    label
        What the colors mean, with the unit.
    title
        Stands above the picture.
    outlines
        Regions whose borders are drawn, by name, such as ``{"V1": subject.vertices("V1")}``.
    limit
        The magnitude that has the strongest color, by default the 99th percentile of the magnitudes shown. Where
        stronger values are shown, they have the same color, and the color bar ends in an arrow.
    colormap
        A colormap, or the name of one of matplotlib's. By default one that fits the signs.
    note
        Small print below the picture, such as ``"SYNTHETIC weights"``.
    output
        Where to save the picture: .png (1350 pixels wide), .pdf or .svg.

    Returns
    -------
    The figure; pyplot does not know it, so it needs no closing. Its first axes are the picture, in mm, its second
    ones the color bar.

    Raises
    ------
    InvalidParameterError
        An argument makes no sense, no value can be shown, or the mesh is none of fsaverage.
    ResourceError
        matplotlib or nilearn is not installed, or ``output`` cannot be written.
    """
    values, size = _whole(values, vertices)
    rows = _rows(views, flat)
    if output is not None and Path(output).suffix.lower() not in PICTURES:
        raise InvalidParameterError(f"output must end in {', '.join(PICTURES)}, got {str(output)!r}.")
    shown = to_fsaverage5(values, size)
    if np.isnan(shown).all():
        raise InvalidParameterError(
            f"There is nothing to show: {int((~np.isnan(values)).sum())} values are numbers, and none of them is at "
            f"one of the first {SHOWN} vertices of a hemisphere, which a picture shows. Pass values of more vertices."
        )
    regions = _regions(outlines, size)
    require("matplotlib", "nilearn")
    scale = _scale(np.concatenate(shown), limit, colormap)

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    bottom = draw_rows(axes, rows, shown, regions, scale)
    bottom = draw_legend(axes, regions, bottom)
    draw_frame(axes, bottom, scale, label, title or "", " · ".join(filter(None, (note, _resolution(size)))))
    if output is not None:
        with explained("write", Path(output)):
            figure.savefig(output)
    return figure


def to_fsaverage5(
    values: Shaped[np.ndarray, " n"], hemisphere_size: int
) -> tuple[Shaped[np.ndarray, " 10242"], Shaped[np.ndarray, " 10242"]]:
    """One value per vertex of any mesh of fsaverage → those of fsaverage5, left and right hemisphere.

    Parameters
    ----------
    values
        Left, then right hemisphere, (2 · hemisphere_size,).
    hemisphere_size
        Of finer meshes (40,962 and 163,842) the first 10,242 vertices of a hemisphere are fsaverage5; the others
        are left out, not averaged. Of coarser ones (642 and 2,562) each fsaverage5 vertex takes the value of the
        vertex nearest to it on the sphere.

    Raises
    ------
    InvalidParameterError
        This is not the size of a mesh of fsaverage, or the values do not fit to it.
    ResourceError
        nilearn is not installed, and the mesh is a coarser one.
    """
    if hemisphere_size not in MESHES:
        sizes = ", ".join(f"{size} ({name})" for size, name in MESHES.items())
        raise InvalidParameterError(
            f"A picture needs a mesh of fsaverage, of one of these numbers of vertices a hemisphere: {sizes}; got "
            f"{hemisphere_size}. Resample the values to one of them, or use write_gifti and another viewer."
        )
    values = np.asarray(values)
    if values.shape != (2 * hemisphere_size,):
        raise InvalidParameterError(f"values must have shape ({2 * hemisphere_size},), got {values.shape}.")
    left, right = values.reshape(2, hemisphere_size)
    if hemisphere_size >= SHOWN:
        return left[:SHOWN], right[:SHOWN]
    return left[_nearest("lh", hemisphere_size)], right[_nearest("rh", hemisphere_size)]


def write_gifti(
    values: Float[np.ndarray, " n"], vertices: Vertices | None = None, *, path_prefix: str | Path
) -> tuple[Path, Path]:
    """Write ``<path_prefix>.lh.func.gii`` and ``<path_prefix>.rh.func.gii``, and return their paths.

    Parameters
    ----------
    values, vertices
        As for :func:`plot`, of hemispheres of any size. The files hold every vertex of a hemisphere as float32,
        NaN where there is no value.
    path_prefix
        Folder and beginning of the files' names.

    Raises
    ------
    InvalidParameterError
        The values do not fit to the vertices, are infinite, or too large for float32.
    ResourceError
        nibabel is not installed, or the files cannot be written.
    """
    whole, size = _whole(values, vertices)
    with np.errstate(over="ignore"):
        halves = whole.astype(np.float32).reshape(2, size)
    if np.isinf(halves).any():
        raise InvalidParameterError("Some values are too large for float32, which the files hold. Scale them first.")
    require("nibabel")
    from nibabel import gifti

    left, right = (Path(f"{path_prefix}.{hemisphere}.func.gii") for hemisphere in HEMISPHERES)
    for half, path, structure in zip(halves, (left, right), ("CortexLeft", "CortexRight"), strict=True):
        array = gifti.GiftiDataArray(half, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
        meta = gifti.GiftiMetaData(AnatomicalStructurePrimary=structure)
        with explained("write", path):
            gifti.GiftiImage(meta=meta, darrays=[array]).to_filename(path)
    return left, right


def _whole(values: Any, vertices: Vertices | None) -> tuple[Float[np.ndarray, " n"], int]:
    """Values of all vertices, NaN where there is none, and the number of vertices of a hemisphere."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim != 1 or not array.size:
        raise InvalidParameterError(
            f"values must be numbers of shape (n,), one for each vertex, got {array.dtype} of shape {array.shape}. "
            "Of several images show one, such as responses[0]."
        )
    if np.isinf(array).any():
        raise InvalidParameterError(
            f"{int(np.isinf(array).sum())} values are infinite. Set them to NaN to leave them out."
        )
    if vertices is None:
        if len(array) % 2:
            raise InvalidParameterError(
                f"values must be as many for the left as for the right hemisphere, got {len(array)} in all. If they "
                "are of chosen vertices, pass vertices, too."
            )
        return array.astype(np.float64), len(array) // 2
    if not isinstance(vertices, Vertices):
        raise InvalidParameterError(f"vertices must be berg_jax.Vertices, got {type(vertices).__name__}.")
    if len(array) != len(vertices):
        raise InvalidParameterError(
            f"There are {len(array)} values for {len(vertices)} vertices; expected one for each."
        )
    whole = np.full(2 * vertices.hemisphere_size, np.nan)
    whole[vertices.global_indices] = array
    return whole, vertices.hemisphere_size


def _rows(views: Sequence[str], flat: bool) -> list[str]:
    known = isinstance(views, Sequence) and not isinstance(views, str) and all(view in list(VIEWS) for view in views)
    if not known or not (views or flat):
        raise InvalidParameterError(
            f"views must be a list of {list(VIEWS)}, empty only with flat=True, got {views!r}."
        )
    return [*views, "flat"] if flat else list(views)


def _regions(outlines: Mapping[str, Vertices] | None, size: int) -> dict[str, Halves]:
    """For each outlined region a mask of each hemisphere of fsaverage5."""
    if not isinstance(outlines, Mapping | None):
        raise InvalidParameterError(f"outlines must be {{name: Vertices}}, got {type(outlines).__name__}.")
    masks = {}
    for name, vertices in (outlines or {}).items():
        check_vertices(vertices, size)
        mask = np.zeros(2 * size, bool)
        mask[vertices.global_indices] = True
        masks[str(name)] = to_fsaverage5(mask, size)
    return masks


def _resolution(size: int) -> str:
    if size >= SHOWN:
        return f"fsaverage5 subset of {MESHES[size]}" if size > SHOWN else ""
    return f"{MESHES[size]}: at each fsaverage5 vertex the nearest of {size:,} a hemisphere"


def _scale(values: Float[np.ndarray, " n"], limit: float | None, colormap: str | Colormap | None) -> ScalarMappable:
    """Value → color. The colormap also says which ends of the color bar are arrows."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, Normalize

    values = values[~np.isnan(values)]
    if limit is None:
        # A few outliers must not wash out the rest; but where nearly all are 0, the few are what there is.
        limit = float(np.percentile(abs(values), 99)) or float(abs(values).max()) or 1.0
    elif isinstance(limit, bool) or not isinstance(limit, numbers.Real) or not 0 < limit < math.inf:
        raise InvalidParameterError(f"limit must be a positive number, got {limit!r}.")
    limit = float(limit)
    low, high = values.min(), values.max()
    least, most = (-limit if low < 0 else 0), (limit if high > 0 or low == 0 else 0)
    if colormap is None:
        # Reversed for negative values, so that 0 has the same color as for positive ones.
        colormap = DIVERGING if least < 0 < most else SEQUENTIAL if most > 0 else f"{SEQUENTIAL}_r"
    if isinstance(colormap, str) and colormap in matplotlib.colormaps:
        colormap = matplotlib.colormaps[colormap]
    if not isinstance(colormap, Colormap):
        raise InvalidParameterError(
            f"colormap must be a matplotlib colormap, or the name of one such as {DIVERGING!r}, got {colormap!r:.80}."
        )
    colormap = colormap.copy()
    colormap.colorbar_extend = ("neither", "min", "max", "both")[int(low < least) + 2 * int(high > most)]
    return ScalarMappable(Normalize(least, most), colormap)


@functools.cache
def _nearest(hemisphere: str, size: int) -> Int[np.ndarray, " 10242"]:
    """For each fsaverage5 vertex the nearest of the first ``size`` ones, on the sphere."""
    from scipy.spatial import cKDTree

    points = fsaverage5(hemisphere, "sphere").coordinates
    return cKDTree(points[:size]).query(points)[1]

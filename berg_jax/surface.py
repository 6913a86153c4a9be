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
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from .errors import InvalidParameterError
from .files import explained
from .rois import Vertices, check_vertices
from .surface_drawing import DPI, SHOWN, VIEWS, Halves, draw_frame, draw_legend, draw_rows, fsaverage5, require
from .surface_files import GIFTI, MESHES, hint, read, save, whole_map

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["plot", "read", "save", "to_fsaverage5", "write_gifti"]
PICTURES = (".pdf", ".png", ".svg")
DIVERGING, SEQUENTIAL, CYCLIC = "RdBu_r", "viridis", "hsv"


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
    wheel: bool = False,
    labels: Sequence[str] | None = None,
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
        Rows of inflated hemispheres, of ``lateral``, ``medial``, ``ventral``, ``dorsal``, ``posterior``,
        ``anterior``, and ``flat``.
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
    wheel
        Values are angles in degrees, counterclockwise from the right. Colors go around, and the legend is a wheel.
    labels
        Values are numbers of these names, from 0. Each has a color of its own, and the legend names them.
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
    values, size = whole_map(values, vertices)
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
    if wheel and labels is not None:
        raise InvalidParameterError("Values are angles (wheel) or numbers of names (labels), not both.")
    if wheel:
        scale = _around(limit, colormap)
    elif labels is not None:
        scale = _by_name(values, labels, limit, colormap)
    else:
        scale = _scale(np.concatenate(shown), limit, colormap)

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    kind = "angles" if wheel else "names" if labels is not None else "values"
    bottom = draw_rows(axes, rows, shown, regions, scale, kind)
    bottom = draw_legend(axes, regions, bottom)
    small_print = " · ".join(filter(None, (note, _resolution(size))))
    draw_frame(axes, bottom, scale, label, title or "", small_print, kind, labels or ())
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
            f"{hemisphere_size}{hint(hemisphere_size)}. Resample the values to one of them, or use save and another "
            "viewer."
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

    The same as ``save(values, f"{path_prefix}.func.gii", vertices)``: see :func:`save`.
    """
    left, right = save(values, f"{path_prefix}{GIFTI}", vertices)
    return left, right


def _rows(views: Sequence[str], flat: bool) -> list[str]:
    names = [*VIEWS, "flat"]
    known = isinstance(views, Sequence) and not isinstance(views, str) and all(view in names for view in views)
    if not known or not (views or flat):
        raise InvalidParameterError(f"views must be a list of {names}, empty only with flat=True, got {views!r}.")
    return [*views, "flat"] if flat and "flat" not in views else list(views)


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
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

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
    colormap = _colormap(colormap)
    colormap.colorbar_extend = ("neither", "min", "max", "both")[int(low < least) + 2 * int(high > most)]
    return ScalarMappable(Normalize(least, most), colormap)


def _around(limit: float | None, colormap: str | Colormap | None) -> ScalarMappable:
    """Angle → color, from −180° to 180°."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if limit is not None:
        raise InvalidParameterError("A wheel of angles has no limit. Leave it out.")
    return ScalarMappable(Normalize(-180, 180), _colormap(CYCLIC if colormap is None else colormap))


def _by_name(
    values: Float[np.ndarray, " n"], names: Sequence[str], limit: float | None, colormap: str | Colormap | None
) -> ScalarMappable:
    """Number of a name → color."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    there, count = values[~np.isnan(values)], len(names)
    if limit is not None or not count or not np.isin(there, np.arange(count)).all():
        wrong = there[~np.isin(there, np.arange(count))]
        raise InvalidParameterError(
            f"With labels, values are whole numbers from 0 to {count - 1} or NaN, and there is no limit; got "
            f"{wrong[0] if len(wrong) else limit} and {count} labels."
        )
    default = "tab10" if count <= 10 else "tab20" if count <= 20 else "turbo"
    chosen = _colormap(default if colormap is None else colormap)
    listed = isinstance(chosen, ListedColormap) and chosen.N < 256
    colors = chosen(np.arange(count) % chosen.N) if listed else chosen(np.linspace(0, 1, count))
    return ScalarMappable(Normalize(-0.5, count - 0.5), ListedColormap(colors))


def _colormap(colormap: str | Colormap) -> Colormap:
    """A copy, or that of this name."""
    import matplotlib
    from matplotlib.colors import Colormap

    if isinstance(colormap, str) and colormap in matplotlib.colormaps:
        colormap = matplotlib.colormaps[colormap]
    if not isinstance(colormap, Colormap):
        raise InvalidParameterError(
            f"colormap must be a matplotlib colormap, or the name of one such as {DIVERGING!r}, got {colormap!r:.80}."
        )
    return colormap.copy()


@functools.cache
def _nearest(hemisphere: str, size: int) -> Int[np.ndarray, " 10242"]:
    """For each fsaverage5 vertex the nearest of the first ``size`` ones, on the sphere."""
    from scipy.spatial import cKDTree

    points = fsaverage5(hemisphere, "sphere").coordinates
    return cKDTree(points[:size]).query(points)[1]

"""Responses on the cortical surface: pictures, and files that surface viewers read.

Pictures show fsaverage5 (10,242 vertices a hemisphere), whose surfaces come with nilearn; nothing is downloaded.
The meshes of fsaverage are nested: a finer one has a coarser one's vertices first, in the same order (Fischl et al.
1999, High-resolution intersubject averaging and a coordinate system for the cortical surface, Human Brain Mapping 8).
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from .errors import InvalidParameterError, ResourceError
from .files import explained
from .rois import HEMISPHERES, Vertices, check_vertices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

SHOWN = 10_242  # vertices of a hemisphere of fsaverage5
MESHES = {642: "fsaverage3", 2_562: "fsaverage4", SHOWN: "fsaverage5", 40_962: "fsaverage6", 163_842: "fsaverage"}
PICTURES = (".pdf", ".png", ".svg")
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
# What points right and up in a picture of the left hemisphere (in space: x right, y front, z up). Pictures of the
# right one are mirror images. Lateral, ventral and dorsal rows share their horizontal axis.
_X, _Y, _Z = np.eye(3)
VIEWS = {
    "lateral": (-_Y, _Z),
    "medial": (_Y, _Z),
    "ventral": (-_Y, -_X),
    "dorsal": (-_Y, _X),
    "posterior": (_X, _Z),
    "anterior": (-_X, _Z),
}
_MIRROR = np.array([-1, 1, 1])
_GYRI, _SULCI = 0.82, 0.62  # grey of vertices without a value
# Colors of outlines that stand out from blue, white and red; more outlines than these share a rainbow.
_OUTLINES = ["#000000", "#19b52a", "#ffe119", "#e028d0", "#00c5e3", "#ff8c1a", "#7b2fbe", "#8c5a2b", "#b9f227"]
# Measures of a picture in mm of the surfaces; a column is as wide as the inflated hemispheres are long.
_COLUMN, _GAP, _LINE = 216.0, 9.0, 12.0
_CENTERS, _EDGE = (-_COLUMN / 2 - _GAP, _COLUMN / 2 + _GAP), _COLUMN + 25
_WIDTH, _DPI = 9.0, 150  # inches, dots per inch

_Halves = tuple[np.ndarray, np.ndarray]  # of the left and the right hemisphere


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
    _require("matplotlib", "nilearn")
    scale = _scale(np.concatenate(shown), limit, colormap)

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    bottom = _draw_rows(axes, rows, shown, regions, scale)
    bottom = _draw_legend(axes, regions, bottom)
    _draw_frame(axes, bottom, scale, label, title or "", " · ".join(filter(None, (note, _resolution(size)))))
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
    _require("nibabel")
    from nibabel import gifti

    left, right = (Path(f"{path_prefix}.{hemisphere}.func.gii") for hemisphere in HEMISPHERES)
    for half, path, structure in zip(halves, (left, right), ("CortexLeft", "CortexRight"), strict=True):
        array = gifti.GiftiDataArray(half, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
        meta = gifti.GiftiMetaData(AnatomicalStructurePrimary=structure)
        with explained("write", path):
            gifti.GiftiImage(meta=meta, darrays=[array]).to_filename(path)
    return left, right


def _require(*packages: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ResourceError(f"The cortical surface needs {package}: pip install 'berg_jax[plot]'.") from error


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


def _regions(outlines: Mapping[str, Vertices] | None, size: int) -> dict[str, _Halves]:
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
def _fsaverage5(hemisphere: str, name: str) -> Any:
    """A surface of fsaverage5 (coordinates in mm, faces), or its sulcal depth, from nilearn's own files."""
    _require("nilearn")
    from nilearn import datasets, surface

    path = datasets.fetch_surf_fsaverage("fsaverage5")[f"{name}_{'left' if hemisphere == 'lh' else 'right'}"]
    return surface.load_surf_data(path) if name == "sulc" else surface.load_surf_mesh(path)


@functools.cache
def _nearest(hemisphere: str, size: int) -> Int[np.ndarray, " 10242"]:
    """For each fsaverage5 vertex the nearest of the first ``size`` ones, on the sphere."""
    from scipy.spatial import cKDTree

    points = _fsaverage5(hemisphere, "sphere").coordinates
    return cKDTree(points[:size]).query(points)[1]


class _Picture(NamedTuple):
    """A hemisphere as it is seen: points right, up and toward the viewer; the farthest faces first."""

    points: Float[np.ndarray, "10242 3"]
    faces: Int[np.ndarray, "n 3"]
    light: Float[np.ndarray, " 10242"]
    grey: Float[np.ndarray, " 10242"]


@functools.cache
def _picture(hemisphere: str, row: str) -> _Picture:
    """A picture around its middle, of the faces that are turned to the viewer."""
    surface = _fsaverage5(hemisphere, "flat" if row == "flat" else "infl")
    points, faces = surface.coordinates.astype(np.float64), surface.faces
    if row == "flat":
        points *= np.array([1, 1, 0]) * _COLUMN / np.ptp(points[faces, 0])
        light = np.ones(SHOWN)
    else:
        right, up = VIEWS[row]
        if hemisphere == "rh":
            right, up = -right * _MIRROR, up * _MIRROR
        points = points @ np.column_stack([right, up, np.cross(right, up)])
        # A lamp at the viewer, dimmer only near the rim: it shows the shape and leaves colors readable.
        light = 0.55 + 0.45 * np.clip(_normals(points, faces)[:, 2], 0, 1) ** 0.6
    faces = faces[np.argsort(points[faces, 2].mean(1), kind="stable")]
    x, y, _ = np.moveaxis(points[faces] - points[faces[:, :1]], 2, 0)
    used = points[faces.ravel()]
    middle = (used.min(0) + used.max(0)) / 2
    grey = _GYRI + (_SULCI - _GYRI) * np.clip(0.5 + 2.5 * _fsaverage5(hemisphere, "sulc"), 0, 1)
    return _Picture(points - middle, faces[x[:, 1] * y[:, 2] > x[:, 2] * y[:, 1]], light, grey)


def _normals(points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]) -> Float[np.ndarray, "n 3"]:
    """Unit normals of vertices: means of their faces', weighted by area."""
    first, second, third = points[faces].swapaxes(0, 1)
    normals = np.zeros_like(points)
    np.add.at(normals, faces, np.cross(second - first, third - first)[:, None])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _draw_rows(
    axes: Axes, rows: list[str], shown: _Halves, regions: Mapping[str, _Halves], scale: ScalarMappable
) -> float:
    """Draw the rows from y = 0 downward, and return where they end."""
    for x, name in zip(_CENTERS, ("left hemisphere", "right hemisphere"), strict=True):
        axes.text(x, 0, name, size=10, ha="center", va="top")
    top = -_LINE
    for row in rows:
        pictures = [_picture(hemisphere, row) for hemisphere in HEMISPHERES]
        height = max(np.ptp(picture.points[picture.faces, 1]) for picture in pictures)
        for index, (picture, x) in enumerate(zip(pictures, _CENTERS, strict=True)):
            picture = picture._replace(points=picture.points + np.array([x, top - height / 2, 0]))
            _draw_values(axes, picture, shown[index], scale)
            _draw_outlines(axes, picture, [masks[index] for masks in regions.values()])
            if row == "flat":
                _draw_rim(axes, picture)
        axes.text(8 - _EDGE, top - height / 2, row, size=10, ha="center", va="center", rotation=90)
        top -= height + _GAP
    return top


def _draw_values(axes: Axes, picture: _Picture, values: Float[np.ndarray, " 10242"], scale: ScalarMappable) -> None:
    """Paint the faces one over the other, each as four triangles, so that colors blend over short ways only."""
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    points, faces, light, grey = picture
    quarters = _quartered(values[faces])
    there = ~np.isnan(values[faces])
    # A quarter at a corner is as this corner, the middle one as most, so that the border of the values is sharp.
    painted = np.column_stack([there, there.sum(1) >= 2])[:, :, None, None]
    colors = np.where(painted, scale.cmap(scale.norm(quarters))[..., :3], _quartered(grey[faces])[..., None])
    colors = colors * _quartered(light[faces])[..., None]
    x, y, _ = _quartered(points[faces]).reshape(-1, 3).T
    mesh = TriMesh(Triangulation(x, y, np.arange(len(x)).reshape(-1, 3)), rasterized=True)
    mesh.set_facecolor(colors.reshape(-1, 3))
    axes.add_collection(mesh, autolim=False)


def _quartered(corners: Float[np.ndarray, "n 3 ..."]) -> Float[np.ndarray, "n 4 3 ..."]:
    """Corners of faces → corners of the four triangles that the middles of a face's edges cut it into.

    A middle is the mean of its edge's ends, or equal to the one that is not NaN.
    """
    ends = np.roll(corners, -1, axis=1)
    middles = np.where(np.isnan(corners), ends, corners) / 2 + np.where(np.isnan(ends), corners, ends) / 2
    outer = np.stack([corners, middles, np.roll(middles, 1, axis=1)], axis=2)
    return np.concatenate([outer, middles[:, None]], axis=1)


def _draw_outlines(axes: Axes, picture: _Picture, masks: list[Bool[np.ndarray, " 10242"]]) -> None:
    """Draw borders of regions, a third of an edge outside their vertices, so that neighbors' lie side by side."""
    from matplotlib.collections import LineCollection

    points, faces = picture.points, picture.faces
    lines, colors = [np.zeros((0, 2, 3))], []
    for inside, color in zip(masks, _outline_colors(len(masks)), strict=True):
        number = inside[faces].sum(1)
        mixed, single = faces[(number == 1) | (number == 2)], number[(number == 1) | (number == 2)] == 1
        odd = np.argmax(inside[mixed] == single[:, None], axis=1)[:, None]  # the corner that is unlike the others
        one, others = (points[np.take_along_axis(mixed, (odd + shift) % 3, 1)] for shift in ([0], [1, 2]))
        lines.append(one + (others - one) * np.where(single, 0.35, 0.65)[:, None, None])
        colors += [color] * len(mixed)
    lines = np.concatenate(lines)
    seen = ~_hidden(lines.mean(1), points[faces])
    for width, shades, order in ((2.6, "white", 3), (1.5, list(itertools.compress(colors, seen)), 4)):
        collection = LineCollection(
            lines[seen, :, :2], colors=shades, linewidths=width, capstyle="round", zorder=order
        )
        axes.add_collection(collection, autolim=False)


def _hidden(points: Float[np.ndarray, "n 3"], corners: Float[np.ndarray, "m 3 3"]) -> Bool[np.ndarray, " n"]:
    """Which points lie behind a face. A face that covers a point is among the nearest 64, on these surfaces."""
    from scipy.spatial import cKDTree

    near = cKDTree(corners.mean(1)[:, :2]).query(points[:, :2], k=64)[1]
    x, y, depth = np.moveaxis(corners[near] - points[:, None, None], -1, 0)
    covers = (x * np.roll(y, -1, axis=2) > y * np.roll(x, -1, axis=2)).all(2)
    return (covers & (depth > 0).all(2)).any(1)


def _draw_rim(axes: Axes, picture: _Picture) -> None:
    """Draw the edges that have a face on one side only, so that light colors stand out from the paper."""
    from matplotlib.collections import LineCollection

    edges = np.sort(np.stack([picture.faces, np.roll(picture.faces, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    edges, number = np.unique(edges, axis=0, return_counts=True)
    lines = picture.points[edges[number == 1], :2]
    axes.add_collection(LineCollection(lines, colors="0.5", linewidths=0.6, capstyle="round"), autolim=False)


def _outline_colors(number: int) -> list[Any]:
    if number <= len(_OUTLINES):
        return list(_OUTLINES[:number])
    import matplotlib

    return list(matplotlib.colormaps["turbo"](np.linspace(0, 1, number)))


def _draw_legend(axes: Axes, regions: Mapping[str, _Halves], top: float) -> float:
    """Name the outlines below ``top``, and return where the names end."""
    from matplotlib.lines import Line2D

    if not regions:
        return top
    names = [name if np.any(masks) else f"{name} (none)" for name, masks in regions.items()]
    columns = min(len(names), max(1, 100 // (max(map(len, names)) + 6)))
    lines = [Line2D([], [], color=color, linewidth=2.5) for color in _outline_colors(len(names))]
    place = {"loc": "upper center", "bbox_to_anchor": (0, top), "bbox_transform": axes.transData, "borderaxespad": 0}
    axes.legend(lines, names, ncols=columns, fontsize=9, handlelength=1.4, frameon=False, borderpad=0, **place)
    return top - 10.5 * math.ceil(len(names) / columns)


def _draw_frame(axes: Axes, bottom: float, scale: ScalarMappable, label: str, title: str, small_print: str) -> None:
    """Draw the color bar, the title and the small print, and give the figure its size."""
    bar = bottom - 7
    top = 6 + (1.5 * _LINE if title else 0)
    dot = 2 * _EDGE / (_WIDTH * _DPI)
    rows = math.ceil((top - bar + 25 + (9 if small_print else 0)) / dot)
    height = rows * dot  # in whole dots, so that what stands below does not move the brains by a fraction of one
    bottom = top - height
    axes.set(xlim=(-_EDGE, _EDGE), ylim=(bottom, top))
    axes.text(0, top - 5, title, size=13, weight="bold", ha="center", va="top")
    axes.text(0, bottom + 3, small_print, size=7.5, color="0.4", ha="center", va="bottom")
    axes.figure.set_size_inches(_WIDTH, rows / _DPI)
    bar_axes = axes.figure.add_axes((0.3, (bar - bottom) / height, 0.4, 6 / height))
    axes.figure.colorbar(scale, cax=bar_axes, orientation="horizontal").set_label(label, size=9)
    bar_axes.tick_params(labelsize=8)

"""Drawing of fsaverage's hemispheres: projection, colors, outlines, and layout on one canvas, in mm."""

from __future__ import annotations

import functools
import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..vertices import HEMISPHERES
from .labels import Region, place_names
from .meshes import SHOWN, fsaverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

# Directions in space (x right, y front, z up) that point right and up in a picture of the left hemisphere. Pictures
# of the right one are mirror images. Lateral, ventral and dorsal rows share their horizontal axis.
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
GYRI, SULCI = 0.82, 0.62  # grey of vertices without a value
# Colors of outlines that stand out from blue, white and red. If there are more outlines, they have a rainbow's
# colors.
_OUTLINES = ["#000000", "#19b52a", "#ffe119", "#e028d0", "#00c5e3", "#ff8c1a", "#7b2fbe", "#8c5a2b", "#b9f227"]
# Measures of a picture in mm of the surfaces; a column is as wide as the inflated hemispheres are long.
_COLUMN, _GAP, _LINE = 216.0, 9.0, 12.0
_CENTERS, _EDGE = (-_COLUMN / 2 - _GAP, _COLUMN / 2 + _GAP), _COLUMN + 25
_WHEEL = 44.0  # diameter of the wheel of angles
_NAME = 7.5  # size of regions' names in points
_WRAPPED = 100  # characters per line of names
_WIDTH, DPI = 9.0, 150  # inches, dots per inch

Halves = tuple[np.ndarray, np.ndarray]  # values of the left and of the right hemisphere


class _Picture(NamedTuple):
    """A projected hemisphere: coordinates to the right, up and toward the viewer; the farthest faces first."""

    points: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "n 3"]
    light: Float[np.ndarray, " vertices"]
    grey: Float[np.ndarray, " vertices"]


@functools.cache
def _picture(hemisphere: str, row: str, size: int = SHOWN) -> _Picture:
    """Project the mesh of this size around the center of the picture, with only the faces turned to the viewer."""
    surface = fsaverage(hemisphere, "flat" if row == "flat" else "infl", size)
    points, faces = surface.coordinates.astype(np.float64), surface.faces
    if row == "flat":
        points *= np.array([1, 1, 0]) * _COLUMN / np.ptp(points[faces, 0])
        light = np.ones(size)
    else:
        right, up = VIEWS[row]
        if hemisphere == "rh":
            right, up = -right * _MIRROR, up * _MIRROR
        points = points @ np.column_stack([right, up, np.cross(right, up)])
        # Light comes from the viewer and is dimmer only near the rim, which shows the shape and leaves colors
        # readable.
        light = 0.55 + 0.45 * np.clip(_normals(points, faces)[:, 2], 0, 1) ** 0.6
    faces = faces[np.argsort(points[faces, 2].mean(1), kind="stable")]
    x, y, _ = np.moveaxis(points[faces] - points[faces[:, :1]], 2, 0)
    used = points[faces.ravel()]
    middle = (used.min(0) + used.max(0)) / 2
    grey = GYRI + (SULCI - GYRI) * np.clip(0.5 + 2.5 * fsaverage(hemisphere, "sulc", size), 0, 1)
    return _Picture(points - middle, faces[x[:, 1] * y[:, 2] > x[:, 2] * y[:, 1]], light, grey)


def _normals(points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the unit normals of vertices, the means of their faces' normals weighted by area."""
    first, second, third = points[faces].swapaxes(0, 1)
    normals = np.zeros_like(points)
    np.add.at(normals, faces, np.cross(second - first, third - first)[:, None])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def draw_rows(
    axes: Axes,
    rows: list[str],
    shown: Halves,
    regions: Mapping[str, Halves],
    scale: ScalarMappable,
    kind: str,
) -> float:
    """Draw the rows of views from y = 0 downward, and return the y at which they end.

    ``kind`` says what the values are: ``"values"``, ``"angles"`` (cyclic, in degrees) or ``"names"`` (their numbers).
    """
    for x, name in zip(_CENTERS, ("left hemisphere", "right hemisphere"), strict=True):
        axes.text(x, 0, name, size=10, ha="center", va="top")
    top = -_LINE
    for row in rows:
        pictures = [_picture(hemisphere, row, len(shown[0])) for hemisphere in HEMISPHERES]
        height = max(np.ptp(picture.points[picture.faces, 1]) for picture in pictures)
        for index, (picture, x) in enumerate(zip(pictures, _CENTERS, strict=True)):
            picture = picture._replace(points=picture.points + np.array([x, top - height / 2, 0]))
            _draw_values(axes, picture, shown[index], scale, kind)
            masks = [halves[index] for halves in regions.values()]
            outlines = _draw_outlines(axes, picture, masks, kind)
            if row == "flat":
                _draw_rim(axes, picture)
            bounds = np.array([x - _COLUMN / 2, top - height]), np.array([x + _COLUMN / 2, top])
            _draw_names(axes, list(regions), _seen(picture, masks, outlines), bounds)
        axes.text(8 - _EDGE, top - height / 2, row, size=10, ha="center", va="center", rotation=90)
        top -= height + _GAP
    return top


def _draw_values(
    axes: Axes,
    picture: _Picture,
    values: Float[np.ndarray, " vertices"],
    scale: ScalarMappable,
    kind: str,
) -> None:
    """Paint the faces one over the other, each as four triangles, so that colors blend over short distances only.

    Faces of meshes finer than fsaverage5 are as small as pixels, and are not divided.
    """
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    points, faces, light, grey = picture
    has_value, divided = ~np.isnan(values[faces]), _quartered if len(points) <= SHOWN else _whole
    most = (has_value.sum(1) >= 2)[:, None]
    # The quarter at a corner follows this corner, the middle one most corners, so that the border of values is sharp.
    painted = (np.column_stack([has_value, most]) if divided is _quartered else most)[:, :, None, None]
    colors = np.where(painted, _colors(values[faces], scale, kind, divided), divided(grey[faces])[..., None])
    colors = colors * divided(light[faces])[..., None]
    x, y, _ = divided(points[faces]).reshape(-1, 3).T
    mesh = TriMesh(Triangulation(x, y, np.arange(len(x)).reshape(-1, 3)), rasterized=True)
    mesh.set_facecolor(colors.reshape(-1, 3))
    axes.add_collection(mesh, autolim=False)


def _colors(
    corners: Float[np.ndarray, "n 3"], scale: ScalarMappable, kind: str, divided: Callable[..., np.ndarray]
) -> Float[np.ndarray, "n parts 3 3"]:
    """Return the colors at the corners of the parts of faces."""
    if kind == "names":  # colors are blended, because no third name lies between two names
        shades = np.where(np.isnan(corners)[..., None], np.nan, scale.cmap(scale.norm(corners))[..., :3])
        return np.nan_to_num(divided(shades))  # colors are NaN where nothing is painted
    if kind == "values":
        return scale.cmap(scale.norm(divided(corners)))[..., :3]
    first = np.fmax.reduce(corners, axis=1, keepdims=True)
    corners = first + _within_half_a_turn(corners - first)  # 180°, not 0°, lies between −179° and 179°
    return scale.cmap(scale.norm(_within_half_a_turn(divided(corners))))[..., :3]


def _within_half_a_turn(degrees: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    return (degrees + 180) % 360 - 180


def _quartered(corners: Float[np.ndarray, "n 3 ..."]) -> Float[np.ndarray, "n 4 3 ..."]:
    """Return the corners of the four triangles into which the midpoints of its edges divide each face.

    The value at a midpoint is the mean of those at the edge's ends, or equals the one that is not NaN.
    """
    ends = np.roll(corners, -1, axis=1)
    middles = np.where(np.isnan(corners), ends, corners) / 2 + np.where(np.isnan(ends), corners, ends) / 2
    outer = np.stack([corners, middles, np.roll(middles, 1, axis=1)], axis=2)
    return np.concatenate([outer, middles[:, None]], axis=1)


def _whole(corners: Float[np.ndarray, "n 3 ..."]) -> Float[np.ndarray, "n 1 3 ..."]:
    """Return the corners of undivided faces, in which a corner that is NaN takes the value of another one."""
    return np.where(np.isnan(corners), np.fmax.reduce(corners, axis=1, keepdims=True), corners)[:, None]


def _draw_outlines(
    axes: Axes, picture: _Picture, masks: list[Bool[np.ndarray, " vertices"]], kind: str
) -> list[Float[np.ndarray, "m 2"]]:
    """Draw the borders of regions, and return points along the visible part of each border.

    A border lies a third of an edge outside the region's vertices, so that borders of neighbors lie side by side.
    """
    from matplotlib.collections import LineCollection

    points, faces = picture.points, picture.faces
    lines, colors = [np.zeros((0, 2, 3))], []
    for inside, color in zip(masks, _outline_colors(len(masks), kind), strict=True):
        number = inside[faces].sum(1)
        mixed, single = faces[(number == 1) | (number == 2)], number[(number == 1) | (number == 2)] == 1
        odd = np.argmax(inside[mixed] == single[:, None], axis=1)[:, None]  # the corner that differs from the others
        one, others = (points[np.take_along_axis(mixed, (odd + shift) % 3, 1)] for shift in ([0], [1, 2]))
        lines.append(one + (others - one) * np.where(single, 0.35, 0.65)[:, None, None])
        colors += [color] * len(mixed)
    ends = np.cumsum([len(segments) for segments in lines])
    lines = np.concatenate(lines)
    seen = ~_hidden(lines.mean(1), points[faces])
    for width, shades, order in ((2.6, "white", 3), (1.5, list(itertools.compress(colors, seen)), 4)):
        collection = LineCollection(
            lines[seen, :, :2], colors=shades, linewidths=width, capstyle="round", zorder=order
        )
        axes.add_collection(collection, autolim=False)
    return [
        lines[first:last][seen[first:last], :, :2].reshape(-1, 2) for first, last in itertools.pairwise(ends.tolist())
    ]


def _seen(
    picture: _Picture, masks: list[Bool[np.ndarray, " vertices"]], outlines: list[Float[np.ndarray, "m 2"]]
) -> list[Region]:
    """Return the visible part of each region, without vertices if most of it is turned away or hidden."""
    front = np.zeros(len(picture.points), bool)
    front[picture.faces] = True
    regions = []
    for mask, outline in zip(masks, outlines, strict=True):
        facing = np.flatnonzero(mask & front)
        if 2 * len(facing) >= mask.sum() > 0:
            facing = facing[~_hidden(picture.points[facing], picture.points[picture.faces])]
        enough = 2 * len(facing) >= mask.sum()
        regions.append(Region(picture.points[facing if enough else [], :2], outline))
    return regions


def _draw_names(
    axes: Axes,
    names: list[str],
    regions: list[Region],
    bounds: tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]],
) -> None:
    """Write the names of regions on or beside them, where there is room."""
    from matplotlib.patheffects import withStroke
    from matplotlib.textpath import TextPath

    mm = 2 * _EDGE / (72 * _WIDTH)  # of a point
    extents = [TextPath((0, 0), name, size=_NAME).get_extents() for name in names]
    sizes = mm * np.array([(extent.width, 1.1 * _NAME) for extent in extents]).reshape(-1, 2)
    halo = [withStroke(linewidth=2, foreground="white")]
    for index, middle, target in place_names(regions, sizes, bounds):
        if target is not None:
            start = np.clip(target, middle - sizes[index] / 2, middle + sizes[index] / 2)
            axes.plot(*np.stack([start, target], axis=1), color="black", linewidth=0.7, zorder=5, path_effects=halo)
        options = {"size": _NAME, "ha": "center", "va": "center", "zorder": 6, "path_effects": halo}
        axes.text(*middle, names[index], **options)


def _hidden(points: Float[np.ndarray, "n 3"], corners: Float[np.ndarray, "m 3 3"]) -> Bool[np.ndarray, " n"]:
    """Return which points lie behind a face. On these surfaces, such a face is among the 64 nearest ones."""
    from scipy.spatial import cKDTree

    near = cKDTree(corners.mean(1)[:, :2]).query(points[:, :2], k=64)[1]
    x, y, depth = np.moveaxis(corners[near] - points[:, None, None], -1, 0)
    covers = (x * np.roll(y, -1, axis=2) > y * np.roll(x, -1, axis=2)).all(2)
    return (covers & (depth > 0).all(2)).any(1)


def _draw_rim(axes: Axes, picture: _Picture) -> None:
    """Draw the edges that have a face on only one side, so that light colors stand out from the background."""
    from matplotlib.collections import LineCollection

    edges = np.sort(np.stack([picture.faces, np.roll(picture.faces, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    edges, number = np.unique(edges, axis=0, return_counts=True)
    lines = picture.points[edges[number == 1], :2]
    axes.add_collection(LineCollection(lines, colors="0.5", linewidths=0.6, capstyle="round"), autolim=False)


def _outline_colors(number: int, kind: str) -> list[Any]:
    if kind != "values":  # colored outlines could be mistaken for names or angles
        return [_OUTLINES[0]] * number
    if number <= len(_OUTLINES):
        return list(_OUTLINES[:number])
    import matplotlib

    return list(matplotlib.colormaps["turbo"](np.linspace(0, 1, number)))


def _columns(names: Sequence[str]) -> int:
    """Return the number of columns of names that fills lines about equally."""
    most = min(len(names), max(1, 100 // (max(map(len, names)) + 6)))
    return math.ceil(len(names) / math.ceil(len(names) / most))


def draw_legend(axes: Axes, regions: Mapping[str, Halves], top: float, kind: str) -> float:
    """Write the legend of the outlines below ``top``, and return the y at which it ends."""
    from matplotlib.lines import Line2D

    if not regions:
        return top
    names = [name if np.any(masks) else f"{name} (none)" for name, masks in regions.items()]
    if kind != "values":  # all outlines are black
        names = [textwrap.fill(", ".join(names), _WRAPPED)]
    lines = [Line2D([], [], color=color, linewidth=2.5) for color in _outline_colors(len(names), kind)]
    return _draw_key(axes, lines, names, top, 1.4)


def _draw_key(axes: Axes, colors: Sequence[Any], names: Sequence[str], top: float, length: float) -> float:
    """Write the names of colors below ``top``, and return the y at which they end."""
    columns = _columns(names)
    anchor = {"loc": "upper center", "bbox_to_anchor": (0, top), "bbox_transform": axes.transData, "borderaxespad": 0}
    axes.legend(colors, names, ncols=columns, fontsize=9, handlelength=length, frameon=False, borderpad=0, **anchor)
    return top - 10.5 * (math.ceil(len(names) / columns) + sum(name.count("\n") for name in names))


def draw_frame(
    axes: Axes,
    bottom: float,
    scale: ScalarMappable,
    label: str,
    title: str,
    small_print: str,
    kind: str,
    names: Sequence[str] = (),
) -> None:
    """Draw the color bar, wheel or names, the title and the small print, and set the size of the figure."""
    bar = bottom - (10 + _WHEEL if kind == "angles" else 7)
    if kind == "names":
        bar = _draw_labels(axes, names, scale, label, bottom) + 16
    top = 6 + (1.5 * _LINE if title else 0)
    dot = 2 * _EDGE / (_WIDTH * DPI)
    rows = math.ceil((top - bar + 25 + (9 if small_print else 0)) / dot)
    height = rows * dot  # in whole dots, so that the legend does not move the brains by a fraction of one
    bottom = top - height
    axes.set(xlim=(-_EDGE, _EDGE), ylim=(bottom, top))
    axes.text(0, top - 5, title, size=13, weight="bold", ha="center", va="top")
    axes.text(0, bottom + 3, small_print, size=7.5, color="0.4", ha="center", va="bottom")
    axes.figure.set_size_inches(_WIDTH, rows / DPI)
    if kind == "names":
        return
    if kind == "angles":
        width = _WHEEL / (2 * _EDGE)
        _draw_wheel(axes.figure.add_axes((0.5 - width / 2, (bar - bottom) / height, width, _WHEEL / height)), scale)
        axes.text(0, bar - 12, label, size=9, ha="center", va="top")
        return
    bar_axes = axes.figure.add_axes((0.3, (bar - bottom) / height, 0.4, 6 / height))
    axes.figure.colorbar(scale, cax=bar_axes, orientation="horizontal").set_label(label, size=9)
    bar_axes.tick_params(labelsize=8)


def _draw_labels(axes: Axes, names: Sequence[str], scale: ScalarMappable, label: str, top: float) -> float:
    """Write the names of the labels below ``top``, and return the y at which they end."""
    from matplotlib.patches import Patch

    outlines = axes.get_legend()
    end = _draw_key(axes, [Patch(color=scale.to_rgba(index)) for index in range(len(names))], names, top, 1.2)
    if outlines is not None:  # a new legend would replace it
        axes.add_artist(outlines)
    axes.text(0, end - 2, label, size=9, ha="center", va="top")
    return end - 12


def _draw_wheel(axes: Axes, scale: ScalarMappable) -> None:
    """Draw the visual field, colored by polar angle."""
    position = np.linspace(-1, 1, 201)
    angle = np.degrees(np.arctan2(position[:, None], position))
    colors = scale.to_rgba(angle)
    colors[..., 3] = np.hypot(position[:, None], position) <= 1
    axes.imshow(colors, extent=(-1, 1, -1, 1), origin="lower", interpolation="antialiased")
    axes.set_axis_off()
    for name, x, y, across, along in (
        ("up", 0, 1.1, "center", "bottom"),
        ("down", 0, -1.1, "center", "top"),
        ("left", -1.1, 0, "right", "center"),
        ("right", 1.1, 0, "left", "center"),
    ):
        axes.text(x, y, name, size=8, ha=across, va=along, clip_on=False)

"""Drawing of fsaverage's hemispheres: colors, outlines, names, and layout on one canvas, in mm."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..vertices import HEMISPHERES
from .labels import Region, place_names
from .meshes import SHOWN
from .style import DPI, SMALLEST, WIDTH
from .views import COLUMN, FLAT, OCCIPITAL, Projection, project

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

# Measures of a picture in mm of the surfaces, and of its texts in points. The picture is as wide as a journal column,
# where no text may be smaller than 6 points.
_GAP, _EDGE = 9.0, COLUMN + 25
_CENTERS = (-COLUMN / 2 - _GAP, COLUMN / 2 + _GAP)
_WHEEL = 60.0  # diameter of the wheel of angles
_TITLE, _TEXT = 8.0, 6.5
_POINT = 2 * _EDGE / (72 * WIDTH)  # mm of a point
_LINE = 1.35 * _POINT * _TEXT  # height of a line
_WRAPPED = 66  # characters of a line
_OUTLINE, _HALO = 0.7, 1.5  # widths of outlines and of their halos in points
_THIN = 0.5  # of these widths in small multiples

Halves = tuple[np.ndarray, np.ndarray]  # values of the left and of the right hemisphere


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
        axes.text(x, 0, name, size=_TEXT, ha="center", va="top")
    top = -_LINE
    for row in rows:
        pictures = [project(hemisphere, row, len(shown[0])) for hemisphere in HEMISPHERES]
        height = max(np.ptp(picture.points[picture.faces, 1]) for picture in pictures)
        for index, (picture, x) in enumerate(zip(pictures, _CENTERS, strict=True)):
            picture = picture._replace(points=picture.points + np.array([x, top - height / 2, 0]))
            _draw_values(axes, picture, shown[index], scale, kind)
            masks = [halves[index] for halves in regions.values()]
            outlines = _draw_outlines(axes, picture, masks)
            if row in (FLAT, OCCIPITAL):
                _draw_rim(axes, picture)
            bounds = np.array([x - COLUMN / 2, top - height - _GAP / 2]), np.array([x + COLUMN / 2, top + _GAP / 2])
            _draw_names(axes, list(regions), _seen(picture, masks, outlines), bounds)
        axes.text(8 - _EDGE, top - height / 2, row, size=_TEXT, ha="center", va="center", rotation=90)
        top -= height + _GAP
    return top


def draw_flat(axes: Axes, shown: Halves, regions: Mapping[str, Halves], scale: ScalarMappable, kind: str) -> None:
    """Draw both flat maps side by side in axes of their own, with outlines but no names, for small multiples.

    The arguments are those of :func:`draw_rows`.
    """
    heights = []
    for index, (hemisphere, x) in enumerate(zip(HEMISPHERES, _CENTERS, strict=True)):
        picture = project(hemisphere, FLAT, len(shown[0]))
        picture = picture._replace(points=picture.points + np.array([x, 0, 0]))
        _draw_values(axes, picture, shown[index], scale, kind)
        _draw_outlines(axes, picture, [halves[index] for halves in regions.values()], _THIN)
        _draw_rim(axes, picture)
        heights.append(np.ptp(picture.points[picture.faces, 1]))
    half = max(heights) / 2 + 2
    axes.set(xlim=(-COLUMN - 1.5 * _GAP, COLUMN + 1.5 * _GAP), ylim=(-half, half), aspect="equal")
    axes.set_axis_off()


def _draw_values(
    axes: Axes,
    picture: Projection,
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


def borders(
    points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"], inside: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "lines 2 3"]:
    """Return the border of a region as lines across faces, a third of an edge outside the region's vertices.

    Borders of neighbors therefore lie side by side.
    """
    number = inside[faces].sum(1)
    mixed, single = faces[(number == 1) | (number == 2)], number[(number == 1) | (number == 2)] == 1
    odd = np.argmax(inside[mixed] == single[:, None], axis=1)[:, None]  # the corner that differs from the others
    one, others = (points[np.take_along_axis(mixed, (odd + shift) % 3, 1)] for shift in ([0], [1, 2]))
    return one + (others - one) * np.where(single, 0.35, 0.65)[:, None, None]


def _draw_outlines(
    axes: Axes, picture: Projection, masks: list[Bool[np.ndarray, " vertices"]], thickness: float = 1.0
) -> list[Float[np.ndarray, "m 2"]]:
    """Draw the borders of regions, and return points along the visible part of each border.

    They are black on a white halo, which stands out from any map, and can be mistaken for none of its colors.
    """
    from matplotlib.collections import LineCollection

    points, faces = picture.points, picture.faces
    lines = [np.zeros((0, 2, 3)), *(borders(points, faces, inside) for inside in masks)]
    ends = np.cumsum([len(segments) for segments in lines])
    lines = np.concatenate(lines)
    seen = ~_hidden(lines.mean(1), points[faces])
    for width, color, order in ((_HALO, "white", 3), (_OUTLINE, "black", 4)):
        collection = LineCollection(
            lines[seen, :, :2], colors=color, linewidths=thickness * width, capstyle="round", zorder=order
        )
        axes.add_collection(collection, autolim=False)
    return [
        lines[first:last][seen[first:last], :, :2].reshape(-1, 2) for first, last in itertools.pairwise(ends.tolist())
    ]


def _seen(
    picture: Projection, masks: list[Bool[np.ndarray, " vertices"]], outlines: list[Float[np.ndarray, "m 2"]]
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

    extents = [TextPath((0, 0), name, size=SMALLEST).get_extents() for name in names]
    sizes = _POINT * np.array([(extent.width, SMALLEST) for extent in extents]).reshape(-1, 2)
    halo = [withStroke(linewidth=1.2, foreground="white")]
    for index, middle, target in place_names(regions, sizes, bounds):
        if target is not None:
            start = np.clip(target, middle - sizes[index] / 2, middle + sizes[index] / 2)
            axes.plot(*np.stack([start, target], axis=1), color="black", linewidth=0.5, zorder=5, path_effects=halo)
        options = {"size": SMALLEST, "ha": "center", "va": "center", "zorder": 6, "path_effects": halo}
        axes.text(*middle, names[index], **options)


def _hidden(points: Float[np.ndarray, "n 3"], corners: Float[np.ndarray, "m 3 3"]) -> Bool[np.ndarray, " n"]:
    """Return which points lie behind a face. On these surfaces, such a face is among the 64 nearest ones."""
    from scipy.spatial import cKDTree

    near = cKDTree(corners.mean(1)[:, :2]).query(points[:, :2], k=64)[1]
    x, y, depth = np.moveaxis(corners[near] - points[:, None, None], -1, 0)
    covers = (x * np.roll(y, -1, axis=2) > y * np.roll(x, -1, axis=2)).all(2)
    return (covers & (depth > 0).all(2)).any(1)


def _draw_rim(axes: Axes, picture: Projection) -> None:
    """Draw the edges that have a face on only one side, so that light colors stand out from the background."""
    from matplotlib.collections import LineCollection

    edges = np.sort(np.stack([picture.faces, np.roll(picture.faces, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    edges, number = np.unique(edges, axis=0, return_counts=True)
    lines = picture.points[edges[number == 1], :2]
    axes.add_collection(LineCollection(lines, colors="0.5", linewidths=0.4, capstyle="round"), autolim=False)


def _columns(names: Sequence[str]) -> int:
    """Return the number of columns of names that fills lines about equally."""
    most = min(len(names), max(1, _WRAPPED // (max(map(len, names)) + 5)))
    return math.ceil(len(names) / math.ceil(len(names) / most))


def draw_legend(axes: Axes, regions: Mapping[str, Halves], top: float) -> float:
    """Write which regions are outlined below ``top``, and return the y at which it ends."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    if not regions:
        return top
    names = [name if np.any(masks) else f"{name} (none)" for name, masks in regions.items()]
    line = Line2D(
        [], [], color="black", linewidth=_OUTLINE, path_effects=[withStroke(linewidth=_HALO, foreground="white")]
    )
    return _draw_key(axes, [line], [textwrap.fill(", ".join(names), _WRAPPED)], top, 1.4)


def _draw_key(axes: Axes, colors: Sequence[Any], names: Sequence[str], top: float, length: float) -> float:
    """Write the names of colors below ``top``, and return the y at which they end."""
    columns = _columns(names)
    anchor = {"loc": "upper center", "bbox_to_anchor": (0, top), "bbox_transform": axes.transData, "borderaxespad": 0}
    axes.legend(
        colors, names, ncols=columns, fontsize=SMALLEST, handlelength=length, frameon=False, borderpad=0, **anchor
    )
    return top - _LINE * (math.ceil(len(names) / columns) + sum(name.count("\n") for name in names))


def draw_frame(
    axes: Axes,
    bottom: float,
    scale: ScalarMappable,
    label: str,
    title: str,
    subtitle: str,
    small_print: str,
    kind: str,
    names: Sequence[str] = (),
) -> None:
    """Draw the color bar, wheel or names, the titles and the small print, and set the size of the figure."""
    bar = bottom - (_LINE + _WHEEL if kind == "angles" else 8)
    if kind == "names":
        bar = _draw_labels(axes, names, scale, label, bottom) + 16
    title = textwrap.fill(title, round(0.8 * _WRAPPED))
    subtitle, small_print = textwrap.fill(subtitle, _WRAPPED), textwrap.fill(small_print, _WRAPPED)
    heights = [_POINT * 1.35 * size * (text.count("\n") + 1) for size, text in ((_TITLE, title), (_TEXT, subtitle))]
    heights = [height if text else 0 for height, text in zip(heights, (title, subtitle), strict=True)]
    foot = (small_print.count("\n") + 1) * _LINE if small_print else 0
    below = 2.2 * _LINE + 5 if kind == "values" else 2.3 * _LINE if kind == "angles" else 16
    top = 6 + sum(heights)
    dot = 2 * _EDGE / (WIDTH * DPI)
    rows = math.ceil((top - bar + below + foot + 4) / dot)
    height = rows * dot  # in whole dots, so that the legend does not move the brains by a fraction of one
    bottom = top - height
    axes.set(xlim=(-_EDGE, _EDGE), ylim=(bottom, top))
    axes.text(0, top - 3, title, size=_TITLE, weight="bold", ha="center", va="top")
    axes.text(0, top - 3 - heights[0], subtitle, size=_TEXT, ha="center", va="top")
    axes.text(0, bottom + 3, small_print, size=SMALLEST, color="0.4", ha="center", va="bottom")
    axes.figure.set_size_inches(WIDTH, rows / DPI)
    if kind == "names":
        return
    if kind == "angles":
        width = _WHEEL / (2 * _EDGE)
        _draw_wheel(axes.figure.add_axes((0.5 - width / 2, (bar - bottom) / height, width, _WHEEL / height)), scale)
        axes.text(0, bar - _LINE, label, size=_TEXT, ha="center", va="top")
        return
    bar_axes = axes.figure.add_axes((0.25, (bar - bottom) / height, 0.5, 8 / height))
    axes.figure.colorbar(scale, cax=bar_axes, orientation="horizontal").set_label(label, size=_TEXT)
    bar_axes.tick_params(labelsize=SMALLEST)


def _draw_labels(axes: Axes, names: Sequence[str], scale: ScalarMappable, label: str, top: float) -> float:
    """Write the names of the labels below ``top``, and return the y at which they end."""
    from matplotlib.patches import Patch

    outlines = axes.get_legend()
    end = _draw_key(axes, [Patch(color=scale.to_rgba(index)) for index in range(len(names))], names, top, 1.2)
    if outlines is not None:  # a new legend would replace it
        axes.add_artist(outlines)
    axes.text(0, end - 2, label, size=_TEXT, ha="center", va="top")
    return end - _LINE


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
        axes.text(x, y, name, size=SMALLEST, ha=across, va=along, clip_on=False)

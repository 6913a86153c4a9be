"""Interactive web page of responses on a brain that can be turned; it works without a network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from ..errors import InvalidParameterError
from ..files.disk import explained
from ..vertices import HEMISPHERES, Vertices
from .colors import angle_scale, color_scale
from .drawing import borders
from .meshes import SHOWN, fsaverage, require
from .spaces import resolution, to_fsaverage5, whole_map
from .views import GYRI, SULCI, normals_of

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap

_GAP = 6.0  # between the inflated hemispheres, in mm
_EYES = (  # places from which a page can show the brain: x right, y front, z up
    (0, -1.25, 0.7),
    (0, -1.5, 0),
    (0, -1.4, -0.9),
    (0, -0.4, -1.65),
    (-1.75, -0.3, 0),
    (1.75, -0.3, 0),
    (0, -0.4, 1.65),
    (0, 1.6, 0.2),
)
_BETTER = 1.15  # by how much more of the values another side must show than the first
_HALO, _LINE, _NAME = (8, 0.5), (3, 1.0), 9.0  # widths of outlines, and how far they are above the surface in mm


class Page(str):
    """A web page as text, which a notebook displays. Its repr is its size instead of megabytes of text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<berg_jax page, {len(self) / 1e6:.1f} MB>"

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self)}" style="border: 0; width: 100%; height: 36rem"></iframe>'


def html(
    values: Float[np.ndarray, " n"] | Mapping[str, Float[np.ndarray, " n"]],
    vertices: Vertices | None = None,
    *,
    label: str = "response (z)",
    title: str | None = None,
    outlines: Mapping[str, Vertices] | None = None,
    limit: float | tuple[float, float] | None = None,
    colormap: str | Colormap | None = None,
    angles: Collection[str] = (),
    note: str | None = None,
    output: str | Path | None = None,
) -> Page:
    """Draw one value per vertex on both inflated hemispheres, which can be turned with the mouse or a finger.

    Vertices without a value are grey. The surface is fsaverage5's, whatever the mesh of the values. The page opens on
    the side where the values of the first map are.

    Parameters
    ----------
    values, vertices, label, outlines, limit, colormap
        The parameters of :func:`berg_jax.surface.plot`. Several maps by their names are shown one at a time, with a
        menu to switch between them; each has its own scale unless ``limit`` is given.
    angles
        Names of those maps that are angles in degrees, counterclockwise from the right, whose colors are cyclic and
        whose scale is the whole circle.
    title, note
        Title above the brain, and small print below it.
    output
        The .html file in which the page is saved.

    Returns
    -------
    The page, a str of about 6 MB, and of 0.5 MB more for each further map, which contains all that it needs and works
    without a network. A notebook displays it.

    Raises
    ------
    InvalidParameterError
        An argument is invalid, no value can be shown, or the mesh is not one of fsaverage.
    ResourceError
        nilearn or plotly is not installed, or ``output`` cannot be written.

    See Also
    --------
    berg_jax.surface.plot : A static figure of several views.
    berg_jax.surface.save : Files for other surface viewers.

    Examples
    --------
    >>> import berg_jax
    >>> subject = berg_jax.Subject("demo", 1)
    >>> vertices = subject.vertices("nsdgeneral", hemisphere="lh")
    >>> page = html(subject.metadata.ncsnr("lh")[vertices.lh], vertices, label="ncsnr")
    """
    if output is not None and Path(output).suffix.lower() not in (".html", ".htm"):
        raise InvalidParameterError(f"output must end in .html, got {str(output)!r}.")
    several = dict(values) if isinstance(values, Mapping) else {label: values}
    if unknown := set(angles) - {str(name) for name in several}:
        raise InvalidParameterError(f"angles names {sorted(unknown)}; the maps are {list(several)}.")
    if not several:
        raise InvalidParameterError("There is nothing to show: values are an empty mapping.")
    regions = {} if outlines is None else _regions(outlines)
    maps: dict[str, _Map] = {}
    for name, one in several.items():
        whole, size = whole_map(one, vertices)
        shown = to_fsaverage5(whole, size)
        if np.isnan(shown).all():
            of = f" of {name!r}" if len(several) > 1 else ""
            raise InvalidParameterError(
                f"There is nothing to show: no value{of} at fsaverage5's vertices is a number."
            )
        maps[str(name)] = _Map(shown, size)
    require("matplotlib", "nilearn", "plotly")
    from plotly import graph_objects

    scales = {
        name: angle_scale(None, None) if name in angles else color_scale(np.concatenate(one.halves), limit, colormap)
        for name, one in maps.items()
    }
    first, size = next(iter(maps)), max(one.size for one in maps.values())
    meshes = [
        _mesh(hemisphere, half, scales[first])
        for hemisphere, half in zip(HEMISPHERES, maps[first].halves, strict=True)
    ]
    figure = graph_objects.Figure(
        [*meshes, _color_bar(scales[first], first), _names(), *_outlines(regions)],
    )
    if len(maps) > 1:
        figure.update_layout(updatemenus=[_menu(maps, scales)])
    hidden = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    # The center is a little below the middle, which leaves room for the names.
    eye = dict(zip("xyz", _eye(maps[first].halves), strict=True))
    camera = {"eye": eye, "center": {"x": 0, "y": 0, "z": -0.1}}
    figure.update_layout(
        scene={**hidden, "aspectmode": "data", "camera": camera},
        margin={"l": 0, "r": 0, "t": 45 if len(maps) > 1 else 0, "b": 70},  # the menu stands above the brain
        modebar={"orientation": "v"},
        hovermode="closest",
        showlegend=False,
    )
    # The plot is never much higher than wide, so that a phone shows both hemispheres.
    plot = figure.to_html(
        full_html=False, include_plotlyjs=True, default_height="min(78vh, 100vw)", config={"displaylogo": False}
    )
    small_print = ("Turn it with the mouse or a finger. Grey: no value.", note, resolution(size, SHOWN))
    text = _PAGE.format(
        title=f"<h1>{escape(title)}</h1>" if title else "",
        head=escape(title or first),
        plot=plot,
        small_print=escape(" · ".join(filter(None, small_print))),
    )
    if output is not None:
        with explained("write", Path(output)):
            Path(output).write_text(text, encoding="utf-8")
    return Page(text)


class _Map(NamedTuple):
    """Values of both hemispheres on fsaverage5, and the number of vertices of their own mesh."""

    halves: tuple[Float[np.ndarray, " 10242"], Float[np.ndarray, " 10242"]]
    size: int


def _menu(maps: Mapping[str, _Map], scales: Mapping[str, ScalarMappable]) -> dict[str, Any]:
    """Return the menu of the maps, which changes colors, texts and the color bar, and leaves the view as it is."""
    buttons = []
    for name, one in maps.items():
        halves = list(zip(HEMISPHERES, one.halves, strict=True))
        marker = _marker(scales[name], name)
        changes = {
            "vertexcolor": [_colors(hemisphere, half, scales[name]).tolist() for hemisphere, half in halves],
            "text": [_texts(hemisphere, half) for hemisphere, half in halves],
        }
        # An entry for each of the two meshes and the color bar's point, to which only some of them apply.
        update = {key: [*values, None] for key, values in changes.items()}
        update |= {f"marker.{key}": [None, None, marker[key]] for key in ("color", "cmin", "cmax", "colorscale")}
        update["marker.colorbar.title.text"] = [None, None, marker["colorbar"]["title"]["text"]]
        buttons.append({"method": "restyle", "label": escape(name), "args": [update, [0, 1, 2]]})
    return {"buttons": buttons, "x": 0.02, "y": 0.98, "xanchor": "left", "yanchor": "top", "showactive": True}


def _regions(outlines: Mapping[str, Vertices]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the masks of each outlined region for both hemispheres on fsaverage5."""
    if not isinstance(outlines, Mapping):
        raise InvalidParameterError(f"outlines must be {{name: Vertices}}, got {type(outlines).__name__}.")
    masks = {}
    for name, region in outlines.items():
        mask = np.zeros(2 * region.hemisphere_size, bool)
        mask[region.global_indices] = True
        masks[str(name)] = to_fsaverage5(mask, region.hemisphere_size)
    return masks


def _eye(halves: tuple[Float[np.ndarray, " 10242"], Float[np.ndarray, " 10242"]]) -> tuple[float, float, float]:
    """Return the place, of those that a page can open with, from which most of the values can be seen."""
    seen = np.zeros(len(_EYES))
    for hemisphere, side, values in zip(HEMISPHERES, (-1, 1), halves, strict=True):
        points, faces = _placed(hemisphere)
        normals = normals_of(points, faces)
        weight = np.nan_to_num(abs(values)) * (normals[:, 0] * side > -0.3)  # the other hemisphere hides the rest
        for index, eye in enumerate(_EYES):
            if eye[0] * side >= 0:
                seen[index] += (weight * np.clip(normals @ (eye / np.linalg.norm(eye)), 0, None)).sum()
    seen[0] *= _BETTER
    return _EYES[int(seen.argmax())]


def _outlines(regions: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[Any]:
    """Return the regions' borders, black with a white halo, and their names above them."""
    from plotly import graph_objects

    if not regions:
        return []
    traces, names = [], []
    for width, above in (_HALO, _LINE):
        lines = [np.zeros((0, 2, 3))]
        for hemisphere, index in zip(HEMISPHERES, (0, 1), strict=True):
            points, faces = _placed(hemisphere)
            raised = points + above * normals_of(points, faces)
            lines += [borders(raised, faces, halves[index]) for halves in regions.values()]
        found = np.concatenate(lines)
        broken = np.concatenate([found, np.full((len(found), 1, 3), np.nan)], axis=1).reshape(-1, 3)
        options = {"line": {"width": width, "color": "white" if above == _HALO[1] else "black"}, "hoverinfo": "skip"}
        traces.append(graph_objects.Scatter3d(**dict(zip("xyz", broken.T, strict=True)), mode="lines", **options))
    for name, halves in regions.items():
        for hemisphere, mask in zip(HEMISPHERES, halves, strict=True):
            points, faces = _placed(hemisphere)
            if mask.any():
                middle = points[mask].mean(0)
                nearest = np.flatnonzero(mask)[np.linalg.norm(points[mask] - middle, axis=1).argmin()]
                names.append((name, *(points + _NAME * normals_of(points, faces))[nearest]))
    text, *places = zip(*names, strict=True) if names else ([], [], [], [])
    options = {"mode": "text", "text": list(map(escape, text)), "textfont": {"size": 11, "color": "black"}}
    places = dict(zip("xyz", map(list, places), strict=True))
    return [*traces, graph_objects.Scatter3d(**places, **options, hoverinfo="skip")]


def _placed(hemisphere: str) -> tuple[Float[np.ndarray, "10242 3"], Int[np.ndarray, "n 3"]]:
    """Return the inflated hemisphere, moved so that the other one stands beside it."""
    surface = fsaverage(hemisphere, "infl")
    points = surface.coordinates.astype(np.float64)
    x = points[:, 0]
    points[:, 0] = x - x.max() - _GAP / 2 if hemisphere == "lh" else x - x.min() + _GAP / 2
    return points, surface.faces


def _mesh(hemisphere: str, values: Float[np.ndarray, " 10242"], scale: ScalarMappable) -> Any:
    """Return the colored inflated hemisphere."""
    from plotly import graph_objects

    points, faces = _placed(hemisphere)
    x, y, z = points.astype(np.float32).T
    i, j, k = faces.T
    return graph_objects.Mesh3d(
        **{"x": x, "y": y, "z": z, "i": i, "j": j, "k": k},
        vertexcolor=_colors(hemisphere, values, scale),
        text=_texts(hemisphere, values),
        hoverinfo="text",
        name=hemisphere,
        lighting={"ambient": 0.7, "diffuse": 0.4, "specular": 0.02},
        lightposition={"x": 0, "y": -100_000, "z": 100_000},  # the initial position of the viewer
    )


def _colors(hemisphere: str, values: Float[np.ndarray, " 10242"], scale: ScalarMappable) -> UInt8[np.ndarray, "n 3"]:
    grey = np.where(fsaverage(hemisphere, "sulc") > 0, SULCI, GYRI)
    colors = np.where(np.isnan(values)[:, None], grey[:, None], scale.to_rgba(values)[:, :3])
    return (255 * colors).round().astype(np.uint8)


def _texts(hemisphere: str, values: Float[np.ndarray, " 10242"]) -> list[str]:
    return [f"{hemisphere} {index}: {value:.3g}" for index, value in enumerate(values)]


def _color_bar(scale: ScalarMappable, label: str) -> Any:
    """Return a color bar, which belongs to an invisible point."""
    from plotly import graph_objects

    marker = _marker(scale, label)
    return graph_objects.Scatter3d(x=[0], y=[0], z=[0], mode="markers", marker=marker, hoverinfo="skip")


def _marker(scale: ScalarMappable, label: str) -> dict[str, Any]:
    positions = np.linspace(0, 1, 33)
    shades = [f"rgb{tuple(round(255 * part) for part in scale.cmap(position)[:3])}" for position in positions]
    return {
        "color": [scale.norm.vmin],
        "cmin": scale.norm.vmin,
        "cmax": scale.norm.vmax,
        "colorscale": list(zip(positions.tolist(), shades, strict=True)),
        "colorbar": {
            **{"title": {"text": escape(label), "side": "top"}, "orientation": "h", "thickness": 14},
            **{"len": 0.8, "y": 0, "yref": "container", "yanchor": "bottom"},
        },
        "size": 0.001,
    }


def _names() -> Any:
    """Return the names of the hemispheres, which stand above them and turn with them."""
    from plotly import graph_objects

    places = []
    for hemisphere, side in (("lh", -1), ("rh", 1)):
        points = fsaverage(hemisphere, "infl").coordinates
        places.append((side * (np.ptp(points[:, 0]) + _GAP) / 2, points[:, 1].mean(), points[:, 2].max() + 8))
    x, y, z = np.array(places).T
    return graph_objects.Scatter3d(x=x, y=y, z=z, mode="text", text=["left", "right"], hoverinfo="skip")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{head}</title>
<style>
:root {{ color-scheme: light; }}
body {{ margin: 0; font: 1rem/1.4 system-ui, sans-serif; color: #1f2933; background: white; }}
h1, p {{ margin: .5rem 1rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.2rem; }}
p {{ font-size: .85rem; color: #5b6770; }}
</style>
</head>
<body>
{title}
{plot}
<p>{small_print}</p>
</body>
</html>
"""

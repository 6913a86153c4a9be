"""Responses on a brain that can be turned, as a web page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .errors import InvalidParameterError
from .files import explained
from .rois import HEMISPHERES, Vertices
from .surface_colors import color_scale
from .surface_drawing import GYRI, SULCI
from .surface_meshes import fsaverage, require
from .surface_spaces import to_fsaverage5, whole_map

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap

_GAP = 6.0  # mm between the inflated hemispheres


def html(
    values: Float[np.ndarray, " n"],
    vertices: Vertices | None = None,
    *,
    label: str = "response (z)",
    title: str | None = None,
    limit: float | None = None,
    colormap: str | Colormap | None = None,
    output: str | Path | None = None,
) -> str:
    """Draw one value per vertex on both inflated hemispheres, side by side, to be turned with the mouse.

    Vertices without a value stay grey.

    Parameters
    ----------
    values, vertices, label, limit, colormap
        As for :func:`berg_jax.surface.plot`.
    title
        Stands above the brain.
    output
        Where to save the page, an .html file.

    Returns
    -------
    The page. It holds all that it needs, about 6 MB, and works without a network.

    Raises
    ------
    InvalidParameterError
        An argument makes no sense, no value can be shown, or the mesh is none of fsaverage.
    ResourceError
        nilearn or plotly is not installed, or ``output`` cannot be written.
    """
    if output is not None and Path(output).suffix.lower() not in (".html", ".htm"):
        raise InvalidParameterError(f"output must end in .html, got {str(output)!r}.")
    whole, size = whole_map(values, vertices)
    shown = to_fsaverage5(whole, size)
    if np.isnan(shown).all():
        raise InvalidParameterError("There is nothing to show: no value at fsaverage5's vertices is a number.")
    require("matplotlib", "nilearn", "plotly")
    from plotly import graph_objects

    scale = color_scale(np.concatenate(shown), limit, colormap)
    meshes = [_mesh(hemisphere, half, scale) for hemisphere, half in zip(HEMISPHERES, shown, strict=True)]
    figure = graph_objects.Figure([*meshes, _color_bar(scale, label)])
    hidden = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    camera = {"eye": {"x": 0, "y": -1.4, "z": 0.9}, "up": {"x": 0, "y": 0, "z": 1}}  # from behind and above
    figure.update_layout(title=title, scene={**hidden, "aspectmode": "data", "camera": camera}, hovermode="closest")
    page = figure.to_html(include_plotlyjs=True)
    if output is not None:
        with explained("write", Path(output)):
            Path(output).write_text(page, encoding="utf-8")
    return page


def _mesh(hemisphere: str, values: Float[np.ndarray, " 10242"], scale: ScalarMappable) -> Any:
    """The inflated hemisphere, moved so that the other one stands beside it, in colors."""
    from plotly import graph_objects

    surface = fsaverage(hemisphere, "infl")
    x, y, z = surface.coordinates.T
    x = x - x.max() - _GAP / 2 if hemisphere == "lh" else x - x.min() + _GAP / 2
    grey = np.where(fsaverage(hemisphere, "sulc") > 0, SULCI, GYRI)
    colors = np.where(np.isnan(values)[:, None], grey[:, None], scale.to_rgba(values)[:, :3])
    said = [f"{hemisphere} {index}: {value:.3g}" for index, value in enumerate(values)]
    i, j, k = surface.faces.T
    return graph_objects.Mesh3d(
        **{"x": x, "y": y, "z": z, "i": i, "j": j, "k": k},
        vertexcolor=(255 * colors).round().astype(np.uint8),
        text=said,
        hoverinfo="text",
        name=hemisphere,
        lighting={"ambient": 0.6, "diffuse": 0.5, "specular": 0.05},
    )


def _color_bar(scale: ScalarMappable, label: str) -> Any:
    """A color bar, of a point that is not seen."""
    from plotly import graph_objects

    place = np.linspace(0, 1, 33)
    shades = [f"rgb{tuple(round(255 * part) for part in scale.cmap(at)[:3])}" for at in place]
    marker = {
        "color": [scale.norm.vmin],
        "cmin": scale.norm.vmin,
        "cmax": scale.norm.vmax,
        "colorscale": list(zip(place.tolist(), shades, strict=True)),
        "colorbar": {"title": {"text": label, "side": "right"}, "len": 0.6},
        "size": 0.001,
    }
    return graph_objects.Scatter3d(x=[0], y=[0], z=[0], mode="markers", marker=marker, hoverinfo="skip")
